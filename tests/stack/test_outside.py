"""What starts runs from outside, on a stack: real events on the bus, real requests to webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
import urllib3

from tests.fakes import graph, node
from tests.stack.api import Api, eventually
from tests.stack.conftest import LocalStack

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def api(stack: LocalStack) -> Api:
    return Api(stack)


def listener(api: Api, event_type: str, **config: Any) -> str:
    nodes = [node("e", "event-trigger", eventType=event_type, **config), node("a", expression="data.n")]
    return api.create(graph(nodes, "e -> a"), status="active")


def runs_of(api: Api, workflow_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.send("GET", f"/api/v1/executions?workflowId={workflow_id}").body["executions"]
    return found


def ended(api: Api, workflow_id: str, within: float = 60) -> list[dict[str, Any]]:
    """The runs of a workflow, when there are some and all have succeeded."""

    def look() -> list[dict[str, Any]] | None:
        found = runs_of(api, workflow_id)
        return found if found and all(run["status"] == "SUCCESS" for run in found) else None

    return eventually(look, f"runs of {workflow_id} have ended", within)


def put(stack: LocalStack, event_type: str, detail: Mapping[str, Any]) -> None:
    entry = {"EventBusName": stack.event_bus, "Source": "shop", "DetailType": event_type, "Detail": json.dumps(detail)}
    assert stack.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_events_of_the_bus(api: Api, stack: LocalStack) -> None:
    """One starts who listens in its organisation; one that is refused, by its type or its lack of an owner, keeps
    nothing that comes later from its way.
    """
    kind = f"stack.{uuid.uuid4().hex}"
    wants = listener(api, f"{kind}.*", filter="data.n > 1")
    put(stack, f"{kind}.paid", {"data": {"n": 2}})
    put(stack, f"{kind}.*", {"organizationId": stack.org_id, "data": {"n": 2}})
    put(stack, f"{kind}.paid", {"organizationId": "somebody-else", "data": {"n": 2}})
    put(stack, f"{kind}.paid", {"organizationId": stack.org_id, "data": {"n": 1}})
    put(stack, f"{kind}.paid", {"organizationId": stack.org_id, "data": {"n": 3}})
    (run,) = ended(api, wants)
    assert run["trigger"] == {"type": "event", "source": "shop"}
    assert api.detail(run["id"])["execution"]["output"] == 3
    refused = eventually(
        lambda: [
            entry
            for entry in api.send("GET", "/api/v1/audit").body["entries"]
            if entry["action"] == "event.refused" and entry["detail"]["type"] == f"{kind}.*"
        ],
        "the refusal is in the audit",
    )
    assert len(refused) == 1
    assert len(runs_of(api, wants)) == 1


def test_a_workflow_that_tells_another(api: Api) -> None:
    """``event-emit`` puts an event on the bus, and the bus brings it to who listens."""
    kind = f"stack.{uuid.uuid4().hex}"
    wants = listener(api, kind)
    emitter = api.run(graph([node("emit", "event-emit", eventType=kind, data="{{ trigger }}")]), {"n": 5})
    assert api.detail(emitter.id)["execution"]["status"] == "SUCCESS"
    (run,) = ended(api, wants)
    assert run["trigger"]["source"] == "millrace"
    assert api.detail(run["id"])["execution"]["output"] == 5


def test_an_event_by_http(api: Api) -> None:
    """It starts who listens, and the same under its key starts nothing more."""
    kind = f"stack.{uuid.uuid4().hex}"
    workflows = {listener(api, kind), listener(api, f"{kind[:20]}*")}
    body = {"event_type": kind, "event_data": {"n": 4}}
    first = api.send("POST", "/api/v1/workflows/events", body, **{"Idempotency-Key": kind})
    assert (first.status, first.body["workflows_triggered"], first.body["workflows_failed"]) == (200, 2, 0), first
    assert {result["workflowId"] for result in first.body["results"]} == workflows
    assert api.send("POST", "/api/v1/workflows/events", body, **{"Idempotency-Key": kind}) == first
    for workflow in workflows:
        assert len(ended(api, workflow)) == 1


def test_webhooks(api: Api, stack: LocalStack) -> None:
    """Good signatures start a run and bad ones none, a replay brings the first answer, and ``sync`` the result."""
    nodes = [node("h", "webhook-trigger", secret=SECRET), node("a", expression="data.body.n")]
    workflow = api.create(graph(nodes, "h -> a"), status="active")
    key = api.send("GET", f"/api/v1/workflows/{workflow}").body["nodes"][0]["config"]["key"]
    http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=3, read=40), retries=False)

    def call(text: str, secret: str = SECRET, method: str = "POST", query: str = "", identifier: str = "m1") -> Any:
        at = str(int(time.time()))
        content = f"{identifier}.{at}.{text}".encode()
        digest = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), content, hashlib.sha256)
        headers = {"Content-Type": "application/json", "webhook-id": identifier, "webhook-timestamp": at}
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        url = f"{stack.api_url}/api/v1/webhook/{key}{query}"
        response = http.request(method, url, body=text.encode(), headers=headers)
        return response.status, json.loads(response.data)

    status, first = call('{"n": "größe"}')
    assert status == 202, first
    assert call('{"n": "größe"}') == (202, first)
    assert call("{}", secret="whsec_" + "A" * 32, identifier="m2")[0] == 401
    status, told = call('{"n": 6}', method="PUT", query="?sync=true", identifier="m3")
    assert (status, told["status"], told["output"]) == (200, "succeeded", 6), told
    assert {run["id"] for run in ended(api, workflow)} == {first["executionId"], told["executionId"]}
    assert api.send("PUT", f"/api/v1/workflows/{workflow}/status", {"status": "paused"}).status == 200
    assert call("{}", identifier="m4")[0] == 409
