"""Webhooks, as the gateway brings their requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.foundation.clock import SystemClock
from tests.api.client import Api, Response
from tests.api.conftest import run_node
from tests.fakes import graph, node
from tests.state_machines import StepFunctions

WORKFLOWS = "/api/v1/workflows"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Hook:
    """A workflow with a webhook, and its address."""

    def __init__(self, api: Api, status: str = "active", **config: Any) -> None:
        self.api = api
        nodes = [node("h", "webhook-trigger", **config), node("a", expression="data.body.n")]
        body = {"name": "w", "status": status, **graph(nodes, "h -> a")}
        created = api.post(WORKFLOWS, body)
        assert created.status == 201, created.text
        self.path = f"{WORKFLOWS}/{created.json['workflowId']}"
        self.key = self.config["key"]
        self._stranger = api.with_key(None)

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(self.path).json["nodes"][0]["config"]
        return found

    def call(self, body: Any = None, method: str = "POST", query: str = "", **headers: str) -> Response:
        """A request of somebody who has no API key."""
        return self._stranger.call(method, f"/api/v1/webhook/{self.key}{query}", body, headers)

    def signed(self, body: bytes, identifier: str = "msg_1", age_s: int = 0, secret: str = SECRET) -> Response:
        at = str(int(time.time()) - age_s)
        content = f"{identifier}.{at}.".encode() + body
        digest = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), content, hashlib.sha256)
        return self.call(
            body,
            webhook_id=identifier,
            webhook_timestamp=at,
            webhook_signature=f"v1,{base64.b64encode(digest).decode()}",
        )

    def runs(self) -> list[str]:
        found = self.api.get(f"/api/v1/executions?workflowId={self.path.rpartition('/')[2]}").json["executions"]
        return [run["id"] for run in found]


@pytest.fixture
def hook(api: Api) -> Hook:
    return Hook(api)


def started(api: Api, answer: Response) -> Mapping[str, Any]:
    """The run that an answer names."""
    assert (answer.status, answer.json.keys()) == (202, {"executionId"}), answer.text
    found: Mapping[str, Any] = api.get(f"/api/v1/executions/{answer.json['executionId']}").json["execution"]
    return found


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_key_is_hard_to_guess_and_stays(api: Api, hook: Hook) -> None:
    """256 bits, made when the workflow is saved, and kept however it is saved again."""
    assert len(hook.key) == 43
    assert Hook(api).key != hook.key
    api.put(hook.path, {"nodes": [node("h", "webhook-trigger"), node("b")]})
    assert hook.config == {"key": hook.key}
    api.put(f"{hook.path}/nodes/h", {"config": {"secret": SECRET}})
    assert hook.config == {"key": hook.key, "secret": SECRET}
    added = api.post(f"{hook.path}/nodes", {"nodeId": "webhook-trigger"}).json["node"]["config"]
    assert len(added["key"]) == 43


def test_a_copy_has_a_key_of_its_own(api: Api, hook: Hook) -> None:
    """However it is made: by duplicate, or from what was read of the original."""
    copy = api.post(f"{hook.path}/duplicate").json["workflowId"]
    nodes = api.get(hook.path).json["nodes"]
    other = api.post(WORKFLOWS, {"name": "w", "nodes": nodes}).json["workflowId"]
    keys = {api.get(f"{WORKFLOWS}/{identifier}").json["nodes"][0]["config"]["key"] for identifier in (copy, other)}
    assert len(keys | {hook.key}) == 3
    assert hook.call().status == 202


def test_the_key_after_a_rollback(api: Api, hook: Hook) -> None:
    """The node has come back, and so has its address."""
    assert api.post(f"{hook.path}/versions", {"versionTag": "v"}).status == 201
    api.delete(f"{hook.path}/nodes/h")
    assert hook.call().status == 404
    api.put(hook.path, {"version": 1})
    assert hook.config["key"] == hook.key
    assert hook.call().status == 202


def test_a_key_of_ones_own(api: Api) -> None:
    """Long enough it is taken; a short one is an error, which keeps the workflow from being active."""
    own = "0123456789abcdef" * 2
    assert Hook(api, key=own).key == own
    body = {"name": "w", "status": "active", **graph([node("h", "webhook-trigger", key="short")])}
    refused = api.post(WORKFLOWS, body)
    assert (refused.status, [error["type"] for error in refused.json["errors"]]) == (409, ["invalid-config"])


@pytest.mark.parametrize("key", ["x", "x" * 43, "x" * 200, "%00", "WEBHOOK"])
def test_a_key_that_nobody_has(api: Api, key: str) -> None:
    """404, with no more of it in the answer than its beginning."""
    answer = api.with_key(None).post(f"/api/v1/webhook/{key}", {})
    assert answer.status == 404
    assert "x" * 7 not in answer.text


def test_too_many_triggers(api: Api) -> None:
    """Forty may lead to a workflow; more are refused."""
    nodes = [node(f"h{number}", "webhook-trigger") for number in range(41)]
    assert api.post(WORKFLOWS, {"name": "w", "nodes": nodes[:40]}).status == 201
    refused = api.post(WORKFLOWS, {"name": "w", "nodes": nodes})
    assert (refused.status, [fault["path"] for fault in refused.json["errors"]]) == (400, ["nodes"])


# --- what reaches the run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "PATCH", "DELETE"])
def test_a_request_reaches_the_run(api: Api, hook: Hook, method: str) -> None:
    """Method, headers, query and body; not the headers by which the sender says who they are."""
    answer = hook.call(
        {"n": 1}, method, "?a=1&b=2&b=3", X_Kind="book", Authorization="Bearer s", Cookie="s", X_API_Key="s"
    )
    trigger = started(api, answer)["trigger"]
    assert (trigger["type"], trigger["source"]) == ("webhook", "h")
    payload = trigger["payload"]
    headers = payload.pop("headers")
    assert payload == {"method": method, "query": {"a": "1", "b": ["2", "3"]}, "body": {"n": 1}}
    assert headers == {"content-type": "application/json", "x-kind": "book"}


@pytest.mark.parametrize(
    ("content_type", "raw", "told"),
    [
        ("application/json", b'{"n": [1]}', {"body": {"n": [1]}}),
        ("application/cloudevents+json; charset=utf-8", b'"x"', {"body": "x"}),
        ("text/plain", "größe".encode(), {"body": "größe"}),
        ("application/x-www-form-urlencoded", b"a=1&b=2", {"body": "a=1&b=2"}),
        ("application/xml", b'{"n": 1}', {"body": '{"n": 1}'}),
        ("application/octet-stream", b"\xff\x00", {"body": "/wA=", "isBase64": True}),
        ("application/json", b"", {"body": None}),
    ],
)
def test_bodies_of_any_kind(api: Api, hook: Hook, content_type: str, raw: bytes, told: Mapping[str, Any]) -> None:
    """JSON is read, text is text, and other bytes are spelled in base64."""
    payload = started(api, hook.call(raw, content_type=content_type))["trigger"]["payload"]
    assert {name: payload[name] for name in payload.keys() - {"method", "query", "headers"}} == told


def test_what_is_wrong_starts_nothing(api: Api, hook: Hook) -> None:
    """JSON that is none, more than 5 MB, a workflow that is not active: each its answer, and no run."""
    assert hook.call(b"{").status == 400
    assert hook.call(b"x" * (5 * 1024 * 1024 + 1)).status == 413
    for status in ("paused", "archived", "draft"):
        assert api.put(f"{hook.path}/status", {"status": status}).status == 200
        refused = hook.call({})
        assert (refused.status, refused.json["detail"]) == (
            409, f"The workflow is {status}: its webhook starts nothing."
        )  # fmt: skip
    assert hook.runs() == []
    assert api.delete(hook.path).status == 204
    assert hook.call({}).status == 404


def test_what_was_started_is_answered_again(api: Api) -> None:
    """Also where the webhook starts nothing new by now: its sender has missed the first answer."""
    hook = Hook(api, secret=SECRET)
    first = hook.signed(b"{}").json
    assert api.put(f"{hook.path}/status", {"status": "paused"}).status == 200
    assert hook.signed(b"{}").json == first
    assert hook.signed(b"{}", "msg_2").status == 409
    assert hook.runs() == [first["executionId"]]


def test_a_large_body(api: Api, hook: Hook) -> None:
    """Up to 5 MB it reaches the run."""
    text = "x" * (5 * 1024 * 1024 - 10)
    trigger = started(api, hook.call({"n": text[:-20]}))["trigger"]
    assert trigger.get("payloadUrl") or trigger["payload"]["body"]["n"]


# --- once for each message --------------------------------------------------------------------------------------------


def test_a_message_starts_one_run(api: Api, hook: Hook) -> None:
    """Whoever repeats a message, by its id, hears the first answer."""
    first = hook.call({"n": 1}, webhook_id="m1").json
    assert hook.call({"n": 1}, webhook_id="m1").json == first
    assert hook.call({"n": 1}, webhook_id="m2").json != first
    assert Hook(api).call({"n": 1}, webhook_id="m1").json != first
    assert len(hook.runs()) == 2


def test_an_idempotency_key(hook: Hook) -> None:
    """As everywhere: the same request gets the first answer, another is refused."""
    first = hook.call({"n": 1}, Idempotency_Key="k").json
    assert hook.call({"n": 1}, Idempotency_Key="k").json == first
    assert hook.call({"n": 2}, Idempotency_Key="k").status == 422
    assert hook.call({"n": 1}, "PUT", Idempotency_Key="k").status == 422
    assert len(hook.runs()) == 1


def test_a_rate_for_each_key(api: Api, deployed: Services, hook: Hook) -> None:
    """What is beyond it in a minute is 429, and says when that is over; other webhooks are not concerned."""
    deployed.webhooks._per_minute = 2
    other = Hook(api)
    deployed.webhooks._clock = SteppingClock([])
    assert [hook.call({}).status for _ in range(3)] == [202, 202, 429]
    refused = hook.call({})
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert other.call({}).status == 202
    assert len(hook.runs()) == 2


# --- signatures -------------------------------------------------------------------------------------------------------


def test_a_signed_request(api: Api) -> None:
    """Good, it starts a run, once; nothing of the secret stands in what is recorded."""
    hook = Hook(api, secret=SECRET)
    answer = hook.signed(b'{"n": 1}')
    assert SECRET[6:] not in json.dumps(started(api, answer))
    replayed = hook.signed(b'{"n": 1}')
    assert (replayed.status, replayed.json) == (202, answer.json)
    assert len(hook.runs()) == 1


def test_a_bad_signature(api: Api) -> None:
    """By another secret, of another body, too old, or none at all: 401, and nothing is started."""
    hook = Hook(api, secret=SECRET)
    other = "whsec_" + base64.b64encode(b"another secret").decode()
    good = hook.signed(b"{}")
    assert hook.signed(b"{}", "msg_2", secret=other).status == 401
    assert hook.signed(b"{}", "msg_2", age_s=900).status == 401
    assert hook.signed(b"{}", "msg_2", age_s=-900).status == 401
    assert hook.call({}).status == 401
    forged = hook.call(
        b'{"n": 2}', webhook_id="msg_1", webhook_timestamp=str(int(time.time())), webhook_signature="v1,"
    )
    assert forged.status == 401
    assert hook.runs() == [good.json["executionId"]]


def test_a_secret_that_is_a_credential(api: Api, client_of: Callable[..., Api]) -> None:
    """It is opened by the node runner alone, which says no more than whether the signature is good."""
    root = client_of("root", "*")
    hook = Hook(api, secret="${HOOK}")
    missing = hook.signed(b"{}")
    assert (missing.status, "no credential HOOK" in missing.json["detail"]) == (409, True)
    assert root.post("/api/v1/credentials", {"name": "HOOK", "value": "not base64!"}).status == 201
    assert hook.signed(b"{}").status == 409
    assert root.put("/api/v1/credentials/HOOK", {"value": SECRET}).status == 200
    assert hook.signed(b"{}").status == 202
    assert hook.signed(b"{}", "msg_2", secret="whsec_" + "A" * 32).status == 401
    assert hook.signed(b'{"x": "' + b"\xc3\xa9" * 2_000_000 + b'"}', "msg_3").status == 202


# --- waiting for the result -------------------------------------------------------------------------------------------


@pytest.fixture
def walked(deployed: Services, step_functions: StepFunctions) -> list[float]:
    """The state machine of the run goes on while the request waits; how long that was in all."""
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            (name,) = step_functions.executions()
            step_functions.run(name, run_node)
            run = deployed.executions._executions.get("acme", name)
            assert run is not None
            deployed.lifecycle.reconcile(run)

    deployed.webhooks._sleep = sleep
    return naps


def test_the_result_in_the_answer(hook: Hook, walked: list[float]) -> None:
    """With ``sync`` it is waited for."""
    answer = hook.call({"n": 7}, query="?sync=true")
    told = answer.json
    assert (answer.status, told["status"], told["output"], told["error"]) == (200, "succeeded", 7, None)
    assert told["executionId"] == hook.runs()[0]
    assert sum(walked) < 1


def test_a_run_that_fails_while_somebody_waits(api: Api, walked: list[float]) -> None:
    """That is an answer too, with the error."""
    nodes = [node("h", "webhook-trigger"), node("f", "fail", error="E", message="m")]
    body = {"name": "w", "status": "active", **graph(nodes, "h -> f")}
    path = f"{WORKFLOWS}/{api.post(WORKFLOWS, body).json['workflowId']}"
    key = api.get(path).json["nodes"][0]["config"]["key"]
    answer = api.with_key(None).post(f"/api/v1/webhook/{key}?sync=true", {})
    assert (answer.status, answer.json["status"]) == (200, "failed")
    assert answer.json["error"] == {"name": "E", "message": "m", "nodeId": "f"}


def test_a_run_that_takes_longer(hook: Hook, deployed: Services) -> None:
    """After 25 s the id is the answer, and the reads meanwhile are few."""
    naps: list[float] = []
    clock = SteppingClock(naps)
    deployed.webhooks._clock, deployed.webhooks._sleep = clock, naps.append
    answer = hook.call({}, query="?sync=true")
    assert (answer.status, answer.json["status"]) == (202, "running")
    assert answer.json["executionId"] == hook.runs()[0]
    assert sum(naps) == pytest.approx(25)
    assert len(naps) < 30


class SteppingClock(SystemClock):
    """The time moves by what was slept, and by nothing else."""

    def __init__(self, naps: list[float]) -> None:
        self._start, self._naps = SystemClock().now(), naps

    def now(self) -> datetime:
        return self._start + timedelta(seconds=sum(self._naps))
