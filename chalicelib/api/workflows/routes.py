"""The routes of the workflows API. Each finds what its path names, then reads its body, then makes one call."""

from __future__ import annotations

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, router
from chalicelib.api.headers import idempotency_key
from chalicelib.api.paging import page_and_choice
from chalicelib.api.workflows.mapping import (
    change_of,
    etag,
    graph_of,
    judgement_json,
    summary_json,
    workflow_json,
)
from chalicelib.api.workflows.schemas import CreateWorkflowBody, ExecuteBody, StatusBody, UpdateWorkflowBody
from chalicelib.graph.listing import ListQuery
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.services.access import EXECUTE, READ, WRITE

blueprint = Blueprint(__name__)
route = router(blueprint)

_STATUSES = {str(status): status for status in WorkflowStatus}


@route("GET", "/api/v1/workflows", scope=READ)
def list_workflows(call: Call) -> Answer:
    page, status = page_and_choice(call.query, "status", _STATUSES)
    found = call.services.workflows.list(call.principal, ListQuery(page.limit, page.offset, status))
    return Answer(
        {
            "count": found.total,
            "limit": page.limit,
            "offset": page.offset,
            "workflows": list(map(summary_json, found.workflows)),
        }
    )


@route("POST", "/api/v1/workflows", scope=WRITE)
def create_workflow(call: Call) -> Answer:
    workflow = call.services.workflows.create(call.principal, change_of(call.body(CreateWorkflowBody)))
    return Answer({"workflowId": workflow.id}, 201, {"ETag": etag(workflow)})


@route("GET", "/api/v1/workflows/{workflow_id}", scope=READ)
def get_workflow(call: Call, workflow_id: str) -> Answer:
    return _whole(_find(call, workflow_id))


@route("PUT", "/api/v1/workflows/{workflow_id}", scope=WRITE)
def update_workflow(call: Call, workflow_id: str) -> Answer:
    workflow = _find(call, workflow_id)
    change = change_of(call.body(UpdateWorkflowBody))
    return _whole(call.services.workflows.update(call.principal, workflow, change, call.header("if-match")))


@route("DELETE", "/api/v1/workflows/{workflow_id}", scope=WRITE)
def delete_workflow(call: Call, workflow_id: str) -> Answer:
    call.services.workflows.delete(call.principal, _find(call, workflow_id), call.header("if-match"))
    return Answer(status=204)


@route("PUT", "/api/v1/workflows/{workflow_id}/status", scope=WRITE)
def set_workflow_status(call: Call, workflow_id: str) -> Answer:
    workflow = _find(call, workflow_id)
    status = call.body(StatusBody).status
    return _whole(call.services.workflows.set_status(call.principal, workflow, status, call.header("if-match")))


@route("POST", "/api/v1/workflows/{workflow_id}/validate", scope=READ)
def validate_workflow(call: Call, workflow_id: str) -> Answer:
    workflow = _find(call, workflow_id)
    return Answer(judgement_json(workflow, call.services.workflows.judge(workflow.graph)))


@route("POST", "/api/v1/workflows/{workflow_id}/execute", scope=EXECUTE)
def execute_workflow(call: Call, workflow_id: str) -> Answer:
    workflow = _find(call, workflow_id)
    body = call.body(ExecuteBody)
    execution_id = call.services.executions.start(
        call.principal,
        workflow,
        inputs=body.trigger_inputs or {},
        definition=graph_of(body.definition) if body.definition else None,
        idempotency_key=idempotency_key(call),
    )
    return Answer({"executionId": execution_id}, 201)


def _find(call: Call, workflow_id: str) -> Workflow:
    return call.services.workflows.find(call.principal, workflow_id)


def _whole(workflow: Workflow) -> Answer:
    return Answer(workflow_json(workflow), headers={"ETag": etag(workflow)})
