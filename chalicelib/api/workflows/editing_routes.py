"""Editing a workflow node by node."""

from __future__ import annotations

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Router
from chalicelib.api.parameters import IF_MATCH, if_match
from chalicelib.api.workflows import answers
from chalicelib.api.workflows.mapping import (
    connection_json,
    new_connection,
    new_node,
    node_change,
    node_json,
    node_list_json,
    trial_json,
)
from chalicelib.api.workflows.routes import ONE, find
from chalicelib.api.workflows.schemas import (
    AddConnectionBody,
    AddNodeBody,
    ChangeNodeBody,
    InputMappingsBody,
    PassThroughValuesBody,
    TestNodeBody,
)
from chalicelib.graph.edit import NodeChange, node_of
from chalicelib.graph.model import Node
from chalicelib.services.access import EXECUTE, READ, WRITE

blueprint = Blueprint(__name__)
route = Router(blueprint, "Editing").route

NODES = f"{ONE}/nodes"
NODE = f"{NODES}/{{node_id}}"
CONNECTIONS = f"{ONE}/connections"

_CHANGE = (400, 404, 409, 412)


@route("GET", NODES, "List nodes", scope=READ, answer=answers.NodeList, statuses=(404,))
def list_nodes(call: Call, workflow_id: str) -> Answer:
    return Answer(node_list_json(find(call, workflow_id), call.services.editing.category))


@route(
    "POST",
    NODES,
    "Add a node",
    scope=WRITE,
    body=AddNodeBody,
    answer=answers.NodeAnswer,
    status=201,
    parameters=(IF_MATCH,),
    statuses=_CHANGE,
)
def add_node(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    new = new_node(call.body(AddNodeBody))
    return _node(call, workflow_id, call.services.editing.add_node(call.principal, workflow, new, if_match(call)))


@route(
    "PUT",
    NODE,
    "Configure a node",
    scope=WRITE,
    body=ChangeNodeBody,
    answer=answers.NodeAnswer,
    parameters=(IF_MATCH,),
    statuses=_CHANGE,
)
def change_node(call: Call, workflow_id: str, node_id: str) -> Answer:
    workflow = find(call, workflow_id)
    node_of(workflow.graph, node_id)
    change = node_change(call.body(ChangeNodeBody))
    node = call.services.editing.change_node(call.principal, workflow, node_id, change, if_match(call))
    return _node(call, workflow_id, node)


@route(
    "DELETE",
    NODE,
    "Remove a node with its connections",
    scope=WRITE,
    answer=answers.NodeRemoved,
    parameters=(IF_MATCH,),
    statuses=(404, 409, 412),
)
def remove_node(call: Call, workflow_id: str, node_id: str) -> Answer:
    workflow = find(call, workflow_id)
    removed = call.services.editing.remove_node(call.principal, workflow, node_id, if_match(call))
    return Answer({"removed": True, "nodeId": node_id, "removedConnections": removed, "workflowId": workflow_id})


@route(
    "PUT",
    f"{NODE}/input-mappings",
    "Map the input of a node",
    scope=WRITE,
    body=InputMappingsBody,
    answer=answers.InputMappings,
    parameters=(IF_MATCH,),
    statuses=_CHANGE,
)
def set_input_mappings(call: Call, workflow_id: str, node_id: str) -> Answer:
    workflow = find(call, workflow_id)
    node_of(workflow.graph, node_id)
    change = NodeChange(input_mappings=call.body(InputMappingsBody).mappings)
    node = call.services.editing.change_node(call.principal, workflow, node_id, change, if_match(call))
    return Answer({"nodeId": node_id, "workflowId": workflow_id, "inputMappings": node.input_mappings})


@route(
    "PUT",
    f"{NODE}/passthrough-values",
    "Let keys of the input pass through a node",
    scope=WRITE,
    body=PassThroughValuesBody,
    answer=answers.PassThroughValues,
    parameters=(IF_MATCH,),
    statuses=_CHANGE,
)
def set_passthrough_values(call: Call, workflow_id: str, node_id: str) -> Answer:
    workflow = find(call, workflow_id)
    node_of(workflow.graph, node_id)
    change = NodeChange(pass_through_values=call.body(PassThroughValuesBody).values)
    node = call.services.editing.change_node(call.principal, workflow, node_id, change, if_match(call))
    return Answer({"nodeId": node_id, "workflowId": workflow_id, "passThroughValues": node.pass_through_values})


@route(
    "POST",
    f"{NODE}/test",
    "Run a node on an input, in no run",
    scope=EXECUTE,
    body=TestNodeBody,
    answer=answers.TrialShape,
    statuses=(400, 404, 409, 413, 502, 504),
)
def test_node(call: Call, workflow_id: str, node_id: str) -> Answer:
    workflow = find(call, workflow_id)
    node_of(workflow.graph, node_id)
    body = call.body(TestNodeBody)
    result = call.services.trials.run(workflow, node_id, body.input, body.config)
    return Answer(trial_json(workflow, node_id, result, call.services.payloads))


@route(
    "POST",
    CONNECTIONS,
    "Connect two nodes",
    scope=WRITE,
    body=AddConnectionBody,
    answer=answers.ConnectionAnswer,
    status=201,
    parameters=(IF_MATCH,),
    statuses=_CHANGE,
)
def add_connection(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    wanted = new_connection(call.body(AddConnectionBody))
    made = call.services.editing.connect(call.principal, workflow, wanted, if_match(call))
    return Answer({"connectionId": made.id, "workflowId": workflow_id, "connection": connection_json(made)})


@route(
    "DELETE",
    f"{CONNECTIONS}/{{connection_id}}",
    "Remove a connection",
    scope=WRITE,
    answer=answers.ConnectionRemoved,
    parameters=(IF_MATCH,),
    statuses=(404, 409, 412),
)
def remove_connection(call: Call, workflow_id: str, connection_id: str) -> Answer:
    workflow = find(call, workflow_id)
    call.services.editing.disconnect(call.principal, workflow, connection_id, if_match(call))
    return Answer({"removed": True, "connectionId": connection_id, "workflowId": workflow_id})


@route(
    "POST",
    f"{ONE}/layout",
    "Arrange the nodes from left to right",
    scope=WRITE,
    answer=answers.LayoutAnswer,
    parameters=(IF_MATCH,),
    statuses=(404, 412),
)
def arrange_workflow(call: Call, workflow_id: str) -> Answer:
    moved = call.services.editing.arrange(call.principal, find(call, workflow_id), if_match(call))
    return Answer({"workflowId": workflow_id, "changed": moved > 0, "nodesRepositioned": moved})


@route(
    "POST",
    f"{ONE}/compute-scopes",
    "Compute and store what the nodes need",
    scope=WRITE,
    answer=answers.ScopesAnswer,
    parameters=(IF_MATCH,),
    statuses=(404, 412),
)
def compute_scopes(call: Call, workflow_id: str) -> Answer:
    scopes = call.services.editing.compute_scopes(call.principal, find(call, workflow_id), if_match(call))
    return Answer({"workflowId": workflow_id, "scopes": scopes})


def _node(call: Call, workflow_id: str, node: Node) -> Answer:
    shown = node_json(node, call.services.editing.category(node.type))
    return Answer({"nodeId": node.id, "workflowId": workflow_id, "node": shown})
