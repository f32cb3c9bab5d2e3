"""Executions, whichever API or trigger has started them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Parameter, Router
from chalicelib.api.executions import answers
from chalicelib.api.executions.mapping import STATUSES, detail_json, summary_json
from chalicelib.api.executions.schemas import RestartBody
from chalicelib.api.paging import QueryReader
from chalicelib.api.parameters import OFFSET, PAGE
from chalicelib.graph.executions import MAX_TASKS
from chalicelib.services.access import EXECUTE, READ

if TYPE_CHECKING:  # what runs workflows is imported when one runs
    from chalicelib.services.executions import ExecutionDetail

blueprint = Blueprint(__name__)
route = Router(blueprint, "Executions").route

BASE = "/api/v1/executions"
ONE = f"{BASE}/{{execution_id}}"

_LIST_PARAMETERS = (
    Parameter("workflowId", "Only those of this workflow.", {"type": "string"}),
    Parameter("status", "Only those with this status.", {"enum": list(STATUSES)}),
)


@route(
    "GET",
    BASE,
    "List executions",
    scope=READ,
    answer=answers.ExecutionPage,
    parameters=(*PAGE, *_LIST_PARAMETERS),
    statuses=(400,),
)
def list_executions(call: Call) -> Answer:
    reader = QueryReader(call.query)
    page, status = reader.page(), reader.choice("status", STATUSES)
    reader.check()
    workflow_id = reader.text("workflowId")
    found = call.services.executions.list(call.principal, workflow_id, status, page.limit, page.offset)
    return Answer(
        {
            "count": found.total,
            "limit": page.limit,
            "offset": page.offset,
            "executions": list(map(summary_json, found.executions)),
        }
    )


@route(
    "GET",
    ONE,
    "Get an execution with its tasks",
    scope=READ,
    answer=answers.ExecutionDetailShape,
    parameters=(
        Parameter(
            "limit",
            "How many tasks to return.",
            {"type": "integer", "minimum": 1, "maximum": MAX_TASKS, "default": MAX_TASKS},
        ),
        OFFSET,
    ),
    statuses=(400, 404),
)
def get_execution(call: Call, execution_id: str) -> Answer:
    reader = QueryReader(call.query)
    page = reader.page(most=MAX_TASKS, default=MAX_TASKS)
    detail = call.services.executions.find(call.principal, execution_id, page.limit, page.offset)
    reader.check()  # 404 comes before 400
    return _told(call, detail)


@route("POST", f"{ONE}/cancel", "End a run", scope=EXECUTE, answer=answers.ExecutionDetailShape, statuses=(404, 409))
def cancel_execution(call: Call, execution_id: str) -> Answer:
    return _told(call, call.services.control.cancel(call.principal, execution_id))


@route("POST", f"{ONE}/pause", "Hold a run", scope=EXECUTE, answer=answers.ExecutionDetailShape, statuses=(404, 409))
def pause_execution(call: Call, execution_id: str) -> Answer:
    return _told(call, call.services.control.pause(call.principal, execution_id))


@route(
    "POST",
    f"{ONE}/resume",
    "Let a run go on that is held",
    scope=EXECUTE,
    answer=answers.ExecutionDetailShape,
    statuses=(404, 409),
)
def resume_execution(call: Call, execution_id: str) -> Answer:
    return _told(call, call.services.control.resume(call.principal, execution_id))


@route(
    "POST",
    f"{ONE}/retry",
    "Take up again a run that did not succeed",
    scope=EXECUTE,
    answer=answers.ExecutionDetailShape,
    statuses=(404, 409),
)
def retry_execution(call: Call, execution_id: str) -> Answer:
    return _told(call, call.services.control.retry(call.principal, execution_id))


@route(
    "POST",
    f"{ONE}/restart",
    "Take up again a run from one of its steps",
    scope=EXECUTE,
    body=RestartBody,
    answer=answers.ExecutionDetailShape,
    statuses=(400, 404, 409),
)
def restart_execution(call: Call, execution_id: str) -> Answer:
    call.services.executions.load(call.principal, execution_id)  # 404 comes before 400
    step = call.body(RestartBody).from_step
    return _told(call, call.services.control.restart(call.principal, execution_id, step))


def _told(call: Call, detail: ExecutionDetail) -> Answer:
    return Answer(detail_json(detail, call.services.payloads))
