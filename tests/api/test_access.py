"""Who may do what over HTTP, and in which order what is wrong is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.graph.model import Workflow
from chalicelib.services.access import EVERYTHING, Principal
from tests.api.client import Api, Response
from tests.fakes import graph, node, watched

WORKFLOWS = "/api/v1/workflows"
EXECUTIONS = "/api/v1/executions"
GRAPH = graph([node("t", "manual-trigger"), node("a")], "t -> a")
BROKEN = graph([node("a", "no-such-type")])

#: Every request that needs a key: method, path, body, scope.
REQUESTS: list[tuple[str, str, Any, str]] = [
    ("GET", WORKFLOWS, None, "workflows:read"),
    ("POST", WORKFLOWS, {"name": "w"}, "workflows:write"),
    ("GET", f"{WORKFLOWS}/{{workflow}}", None, "workflows:read"),
    ("PUT", f"{WORKFLOWS}/{{workflow}}", {"name": "n"}, "workflows:write"),
    ("PUT", f"{WORKFLOWS}/{{workflow}}/status", {"status": "paused"}, "workflows:write"),
    ("POST", f"{WORKFLOWS}/{{workflow}}/validate", None, "workflows:read"),
    ("GET", f"{WORKFLOWS}/{{workflow}}/plan", None, "workflows:read"),
    ("POST", f"{WORKFLOWS}/{{workflow}}/execute", {}, "workflows:execute"),
    ("DELETE", f"{WORKFLOWS}/{{workflow}}", None, "workflows:write"),
    ("GET", EXECUTIONS, None, "workflows:read"),
    ("GET", f"{EXECUTIONS}/{{execution}}", None, "workflows:read"),
    ("POST", f"{EXECUTIONS}/{{execution}}/cancel", None, "workflows:execute"),
]
OF_A_WORKFLOW = [request for request in REQUESTS if "{workflow}" in request[1]]
OF_AN_EXECUTION = [request for request in REQUESTS if "{execution}" in request[1]]
SCOPES = ("workflows:read", "workflows:write", "workflows:execute")


@pytest.fixture
def paths(api: Api) -> dict[str, str]:
    workflow = api.post(WORKFLOWS, {"name": "w", **GRAPH}).json["workflowId"]
    execution = api.post(f"{WORKFLOWS}/{workflow}/execute").json["executionId"]
    return {"workflow": workflow, "execution": execution}


@pytest.mark.parametrize(("method", "path", "body", "scope"), REQUESTS)
def test_a_key_with_the_scope_is_needed(
    api: Api, client_of: Callable[..., Api], paths: dict[str, str], method: str, path: str, body: Any, scope: str
) -> None:
    """No key and an unknown one are 401; a key without the scope is 403, which names it; with it all is well."""
    where = path.format(**paths)
    for key in (None, "", "mr_nobody", "\udcff", "x" * 8000):
        answer = api.with_key(key).call(method, where, body)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "ApiKey"
    others = [name for name in SCOPES if name != scope] + ["keys:admin", "workflows:admin"]
    refused = client_of("ann", *others).call(method, where, body)
    assert refused.status == 403
    assert scope in refused.json["detail"]
    assert client_of("ann", scope).call(method, where, body).status < 300


@pytest.mark.parametrize(("method", "path", "body", "scope"), [*OF_A_WORKFLOW, *OF_AN_EXECUTION])
def test_nothing_crosses_organisations(
    client_of: Callable[..., Api], paths: dict[str, str], method: str, path: str, body: Any, scope: str
) -> None:
    """What belongs to another organisation is not there, not even for who may do everything in theirs."""
    stranger = client_of("ann", "*", organization="other")
    assert stranger.call(method, path.format(**paths), body).status == 404
    assert stranger.get(WORKFLOWS).json["count"] == 0
    assert stranger.get(EXECUTIONS).json["count"] == 0
    assert stranger.get(f"{EXECUTIONS}?workflowId={paths['workflow']}").json["count"] == 0


@pytest.mark.parametrize(("method", "path", "body", "scope"), OF_A_WORKFLOW)
def test_a_private_workflow_of_a_colleague(
    client_of: Callable[..., Api], paths: dict[str, str], method: str, path: str, body: Any, scope: str
) -> None:
    """404, in the very words that are said of what is not there; who administers the organisation acts as its owner."""
    where = path.format(**paths)
    bob = client_of("bob")
    hidden = bob.call(method, where, body)
    absent = bob.call(method, path.format(workflow="wf_0000000000000000"), body)
    assert hidden.status == absent.status == 404
    assert hidden.json["detail"].replace(paths["workflow"], "X") == absent.json["detail"].replace(
        "wf_0000000000000000", "X"
    )
    assert bob.get(WORKFLOWS).json["count"] == 0
    assert client_of("root", *SCOPES, "workflows:admin").call(method, where, body).status < 300


def test_a_public_workflow(api: Api, client_of: Callable[..., Api], paths: dict[str, str]) -> None:
    """Everyone of the organisation reads, validates and executes it; changing and deleting it is the owner's."""
    path = f"{WORKFLOWS}/{paths['workflow']}"
    assert api.put(path, {"isPublic": True}).status == 200
    bob = client_of("bob")
    assert bob.get(path).status == 200
    assert bob.get(WORKFLOWS).json["count"] == 1
    assert bob.post(f"{path}/validate").status == 200
    assert bob.post(f"{path}/execute").status == 201
    for refused in (bob.put(path, {"name": "b"}), bob.put(f"{path}/status", {"status": "paused"}), bob.delete(path)):
        assert refused.status == 403
    assert api.get(path).headers["etag"] == '"2"'
    assert api.put(path, {"isPublic": False}).status == 200
    assert bob.get(path).status == 404
    assert bob.get(WORKFLOWS).json["count"] == 0


