"""Every route that there is: who is let in, what is told of a request that is wrong, and the shape of what is answered.

One row says how a route is called; a route without a row fails here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from chalice.test import Client
from pydantic import BaseModel

from app import app
from chalicelib.api.endpoint import ROUTES, Route
from chalicelib.api.parameters import IF_MATCH
from chalicelib.services.access import EVERYTHING, SCOPES
from tests.api.client import Api, Response
from tests.api.nodes import run_node
from tests.fakes import graph, node
from tests.state_machines import StepFunctions

BASE = "/api/v1"
WORKFLOWS = f"{BASE}/workflows"
GRAPH = graph(
    [
        *(node(name, f"{kind}-trigger") for name, kind in (("t", "manual"), ("q", "queue"), ("m", "email"))),
        node("a", "set-fields", fields={"x": 1}, settings={"retry": {"maxAttempts": 2}}),
        node("b"),
    ],
    "t -> a",
)


@dataclass(frozen=True)
class Row:
    """How a route is called. Names in braces stand for what ``things`` made."""

    request: str  #: ``METHOD path``, below ``/api/v1``
    body: Any = None
    bad: tuple[tuple[Any, list[str]], ...] = ()  #: bodies that are wrong, and the paths of their faults
    after: str = ""  #: another request, ``METHOD path``, that has to come before

    @property
    def method(self) -> str:
        return self.request.split()[0]

    @property
    def path(self) -> str:
        return BASE + self.request.split()[1].partition("?")[0]

    @property
    def names(self) -> set[str]:
        return set(re.findall(r"{(\w+)}", self.path))

    @property
    def route(self) -> Route:
        (known,) = (route for route in ROUTES if (route.method, route.path) == (self.method, self.path))
        return known

    def call(self, client: Api, things: Mapping[str, str], body: Any = None, **headers: str) -> Response:
        path = BASE + self.request.split()[1].format(**things)
        return client.call(self.method, path, self.body if body is None else body, headers)


DEFINITION_FAULTS: tuple[tuple[Any, list[str]], ...] = (
    ({"nodes": {}}, ["nodes"]),
    ({"nodes": [{"nodeId": "log"}], "connections": [{"targetNodeId": 1}]},
     ["nodes[0].id", "connections[0].sourceNodeId", "connections[0].targetNodeId"]),
    ({"nodes": [{"id": "a", "nodeId": "log"}] * 2}, ["nodes[0].id", "nodes[1].id"]),
    ({"nodes": [{"id": "a", "nodeId": "log", "position": {"x": "1"}, "settings": {"retry": {"maxAttempts": 0}}}]},
     ["nodes[0].position.x", "nodes[0].position.y", "nodes[0].settings.retry.maxAttempts"]),
)  # fmt: skip
WORKFLOW_FAULTS: tuple[tuple[Any, list[str]], ...] = (
    *(({"name": "w", **body}, paths) for body, paths in DEFINITION_FAULTS),
    ({"name": "", "tags": ["a", 1], "settings": {"timeout": "soon"}}, ["name", "tags[1]", "settings.timeout"]),
    ({"name": "w", "tags": ["a\nb"], "isPublic": "yes", "version": 0}, ["tags[0]", "isPublic", "version"]),
)

ROWS = (
    Row("GET /health"),
    Row("GET /openapi.json"),
    Row("GET /docs"),
    Row("GET /workflows"),
    Row("POST /workflows", {"name": "w"}, (
        *WORKFLOW_FAULTS, ({}, ["name"]), ({"name": "w", "status": "on"}, ["status"]),
    )),
    Row("GET /workflows/{workflow_id}"),
    Row("PUT /workflows/{workflow_id}", {"name": "n"}, WORKFLOW_FAULTS),
    Row("DELETE /workflows/{workflow_id}"),
    Row("PUT /workflows/{workflow_id}/status", {"status": "paused"},
        (({}, ["status"]), ({"status": "on"}, ["status"]))),
    Row("POST /workflows/{workflow_id}/validate"),
    Row("POST /workflows/{workflow_id}/execute", {"triggerInputs": {"n": 1}}, (
        ({"triggerInputs": [1]}, ["triggerInputs"]),
        ({"startNode": 1, "pinned": []}, ["startNode", "pinned"]),
        ({"startNode": "none", "pinned": {"gone": 1, "lost": 2}}, ["startNode", "pinned.gone", "pinned.lost"]),
        *(({"definition": body}, [f"definition.{path}" for path in paths]) for body, paths in DEFINITION_FAULTS),
    )),
    Row("POST /workflows/{workflow_id}/enqueue", {"message": {"n": 1}, "priority": 7, "source": "shop"}, (
        ({"message": [1], "data": "x"}, ["message", "data"]),
        ({"priority": "high", "source": ""}, ["priority", "source"]),
        ({"priority": 1_000_001}, ["priority"]),
    )),
    Row("POST /workflows/{workflow_id}/email-trigger", {"from": "a@b.c", "subject": "s", "text": "t"}, (
        ({"from": 1, "to": [], "subject": {}, "body_text": 2}, ["from", "to", "subject", "body_text"]),
        ({"html": 1, "attachments": {}, "email_headers": []}, ["html", "attachments", "email_headers"]),
    )),
    Row("GET /workflows/{workflow_id}/plan"),
    *(Row(f"{method} /webhook/{{key}}", {"n": 1}) for method in ("POST", "GET", "PUT", "PATCH", "DELETE")),
    Row("POST /workflows/events", {"event_type": "user.created", "event_data": {"userId": "u"}, "source": "crm"}, (
        ({}, ["event_type"]),
        ({"event_type": "user.*", "event_data": [], "source": 1}, ["event_type", "event_data", "source"]),
        ({"event_type": "a\nb", "source": ""}, ["event_type", "source"]),
    )),
    Row("GET /workflows/discover?appId=crm"),
    Row("POST /workflows/{workflow_id}/deploy"),
    Row("POST /workflows/{workflow_id}/undeploy"),
    Row("POST /workflows/{workflow_id}/stop"),
    Row("POST /workflows/{workflow_id}/start", {"replicas": 2}, (
        ({"replicas": 0}, ["replicas"]), ({"replicas": 11}, ["replicas"]), ({"replicas": "2"}, ["replicas"]),
    )),
    Row("GET /workflows/{workflow_id}/lifecycle"),
    Row("PUT /workflows/{workflow_id}/lifecycle", {"type": "idle-shutdown", "idleTimeoutMinutes": 5}, (
        ({}, ["type"]), ({"type": "idle-shutdown", "idleTimeoutMinutes": 4}, ["idleTimeoutMinutes"]),
        ({"type": "scheduled-window"}, ["schedule"]),
        ({"type": "scheduled-window", "schedule": {"timezone": "X", "windows": [{"days": [7], "startTime": "9"}]}},
         ["schedule.timezone", *(f"schedule.windows[0].{name}" for name in ("days[0]", "startTime", "endTime"))]),
    )),
    Row("POST /workflows/{workflow_id}/trigger", {"inputs": {"n": 1}, "sync": True}, (
        ({"trigger_type": 1, "inputs": [], "sync": "yes"}, ["trigger_type", "inputs", "sync"]),
    )),
    Row("GET /workflows/{workflow_id}/nodes"),
    Row("POST /workflows/{workflow_id}/nodes", {"nodeId": "log"}, (
        ({}, ["nodeId"]), ({"nodeId": "no-such-type"}, ["nodeId"]),
        ({"nodeId": "log", "label": 1, "position": {"x": 1}, "config": []}, ["label", "position.y", "config"]),
    )),
    Row("PUT /workflows/{workflow_id}/nodes/{node_id}", {"config": {"x": 2}}, (
        ({"config": [], "label": ""}, ["config", "label"]),
        ({"label": 7, "x": 1}, ["label"]),
        ({"config": {}, "settings": {"onError": "shrug"}}, ["settings.onError"]),
    )),
    Row("POST /workflows/{workflow_id}/nodes/{node_id}/test", {"input": 1}, (({"config": []}, ["config"]),)),
    Row("DELETE /workflows/{workflow_id}/nodes/{node_id}"),
    Row("PUT /workflows/{workflow_id}/nodes/{node_id}/input-mappings", {"mappings": {"x": "data.y"}},
        (({}, ["mappings"]), ({"mappings": {"x": 1}}, ["mappings.x"]))),
    Row("PUT /workflows/{workflow_id}/nodes/{node_id}/passthrough-values", {"values": {"x": "y"}},
        (({}, ["values"]), ({"values": {"x": None}}, ["values.x"]))),
    Row("POST /workflows/{workflow_id}/connections", {"sourceNodeId": "{node_id}", "targetNodeId": "b"}, (
        ({}, ["sourceNodeId", "targetNodeId"]),
        ({"sourceNodeId": "a", "targetNodeId": "b", "targetPort": 1}, ["targetPort"]),
        ({"sourceNodeId": "none", "targetNodeId": "gone"}, ["sourceNodeId", "targetNodeId"]),
    )),
    Row("DELETE /workflows/{workflow_id}/connections/{connection_id}"),
    Row("POST /workflows/{workflow_id}/layout"),
    Row("POST /workflows/{workflow_id}/compute-scopes"),
    Row("GET /workflows/templates"),
    Row("GET /workflows/stats"),
    Row("POST /workflows/{workflow_id}/duplicate"),
    Row("GET /workflows/{workflow_id}/versions"),
    Row("POST /workflows/{workflow_id}/versions", {"versionTag": "v2"}, (
        ({}, ["versionTag"]), ({"versionTag": "", "description": 1}, ["versionTag", "description"]),
    )),
    Row("GET /workflows/{workflow_id}/share"),
    Row("POST /workflows/{workflow_id}/share", {"userId": "cy"}, (
        ({}, ["userId"]), ({"userId": "no body"}, ["userId"]), ({"userId": "ann"}, ["userId"]),
    )),
    Row("DELETE /workflows/{workflow_id}/share/{user_id}"),
    Row("GET /executions"),
    Row("GET /executions/{execution_id}"),
    Row("POST /executions/{execution_id}/cancel"),
    Row("POST /executions/{execution_id}/pause"),
    Row("POST /executions/{execution_id}/resume", after="POST /executions/{execution_id}/pause"),
    Row("POST /executions/{execution_id}/retry", after="POST /executions/{execution_id}/cancel"),
    Row("POST /executions/{execution_id}/restart", {"fromStep": "t"}, (
        ({}, ["fromStep"]), ({"fromStep": 1}, ["fromStep"]), ({"fromStep": "none"}, ["fromStep"]),
        ({"fromStep": "a"}, ["fromStep"]),
    ), after="POST /executions/{execution_id}/cancel"),
    Row("GET /approvals"),
    Row("GET /approvals/{approval_id}"),
    Row("POST /approvals/{approval_id}/approve", {"comment": "fine"}, (({"comment": 1}, ["comment"]),)),
    Row("POST /approvals/{approval_id}/reject", {}, (({"comment": ["no"]}, ["comment"]),)),
    Row("GET /keys"),
    Row("POST /keys", {"scopes": ["keys:admin"]}, (
        ({}, ["scopes"]), ({"scopes": []}, ["scopes"]),
        ({"scopes": ["keys:admin", "root"], "userId": "no body"}, ["userId", "scopes[1]"]),
        ({"scopes": "keys:admin", "name": 1}, ["scopes", "name"]),
    )),
    Row("DELETE /keys/{key_id}"),
    Row("GET /credentials"),
    Row("POST /credentials", {"name": "TOKEN", "value": "v"}, (
        ({}, ["name", "value"]), ({"name": "A-B", "value": "v"}, ["name"]),
        ({"name": 1, "value": "", "description": 2}, ["name", "value", "description"]),
    )),
    Row("GET /credentials/{credential_id}"),
    Row("PUT /credentials/{credential_id}", {"value": "w"},
        (({"value": "", "description": 1}, ["value", "description"]),)),
    Row("DELETE /credentials/{credential_id}"),
    Row("GET /audit"),
)  # fmt: skip

#: Bodies that are no JSON objects: cut short, of another kind, of what JSON cannot say, too deep to read.
NO_OBJECTS = (b"{", b"[]", b"null", b'"x"', b"1", b'{"x": NaN}', b"\xff", b'{"x": "\xff"}', b"[" * 5000)


def rows(of: Iterable[Row] = ROWS) -> list[Any]:
    return [pytest.param(row, id=row.request.replace(" ", "-")) for row in of]


GUARDED = [row for row in ROWS if row.route.scope]
OWNERS_ONLY = {  #: not for users that a workflow is shared with
    "DELETE /workflows/{workflow_id}",
    "POST /workflows/{workflow_id}/share",
    "DELETE /workflows/{workflow_id}/share/{user_id}",
    "POST /workflows/{workflow_id}/deploy",
    "POST /workflows/{workflow_id}/undeploy",
}
OF_A_WORKFLOW = [row for row in ROWS if "{workflow_id}" in row.path]
CHANGING = [row for row in ROWS if IF_MATCH in row.route.parameters]


@pytest.fixture
def things(api: Api, client_of: Callable[..., Api], step_functions: StepFunctions) -> dict[str, str]:
    """What paths may name: a deployed workflow of ann's that bob has too, with all that hangs on it, and with a run."""
    body = {"name": "w", "status": "active", "settings": {"appId": "crm"}, **GRAPH}
    workflow = api.post(WORKFLOWS, body).json["workflowId"]
    assert api.post(f"{WORKFLOWS}/{workflow}/deploy").status == 200
    whole = api.get(f"{WORKFLOWS}/{workflow}").json
    api.post(f"{WORKFLOWS}/{workflow}/share", {"userId": "bob"})
    execution = api.post(f"{WORKFLOWS}/{workflow}/execute").json["executionId"]
    state = {**step_functions.input(execution), "node": "t"}
    Client(app).lambda_.invoke("node", state)
    return {
        "workflow_id": workflow,
        "node_id": "a",
        "connection_id": whole["connections"][0]["id"],
        "user_id": "bob",
        "execution_id": execution,
        "approval_id": asked(api, workflow),
        "credential_id": client_of("root", "*").post(f"{BASE}/credentials", {"name": "KNOWN", "value": "v"}).json["id"],
        "key": webhook_key(api),
        "key_id": client_of("root", "*").get(f"{BASE}/keys").json["keys"][0]["id"],
    }


