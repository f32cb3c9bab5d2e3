"""Events: told to the workflows of the caller's organisation that listen for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Router
from chalicelib.api.parameters import IDEMPOTENCY_KEY, idempotency_key
from chalicelib.api.workflows import answers
from chalicelib.api.workflows.routes import BASE
from chalicelib.api.workflows.schemas import EventBody
from chalicelib.services.access import EXECUTE

if TYPE_CHECKING:  # what starts runs is imported when one starts
    from chalicelib.services.events import Firing

blueprint = Blueprint(__name__)
route = Router(blueprint, "Triggers").route

DEFAULT_SOURCE = "platform"


@route(
    "POST",
    f"{BASE}/events",
    "Tell an event",
    scope=EXECUTE,
    body=EventBody,
    answer=answers.EventAnswer,
    parameters=(IDEMPOTENCY_KEY,),
    statuses=(400, 422),
)
def emit_event(call: Call) -> Answer:
    body = call.body(EventBody)
    firings = call.services.events.emit(
        call.principal, body.event_type, body.event_data or {}, body.source or DEFAULT_SOURCE, idempotency_key(call)
    )
    failed = sum(firing.execution_id is None for firing in firings)
    return Answer(
        {
            "event_type": body.event_type,
            "workflows_triggered": len(firings) - failed,
            "workflows_failed": failed,
            "results": list(map(_result, firings)),
        }
    )


def _result(firing: Firing) -> dict[str, Any]:
    came_to = {"error": firing.error} if firing.execution_id is None else {"executionId": firing.execution_id}
    return {"workflowId": firing.workflow_id, "workflowName": firing.workflow_name, **came_to}
