"""``POST /workflows/{id}/email-trigger``: mails that another service has received."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.client import Api
from tests.fakes import graph, node
from tests.state_machines import StepFunctions

WORKFLOWS = "/api/v1/workflows"
GRAPH = graph([node("m", "email-trigger"), node("a")], "m -> a")
MAIL = {
    "from": "sender@example.com",
    "to": "inbox@example.org",
    "subject": "Invoice attached",
    "body_text": "Plain text",
    "body_html": "<p>HTML</p>",
    "attachments": [{"filename": "a.pdf"}],
    "email_headers": {"Message-Id": "<1@example.com>", "CC": "c@example.org"},
}


def active(api: Api, body: dict[str, Any] = GRAPH) -> str:
    return str(api.post(WORKFLOWS, {"name": "w", "status": "active", **body}).json["workflowId"])


def post(api: Api, workflow: str, body: Any, **headers: str) -> Any:
    return api.post(f"{WORKFLOWS}/{workflow}/email-trigger", body, **headers)


@pytest.fixture
def trigger_of(api: Api) -> Callable[[str], dict[str, Any]]:
    def read(execution_id: str) -> dict[str, Any]:
        found: dict[str, Any] = api.get(f"/api/v1/executions/{execution_id}").json["execution"]["trigger"]
        return found

    return read


def test_what_the_trigger_sees(
    api: Api, trigger_of: Callable[[str], dict[str, Any]], step_functions: StepFunctions
) -> None:
    """The same as of a mail that SES received; the answer names the run and the trigger."""
    answer = post(api, active(api), MAIL)
    assert (answer.status, answer.json.keys()) == (201, {"executionId", "trigger_type"})
    assert answer.json["trigger_type"] == "email"
    assert trigger_of(answer.json["executionId"]) == {
        "type": "email",
        "source": "sender@example.com",
        "payload": {
            "from": "sender@example.com",
            "to": "inbox@example.org",
            "cc": "c@example.org",
            "subject": "Invoice attached",
            "body_text": "Plain text",
            "body_html": "<p>HTML</p>",
            "headers": MAIL["email_headers"],
            "message_id": "<1@example.com>",
            "attachments": [{"filename": "a.pdf"}],
        },
    }


def test_aliases(api: Api, trigger_of: Callable[[str], dict[str, Any]], step_functions: StepFunctions) -> None:
    """`text` and `html` do as well; whatever is absent is empty."""
    answer = post(api, active(api), {"text": "t", "html": "h"})
    assert trigger_of(answer.json["executionId"])["payload"] == {
        "from": "", "to": "", "cc": "", "subject": "", "body_text": "t", "body_html": "h",
        "headers": {}, "message_id": "", "attachments": [],
    }  # fmt: skip


def test_the_same_message_is_one_run(api: Api, step_functions: StepFunctions) -> None:
    """By its Message-ID; without one, each request is a mail, unless a key says that it is the same. So it is where the
    workflow takes no new ones by now.
    """
    workflow = active(api)
    first = post(api, workflow, MAIL).json
    assert post(api, workflow, MAIL | {"subject": "again"}).json == first
    assert post(api, active(api), MAIL).json != first
    bare = {"text": "t"}
    assert post(api, workflow, bare).json != post(api, workflow, bare).json
    keyed = post(api, workflow, bare, Idempotency_Key="k").json
    assert post(api, workflow, bare, Idempotency_Key="k").json == keyed
    assert api.put(f"{WORKFLOWS}/{workflow}/status", {"status": "paused"}).status == 200
    assert post(api, workflow, bare, Idempotency_Key="k").json == keyed
    assert post(api, workflow, MAIL).json == first
    assert post(api, workflow, bare).status == 409
    other = post(api, workflow, {"text": "u"}, Idempotency_Key="k")
    assert (other.status, other.json["type"].endswith("idempotency-mismatch")) == (422, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"status": "draft", **GRAPH}, "draft"),
        ({"status": "paused", **GRAPH}, "paused"),
        ({"status": "active", **graph([node("t", "manual-trigger")])}, "no email-trigger node"),
    ],
)
def test_what_no_mail_starts(api: Api, step_functions: StepFunctions, body: dict[str, Any], words: str) -> None:
    """409 says why, and nothing is started."""
    workflow = api.post(WORKFLOWS, {"name": "w", **body}).json["workflowId"]
    answer = post(api, workflow, MAIL)
    assert (answer.status, words in answer.json["detail"]) == (409, True)
    assert api.get(f"/api/v1/executions?workflowId={workflow}").json["count"] == 0


def test_a_large_mail(api: Api, step_functions: StepFunctions) -> None:
    """Up to the 5 MB of a request."""
    workflow = active(api)
    assert post(api, workflow, {"text": "x" * 5_000_000}).status == 201
    assert post(api, workflow, json.dumps({"text": "x" * 5_300_000}).encode()).status == 413