def webhook_key(api: Api) -> str:
    """The key of a webhook of an active workflow."""
    body = {"name": "hooked", "status": "active", **graph([node("h", "webhook-trigger")])}
    workflow = api.post(WORKFLOWS, body).json["workflowId"]
    return str(api.get(f"{WORKFLOWS}/{workflow}").json["nodes"][0]["config"]["key"])


def asked(api: Api, workflow_id: str) -> str:
    """What a run of the workflow waits for, with an approval in the place of its nodes."""
    body = {"definition": graph([node("ask", "approval")])}
    execution_id = api.post(f"{WORKFLOWS}/{workflow_id}/execute", body).json["executionId"]
    run_node(execution_id, "ask")
    (task,) = api.get(f"{BASE}/executions/{execution_id}").json["tasks"]
    return str(task["approvalId"])


def test_every_route_has_a_row() -> None:
    """A route that nobody wrote a row for would be a route that nobody tests."""
    registered = {(route.method, route.path) for route in ROUTES}
    assert {(row.method, row.path) for row in ROWS} == registered
    assert len(ROWS) == len(registered)


def test_every_registered_view_is_a_route() -> None:
    """Chalice serves what ``ROUTES`` tells of, and nothing beside it."""
    served = {(method, path) for path, views in app.routes.items() for method in views}
    assert served == {(route.method, route.path) for route in ROUTES}


