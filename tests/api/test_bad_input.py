"""Bodies of every wrong shape: told in full, stored never, and none is a fault of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.client import Api
from tests.conftest import on_moto
from tests.fakes import graph, node

WORKFLOWS = "/api/v1/workflows"
EXECUTIONS = "/api/v1/executions"


def faults(api: Api, body: Any) -> dict[str, str]:
    answer = api.post(WORKFLOWS, body)
    assert answer.status == 400, answer.text
    assert api.get(WORKFLOWS).json["count"] == 0
    return {fault["path"]: fault["message"] for fault in answer.json["errors"]}


def test_every_fault_is_told_at_once(api: Api) -> None:
    """Each with its path, and nothing is stored."""
    body = {
        "name": 5,
        "tags": ["ok", 1, ""],
        "status": "running",
        "settings": {"timeout": "long", "maxRetries": -1},
        "isPublic": "yes",
        "nodes": [
            {"id": "a", "nodeId": "log"},
            {"nodeId": "log"},
            {"id": "c"},
            {"id": "", "nodeId": 5, "config": [], "position": {"x": "left"}},
            {"id": "e", "nodeId": "log", "settings": {"retry": {"maxAttempts": 0}, "onError": "stop"}},
            7,
        ],
        "connections": [{"sourceNodeId": "a"}, {}, {"sourceNodeId": 1, "targetNodeId": "a", "targetPort": ""}],
    }
    assert faults(api, body).keys() == {
        "name", "tags[1]", "tags[2]", "status", "settings.timeout", "settings.maxRetries", "isPublic",
        "nodes[1].id", "nodes[2].nodeId", "nodes[3].id", "nodes[3].nodeId", "nodes[3].config",
        "nodes[3].position.x", "nodes[3].position.y", "nodes[4].settings.retry.maxAttempts",
        "nodes[4].settings.onError", "nodes[5]",
        "connections[0].targetNodeId", "connections[1].sourceNodeId", "connections[1].targetNodeId",
        "connections[2].sourceNodeId", "connections[2].targetPort",
    }  # fmt: skip


def test_ids_that_stand_twice(api: Api) -> None:
    """Every place of a repeated id is told."""
    nodes = [node("a"), node("b"), node("a")]
    connections = [{"id": "x", "sourceNodeId": "a", "targetNodeId": "b"}] * 2
    found = faults(api, {"name": "w", "nodes": nodes, "connections": connections})
    assert found.keys() == {"nodes[0].id", "nodes[2].id", "connections[0].id", "connections[1].id"}
    assert "'a' stands 2 times" in found["nodes[0].id"]


@pytest.mark.parametrize(
    "raw",
    [
        b"nope", b"[]", b"null", b'"text"', b"5", b"{", b'{"name": "w"', b'{"name": "w"} x', b"{'name': 'w'}",
        b'{"name": NaN}', b'{"name": Infinity}', b'{"name": "w", "config": {"x": -Infinity}}',
        b'{"name": "w", "config": {"x": 1e999}}', b'{"name": "w", "config": {"x": ' + b"9" * 6000 + b"}}",
        b'{"name": "\xff"}', b'\xff\xfe{\x00}\x00', b'\xef\xbb\xbf{"name": "w"}', b"\x00", b"\x80",
        b'{"name": "\\ud800"}', b'{"name": "w", "config": {"\\udfff": 1}}', b'{"name": "a\tb\x00"}',
        b"[" * 100_000, b'{"name": "w", "config": ' + b'{"a":' * 50_000,
        b'{"name": "w", "config": ' + b'{"a":' * 120 + b"1" + b"}" * 121,
        b"\xed\xa0\x80", b'{"name": "\xed\xa0\x80"}', b'{"name": "\xc0\xaf"}',
    ],
)  # fmt: skip
def test_bodies_that_are_no_json_object(api: Api, raw: bytes) -> None:
    """One 400 that says what is wrong with the body as a whole."""
    assert faults(api, raw).keys() <= {"", "name"}


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=x", "💥"]
)
def test_the_content_type_is_not_asked(api: Api, kind: str) -> None:
    """A body is JSON whatever it is called."""
    assert api.post(WORKFLOWS, {"name": "w"}, content_type=kind).status == 201


def test_an_empty_body(api: Api) -> None:
    """Counts as an empty object: what it lacks is told."""
    for body in (None, b"", b"  \n"):
        assert faults(api, body).keys() == {"name"}


def test_a_body_over_5_mb(api: Api) -> None:
    """413, and one just below is taken."""
    base = len(json.dumps({"name": "w", "config": {"x": ""}}))
    most = 5 * 1024 * 1024
    for size, expected in ((most + 1, 413), (most - 1000, 201)):
        assert api.post(WORKFLOWS, {"name": "w", "config": {"x": "x" * (size - base)}}).status == expected
    (only,) = api.get(WORKFLOWS).json["workflows"]
    assert api.get(f"{WORKFLOWS}/{only['id']}").status == 200


def test_a_workflow_cannot_grow_beyond_what_can_be_read(api: Api) -> None:
    """Changes that each are small enough do not add up to a workflow that no answer could hold."""
    path = f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w', 'config': {'x': 'x' * 4_000_000}}).json['workflowId']}"
    grown = api.put(path, {"nodes": [node("a", "log", message="m" * 4_000_000)]})
    assert grown.status == 413
    assert api.get(path).headers["etag"] == '"1"'


def test_many_short_connections_are_many_long_ones(api: Api) -> None:
    """What is stored with its defaults filled in is still something that can be read."""
    connections = [{"sourceNodeId": "a", "targetNodeId": "b"}] * 90_000
    answer = api.post(WORKFLOWS, {"name": "w", "nodes": [node("a"), node("b")], "connections": connections})
    assert answer.status == 413


@pytest.mark.parametrize("item", [0, {}])
def test_more_faults_than_an_answer_holds(api: Api, item: Any) -> None:
    """A hundred thousand faults are not told one by one; that there are more is."""
    answer = api.post(WORKFLOWS, {"name": "w", "connections": [item] * 100_000})
    assert answer.status == 400
    assert len(answer.json["errors"]) <= 1001
    assert "more" in answer.json["errors"][-1]["message"]


def test_more_problems_than_an_answer_holds(api: Api) -> None:
    """A graph in which everything is wrong is judged, and refused, in an answer of a size that can be sent."""
    nodes = [{"id": f"{index:05d}{'x' * 100}", "nodeId": f"{index}{'y' * 100}"} for index in range(12_000)]
    path = f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w', 'nodes': nodes}).json['workflowId']}"
    judged = api.post(f"{path}/validate")
    assert (judged.status, judged.json["valid"]) == (200, False)
    assert api.post(f"{path}/execute").status == 409
    assert api.put(f"{path}/status", {"status": "active"}).status == 409


def test_long_names_are_cut_where_they_are_told(api: Api) -> None:
    """A key of megabytes is not said three times over."""
    nodes = [{"id": "a", "nodeId": "log", "config": {"k" * 3_000_000: 1}}]
    path = f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w', 'nodes': nodes}).json['workflowId']}"
    assert api.post(f"{path}/validate").status == 200


def test_a_deep_graph_runs_or_is_refused(api: Api) -> None:
    """A thousand conditions in each other's branches are no fault of ours."""
    nodes = [node(f"n{index}", "condition", expression="true") for index in range(1000)]
    lines = [f"n{index}:true -> n{index + 1}" for index in range(999)]
    path = f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w', **graph(nodes, *lines)}).json['workflowId']}"
    assert api.post(f"{path}/validate").json["valid"]
    assert api.post(f"{path}/execute").status in (201, 409)


