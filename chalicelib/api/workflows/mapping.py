"""Between the workflows API and the core: the only place that knows both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from chalicelib.api.workflows.schemas import (
    AddConnectionBody,
    AddNodeBody,
    ChangeNodeBody,
    ConnectionBody,
    CreateWorkflowBody,
    DefinitionBody,
    NodeBody,
    NodeSettingsBody,
    UpdateWorkflowBody,
    WorkflowSettingsBody,
)
from chalicelib.foundation.problems import told
from chalicelib.graph.changes import NewNode, WorkflowChange
from chalicelib.graph.deployments import endpoint, resource_name
from chalicelib.graph.edit import NodeChange
from chalicelib.graph.listing import WorkflowSummary
from chalicelib.graph.model import DEFAULT_SOURCE_PORT, DEFAULT_TARGET_PORT, Connection, Graph, Node, Workflow
from chalicelib.graph.versions import WorkflowVersion

if TYPE_CHECKING:  # what runs or validates workflows is imported when that is done
    from chalicelib.compiler.describe import Description
    from chalicelib.engines.payloads import Payloads
    from chalicelib.graph.deployment_records import Deployment
    from chalicelib.services.trials import TrialResult
    from chalicelib.services.triggering import TriggerAnswer
    from chalicelib.services.workflows import Judgement


def graph_of(body: DefinitionBody) -> Graph:
    return Graph(
        nodes=tuple(map(_node, body.nodes or ())),
        connections=_connections(body.connections or []),
    )


def change_of(body: UpdateWorkflowBody) -> WorkflowChange:
    return WorkflowChange(
        name=body.name,
        description=body.description,
        nodes=None if body.nodes is None else tuple(map(_node, body.nodes)),
        connections=None if body.connections is None else _connections(body.connections),
        tags=None if body.tags is None else tuple(dict.fromkeys(body.tags)),
        settings=_settings(body.settings),
        config=body.config,
        is_public=body.is_public,
        is_template=body.is_template,
        version=body.version,
        status=body.status if isinstance(body, CreateWorkflowBody) else None,
    )


def workflow_json(workflow: Workflow) -> dict[str, Any]:
    return {
        "id": workflow.id,
        "name": workflow.name,
        "description": workflow.description,
        "status": workflow.status,
        "version": workflow.version,
        **workflow.graph.to_json(),
        "config": workflow.config,
        "settings": workflow.settings,
        "tags": workflow.tags,
        "organizationId": workflow.organization_id,
        "ownerId": workflow.owner_id,
        "sharedWith": workflow.shared_with,
        "scopes": workflow.scopes,
        "isPublic": workflow.is_public,
        "isTemplate": workflow.is_template,
        "createdAt": workflow.created_at,
        "updatedAt": workflow.updated_at,
    }


def summary_json(summary: WorkflowSummary) -> dict[str, Any]:
    return {
        "id": summary.id,
        "name": summary.name,
        "description": summary.description,
        "status": summary.status,
        "version": summary.version,
        "tags": summary.tags,
        "organizationId": summary.organization_id,
        "ownerId": summary.owner_id,
        "isPublic": summary.is_public,
        "isTemplate": summary.is_template,
        "createdAt": summary.created_at,
        "updatedAt": summary.updated_at,
    }


def judgement_json(workflow: Workflow, judgement: Judgement) -> dict[str, Any]:
    return {
        "workflowId": workflow.id,
        "valid": judgement.valid,
        "errors": told([problem.to_json() for problem in judgement.errors], type="more"),
        "warnings": told([problem.to_json() for problem in judgement.warnings], type="more"),
        "nodeCount": len(workflow.graph.nodes),
        "connectionCount": len(workflow.graph.connections),
        "estimate": judgement.estimate.to_json() if judgement.estimate else None,
    }


_PLAN_NODES = 5_000  # beyond that its regions would fill an answer, and nobody reads them
_PLAN_LINES = 2_000


def plan_json(workflow: Workflow, found: Description) -> dict[str, Any]:
    told = found.to_json()
    lines = list(islice(found.lines, _PLAN_LINES + 1))
    if len(lines) > _PLAN_LINES:
        lines[-1] = "..."
    root = told["root"] if found.nodes <= _PLAN_NODES else None
    return {"workflowId": workflow.id, **told, "root": root, "text": "\n".join(lines)}


def etag(workflow: Workflow) -> str:
    return f'"{workflow.revision}"'


def _node(body: NodeBody) -> Node:
    return Node(
        id=body.id,
        type=body.node_id,
        label=body.label,
        position=None if body.position is None else body.position.model_dump(),
        config=body.config or {},
        input_mappings=body.input_mappings or {},
        pass_through_values=body.pass_through_values or {},
        settings=node_settings(body.settings) or {},
        version=body.version,
    )


def node_change(body: ChangeNodeBody) -> NodeChange:
    return NodeChange(
        label=body.label,
        config=body.config,
        position=body.position.model_dump() if body.position else None,
        settings=node_settings(body.settings),
    )


def new_node(body: AddNodeBody) -> NewNode:
    position = body.position.model_dump() if body.position else None
    return NewNode(body.node_id, body.label, body.version, position, body.config)


def node_settings(body: NodeSettingsBody | None) -> dict[str, Any] | None:
    return None if body is None else body.model_dump(mode="json", by_alias=True, exclude_none=True)


def new_connection(body: AddConnectionBody) -> Connection:
    """A connection without an id yet."""
    return Connection(
        id="",
        source=body.source_node_id,
        target=body.target_node_id,
        source_port=body.source_port or DEFAULT_SOURCE_PORT,
        target_port=body.target_port or DEFAULT_TARGET_PORT,
    )


def node_json(node: Node, category: str) -> dict[str, Any]:
    """A node as the routes that edit it tell of it."""
    return {
        "id": node.id,
        "type": node.type,
        "category": category,
        "label": node.name,
        "nodeVersion": node.version,
        "position": node.position,
        "data": {},
        "config": node.config,
    }


def node_list_json(workflow: Workflow, category: Callable[[str], str]) -> dict[str, Any]:
    inbound = Counter(connection.target for connection in workflow.graph.connections)
    outbound = Counter(connection.source for connection in workflow.graph.connections)
    return {
        "workflowId": workflow.id,
        "count": len(workflow.graph.nodes),
        "nodes": [
            {
                "id": node.id,
                "type": node.type,
                "label": node.name,
                "category": category(node.type),
                "position": node.position,
                "hasConfig": bool(node.config),
                "inboundConnections": inbound[node.id],
                "outboundConnections": outbound[node.id],
            }
            for node in workflow.graph.nodes
        ],
    }


def connection_json(connection: Connection) -> dict[str, Any]:
    """A connection as the routes that edit it tell of it."""
    return {
        "id": connection.id,
        "source": connection.source,
        "target": connection.target,
        "sourcePort": connection.source_port,
        "targetPort": connection.target_port,
    }


#: What an answer holds at most beside little else; Lambda answers with 6 MB at most.
MAX_INLINE_BYTES = 4 * 1024 * 1024
_LINK_VALID_S = 3600
_TRIAL_WORDS = {"succeeded": "SUCCESS", "waiting": "WAITING", "failed": "FAILED"}


def trial_json(workflow: Workflow, node_id: str, result: TrialResult, payloads: Payloads) -> dict[str, Any]:
    """What came of running one node; a large output is told by a link."""
    told: dict[str, Any] = {"output": None}
    if result.output is not None and result.output.size <= MAX_INLINE_BYTES:
        told["output"] = payloads.get(result.output)
    elif result.output is not None:
        told["outputUrl"] = payloads.link(workflow.organization_id, result.output, _LINK_VALID_S)
    return {
        "nodeId": node_id,
        "status": _TRIAL_WORDS[result.status],
        "port": result.port,
        **told,
        "until": result.until,
        "error": result.error,
    }


def versions_json(workflow: Workflow, versions: list[WorkflowVersion]) -> dict[str, Any]:
    return {
        "workflowId": workflow.id,
        "currentVersion": workflow.version,
        "versions": [
            {
                "version": version.version,
                "versionTag": version.tag,
                "description": version.description,
                "createdBy": version.created_by,
                "createdAt": version.created_at,
            }
            for version in versions
        ],
    }


def shares_json(workflow: Workflow) -> dict[str, Any]:
    shares = [{"userId": user, "sharedAt": workflow.shared_at[user]} for user in workflow.shared_with]
    return {"workflowId": workflow.id, "sharedWith": shares}


def template_json(workflow: Workflow) -> dict[str, Any]:
    return {
        "id": workflow.id,
        "name": workflow.name,
        "description": workflow.description,
        "tags": workflow.tags,
        **workflow.graph.to_json(),
        "createdAt": workflow.created_at,
    }


def trigger_json(workflow: Workflow, answer: TriggerAnswer) -> dict[str, Any]:
    told: dict[str, Any] = {
        "status": answer.status,
        "execution_id": answer.execution_id,
        "workflow_id": workflow.id,
        "output": {} if answer.output is None else answer.output,
    }
    if answer.output_url is not None:
        told["output_url"] = answer.output_url
    if answer.error is not None:
        told["error"] = answer.error
    return told


_TRIGGER_SUFFIX = "-trigger"


def discovered_json(workflow: Workflow, namespace: str) -> dict[str, Any]:
    triggers = (node.type for node in workflow.graph.nodes if node.type.endswith(_TRIGGER_SUFFIX))
    return {
        "id": workflow.id,
        "name": workflow.name,
        "description": workflow.description,
        "trigger_type": next(triggers, "api").removesuffix(_TRIGGER_SUFFIX),
        "mode": "production",
        "endpoints": {"proxy_url": endpoint(workflow.id, namespace), "method": "POST"},
        "deployment": {"pod_name": resource_name(workflow.id), "namespace": namespace},
    }


def lifecycle_json(workflow: Workflow, deployment: Deployment) -> dict[str, Any]:
    return {
        "workflowId": workflow.id,
        "lifecyclePolicy": deployment.policy.to_json(),
        "deploymentStatus": deployment.status,
        "stoppedReason": deployment.stopped_reason,
    }


def _connections(bodies: list[ConnectionBody]) -> tuple[Connection, ...]:
    """A connection without an id gets one by its place, the same each time, so that a repeated request is the same
    request.
    """
    taken = {body.id for body in bodies if body.id}
    return tuple(
        Connection(
            id=body.id or _free_id(index, taken),
            source=body.source_node_id,
            target=body.target_node_id,
            source_port=body.source_port or DEFAULT_SOURCE_PORT,
            target_port=body.target_port or DEFAULT_TARGET_PORT,
        )
        for index, body in enumerate(bodies)
    )


def _free_id(index: int, taken: set[str]) -> str:
    name = f"conn-{index + 1}"
    while name in taken:
        name += "x"
    taken.add(name)
    return name


def _settings(body: WorkflowSettingsBody | None) -> dict[str, Any] | None:
    """The settings that a request names; null takes one away."""
    return None if body is None else body.model_dump(mode="json", by_alias=True, exclude_unset=True)