@pytest.mark.parametrize("row", rows())
def test_a_route_answers_what_it_promises(row: Row, client_of: Callable[..., Api], things: dict[str, str]) -> None:
    """With a key of the one scope it asks for (or none), its status and a body of its model: no field more or less."""
    route = row.route
    client = client_of("ann", route.scope) if route.scope else client_of("ann").with_key(None)
    if row.after:
        assert Row(row.after).call(client, things).status < 300
    answer = row.call(client, things, _filled(row.body, things))
    assert answer.status == route.status, answer.text
    if route.answer is None:
        assert bool(answer.text) == (route.content_type != "application/json")
        return
    assert answer.headers["content-type"] == route.content_type == "application/json"
    assert exactly(route.answer, answer.json) == answer.json


def exactly(model: type[BaseModel], value: Any) -> Any:
    """``value`` as ``model`` reads and writes it: what it does not know, and what it knows by another name, is lost."""
    return model.model_validate_json(json.dumps(value)).model_dump(mode="json", by_alias=True, exclude_unset=True)


@pytest.mark.parametrize("row", rows(GUARDED))
def test_who_is_refused(row: Row, client_of: Callable[..., Api], things: dict[str, str]) -> None:
    """Without a key 401; with every scope but one 403; what others have is 404: and nothing is changed by any of it."""
    root = client_of("root", "*")
    before = _state(root, things)
    body = _filled(row.body, things)
    for key in (None, "", "mr_nobody"):
        answer = row.call(root.with_key(key), things, body)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "ApiKey"
    scope = row.route.scope
    assert scope is not None
    answer = row.call(client_of("ann", *(set(SCOPES) - {scope, EVERYTHING})), things, body)
    assert answer.status == 403
    assert answer.json["detail"] == f"The API key lacks the scope {scope}."
    if "{" in row.path:
        # Whoever may do everything in an organisation sees nothing of another.
        assert row.call(client_of("ann", "*", organization="other"), things, body).status == 404
    if "{workflow_id}" in row.path:
        # A colleague's private workflow: the very words that are said of what is not there.
        cy = client_of("cy")
        absent = {name: f"{name}_0000" for name in things}
        hidden, nothing = row.call(cy, things, body), row.call(cy, absent, body)
        assert hidden.status == nothing.status == 404
        words = nothing.json["detail"].replace(absent["workflow_id"], things["workflow_id"])
        assert hidden.json["detail"] == words
    assert _state(root, things) == before


