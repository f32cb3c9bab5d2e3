"""Deployed workflows: brought into the cluster and out of it, stopped and started, triggered, and found by apps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Parameter, Router
from chalicelib.api.paging import QueryReader
from chalicelib.api.parameters import IDEMPOTENCY_KEY, IF_MATCH, idempotency_key, if_match
from chalicelib.api.workflows import answers
from chalicelib.api.workflows.mapping import discovered_json, etag, lifecycle_json, trigger_json
from chalicelib.api.workflows.routes import BASE, ONE, find
from chalicelib.api.workflows.schemas import LifecycleBody, StartBody, TriggerBody
from chalicelib.foundation.errors import InvalidInput
from chalicelib.graph.deployments import DeploymentStatus
from chalicelib.services.access import EXECUTE, READ, WRITE

if TYPE_CHECKING:  # what deploys workflows is imported when that is done
    from chalicelib.graph.deployment_records import Deployment

blueprint = Blueprint(__name__)
route = Router(blueprint, "Deployments").route

MAX_APP_CHARS = 256
_APP_ID = Parameter(
    "appId", "The app, as workflows name it in their settings.", {"type": "string", "minLength": 1}, required=True
)
_CHANGE = (404, 409, 412)


@route(
    "GET",
    f"{BASE}/discover",
    "Find the deployed workflows of an app",
    scope=READ,
    answer=answers.Discovered,
    parameters=(_APP_ID,),
    statuses=(400,),
)
def discover_workflows(call: Call) -> Answer:
    app_id = QueryReader(call.query).text("appId")
    if app_id is None or len(app_id) > MAX_APP_CHARS:
        raise InvalidInput.at("appId", f"1 to {MAX_APP_CHARS} characters")
    namespace = call.services.settings.namespace
    found = call.services.deployments.discover(call.principal, app_id)
    return Answer([discovered_json(workflow, namespace) for workflow in found])


@route(
    "POST",
    f"{ONE}/deploy",
    "Deploy the graph as it stands",
    scope=WRITE,
    answer=answers.Deployed,
    parameters=(IF_MATCH,),
    statuses=_CHANGE,
)
def deploy_workflow(call: Call, workflow_id: str) -> Answer:
    outcome = call.services.deployments.deploy(call.principal, find(call, workflow_id), if_match(call))
    workflow = outcome.workflow
    told = {"message": _deployed(outcome.deployment), "workflowId": workflow_id, "status": workflow.status}
    return Answer(told, {"ETag": etag(workflow)})


def _deployed(deployment: Deployment) -> str:
    match deployment.status:
        case DeploymentStatus.RUNNING:
            return "Workflow deployed successfully"
        case DeploymentStatus.STOPPED:
            return f"Workflow deployed successfully; it is stopped: {deployment.stopped_reason}"
    return "The deployment goes on: the workflow is active as soon as its pods are ready"


@route(
    "POST",
    f"{ONE}/undeploy",
    "Remove it from the cluster",
    scope=WRITE,
    answer=answers.Deployed,
    parameters=(IF_MATCH,),
    statuses=_CHANGE,
)
def undeploy_workflow(call: Call, workflow_id: str) -> Answer:
    outcome = call.services.deployments.undeploy(call.principal, find(call, workflow_id), if_match(call))
    workflow, is_gone = outcome.workflow, outcome.deployment.is_applied
    message = "Workflow undeployed successfully" if is_gone else "Workflow undeployed; its pods are still ending"
    told = {"message": message, "workflowId": workflow_id, "status": workflow.status}
    return Answer(told, {"ETag": etag(workflow)})


@route(
    "POST",
    f"{ONE}/stop",
    "Scale it to zero",
    scope=WRITE,
    answer=answers.Stopped,
    parameters=(IF_MATCH,),
    statuses=_CHANGE,
)
def stop_workflow(call: Call, workflow_id: str) -> Answer:
    deployment = call.services.deployments.stop(call.principal, find(call, workflow_id), if_match(call))
    return Answer({"workflowId": workflow_id, "deploymentStatus": deployment.status})


@route(
    "POST",
    f"{ONE}/start",
    "Start it again",
    scope=WRITE,
    body=StartBody,
    answer=answers.StartedPods,
    parameters=(IF_MATCH,),
    statuses=(400, *_CHANGE),
)
def start_workflow(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    replicas = call.body(StartBody).replicas
    deployment = call.services.deployments.start(call.principal, workflow, replicas, if_match(call))
    told = {"workflowId": workflow_id, "deploymentStatus": deployment.status, "replicas": deployment.replicas}
    return Answer(told)


@route(
    "GET",
    f"{ONE}/lifecycle",
    "Tell its lifecycle policy, and how it stands",
    scope=READ,
    answer=answers.LifecycleAnswer,
    statuses=(404,),
)
def get_lifecycle(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    return Answer(lifecycle_json(workflow, call.services.deployments.lifecycle(workflow)))


@route(
    "PUT",
    f"{ONE}/lifecycle",
    "Give it another lifecycle policy",
    scope=WRITE,
    body=LifecycleBody,
    answer=answers.PolicyAnswer,
    parameters=(IF_MATCH,),
    statuses=(400, *_CHANGE),
)
def set_lifecycle(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    policy = call.body(LifecycleBody).policy
    deployment = call.services.deployments.set_policy(call.principal, workflow, policy, if_match(call))
    return Answer({"workflowId": workflow_id, "lifecyclePolicy": deployment.policy.to_json()})


@route(
    "POST",
    f"{ONE}/trigger",
    "Trigger the deployed version",
    scope=EXECUTE,
    body=TriggerBody,
    answer=answers.TriggerAnswer,
    parameters=(IDEMPOTENCY_KEY,),
    statuses=(400, 404, 409, 422),
)
def trigger_workflow(call: Call, workflow_id: str) -> Answer:
    from chalicelib.services.triggering import DEFAULT_TYPE, TriggerRequest

    workflow = find(call, workflow_id)
    body = call.body(TriggerBody)
    request = TriggerRequest(
        type=body.trigger_type or DEFAULT_TYPE,
        inputs=body.inputs,
        sync=bool(body.sync),
        idempotency_key=idempotency_key(call),
        request_id=call.request_id,
    )
    return Answer(trigger_json(workflow, call.services.triggering.trigger(workflow, request)))
