"""The workflows API: the shapes of its answers, and what its requests change."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.foundation.clock import parse_timestamp
from chalicelib.foundation.errors import PreconditionFailed
from chalicelib.graph.changes import WorkflowChange
from chalicelib.services.access import Principal
from tests.api.client import Api
from tests.fakes import graph, node

WORKFLOWS = "/api/v1/workflows"
GRAPH = graph([node("t", "manual-trigger"), node("a", expression="trigger.n")], "t -> a")
FULL = {
    "name": "Daily ETL Pipeline",
    "description": "Extracts data",
    "status": "draft",
    "nodes": [
        {
            "id": "node_1",
            "nodeId": "transform",
            "label": "Extract Orders",
            "position": {"x": 100, "y": 200},
            "config": {"expression": "data"},
            "inputMappings": {"a": "data"},
            "passThroughValues": {"b": "a"},
            "settings": {"retry": {"maxAttempts": 2}, "timeoutSeconds": 60, "onError": "continue"},
        },
        {"id": "node_2", "nodeId": "log"},
    ],
    "connections": [{"sourceNodeId": "node_1", "targetNodeId": "node_2"}],
    "tags": ["etl", "production"],
    "settings": {"timeout": 3600, "retryOnFailure": True, "maxRetries": 3},
}
SUMMARY_KEYS = {
    "id", "name", "description", "status", "version", "tags", "organizationId", "ownerId", "isPublic", "isTemplate",
    "createdAt", "updatedAt",
}  # fmt: skip
WHOLE_KEYS = SUMMARY_KEYS | {"nodes", "connections", "config", "settings", "sharedWith", "scopes"}


def create(api: Api, **fields: Any) -> str:
    answer = api.post(WORKFLOWS, {"name": "w", **GRAPH, **fields})
    assert answer.status == 201, answer.text
    return str(answer.json["workflowId"])


def test_create_and_get(api: Api) -> None:
    """A new workflow is answered by its id alone; it is read as it was sent, with defaults filled in."""
    made = api.post(WORKFLOWS, FULL)
    assert made.status == 201
    assert made.json.keys() == {"workflowId"}
    assert made.headers["etag"] == '"1"'
    found = api.get(f"{WORKFLOWS}/{made.json['workflowId']}")
    assert (found.status, found.headers["etag"]) == (200, '"1"')
    whole = found.json
    assert whole.keys() == WHOLE_KEYS
    for name in ("name", "description", "status", "tags", "settings"):
        assert whole[name] == FULL[name]
    assert (whole["version"], whole["organizationId"], whole["ownerId"]) == (1, "acme", "ann")
    assert (whole["sharedWith"], whole["isPublic"], whole["isTemplate"], whole["config"]) == ([], False, False, {})
    assert whole["nodes"][0] | {"settings": None} == FULL["nodes"][0] | {"settings": None}  # type: ignore[index]
    assert whole["nodes"][0]["settings"]["retry"]["maxAttempts"] == 2
    assert whole["nodes"][0]["settings"]["timeoutSeconds"] == 60
    assert whole["nodes"][0]["settings"]["onError"] == "continue"
    assert whole["nodes"][1] == {"id": "node_2", "nodeId": "log", "label": "node_2", "position": None, "config": {}}
    (connection,) = whole["connections"]
    assert connection.pop("id")
    assert connection == {
        "sourceNodeId": "node_1", "sourcePort": "output", "targetNodeId": "node_2", "targetPort": "input",
    }  # fmt: skip
    assert parse_timestamp(whole["createdAt"]) == parse_timestamp(whole["updatedAt"])


def test_a_name_is_enough(api: Api) -> None:
    """Everything else has a default."""
    whole = api.get(f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w'}).json['workflowId']}").json
    assert (whole["status"], whole["nodes"], whole["connections"], whole["tags"]) == ("draft", [], [], [])
    assert (whole["settings"], whole["description"]) == ({}, "")


def test_unknown_fields_are_ignored(api: Api) -> None:
    """A client of a later edition is not refused for what this one does not know."""
    identifier = create(api, surprise=1, settings={"odd": 2, "timeout": 5})
    whole = api.get(f"{WORKFLOWS}/{identifier}").json
    assert "surprise" not in whole
    assert whole["settings"] == {"timeout": 5}


def test_what_was_read_can_be_written_back(api: Api) -> None:
    """PUT of a workflow as GET gave it changes nothing but when and how often it was changed."""
    path = f"{WORKFLOWS}/{api.post(WORKFLOWS, FULL).json['workflowId']}"
    before = api.get(path).json
    after = api.put(path, before)
    assert after.status == 200
    assert after.headers["etag"] == '"2"'
    assert {**after.json, "updatedAt": ""} == {**before, "updatedAt": ""}
    assert after.json == api.get(path).json


def test_put_replaces_what_it_names(api: Api) -> None:
    """Fields that a body does not name stay; settings merge by key, and null takes one away."""
    path = f"{WORKFLOWS}/{api.post(WORKFLOWS, FULL).json['workflowId']}"
    body = {"name": "n", "tags": [], "isPublic": True, "isTemplate": True, "config": {"k": 1}}
    changed = api.put(path, body | {"settings": {"timeout": None, "maxRetries": 1}}).json
    assert (changed["name"], changed["tags"], changed["isPublic"], changed["isTemplate"]) == ("n", [], True, True)
    assert changed["config"] == {"k": 1}
    assert changed["settings"] == {"retryOnFailure": True, "maxRetries": 1}
    assert (changed["description"], len(changed["nodes"]), changed["version"]) == ("Extracts data", 2, 1)
    assert api.put(path, {"description": "", "nodes": [], "connections": []}).json["nodes"] == []
    assert api.put(path, {"status": "active"}).json["status"] == "draft"


def test_delete(api: Api) -> None:
    """A deleted workflow is gone from everywhere."""
    path = f"{WORKFLOWS}/{create(api)}"
    gone = api.delete(path)
    assert (gone.status, gone.text) == (204, "")
    for again in (api.get(path), api.put(path, {}), api.delete(path), api.post(f"{path}/validate")):
        assert again.status == 404
    assert api.get(WORKFLOWS).json["count"] == 0


def test_list(api: Api) -> None:
    """Newest first, slim, with the count of all that match."""
    identifiers = [create(api, name=f"w{number}") for number in range(5)]
    for _ in range(2):
        page = api.get(f"{WORKFLOWS}?limit=2&offset=1").json
        assert page.keys() == {"count", "limit", "offset", "workflows"}
        assert (page["count"], page["limit"], page["offset"]) == (5, 2, 1)
        assert all(entry.keys() == SUMMARY_KEYS for entry in page["workflows"])
    listed = api.get(WORKFLOWS).json
    assert (listed["limit"], listed["offset"]) == (20, 0)
    assert {entry["id"] for entry in listed["workflows"]} == set(identifiers)
    moments = [entry["createdAt"] for entry in listed["workflows"]]
    assert moments == sorted(moments, reverse=True)
    assert api.get(f"{WORKFLOWS}?offset=5").json["workflows"] == []


def test_list_by_status(api: Api) -> None:
    """``status`` filters, and the count is of what passes."""
    active, paused = create(api, status="active"), create(api)
    api.put(f"{WORKFLOWS}/{paused}/status", {"status": "paused"})
    for status, expected in (("active", [active]), ("paused", [paused]), ("draft", []), ("archived", [])):
        page = api.get(f"{WORKFLOWS}?status={status}").json
        assert ([entry["id"] for entry in page["workflows"]], page["count"]) == (expected, len(expected))


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("limit=0", ["limit"]),
        ("limit=201", ["limit"]),
        ("limit=-1", ["limit"]),
        ("limit=x", ["limit"]),
        ("limit=", ["limit"]),
        ("limit=1.5", ["limit"]),
        ("limit=%D9%A1", ["limit"]),
        ("offset=-1", ["offset"]),
        ("offset=1000001", ["offset"]),
        ("offset=" + "9" * 5000, ["offset"]),
        ("offset=" + "0" * 12 + "9" * 60, ["offset"]),
        ("offset=" + "0" * 12 + "9" * 5000, ["offset"]),
        ("status=ACTIVE", ["status"]),
        ("status=", ["status"]),
        ("limit=0&offset=x&status=y", ["limit", "offset", "status"]),
    ],
)
@pytest.mark.parametrize("resource", [WORKFLOWS, "/api/v1/executions"])
def test_parameters_that_mean_nothing(api: Api, resource: str, query: str, paths: list[str]) -> None:
    """Every bad parameter is told, none is guessed."""
    answer = api.get(f"{resource}?{query}")
    assert answer.status == 400
    assert [fault["path"] for fault in answer.json["errors"]] == paths


def test_status(api: Api) -> None:
    """Any status may follow any, but only draft follows archived."""
    path = f"{WORKFLOWS}/{create(api)}"
    for status in ("active", "paused", "active", "draft", "paused", "archived"):
        answer = api.put(f"{path}/status", {"status": status})
        assert (answer.status, answer.json["status"]) == (200, status)
        assert answer.json.keys() == WHOLE_KEYS
    for status in ("active", "paused"):
        refused = api.put(f"{path}/status", {"status": status})
        assert refused.status == 409
        assert "archived" in refused.json["detail"]
    assert api.put(f"{path}/status", {"status": "draft"}).status == 200


def test_only_a_workflow_without_errors_is_active(api: Api) -> None:
    """409 with the errors that validate tells, however it is to become active, and nothing is changed."""
    broken = graph([node("a", "no-such-type"), node("b", expression="(")], "b -> gone")
    identifier = create(api, **broken)
    path = f"{WORKFLOWS}/{identifier}"
    told = api.post(f"{path}/validate").json["errors"]
    for refused in (
        api.put(f"{path}/status", {"status": "active"}),
        api.post(WORKFLOWS, {"name": "w", "status": "active", **broken}),
        api.post(f"{path}/execute"),
    ):
        assert refused.status == 409
        assert refused.json["errors"] == told
    active = create(api, status="active")
    assert api.put(f"{WORKFLOWS}/{active}", broken).status == 409
    assert api.get(f"{WORKFLOWS}/{active}").headers["etag"] == '"1"'
    assert api.get(WORKFLOWS).json["count"] == 2


def test_validate(api: Api) -> None:
    """All errors and warnings, each with its type and message, and where it is."""
    shape = graph([node("a"), node("b", "http-request", method="GET"), node("c", "log", message="{{ ( }}", odd=1)],
                  "a -> b -> a", "a:nowhere -> c")  # fmt: skip
    answer = api.post(f"{WORKFLOWS}/{create(api, **shape)}/validate")
    assert answer.status == 200
    judgement = answer.json
    assert judgement.keys() == {"workflowId", "valid", "errors", "warnings", "nodeCount", "connectionCount", "estimate"}
    assert (judgement["valid"], judgement["nodeCount"], judgement["connectionCount"]) == (False, 3, 3)
    assert {problem["type"] for problem in judgement["errors"]} == {"cycle", "unknown-port", "invalid-expression"}
    assert {problem["type"] for problem in judgement["warnings"]} == {
        "missing-config",
        "unknown-config",
        "missing-trigger",
    }
    (cycle,) = [problem for problem in judgement["errors"] if problem["type"] == "cycle"]
    assert "a -> b -> a" in cycle["message"] or "b -> a -> b" in cycle["message"]
    valid = api.post(f"{WORKFLOWS}/{create(api)}/validate").json
    assert valid.pop("estimate")["stateTransitions"] == 2
    assert valid == {
        "workflowId": api.get(WORKFLOWS).json["workflows"][0]["id"],
        "valid": True, "errors": [], "warnings": [], "nodeCount": 2, "connectionCount": 1,
    }  # fmt: skip


@pytest.mark.parametrize("if_match", ['"1"', '"0", "1"', "*", 'W/"1"', None])
def test_if_match_that_holds(api: Api, if_match: str | None) -> None:
    """The revision that was read, alone or among others, or any."""
    headers = {} if if_match is None else {"If_Match": if_match}
    assert api.put(f"{WORKFLOWS}/{create(api)}", {"name": "n"}, **headers).status == 200


@pytest.mark.parametrize("if_match", ['"2"', '"0"', "", '""', "x", '"1x"'])
def test_if_match_that_does_not_hold(api: Api, if_match: str) -> None:
    """412 for whatever changes a workflow, and nothing is changed."""
    path = f"{WORKFLOWS}/{create(api)}"
    for refused in (
        api.put(path, {"name": "n"}, If_Match=if_match),
        api.put(f"{path}/status", {"status": "paused"}, If_Match=if_match),
        api.delete(path, If_Match=if_match),
    ):
        assert refused.status == 412
    assert api.get(path).headers["etag"] == '"1"'


def test_a_change_in_between(api: Api, deployed: Services) -> None:
    """Who writes what was changed since they read it writes over the change, or, with If-Match, is told so."""
    identifier = create(api)
    ann = Principal("acme", "ann", frozenset({"workflows:write"}))
    stale = deployed.workflows.find(ann, identifier)
    api.put(f"{WORKFLOWS}/{identifier}", {"name": "first"})
    with pytest.raises(PreconditionFailed):
        deployed.workflows.update(ann, stale, WorkflowChange(description="mine"), if_match=str(stale.revision))
    both = deployed.workflows.update(ann, stale, WorkflowChange(description="mine"))
    assert (both.name, both.description) == ("first", "mine")


def test_health(api: Api) -> None:
    """Whether the API answers needs no key."""
    answer = api.with_key(None).get("/api/v1/health")
    assert (answer.status, answer.json) == (200, {"status": "ok", "stage": "test"})
