"""Workflows as a library: versions, sharing, copies, templates, numbers."""

from __future__ import annotations

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Router
from chalicelib.api.parameters import IF_MATCH, if_match
from chalicelib.api.workflows import answers
from chalicelib.api.workflows.mapping import etag, shares_json, template_json, versions_json
from chalicelib.api.workflows.routes import BASE, ONE, find
from chalicelib.api.workflows.schemas import CreateVersionBody, ShareBody
from chalicelib.services.access import READ, WRITE

blueprint = Blueprint(__name__)
route = Router(blueprint, "Library").route


@route("GET", f"{BASE}/templates", "List templates", scope=READ, answer=answers.TemplateList)
def list_templates(call: Call) -> Answer:
    templates = list(map(template_json, call.services.templates.list(call.principal)))
    return Answer({"count": len(templates), "templates": templates})


@route("GET", f"{BASE}/stats", "Count workflows by status", scope=READ, answer=answers.Stats)
def get_stats(call: Call) -> Answer:
    counts = call.services.workflows.stats(call.principal)
    return Answer({"total": sum(counts.values()), **counts})


@route("POST", f"{ONE}/duplicate", "Copy a workflow", scope=WRITE, answer=answers.Created, status=201, statuses=(404,))
def duplicate_workflow(call: Call, workflow_id: str) -> Answer:
    source = call.services.templates.built_in(workflow_id) or find(call, workflow_id)
    copy = call.services.workflows.duplicate(call.principal, source)
    return Answer({"workflowId": copy.id}, {"ETag": etag(copy)})


@route("GET", f"{ONE}/versions", "List versions", scope=READ, answer=answers.VersionList, statuses=(404,))
def list_versions(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    return Answer(versions_json(workflow, call.services.versions.list(workflow)))


@route(
    "POST",
    f"{ONE}/versions",
    "Keep a snapshot",
    scope=WRITE,
    body=CreateVersionBody,
    answer=answers.VersionCreated,
    status=201,
    parameters=(IF_MATCH,),
    statuses=(400, 404, 409, 412),
)
def create_version(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    body = call.body(CreateVersionBody)
    made = call.services.versions.create(
        call.principal, workflow, body.version_tag, body.description or "", if_match(call)
    )
    return Answer({"workflowId": workflow_id, "version": made.version, "versionTag": made.tag})


@route("GET", f"{ONE}/share", "List who has it", scope=READ, answer=answers.ShareList, statuses=(404,))
def list_shares(call: Call, workflow_id: str) -> Answer:
    return Answer(shares_json(find(call, workflow_id)))


@route(
    "POST",
    f"{ONE}/share",
    "Hand it to a user",
    scope=WRITE,
    body=ShareBody,
    answer=answers.Shared,
    parameters=(IF_MATCH,),
    statuses=(400, 404, 409, 412),
)
def share_workflow(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    user_id = call.body(ShareBody).user_id
    call.services.sharing.share(call.principal, workflow, user_id, if_match(call))
    return Answer({"message": "Workflow shared successfully", "workflowId": workflow_id, "userId": user_id})


@route(
    "DELETE",
    f"{ONE}/share/{{user_id}}",
    "Take it from a user",
    scope=WRITE,
    answer=None,
    status=204,
    parameters=(IF_MATCH,),
    statuses=(404, 412),
)
def unshare_workflow(call: Call, workflow_id: str, user_id: str) -> Answer:
    call.services.sharing.unshare(call.principal, find(call, workflow_id), user_id, if_match(call))
    return Answer()
