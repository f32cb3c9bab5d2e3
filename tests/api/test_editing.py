"""Editing a workflow node by node: what each request changes, and that it changes nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.nodes.registry import CATALOG
from tests.api.client import Api
from tests.fakes import graph, node

WORKFLOWS = "/api/v1/workflows"
GRAPH = graph(
    [node("t", "manual-trigger"), node("a", "set-fields", fields={"x": 1, "deep": {"y": 2, "z": 3}}), node("b")],
    "t -> a -> b",
)


@pytest.fixture
def path(api: Api) -> str:
    """A workflow of three nodes: a trigger ``t``, ``a`` and ``b``."""
    made = api.post(WORKFLOWS, {"name": "w", **GRAPH})
    return f"{WORKFLOWS}/{made.json['workflowId']}"


def nodes(api: Api, path: str) -> dict[str, Any]:
    return {node["id"]: node for node in api.get(path).json["nodes"]}


def test_nodes_are_listed_with_their_connections_counted(api: Api, path: str) -> None:
    """Type, category and label come from node and catalog; a node of an unknown type is listed too."""
    api.put(path, {**GRAPH, "nodes": [*GRAPH["nodes"], {"id": "odd", "nodeId": "no-such-type", "label": "Odd"}]})
    listed = api.get(f"{path}/nodes").json
    assert (listed["workflowId"], listed["count"]) == (path.rpartition("/")[2], 4)
    told = {item["id"]: item for item in listed["nodes"]}
    assert told["a"] == {
        "id": "a", "type": "set-fields", "label": "a", "category": _kind("set-fields").category, "position": None,
        "hasConfig": True, "inboundConnections": 1, "outboundConnections": 1,
    }  # fmt: skip
    assert (told["t"]["hasConfig"], told["t"]["inboundConnections"], told["b"]["outboundConnections"]) == (False, 0, 0)
    assert (told["odd"]["type"], told["odd"]["label"], told["odd"]["category"]) == ("no-such-type", "Odd", "")


def test_a_node_takes_from_the_catalog_what_is_left_open(api: Api, path: str) -> None:
    """Label, version and category; its id is new, its config empty, and its place its own."""
    added = api.post(f"{path}/nodes", {"nodeId": "http-request"}).json
    kind = _kind("http-request")
    shown = added["node"]
    assert added["workflowId"] == path.rpartition("/")[2]
    assert added["nodeId"] == shown["id"]
    assert shown["id"] not in {"t", "a", "b"}
    assert (shown["type"], shown["category"], shown["label"]) == ("http-request", kind.category, kind.title)
    assert (shown["nodeVersion"], shown["config"], shown["data"]) == (kind.version, {}, {})
    stored = nodes(api, path)[shown["id"]]
    assert stored["position"] == shown["position"]
    second = api.post(f"{path}/nodes", {"nodeId": "http-request"}).json["node"]
    assert second["id"] != shown["id"]
    assert second["position"] != shown["position"]


def test_a_node_is_added_as_it_is_asked_for(api: Api, path: str) -> None:
    """A request that names label, version, position and config gets these."""
    body = {
        "nodeId": "log",
        "label": "L",
        "version": "1.0.0",
        "position": {"x": -5, "y": 0.5},
        "config": {"message": 1},
    }
    shown = api.post(f"{path}/nodes", body).json["node"]
    assert (shown["label"], shown["nodeVersion"], shown["position"]) == ("L", "1.0.0", {"x": -5, "y": 0.5})
    assert shown["config"] == {"message": 1}
    stored = nodes(api, path)[shown["id"]]
    assert (stored["nodeId"], stored["version"]) == ("log", "1.0.0")


def test_node_type_is_another_word_for_node_id(api: Api, path: str) -> None:
    """Callers of an older edition say ``nodeType``; where both are said, ``nodeId`` counts."""
    assert api.post(f"{path}/nodes", {"nodeType": "log"}).json["node"]["type"] == "log"
    assert api.post(f"{path}/nodes", {"nodeType": "wait", "nodeId": "log"}).json["node"]["type"] == "log"


def test_an_unknown_type_is_told(api: Api, path: str) -> None:
    """What the catalog does not have is 400, and the graph stays as it was."""
    before = api.get(path).text
    for body in ({"nodeId": "no-such-type"}, {"nodeType": "no-such-type"}):
        answer = api.post(f"{path}/nodes", body)
        assert answer.status == 400
        assert "no-such-type" in answer.json["errors"][0]["message"]
    assert api.get(path).text == before


@pytest.mark.parametrize(
    ("body", "config"),
    [
        ({"config": {"new": [1]}}, {"fields": {"x": 1, "deep": {"y": 2, "z": 3}}, "new": [1]}),
        ({"config": {"fields": {"deep": {"y": 9}}}}, {"fields": {"x": 1, "deep": {"y": 9, "z": 3}}}),
        ({"config": {"fields": {"x": None, "deep": {"z": None}}}}, {"fields": {"deep": {"y": 2}}}),
        ({"config": {"fields": {"deep": [None]}}}, {"fields": {"x": 1, "deep": [None]}}),
        ({"config": {"no": None, "fields": {"deep": 4, "a": {"b": None}}}}, {"fields": {"x": 1, "deep": 4, "a": {}}}),
        ({"config": {"fields": None}}, {}),
        ({"fields": {"x": 2}}, {"fields": {"x": 2, "deep": {"y": 2, "z": 3}}}),
        ({"keepInput": True}, {"fields": {"x": 1, "deep": {"y": 2, "z": 3}}, "keepInput": True}),
        ({"config": {}}, {"fields": {"x": 1, "deep": {"y": 2, "z": 3}}}),
        ({}, {"fields": {"x": 1, "deep": {"y": 2, "z": 3}}}),
    ],
)  # fmt: skip
def test_config_is_merged(api: Api, path: str, body: Any, config: Any) -> None:
    """Deeply, null takes a key away, lists are replaced; a body without ``config`` is itself the config."""
    before = nodes(api, path)
    answer = api.put(f"{path}/nodes/a", body).json
    assert answer["node"]["config"] == config
    assert (answer["nodeId"], answer["workflowId"]) == ("a", path.rpartition("/")[2])
    after = nodes(api, path)
    assert after["a"] == before["a"] | {"config": config}
    assert {name: after[name] for name in "tb"} == {name: before[name] for name in "tb"}


@pytest.mark.parametrize("body", [{"label": "L"}, {"label": "L", "config": None}, {"label": "L", "config": {}}])
def test_only_the_label(api: Api, path: str, body: Any) -> None:
    """A body with only ``label`` changes only the label."""
    before = nodes(api, path)
    assert api.put(f"{path}/nodes/a", body).json["node"]["label"] == "L"
    assert nodes(api, path) == before | {"a": before["a"] | {"label": "L"}}


def test_label_and_config_at_once(api: Api, path: str) -> None:
    """Wrapped or not; beside ``config`` position and settings may stand too."""
    assert api.put(f"{path}/nodes/a", {"label": "L", "keepInput": True}).json["node"]["config"]["keepInput"] is True
    settings = {"retry": {"maxAttempts": 3}, "onError": "continue"}
    body = {"label": "M", "config": {"keepInput": None}, "position": {"x": 1, "y": 2}, "settings": settings}
    assert api.put(f"{path}/nodes/a", body).status == 200
    stored = nodes(api, path)["a"]
    assert (stored["label"], stored["position"], "keepInput" in stored["config"]) == ("M", {"x": 1, "y": 2}, False)
    assert stored["settings"]["retry"]["maxAttempts"] == 3
    assert stored["settings"]["onError"] == "continue"


def test_input_mappings_are_replaced(api: Api, path: str) -> None:
    """What is set is what there is; an empty object takes them away."""
    for mappings in ({"userId": "data.user.id", "email": "data.user.email"}, {"x": "1"}, {}):
        answer = api.put(f"{path}/nodes/b/input-mappings", {"mappings": mappings})
        assert answer.json == {
            "nodeId": "b",
            "workflowId": path.rpartition("/")[2],
            "inputMappings": mappings,
        }
        assert nodes(api, path)["b"].get("inputMappings", {}) == mappings


def test_pass_through_values_are_replaced(api: Api, path: str) -> None:
    """What is set is what there is; an empty object takes them away."""
    for values in ({"correlationId": "correlationId", "tenantId": "t"}, {"x": "y"}, {}):
        answer = api.put(f"{path}/nodes/b/passthrough-values", {"values": values})
        assert answer.json == {
            "nodeId": "b",
            "workflowId": path.rpartition("/")[2],
            "passThroughValues": values,
        }
        assert nodes(api, path)["b"].get("passThroughValues", {}) == values


def test_a_connection_has_ports_of_its_own_or_the_usual_ones(api: Api, path: str) -> None:
    """``output`` to ``input`` where none are named; ``ai`` and ``tools`` are names like any other here."""
    plain = api.post(f"{path}/connections", {"sourceNodeId": "t", "targetNodeId": "b"}).json
    made = plain["connection"]
    assert plain["connectionId"] == made["id"]
    assert made | {"id": ""} == {
        "id": "", "source": "t", "target": "b", "sourcePort": "output", "targetPort": "input",
    }  # fmt: skip
    for port in ("ai", "tools"):
        body = {"sourceNodeId": "t", "targetNodeId": "b", "targetPort": port}
        assert api.post(f"{path}/connections", body).json["connection"]["targetPort"] == port
    stored = {item["id"]: item for item in api.get(path).json["connections"]}
    assert len(stored) == 5
    assert stored[made["id"]] == {
        "id": made["id"], "sourceNodeId": "t", "sourcePort": "output", "targetNodeId": "b", "targetPort": "input",
    }  # fmt: skip


def test_ends_that_are_not_there(api: Api, path: str) -> None:
    """Each end that is no node is told, and nothing is connected."""
    before = api.get(path).text
    for body, faults in (
        ({"sourceNodeId": "t", "targetNodeId": "x"}, ["targetNodeId"]),
        ({"sourceNodeId": "x", "targetNodeId": "t"}, ["sourceNodeId"]),
        ({"sourceNodeId": "x", "targetNodeId": "y"}, ["sourceNodeId", "targetNodeId"]),
    ):
        answer = api.post(f"{path}/connections", body)
        assert (answer.status, [fault["path"] for fault in answer.json["errors"]]) == (400, faults)
    assert api.get(path).text == before


def test_the_same_ports_are_connected_once(api: Api, path: str) -> None:
    """A second connection of the same four is 409, and says which there is; of other ports it is made."""
    twice = api.post(f"{path}/connections", {"sourceNodeId": "t", "targetNodeId": "a"})
    assert twice.status == 409
    assert "conn-1" in twice.json["detail"]
    body = {"sourceNodeId": "t", "targetNodeId": "a", "sourcePort": "error"}
    assert api.post(f"{path}/connections", body).status == 201


def test_a_connection_is_removed_alone(api: Api, path: str) -> None:
    """It and nothing else; a second time it is not there."""
    first, second = api.get(path).json["connections"]
    answer = api.delete(f"{path}/connections/{first['id']}")
    assert answer.json == {"removed": True, "connectionId": first["id"], "workflowId": path.rpartition("/")[2]}
    assert api.get(path).json["connections"] == [second]
    assert len(nodes(api, path)) == 3
    assert api.delete(f"{path}/connections/{first['id']}").status == 404


@pytest.mark.parametrize(("name", "count"), [("t", 1), ("a", 2), ("b", 1)])
def test_a_node_goes_with_its_connections(api: Api, path: str, name: str, count: int) -> None:
    """All that lead to it or from it, and no other; how many those were is told."""
    answer = api.delete(f"{path}/nodes/{name}").json
    assert answer == {
        "removed": True, "nodeId": name, "removedConnections": count, "workflowId": path.rpartition("/")[2],
    }  # fmt: skip
    whole = api.get(path).json
    assert name not in {item["id"] for item in whole["nodes"]}
    assert len(whole["connections"]) == 2 - count
    assert not any(name in (item["sourceNodeId"], item["targetNodeId"]) for item in whole["connections"])
    assert api.delete(f"{path}/nodes/{name}").status == 404


def test_a_connection_from_a_node_to_itself_counts_once(api: Api, path: str) -> None:
    """It leads both to and from the node that goes."""
    api.post(f"{path}/connections", {"sourceNodeId": "b", "targetNodeId": "b"})
    assert api.delete(f"{path}/nodes/b").json["removedConnections"] == 2


def test_an_active_workflow_stays_without_errors(api: Api, path: str) -> None:
    """An edit that would give it one is 409 with the errors, and is not made; on a draft it is."""
    assert api.put(f"{path}/status", {"status": "active"}).status == 200
    etag = api.get(path).headers["etag"]
    for refused in (
        api.post(f"{path}/connections", {"sourceNodeId": "b", "targetNodeId": "a"}),
        api.put(f"{path}/nodes/b", {"config": {"expression": "(("}}),
        api.put(f"{path}/nodes/b/input-mappings", {"mappings": {"x": "(("}}),
    ):
        assert refused.status == 409
        assert refused.json["errors"]
    assert api.get(path).headers["etag"] == etag
    assert api.put(f"{path}/status", {"status": "draft"}).status == 200
    assert api.post(f"{path}/connections", {"sourceNodeId": "b", "targetNodeId": "a"}).status == 201
    told = api.post(f"{path}/validate").json
    assert [problem["type"] for problem in told["errors"]] == ["cycle"]


def test_layout_moves_nodes_once(api: Api, path: str) -> None:
    """Every node gets a place, connections lead to the right; a second call has nothing to move and writes nothing."""
    first = api.post(f"{path}/layout").json
    assert first == {"workflowId": path.rpartition("/")[2], "changed": True, "nodesRepositioned": 3}
    placed = nodes(api, path)
    assert placed["t"]["position"]["x"] < placed["a"]["position"]["x"] < placed["b"]["position"]["x"]
    before = api.get(path).text
    second = api.post(f"{path}/layout").json
    assert second | {"workflowId": ""} == {"workflowId": "", "changed": False, "nodesRepositioned": 0}
    assert api.get(path).text == before


def _kind(name: str) -> Any:
    kind = CATALOG.find(name)
    assert kind is not None
    return kind
