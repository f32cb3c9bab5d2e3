"""Approvals over HTTP: who sees them, who decides, and what is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.client import Api
from tests.api.nodes import run_node
from tests.fakes import graph, node

BASE = "/api/v1/approvals"
GRAPH = graph([node("ask", "approval", message="Pay {{ data.sum }}?", timeoutSeconds=3600)])


@pytest.fixture
def asked(api: Api) -> dict[str, Any]:
    """What a run of ann's asks."""
    workflow_id = api.post("/api/v1/workflows", {"name": "w", **GRAPH}).json["workflowId"]
    body = {"triggerInputs": {"sum": 9}}
    execution_id = api.post(f"/api/v1/workflows/{workflow_id}/execute", body).json["executionId"]
    run_node(execution_id, "ask")
    told = api.get(f"/api/v1/executions/{execution_id}").json
    assert told["execution"]["status"] == "WAITING"
    (task,) = told["tasks"]
    assert (task["status"], task["outputs"]) == ("WAITING", None)
    found: dict[str, Any] = api.get(f"{BASE}/{task['approvalId']}").json
    assert (found["workflowId"], found["executionId"]) == (workflow_id, execution_id)
    return found


def test_what_is_asked(api: Api, asked: dict[str, Any]) -> None:
    """An approval says what it is about, where it belongs and until when; it is listed while it is pending."""
    assert asked["message"] == "Pay 9?"
    assert (asked["status"], asked["taskId"], asked["decidedBy"]) == ("PENDING", "ask", None)
    assert asked["expiresAt"] > asked["createdAt"]
    assert api.get(BASE).json == {"count": 1, "limit": 20, "offset": 0, "approvals": [asked]}
    assert api.get(f"{BASE}?offset=1").json["approvals"] == []
    api.post(f"{BASE}/{asked['id']}/reject", {"comment": "too much"})
    assert api.get(BASE).json["count"] == 0


def test_a_decision(api: Api, asked: dict[str, Any]) -> None:
    """It is told with who and why; the same again is the same, another one is a conflict."""
    path = f"{BASE}/{asked['id']}"
    decided = api.post(f"{path}/approve", {"comment": "fine"})
    assert decided.status == 200
    assert {name: decided.json[name] for name in ("status", "decidedBy", "comment")} == {
        "status": "APPROVED",
        "decidedBy": "ann",
        "comment": "fine",
    }
    assert api.post(f"{path}/approve").json == decided.json == api.get(path).json
    other = api.post(f"{path}/reject")
    assert (other.status, other.json["detail"]) == (409, "The approval is approved already.")
    run_node(asked["executionId"], "ask", phase="leave")
    (task,) = api.get(f"/api/v1/executions/{asked['executionId']}").json["tasks"]
    assert task["outputs"] == '{"sum":9,"approval":{"decision":"approved","by":"ann","comment":"fine"}}'


def test_who_decides(api: Api, asked: dict[str, Any], client_of: Callable[..., Api]) -> None:
    """Whoever sees the workflow, with the scope to execute; to all others there is no such approval."""
    path = f"{BASE}/{asked['id']}"
    for stranger in (client_of("cy"), client_of("ann", organization="other")):
        assert stranger.get(path).status == 404
        assert stranger.post(f"{path}/approve").status == 404
        assert stranger.get(BASE).json["count"] == 0
    reader = client_of("ann", "workflows:read")
    assert reader.get(path).status == 200
    assert reader.post(f"{path}/approve").status == 403
    api.post(f"/api/v1/workflows/{asked['workflowId']}/share", {"userId": "bob"})
    bob = client_of("bob")
    assert bob.get(BASE).json["count"] == 1
    assert bob.post(f"{path}/approve").json["decidedBy"] == "bob"


def test_a_run_that_ended(api: Api, asked: dict[str, Any]) -> None:
    """What it asked is asked no more."""
    api.post(f"/api/v1/executions/{asked['executionId']}/cancel")
    assert api.get(BASE).json["count"] == 0
    assert api.get(f"{BASE}/{asked['id']}").json["status"] == "CANCELLED"
    assert api.post(f"{BASE}/{asked['id']}/approve").status == 409
