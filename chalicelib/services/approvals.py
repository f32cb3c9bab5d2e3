"""Approvals: listed, read, and decided.

What if the process is killed ...

==============================  =====================================================================================
before the decision is written  nothing has happened; the person decides again
after that                      the same decision again is the same, and wakes the run; a read of the run does it too
==============================  =====================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chalicelib.engines.payloads import Payloads
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Conflict, NotFound
from chalicelib.foundation.ids import is_id
from chalicelib.graph.approvals import Approval, ApprovalStatus
from chalicelib.graph.retention import shelf
from chalicelib.services.access import ADMIN, Principal
from chalicelib.services.audit import AuditService
from chalicelib.services.telling import Telling
from chalicelib.store.approvals import ApprovalRepository, place_of
from chalicelib.store.replies import StoredReply, reply_write
from chalicelib.store.workflows import WorkflowRepository


@dataclass(frozen=True)
class ApprovalPage:
    total: int  # of all that are pending
    approvals: tuple[Approval, ...]


class ApprovalService:
    def __init__(
        self,
        repository: ApprovalRepository,
        workflows: WorkflowRepository,
        payloads: Payloads,
        telling: Telling,
        audit: AuditService,
        clock: Clock,
    ) -> None:
        self._repository = repository
        self._workflows = workflows
        self._payloads = payloads
        self._telling = telling
        self._audit = audit
        self._clock = clock

    def list(self, principal: Principal, limit: int, offset: int) -> ApprovalPage:
        """What waits for a decision, of runs that the caller may see, newest first."""
        found = [self._as_of_now(approval) for approval in self._repository.pending(principal.organization_id)]
        found = [approval for approval in found if approval.status is ApprovalStatus.PENDING]
        if not principal.has(ADMIN):
            visible = self._workflows.visible_ids(principal.organization_id, principal.user_id)
            found = [each for each in found if each.started_by == principal.user_id or each.workflow_id in visible]
        return ApprovalPage(len(found), tuple(found[offset : offset + limit]))

    def find(self, principal: Principal, approval_id: str) -> Approval:
        """Raises ``NotFound`` for what is absent, and for that of a run that the caller may not see."""
        approval = self._repository.get(principal.organization_id, approval_id) if is_id(approval_id) else None
        if approval is None or not self._may_see(principal, approval):
            raise NotFound("approval", approval_id)
        return self._as_of_now(approval)

    def decide(self, principal: Principal, approval: Approval, status: ApprovalStatus, comment: str | None) -> Approval:
        """Approves or rejects. The same decision again changes nothing, and wakes the run if it still waits.

        Raises ``Conflict`` where it was decided otherwise, or is not to be decided any more.
        """
        if self._as_of_now(approval).status is ApprovalStatus.PENDING:
            self._try(principal, approval, status, comment)
        approval = self.find(principal, approval.id)
        if approval.status is ApprovalStatus.PENDING:
            raise Conflict("The run does not wait for this decision any more.")
        if approval.status is not status:
            raise Conflict(f"The approval is {approval.status} already.")
        self._telling.open(place_of(approval))
        return approval

    def _try(self, principal: Principal, approval: Approval, status: ApprovalStatus, comment: str | None) -> None:
        """Writes a decision, if nobody and nothing came first."""
        now = timestamp(self._clock.now())
        decided = replace(approval, status=status, decided_by=principal.user_id, decided_at=now, comment=comment)
        value = {"decision": str(status), "by": principal.user_id, "comment": comment}
        reply = StoredReply(output=self._payloads.put(shelf(approval.organization_id), value))
        entry = self._audit.entry(
            principal, f"approval.{status}", approval.id, execution=approval.execution_id, node=approval.node_id
        )
        self._repository.decide(decided, [reply_write(place_of(approval), reply, now), entry])

    def _as_of_now(self, approval: Approval) -> Approval:
        """One whose time is over is expired, whether or not its run has noticed."""
        late = approval.expires_at is not None and approval.expires_at <= timestamp(self._clock.now())
        if approval.status is ApprovalStatus.PENDING and late:
            return replace(approval, status=ApprovalStatus.EXPIRED)
        return approval

    def _may_see(self, principal: Principal, approval: Approval) -> bool:
        if approval.started_by == principal.user_id or principal.has(ADMIN):
            return True
        workflow = self._workflows.get(principal.organization_id, approval.workflow_id)
        return workflow is not None and principal.may_see(workflow)