@pytest.mark.parametrize(
    "body",
    [
        {"triggerInputs": []}, {"triggerInputs": 5}, {"triggerInputs": "x"}, {"definition": []}, {"definition": "x"},
        {"definition": {"nodes": [{}]}}, {"definition": {"connections": [5]}}, b"[]", b"nope", b"\xff",
    ],
)  # fmt: skip
def test_bad_bodies_of_execute(api: Api, body: Any) -> None:
    """400, and nothing is started."""
    path = f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w', 'nodes': [node('a')]}).json['workflowId']}"
    assert api.post(f"{path}/execute", body).status == 400
    assert api.get(EXECUTIONS).json["count"] == 0


@pytest.mark.parametrize("body", [{}, {"status": None}, {"status": 1}, {"status": []}, {"status": "ACTIVE"}, b"[]"])
def test_bad_bodies_of_status(api: Api, body: Any) -> None:
    """400, and nothing is changed."""
    path = f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w'}).json['workflowId']}"
    assert api.put(f"{path}/status", body).status == 400
    assert api.get(path).headers["etag"] == '"1"'


ODD_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "\x00",
        "{{ ",
        "{{ data }}",
        "(",
        "a.b[0]",
        "${X}",
        "{% $x %}",
        "\u2028",
        "__proto__",
        "COUNT",
        "#",
        "..",
        "e" * 200,
    ]
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
    max_leaves=6,
)
IDS = st.sampled_from(["a", "b", "c", "\x00", "☃", "a[0]", "x" * 129]) | ODD_TEXT
TYPES = st.sampled_from(
    ["manual-trigger", "transform", "condition", "loop", "switch", "wait", "set-fields", "fail", "merge", "?"]
)
CONFIG = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(["data", "true", "[1..3]", "(", "{{ data }}", 5, ["x", 1], {"k": "{{ nodes.a }}"}]) | ODD
        for name in ("expression", "items", "cases", "seconds", "fields", "mode", "error", "message")
    },
)
NODES = st.lists(
    st.fixed_dictionaries(
        {"id": IDS, "nodeId": TYPES},
        optional={"config": CONFIG | ODD, "settings": ODD, "label": ODD, "inputMappings": ODD},
    )
    | ODD,
    max_size=5,
)
CONNECTIONS = st.lists(
    st.fixed_dictionaries(
        {"sourceNodeId": IDS, "targetNodeId": IDS},
        optional={"sourcePort": st.sampled_from(["true", "item", "done", "output"]) | ODD},
    )
    | ODD,
    max_size=5,
)
GRAPHS = st.fixed_dictionaries({}, optional={"nodes": NODES | ODD, "connections": CONNECTIONS | ODD})
FIELDS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("description", "tags", "settings", "config", "isPublic", "status"), ODD)
)
BODIES = st.builds(lambda shape, fields: {"name": "w", **shape, **fields}, GRAPHS, FIELDS) | ODD


@settings(on_moto, max_examples=40)
@given(body=BODIES)
def test_no_body_is_our_fault(api: Api, body: Any) -> None:
    """Whatever is sent: 2xx, or a 4xx that says why. What was created is read as it was sent, judged and run."""
    known = f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w', 'nodes': [node('a')]}).json['workflowId']}"
    made = api.post(WORKFLOWS, body)
    assert made.status in (201, 400, 409)
    if made.status == 201:
        path = f"{WORKFLOWS}/{made.json['workflowId']}"
        found = api.get(path).json
        assert [(item["id"], item["config"]) for item in found["nodes"]] == [
            (item["id"], item.get("config") or {}) for item in body.get("nodes") or []
        ]
        assert found["config"] == (body.get("config") or {})
        judged = api.post(f"{path}/validate")
        assert judged.status == 200
        assert api.post(f"{path}/execute").status == (201 if judged.json["valid"] else 409)
        assert api.put(path, found).status == 200
    assert api.put(known, body).status in (200, 400)
    assert api.put(f"{known}/status", body).status in (200, 400, 409)
    definition = body if isinstance(body, dict) else {"definition": body, "triggerInputs": body}
    assert api.post(f"{known}/execute", definition).status in (201, 400, 409)
