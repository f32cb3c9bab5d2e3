"""Workflows: list, create, read, change, delete, judge, run.

Each route finds what its path names, then reads its body, then makes one call.
"""

from __future__ import annotations

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Parameter, Router
from chalicelib.api.parameters import IDEMPOTENCY_KEY, IF_MATCH, PAGE, idempotency_key, if_match
from chalicelib.api.workflows import answers
from chalicelib.api.workflows.listing import list_query
from chalicelib.api.workflows.mapping import (
    change_of,
    etag,
    graph_of,
    judgement_json,
    plan_json,
    summary_json,
    workflow_json,
)
from chalicelib.api.workflows.schemas import CreateWorkflowBody, ExecuteBody, StatusBody, UpdateWorkflowBody
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.services.access import EXECUTE, READ, WRITE

blueprint = Blueprint(__name__)
route = Router(blueprint, "Workflows").route

BASE = "/api/v1/workflows"
ONE = f"{BASE}/{{workflow_id}}"

_LIST_PARAMETERS = (
    Parameter("status", "Only those with this status.", {"enum": [str(status) for status in WorkflowStatus]}),
    Parameter("tag", "Only those with this tag.", {"type": "string"}),
    Parameter("search", "Only those with this text in name or description.", {"type": "string"}),
    Parameter("sort", "createdAt, updatedAt or name, with :asc or :desc.", {"type": "string"}),
)


@route(
    "GET",
    BASE,
    "List workflows",
    scope=READ,
    answer=answers.WorkflowPage,
    parameters=(*PAGE, *_LIST_PARAMETERS),
    statuses=(400,),
)
def list_workflows(call: Call) -> Answer:
    query = list_query(call.query)
    found = call.services.workflows.list(call.principal, query)
    return Answer(
        {
            "count": found.total,
            "limit": query.limit,
            "offset": query.offset,
            "workflows": list(map(summary_json, found.workflows)),
        }
    )


@route(
    "POST",
    BASE,
    "Create a workflow",
    scope=WRITE,
    body=CreateWorkflowBody,
    answer=answers.Created,
    status=201,
    statuses=(400, 409),
)
def create_workflow(call: Call) -> Answer:
    workflow = call.services.workflows.create(call.principal, change_of(call.body(CreateWorkflowBody)))
    return Answer({"workflowId": workflow.id}, {"ETag": etag(workflow)})


@route("GET", ONE, "Get a workflow", scope=READ, answer=answers.WorkflowShape, statuses=(404,))
def get_workflow(call: Call, workflow_id: str) -> Answer:
    return _whole(find(call, workflow_id))


@route(
    "PUT",
    ONE,
    "Change what the body names",
    scope=WRITE,
    body=UpdateWorkflowBody,
    answer=answers.WorkflowShape,
    parameters=(IF_MATCH,),
    statuses=(400, 404, 409, 412),
)
def update_workflow(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    change = change_of(call.body(UpdateWorkflowBody))
    return _whole(call.services.workflows.update(call.principal, workflow, change, if_match(call)))


@route(
    "DELETE",
    ONE,
    "Delete a workflow",
    scope=WRITE,
    answer=None,
    status=204,
    parameters=(IF_MATCH,),
    statuses=(404, 412),
)
def delete_workflow(call: Call, workflow_id: str) -> Answer:
    call.services.workflows.delete(call.principal, find(call, workflow_id), if_match(call))
    return Answer()


@route(
    "PUT",
    f"{ONE}/status",
    "Change the status",
    scope=WRITE,
    body=StatusBody,
    answer=answers.WorkflowShape,
    parameters=(IF_MATCH,),
    statuses=(400, 404, 409, 412),
)
def set_workflow_status(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    status = call.body(StatusBody).status
    return _whole(call.services.workflows.set_status(call.principal, workflow, status, if_match(call)))


@route("POST", f"{ONE}/validate", "Tell what is wrong", scope=READ, answer=answers.ValidationShape, statuses=(404,))
def validate_workflow(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    return Answer(judgement_json(workflow, call.services.workflows.judge(workflow)))


@route(
    "POST",
    f"{ONE}/execute",
    "Start a run",
    scope=EXECUTE,
    body=ExecuteBody,
    answer=answers.Started,
    status=201,
    parameters=(IDEMPOTENCY_KEY,),
    statuses=(400, 404, 409, 422),
)
def execute_workflow(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    body = call.body(ExecuteBody)
    execution_id = call.services.executions.start(
        call.principal,
        workflow,
        inputs=body.trigger_inputs or {},
        definition=graph_of(body.definition) if body.definition else None,
        start_node=body.start_node,
        pinned=body.pinned,
        idempotency_key=idempotency_key(call),
    )
    return Answer({"executionId": execution_id})


@route("GET", f"{ONE}/plan", "Show the plan of a run", scope=READ, answer=answers.PlanShape, statuses=(404, 409))
def show_plan(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    return Answer(plan_json(workflow, call.services.workflows.describe(workflow)))


def find(call: Call, workflow_id: str) -> Workflow:
    """The workflow that a path names. Raises ``NotFound``."""
    return call.services.workflows.find(call.principal, workflow_id)


def _whole(workflow: Workflow) -> Answer:
    return Answer(workflow_json(workflow), {"ETag": etag(workflow)})
