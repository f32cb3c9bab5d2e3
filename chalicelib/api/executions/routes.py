"""Executions, whichever API or trigger has started them."""

from __future__ import annotations

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, router
from chalicelib.api.executions.mapping import STATUSES, detail_json, summary_json
from chalicelib.api.paging import page_and_choice
from chalicelib.services.access import EXECUTE, READ

blueprint = Blueprint(__name__)
route = router(blueprint)


@route("GET", "/api/v1/executions", scope=READ)
def list_executions(call: Call) -> Answer:
    page, status = page_and_choice(call.query, "status", STATUSES)
    found = call.services.executions.list(call.principal, call.query.get("workflowId"), status, page.limit, page.offset)
    return Answer(
        {
            "count": found.total,
            "limit": page.limit,
            "offset": page.offset,
            "executions": list(map(summary_json, found.executions)),
        }
    )


@route("GET", "/api/v1/executions/{execution_id}", scope=READ)
def get_execution(call: Call, execution_id: str) -> Answer:
    detail = call.services.executions.find(call.principal, execution_id)
    return Answer(detail_json(detail, call.services.payloads))


@route("POST", "/api/v1/executions/{execution_id}/cancel", scope=EXECUTE)
def cancel_execution(call: Call, execution_id: str) -> Answer:
    detail = call.services.executions.cancel(call.principal, execution_id)
    return Answer(detail_json(detail, call.services.payloads))
