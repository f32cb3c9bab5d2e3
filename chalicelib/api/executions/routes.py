"""Executions, whichever API or trigger has started them."""

from __future__ import annotations

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Parameter, Router
from chalicelib.api.executions import answers
from chalicelib.api.executions.mapping import STATUSES, detail_json, summary_json
from chalicelib.api.paging import QueryReader
from chalicelib.api.parameters import PAGE
from chalicelib.services.access import EXECUTE, READ

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


@route("GET", ONE, "Get an execution with its tasks", scope=READ, answer=answers.ExecutionDetailShape, statuses=(404,))
def get_execution(call: Call, execution_id: str) -> Answer:
    detail = call.services.executions.find(call.principal, execution_id)
    return Answer(detail_json(detail, call.services.payloads))


@route(
    "POST",
    f"{ONE}/cancel",
    "Cancel a run",
    scope=EXECUTE,
    answer=answers.ExecutionDetailShape,
    statuses=(404, 409),
)
def cancel_execution(call: Call, execution_id: str) -> Answer:
    detail = call.services.control.cancel(call.principal, execution_id)
    return Answer(detail_json(detail, call.services.payloads))
