"""Events: each starts the workflows that listen for it, and wakes the steps that wait for one of its type.

An event is not kept: what begins to wait or to listen later does not hear of it. What it starts has ids that follow
from its own, so an event that is told again (a request that is repeated, a bus that delivers twice, a process that died
half-way) starts nothing twice, and goes on where it was left.

An event concerns an organisation, not a user: it starts whatever is active there and listens, for the owner of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from chalicelib.engines.payloads import Payloads
from chalicelib.foundation.clock import Clock
from chalicelib.foundation.errors import Downstream, MillraceError
from chalicelib.foundation.expressions import ExpressionError, Limits, compile_expression
from chalicelib.foundation.ids import Ids, derived, is_name
from chalicelib.foundation.json_types import Json
from chalicelib.foundation.logs import logger
from chalicelib.graph.events import MAX_EVENT_TYPE_CHARS, Event, is_event_type
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.graph.retention import shelf
from chalicelib.graph.triggers import EVENT_TRIGGER
from chalicelib.nodes.values import is_true
from chalicelib.services.access import Principal
from chalicelib.services.audit import AuditService
from chalicelib.services.executions import ExecutionService, Origin
from chalicelib.services.telling import Telling
from chalicelib.store.claims import Claim, ClaimRepository, request_hash
from chalicelib.store.replies import StoredReply
from chalicelib.store.subscriptions import SubscriptionRepository
from chalicelib.store.triggers import FoundTrigger, TriggerRepository
from chalicelib.store.workflows import WorkflowRepository

BUS = "event-bus"  # stands in the audit for who told of an event there

_AT_ONCE = 8  # workflows that are started at the same time
_FILTER_LIMITS = Limits(timeout_ms=1_000)
_REQUEST_S = 20  # in which all is started that one request tells of: the gateway waits 29
_BUS_S = 240


@dataclass(frozen=True, slots=True)
class Firing:
    """What an event came to for one workflow: a run, or an error."""

    workflow_id: str
    workflow_name: str
    execution_id: str | None = None
    error: str | None = None
    may_pass: bool = False  # whether it may succeed when the event is told again


class EventService:
    def __init__(
        self,
        *,
        subscriptions: SubscriptionRepository,
        triggers: TriggerRepository,
        claims: ClaimRepository,
        workflows: WorkflowRepository,
        executions: ExecutionService,
        payloads: Payloads,
        telling: Telling,
        audit: AuditService,
        ids: Ids,
        clock: Clock,
    ) -> None:
        self._subscriptions = subscriptions
        self._triggers = triggers
        self._claims = claims
        self._workflows = workflows
        self._executions = executions
        self._payloads = payloads
        self._telling = telling
        self._audit = audit
        self._ids = ids
        self._clock = clock

    def emit(
        self, principal: Principal, event_type: str, data: Json, source: str, idempotency_key: str | None = None
    ) -> Sequence[Firing]:
        """Tells an event to the caller's organisation.

        The same again with the same key brings the first answer; what could not be started for a passing reason, or in
        time, is tried again then. Raises ``IdempotencyMismatch``.
        """
        organization = principal.organization_id
        event_id, claim = self._ids.new("evt"), None
        if idempotency_key is not None:
            digest = request_hash({"event": event_type, "data": data, "source": source})
            wanted = Claim(organization, idempotency_key, digest, event_id)
            claim = self._claims.claim(wanted, self._clock.now())
            if claim.answer is not None:
                return self._told_before(claim)
            event_id = claim.subject
        firings = self._publish(Event(organization, event_id, event_type, data, source), _REQUEST_S)
        if claim is not None and not any(firing.may_pass for firing in firings):
            self._claims.answered(claim, self._payloads.put(shelf(organization, 1), [asdict(each) for each in firings]))
        return firings

    def receive(self, raw: Mapping[str, Any]) -> None:
        """Tells an event that came by the bus: ``{id, source, detail-type, detail: {organizationId, data?, ...}}``.

        What nobody could do anything with is refused, and so is what does not say whose it is: both are logged, and the
        organisation finds it in its audit if there is one. Raises ``Downstream`` where not all could be told: the event
        has to come again.
        """
        detail = raw["detail"]
        organization, event_type = detail.get("organizationId"), raw["detail-type"]
        about: dict[str, Json] = {
            "event": raw["id"],
            "source": raw["source"],
            "type": event_type[:MAX_EVENT_TYPE_CHARS],
        }
        if not isinstance(organization, str) or not is_name(organization):
            logger().warning("event refused: it does not say whose it is", extra=about)
            return
        if not is_event_type(event_type):
            logger().warning("event refused: no type", extra=about)
            by = Principal(organization, BUS, frozenset())
            self._audit.note(by, "event.refused", raw["id"], **about, reason="The detail-type is no type of events.")
            return
        data = detail["data"] if "data" in detail else {k: v for k, v in detail.items() if k != "organizationId"}
        # Who tells it may have told it before, under a key of its own; the bus gives each telling another id.
        told_as = detail.get("idempotencyKey") if "data" in detail else None
        event_id = told_as if isinstance(told_as, str) else raw["id"]
        firings = self._publish(Event(organization, event_id, event_type, data, raw["source"]), _BUS_S)
        for firing in firings:
            if firing.error is not None and not firing.may_pass:
                self._audit_failure(organization, firing, about)
        if late := [firing for firing in firings if firing.may_pass]:
            raise Downstream(f"{len(late)} of {len(firings)} workflows were not started: {late[0].error}")

    def deliver(self, organization_id: str, event_type: str, data: Json) -> int:
        """Tells an event to all that wait for it, and returns how many.

        Harmless to repeat: a subscription goes when its step was woken, and a step hears of one event only.
        """
        told = 0
        payload = None
        for subscription in self._subscriptions.matching(organization_id, event_type):
            payload = payload or self._payloads.put(shelf(organization_id), data)
            self._telling.tell(subscription.place, StoredReply(output=payload))
            self._subscriptions.remove(subscription)
            told += 1
        return told

    def _publish(self, event: Event, within_s: float) -> Sequence[Firing]:
        """Whom an event wakes is told first: should that fail, nothing is started yet, and it can be told again."""
        self.deliver(event.organization_id, event.type, event.data)
        deadline = self._clock.now() + timedelta(seconds=within_s)
        found = list(self._triggers.for_event(event.organization_id, event.type))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            firings = pool.map(lambda trigger: self._fire(event, trigger, deadline), found)
            return [firing for firing in firings if firing is not None]

    def _fire(self, event: Event, found: FoundTrigger, deadline: datetime) -> Firing | None:
        """Starts one workflow; None where it does not want the event, or listens no more. Raises nothing."""
        name = ""
        try:
            if self._clock.now() >= deadline:
                return Firing(found.workflow_id, name, error="There was no time left to start it.", may_pass=True)
            passes, fault = _judge(found.detail, event.data)
            workflow = self._workflows.get(event.organization_id, found.workflow_id) if passes or fault else None
            if workflow is None or not _listens(workflow, found.node_id):
                return None
            name = workflow.name
            if fault is not None:
                raise fault
            origin = Origin(
                user_id=workflow.owner_id,
                type="event",
                source=event.source,
                execution_id=derived(
                    "exec", "event", event.organization_id, event.id, found.workflow_id, found.node_id
                ),
                trigger_node=found.node_id,
            )
            return Firing(workflow.id, name, execution_id=self._executions.start_once(workflow, event.data, origin))
        except MillraceError as error:
            logger().info("event started nothing", extra={"workflow": found.workflow_id, "code": error.code})
            return Firing(found.workflow_id, name, error=str(error), may_pass=isinstance(error, Downstream))
        except Exception:
            logger().exception("event started nothing", extra={"workflow": found.workflow_id})
            return Firing(found.workflow_id, name, error="Something went wrong on our side.", may_pass=True)

    def _told_before(self, claim: Claim) -> Sequence[Firing]:
        answer: Any = self._payloads.get(claim.answer)
        return [Firing(**each) for each in answer]

    def _audit_failure(self, organization_id: str, firing: Firing, about: Mapping[str, Json]) -> None:
        by = Principal(organization_id, BUS, frozenset())
        self._audit.note(by, "workflow.event-not-taken", firing.workflow_id, **about, reason=firing.error)


def _judge(source: str, data: Json) -> tuple[bool, ExpressionError | None]:
    """Whether a filter lets an event through, if there is one, and why it cannot tell."""
    try:
        names = {"data": data, "trigger": data}
        return not source or is_true(compile_expression(source).evaluate(names, _FILTER_LIMITS)), None
    except ExpressionError as error:
        return False, error


def _listens(workflow: Workflow, node_id: str) -> bool:
    """Whether a workflow does, now that it is read: it may have changed since the index was."""
    node = workflow.graph.by_id().get(node_id)
    return workflow.status is WorkflowStatus.ACTIVE and node is not None and node.type == EVENT_TRIGGER
