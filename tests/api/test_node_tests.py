"""Single nodes, run on an input that is given."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.bootstrap import Services
from tests.api.client import Api, Response
from tests.fakes import graph, node

WORKFLOWS = "/api/v1/workflows"
NODES = [
    node("t", "manual-trigger"),
    node("a", expression="{'n': data.n + 1}"),
    node("join", expression="data"),
    node("m", "merge", mode="list"),
    node("c", "condition", expression="data > 1"),
    node("l", "loop", items="data"),
    node("x", expression="nodes.l"),
    node("w", "wait", seconds=60),
    node("f", "fail", error="Sold", message="{{ data }} out"),
    node("odd", "no-such-type"),
    node("mapped", expression="data", inputMappings={"v": "data.x"}, passThroughValues={"kept": "v"}),
]
GRAPH = graph(
    NODES, "t -> a -> join", "t -> join", "a -> m:left", "t -> m:right", "l:item -> x", "a -> c", "a -> mapped"
)


@pytest.fixture
def path(api: Api) -> str:
    return f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w', **GRAPH}).json['workflowId']}"


def attempt(api: Api, path: str, name: str, data: Any = None, **more: Any) -> Response:
    return api.post(f"{path}/nodes/{name}/test", {"input": data, **more})


@pytest.mark.parametrize(
    ("name", "data", "port", "output"),
    [
        ("t", {"x": 1}, "output", {"x": 1}),
        ("a", {"n": 1}, "output", {"n": 2}),
        ("join", {"t": 1, "a": 2}, "output", {"t": 1, "a": 2}),
        ("join", {"a": 2}, "output", {"a": 2}),
        ("m", {"left": {"x": 1}, "right": {"y": 2}}, "output", [{"x": 1}, {"y": 2}]),
        ("c", 2, "true", 2),
        ("l", [1, 2], "item", [1, 2]),
        ("x", 7, "output", 7),
        ("mapped", {"x": 3}, "output", {"v": 3, "kept": 3}),
    ],
)
def test_what_comes_of_an_input(api: Api, path: str, name: str, data: Any, port: str, output: Any) -> None:
    """The output and the port that it takes; a loop tells its items. Nothing is recorded of it."""
    answer = attempt(api, path, name, data)
    assert answer.status == 200, answer.text
    assert answer.json == {
        "nodeId": name, "status": "SUCCESS", "port": port, "output": output, "until": None, "error": None,
    }  # fmt: skip
    assert api.get("/api/v1/executions").json["count"] == 0


def test_a_wait_does_not_wait(api: Api, path: str) -> None:
    """It tells until when it would."""
    told = attempt(api, path, "w", "x").json
    assert (told["status"], told["output"]) == ("WAITING", "x")
    assert told["until"].endswith("Z")


def test_a_failure_is_an_answer(api: Api, path: str) -> None:
    """Its name and message; what the node's settings would make of it in a run is left out."""
    told = attempt(api, path, "f", "all").json
    assert (told["status"], told["error"]) == ("FAILED", {"name": "Sold", "message": "all out"})
    assert attempt(api, path, "a", {"n": "text"}).json["error"]["name"] == "ExpressionError"


def test_another_config(api: Api, path: str) -> None:
    """In the place of the node's own, which stays as it is."""
    assert attempt(api, path, "a", 1, config={"expression": "data + 1"}).json["output"] == 2
    assert api.get(path).json["nodes"][1]["config"] == NODES[1]["config"]


def test_what_cannot_be_run(api: Api, path: str, deployed: Services) -> None:
    """A node that there is not, one with errors, and an input that the connections cannot bring."""
    assert attempt(api, path, "none").status == 404
    odd = attempt(api, path, "odd")
    assert (odd.status, odd.json["errors"][0]["type"]) == (409, "unknown-node")
    assert attempt(api, path, "a", 1, config={"expression": "("}).status == 409
    for data in (1, {}, {"other": 1}):
        refused = attempt(api, path, "join", data)
        assert (refused.status, refused.json["errors"][0]["path"]) == (400, "input")


def test_large_outputs_are_told_by_a_link(api: Api, path: str) -> None:
    """What an answer cannot hold."""
    told = attempt(api, path, "a", 1, config={"expression": "$pad('', 1500000, 'x') & $pad('', 3000000, 'y')"}).json
    assert told["output"] is None
    assert told["outputUrl"].startswith("https://")
