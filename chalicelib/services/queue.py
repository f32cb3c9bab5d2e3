"""Runs that messages start: those that our own API takes, and those that other programs put on the queue.

What the API takes is recorded first, as a run that is queued, and told to the queue afterwards: the id that it answers
exists from then on, whatever becomes of the message. The message carries ids alone, so a payload of any size that a
request may have is recorded like that of any run, and nothing is too large for the queue. If the process dies before
the message is sent, or the queue is out of order, the run is one whose starter has died: upkeep begins it.

What others put there has its payload with it, and is recorded when it arrives: under the id that it brings along, or
one that follows from the message, so that a message that comes twice starts one run.

A message that starts nothing as things are is refused: it goes to the dead-letter queue with the reason, from where an
operator sends it again (``infra.dead_letters``). What may pass, a service that does not answer, comes again by itself,
and is refused when it has come for the last time. Whoever dies in between leaves the message where it was: it comes
again, and in the end SQS itself puts it on the dead-letter queue, without a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from chalicelib.foundation.errors import Conflict, Downstream, Fault, InvalidInput, NotFound
from chalicelib.foundation.ids import derived, is_id
from chalicelib.foundation.json_types import Json, dumps, loads
from chalicelib.foundation.logs import logger
from chalicelib.graph.executions import MAX_PRIORITY
from chalicelib.graph.model import Workflow
from chalicelib.graph.triggers import refusal
from chalicelib.nodes.triggers import queue_trigger
from chalicelib.services.access import Principal
from chalicelib.services.executions import ExecutionService, Origin
from chalicelib.store.workflows import WorkflowRepository

TRIGGER = "queue"  # what a run says of who started it
MAX_TRIES = 5  # how often a message comes: the queue's maxReceiveCount
REST_SOURCE, QUEUE_SOURCE = "rest_api", "sqs"
MAX_SOURCE_CHARS = 256
PART_PREFIX = "part-"  # of the names that parts of a run have in Step Functions, with the id of the run in them
MAX_ID_CHARS = 48  # for which such a name has room

#: Attributes of messages: of a refused one why, and of one that was sent again what its id was at first.
REASON, MESSAGE_ID = "reason", "messageId"
MAX_REASON_CHARS = 1000


class Outbox(Protocol):
    def send(self, body: str, attributes: Mapping[str, str] | None = None) -> None:
        """Raises ``Downstream``."""


@dataclass(frozen=True)
class Delivery:
    """A message that has come, perhaps not for the first time."""

    message_id: str  #: the same however often it comes, and also when an operator sends it again
    body: str
    tries: int = 1  #: this one included


@dataclass(frozen=True)
class QueueMessage:
    """What a message says."""

    workflow_id: str
    message: Json = None
    priority: int = 0
    source: str = QUEUE_SOURCE
    execution_id: str | None = None
    organization_id: str | None = None

    @classmethod
    def parse(cls, body: str) -> Self:
        """Raises ``InvalidInput`` that lists every fault."""
        try:
            raw = loads(body)
        except ValueError as error:
            raise InvalidInput.at("", f"The message is no JSON: {error}") from error
        if not isinstance(raw, dict):
            raise InvalidInput.at("", "The message is no JSON object.")
        given = {"workflowId": None, **{name: value for name, value in raw.items() if value is not None}}
        faults = [
            Fault(name, text) for name, (fits, text) in _FIELDS.items() if name in given and not fits(given[name])
        ]
        if faults:
            raise InvalidInput(faults)
        return cls(
            workflow_id=raw["workflowId"],
            message=raw.get("message"),
            priority=raw.get("priority") or 0,
            source=raw.get("source") or QUEUE_SOURCE,
            execution_id=raw.get("executionId"),
            organization_id=raw.get("organizationId"),
        )


class QueueService:
    def __init__(
        self,
        *,
        queue: Outbox,
        dead_letters: Outbox,
        executions: ExecutionService,
        workflows: WorkflowRepository,
    ) -> None:
        self._queue = queue
        self._dead_letters = dead_letters
        self._executions = executions
        self._workflows = workflows

    def enqueue(
        self,
        principal: Principal,
        workflow: Workflow,
        message: Json,
        *,
        priority: int = 0,
        source: str = REST_SOURCE,
        idempotency_key: str | None = None,
    ) -> str:
        """Records a run, which the consumer of the queue begins, and returns its id.

        Raises ``Conflict`` for a workflow that no message starts, and as ``ExecutionService.start`` does.
        """
        origin = _origin(principal.user_id, source, priority)
        execution_id = self._executions.record(workflow, message, origin, idempotency_key, check_triggered)
        ids = {"workflowId": workflow.id, "executionId": execution_id, "organizationId": workflow.organization_id}
        try:
            self._queue.send(dumps(ids))
        except Downstream as error:
            # It is recorded, and so it will run. An error would have the client enqueue it once more.
            logger().warning("message left to upkeep", extra={"execution": execution_id, "reason": error.detail})
        return execution_id

    def receive(self, delivery: Delivery) -> str | None:
        """Begins the run that a message is about, once however often it comes, and returns its id; None where the
        message was refused. Raises what keeps it from being decided now.
        """
        try:
            return self._begin(delivery)
        except (InvalidInput, NotFound, Conflict) as error:
            self._refuse(delivery, f"{error.code}: {error}")
        except Exception as error:
            if delivery.tries < MAX_TRIES:
                raise
            self._refuse(delivery, f"{type(error).__name__}: {error}")
        return None

    def _begin(self, delivery: Delivery) -> str:
        message = QueueMessage.parse(delivery.body)
        organization_id = message.organization_id or self._workflows.organization_of(message.workflow_id)
        if organization_id is None:
            raise NotFound("workflow", message.workflow_id)
        execution_id = message.execution_id or derived("exec", TRIGGER, organization_id, delivery.message_id)
        if self._executions.begin(organization_id, message.workflow_id, execution_id):
            return execution_id
        workflow = self._workflows.get(organization_id, message.workflow_id)
        if workflow is None:
            raise NotFound("workflow", message.workflow_id)
        check_triggered(workflow)
        origin = _origin(workflow.owner_id, message.source, message.priority, execution_id)
        return self._executions.start_once(workflow, message.message, origin)

    def _refuse(self, delivery: Delivery, reason: str) -> None:
        logger().warning("message refused", extra={"message_id": delivery.message_id, "reason": reason})
        self._dead_letters.send(delivery.body, {REASON: reason[:MAX_REASON_CHARS], MESSAGE_ID: delivery.message_id})


def check_triggered(workflow: Workflow) -> None:
    """Raises ``Conflict`` for a workflow that no message starts."""
    if reason := refusal(workflow, queue_trigger.TYPE.name, "a message"):
        raise Conflict(reason)


def _origin(user_id: str, source: str, priority: int, execution_id: str | None = None) -> Origin:
    return Origin(
        user_id=user_id,
        type=TRIGGER,
        source=source,
        execution_id=execution_id,
        trigger_node=queue_trigger.TYPE.name,
        priority=priority,
    )


def _is_priority(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_PRIORITY


def _is_source(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_SOURCE_CHARS


def _is_identifier(value: Any) -> bool:
    return isinstance(value, str) and is_id(value)


def _is_execution_id(value: Any) -> bool:
    return _is_identifier(value) and len(value) <= MAX_ID_CHARS and not value.startswith(PART_PREFIX)


#: What each field of a message has to be, and what is said where it is not.
_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "workflowId": (_is_identifier, "the id of a workflow"),
    "priority": (_is_priority, f"a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}"),
    "source": (_is_source, f"a text of up to {MAX_SOURCE_CHARS} characters"),
    "executionId": (_is_execution_id, f"1 to {MAX_ID_CHARS} letters, digits, _ and -, and not {PART_PREFIX} first"),
    "organizationId": (_is_identifier, "the id of an organisation"),
}
