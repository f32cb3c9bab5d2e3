"""Approvals: found by their id, and listed while they are pending.

A decision is one transaction with the reply to the step that waits and the entry of the audit, on the condition that
the run is under way, so there is no decision that the run does not follow.

Attributes: those of ``graph.approvals.Approval``, in camelCase; ``orgList`` and ``listKey`` only while it is pending.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from chalicelib.graph.approvals import Approval, ApprovalStatus
from chalicelib.store import keys
from chalicelib.store.executions import still_going
from chalicelib.store.replies import WaitingAt
from chalicelib.store.table import ABSENT, ConditionFailed, Item, Table, Write, put, update

#: How many pending approvals of an organisation are looked through for those that a user may see.
SEARCHED = 1_000

_PENDING = "#status = :pending"


def approval_write(approval: Approval) -> Write:
    """The write that makes an approval, on the condition that it is not there."""
    return put(_item(approval), ABSENT)


def close_write(organization_id: str, approval_id: str, status: ApprovalStatus) -> Write:
    """The write that ends an approval that nobody has decided, on that condition."""
    return update(
        keys.approval(organization_id, approval_id),
        "SET #status = :status REMOVE orgList, listKey",
        _PENDING,
        status=str(status),
        pending=str(ApprovalStatus.PENDING),
    )


class ApprovalRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, organization_id: str, approval_id: str) -> Approval | None:
        item = self._table.get(keys.approval(organization_id, approval_id))
        return _approval(item) if item else None

    def pending(self, organization_id: str) -> list[Approval]:
        """The ``SEARCHED`` newest that nobody has decided, newest first."""
        found = self._table.query(
            keys.pending_approvals(organization_id),
            index=keys.BY_ORGANIZATION,
            pk_name="orgList",
            newest_first=True,
            limit=SEARCHED,
        )
        items = self._table.get_many([keys.Key(pk=item["pk"], sk=item["sk"]) for item in found])
        approvals = [approval for approval in map(_approval, items) if approval.status is ApprovalStatus.PENDING]
        return sorted(approvals, key=lambda approval: (approval.created_at, approval.id), reverse=True)

    def decide(self, decided: Approval, also: Sequence[Write]) -> bool:
        """Records a decision with what belongs to it; False where it is not pending, or its run is not under way."""
        change = update(
            keys.approval(decided.organization_id, decided.id),
            "SET #status = :status, decidedBy = :by, decidedAt = :at, #comment = :comment REMOVE orgList, listKey",
            _PENDING,
            status=str(decided.status),
            by=decided.decided_by,
            at=decided.decided_at,
            comment=decided.comment,
            pending=str(ApprovalStatus.PENDING),
        )
        try:
            self._table.transact([change, still_going(decided.organization_id, decided.execution_id), *also])
        except ConditionFailed:
            return False
        return True

    def close(self, organization_id: str, approval_id: str, status: ApprovalStatus) -> None:
        """Ends an approval that nobody has decided. Harmless to repeat."""
        with suppress(ConditionFailed):
            self._table.write(close_write(organization_id, approval_id, status))


def place_of(approval: Approval) -> WaitingAt:
    return WaitingAt(approval.organization_id, approval.execution_id, approval.gate, approval.path)


def _item(approval: Approval) -> Item:
    return {
        **keys.approval(approval.organization_id, approval.id),
        "orgList": keys.pending_approvals(approval.organization_id),
        "listKey": f"{approval.created_at}#{approval.id}",
        "approvalId": approval.id,
        "organizationId": approval.organization_id,
        "workflowId": approval.workflow_id,
        "executionId": approval.execution_id,
        "nodeId": approval.node_id,
        "path": approval.path,
        "gate": approval.gate,
        "startedBy": approval.started_by,
        "message": approval.message,
        "createdAt": approval.created_at,
        "expiresAtTime": approval.expires_at,  # `expiresAt` is when DynamoDB may delete an item
        "status": str(approval.status),
    }


def _approval(item: Item) -> Approval:
    return Approval(
        id=item["approvalId"],
        organization_id=item["organizationId"],
        workflow_id=item["workflowId"],
        execution_id=item["executionId"],
        node_id=item["nodeId"],
        path=item["path"],
        gate=item["gate"],
        started_by=item["startedBy"],
        message=item["message"],
        created_at=item["createdAt"],
        expires_at=item.get("expiresAtTime"),
        status=ApprovalStatus(item["status"]),
        decided_by=item.get("decidedBy"),
        decided_at=item.get("decidedAt"),
        comment=item.get("comment"),
    )