def test_a_shared_workflow(api: Api, client_of: Callable[..., Api], deployed: Services, paths: dict[str, str]) -> None:
    """Whoever it is shared with reads, executes and edits it, and does not delete it."""
    share(deployed, paths["workflow"], "bob")
    path = f"{WORKFLOWS}/{paths['workflow']}"
    bob = client_of("bob")
    assert bob.get(path).json["sharedWith"] == ["bob"]
    assert bob.get(WORKFLOWS).json["count"] == 1
    assert bob.put(path, {"name": "by bob"}).status == 200
    assert bob.put(f"{path}/status", {"status": "active"}).status == 200
    assert bob.post(f"{path}/execute").status == 201
    assert bob.delete(path).status == 403
    assert api.get(path).json["name"] == "by bob"


def share(deployed: Services, workflow_id: str, *users: str) -> Workflow:
    """What the API for sharing will do."""
    workflow = deployed.workflows.find(Principal("acme", "ann", frozenset({EVERYTHING})), workflow_id)
    return deployed.workflows._repository.replace(workflow, replace(workflow, shared_with=users))


def test_an_administrator_sees_all(api: Api, client_of: Callable[..., Api], paths: dict[str, str]) -> None:
    """``workflows:admin``, or ``*``, lists every workflow of the organisation."""
    client_of("bob").post(WORKFLOWS, {"name": "bob's"})
    assert client_of("root", "*").get(WORKFLOWS).json["count"] == 2
    assert client_of("root", "workflows:read", "workflows:admin").get(WORKFLOWS).json["count"] == 2
    assert client_of("root", "workflows:read").get(WORKFLOWS).json["count"] == 0


def test_the_order_of_errors(api: Api, client_of: Callable[..., Api], paths: dict[str, str]) -> None:
    """401, 403, 404, 400, 412, 409: a request with everything wrong is told of one after the other."""
    active = api.post(WORKFLOWS, {"name": "w", "status": "active", **GRAPH}).json["workflowId"]
    stale = {"If_Match": '"99"'}

    def put(client: Api, identifier: str, body: Any, headers: dict[str, str]) -> Response:
        return client.put(f"{WORKFLOWS}/{identifier}", body, **headers)

    malformed = {"name": 1}
    assert put(api.with_key("mr_x"), "none", malformed, stale).status == 401
    assert put(client_of("ann", "workflows:read"), "none", malformed, stale).status == 403
    assert put(api, "none", malformed, stale).status == 404
    assert put(api, active, malformed, stale).status == 400
    assert put(api, active, BROKEN, stale).status == 412
    assert put(api, active, BROKEN, {}).status == 409
    assert put(api, active, GRAPH, {"If_Match": '"1"'}).status == 200


@pytest.mark.parametrize(
    "identifier", ["x", "..", "%2e%2e", "wf_%00", "%F0%9F%8E%88", "ORG%23acme", "x" * 5000, "a%2Fb", "%20"]
)
@pytest.mark.parametrize(("method", "path", "body", "scope"), [*OF_A_WORKFLOW, *OF_AN_EXECUTION])
def test_ids_that_cannot_be(api: Api, method: str, path: str, body: Any, scope: str, identifier: str) -> None:
    """Whatever stands in the place of an id: there is no such thing."""
    assert api.call(method, path.format(workflow=identifier, execution=identifier), body).status == 404


@pytest.mark.parametrize("identifier", ["x", "%00", "%F0%9F%8E%88", "ORG%23acme", "a" * 5000])
def test_executions_of_a_workflow_that_cannot_be(
    api: Api, paths: dict[str, str], dynamodb: Any, identifier: str
) -> None:
    """A workflow that is not there has no executions, and the table is not asked for them."""
    with watched(dynamodb) as calls:
        api.get(f"{EXECUTIONS}?workflowId={identifier}")
    assert "Query" not in calls.operations
    answer = api.get(f"{EXECUTIONS}?workflowId={identifier}")
    assert (answer.status, answer.json["count"], answer.json["executions"]) == (200, 0, [])
