"""The queue's door: a message that starts a run."""

from __future__ import annotations

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Router
from chalicelib.api.parameters import IDEMPOTENCY_KEY, idempotency_key
from chalicelib.api.workflows import answers
from chalicelib.api.workflows.routes import ONE, find
from chalicelib.api.workflows.schemas import EnqueueBody
from chalicelib.services.access import EXECUTE

blueprint = Blueprint(__name__)
route = Router(blueprint, "Triggers").route


@route(
    "POST",
    f"{ONE}/enqueue",
    "Enqueue a run",
    scope=EXECUTE,
    body=EnqueueBody,
    answer=answers.Triggered,
    status=201,
    parameters=(IDEMPOTENCY_KEY,),
    statuses=(400, 404, 409, 422),
)
def enqueue_workflow(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    body = call.body(EnqueueBody)
    execution_id = call.services.queue.enqueue(
        call.principal,
        workflow,
        body.payload,
        priority=body.priority or 0,
        source=body.source or "rest_api",
        idempotency_key=idempotency_key(call),
    )
    return Answer({"executionId": execution_id, "trigger_type": "queue"})