@pytest.mark.parametrize("row", rows(row for row in ROWS if {"node_id", "connection_id"} & row.names))
def test_parts_that_are_not_there(row: Row, api: Api, things: dict[str, str]) -> None:
    """A node or connection that the workflow does not have is 404, before anything is said of the body."""
    for name in ("none", "%F0%9F%8E%88", "x" * 300):
        absent = things | {"node_id": name, "connection_id": name}
        for body in (_filled(row.body, things), *(body for body, _ in row.bad)):
            assert row.call(api, absent, body).status == 404


@pytest.mark.parametrize("row", rows(row for row in ROWS if row.route.body))
def test_a_bad_body_is_told_all_its_faults(row: Row, client_of: Callable[..., Api], things: dict[str, str]) -> None:
    """400 with the path of each fault, for what is no JSON object the empty one; and nothing changes."""
    ann = client_of("ann", "*")
    before = _state(ann, things)
    assert row.bad, "a row for a route with a body has to say what is wrong with some"
    for body, paths in (*row.bad, *((raw, [""]) for raw in NO_OBJECTS)):
        answer = row.call(ann, things, body)
        assert (answer.status, [fault["path"] for fault in answer.json["errors"]]) == (400, paths)
    assert _state(ann, things) == before


@pytest.mark.parametrize("row", rows(CHANGING))
def test_who_may_change_a_workflow(row: Row, client_of: Callable[..., Api], things: dict[str, str]) -> None:
    """A public one is for all to see and not to change; a shared one is not for deleting and sharing; 403 tells why."""
    path = f"{WORKFLOWS}/{things['workflow_id']}"
    root = client_of("root", "workflows:read", "workflows:write", "workflows:admin")
    assert root.put(path, {"isPublic": True}).status == 200
    body = _filled(row.body, things)
    for user in ("cy", "bob") if row.request in OWNERS_ONLY else ("cy",):
        answer = row.call(client_of(user), things, body)
        assert answer.status == 403
        assert "workflows:admin" in answer.json["detail"]
    assert root.get(path).headers["etag"] == '"3"'
    allowed = root if row.request in OWNERS_ONLY else client_of("bob")
    assert row.call(allowed, things, body).status == row.route.status


@pytest.mark.parametrize("row", rows(CHANGING))
def test_if_match_is_honoured(row: Row, api: Api, things: dict[str, str]) -> None:
    """Whatever changes a workflow: 412 and no change where it is not the one that was read; done where it is."""
    path = f"{WORKFLOWS}/{things['workflow_id']}"
    seen = api.get(path)
    body = _filled(row.body, things)
    for stale in ('"1"', '"99"', '"x"', ""):
        assert row.call(api, things, body, If_Match=stale).status == 412
    assert api.get(path).text == seen.text
    etag = seen.headers["etag"]
    assert row.call(api, things, body, If_Match=etag).status == row.route.status
    now = api.get(path)
    assert now.status == 404 or now.headers["etag"] != etag or now.text == seen.text
    if now.status == 200 and now.headers["etag"] != etag:
        assert int(now.headers["etag"].strip('"')) == int(etag.strip('"')) + 1


def test_what_changes_a_workflow_takes_if_match() -> None:
    """Every route of one workflow that writes, but for those that make something new of it."""
    writing = {row.request for row in OF_A_WORKFLOW if row.method != "GET" and row.route.scope == "workflows:write"}
    assert {row.request for row in CHANGING} == writing - {"POST /workflows/{workflow_id}/duplicate"}


def _filled(body: Any, things: Mapping[str, str]) -> Any:
    """A body with the names in braces filled in."""
    if isinstance(body, dict):
        return {key: _filled(value, things) for key, value in body.items()}
    return body.format(**things) if isinstance(body, str) else body


def _state(client: Api, things: Mapping[str, str]) -> list[Any]:
    """All that requests may have changed."""
    one = f"{WORKFLOWS}/{things['workflow_id']}"
    paths = (
        f"{BASE}/approvals/{things['approval_id']}",
        one,
        f"{one}/versions",
        f"{one}/share",
        WORKFLOWS,
        f"{BASE}/executions/{things['execution_id']}",
    )
    answers = [client.get(path).json for path in paths]
    return [*answers, things["key_id"] in [key["id"] for key in client.get(f"{BASE}/keys").json["keys"]]]
