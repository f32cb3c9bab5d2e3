"""The values that a workflow is made of, and the JSON in which they are kept."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.foundation.json_types import dumps, loads
from chalicelib.graph.model import Graph, Node, OnError, Retry, Workflow

FULL: dict[str, Any] = {
    "nodes": [
        {
            "id": "a",
            "nodeId": "transform",
            "label": "First",
            "position": {"x": 1.5, "y": -2},
            "config": {"expression": "data", "nested": {"list": [1, None, "ü"]}},
            "inputMappings": {"user": "data.user"},
            "passThroughValues": {"id": "id"},
            "settings": {"retry": {"maxAttempts": 3}, "timeoutSeconds": 9, "onError": "port"},
        },
        {"id": "b", "nodeId": "log", "label": "b", "position": None, "config": {}},
    ],
    "connections": [
        {"id": "c1", "sourceNodeId": "a", "sourcePort": "error", "targetNodeId": "b", "targetPort": "left"},
    ],
}


def test_graph_survives_its_json() -> None:
    """What is stored is what is read again, through real JSON text."""
    assert Graph.from_json(FULL).to_json() == FULL
    assert Graph.from_json(loads(dumps(FULL))) == Graph.from_json(FULL)  # type: ignore[arg-type]


def test_least_graph_is_filled_with_defaults() -> None:
    """Optional fields may be absent or null: ports, label, config, settings."""
    least = {
        "nodes": [{"id": "a", "nodeId": "log"}, {"id": "b", "nodeId": "log", "config": None, "settings": None}],
        "connections": [{"id": "c", "sourceNodeId": "a", "targetNodeId": "b", "sourcePort": None}],
    }
    found = Graph.from_json(least)
    assert found.connections[0].source_port == "output"
    assert found.connections[0].target_port == "input"
    assert [node.name for node in found.nodes] == ["a", "b"]
    assert all(node.config == {} and node.on_error is OnError.FAIL for node in found.nodes)
    assert Graph.from_json({}) == Graph()
    assert Graph.from_json({"nodes": None, "connections": None}) == Graph()


def test_retry_counts_the_first_attempt() -> None:
    """A node without the setting has none of its own; each value has its default."""
    assert Node("a", "log").retry is None
    assert Node("a", "log", settings={"retry": {}}).retry is None
    assert Node("a", "log", settings={"retry": {"maxAttempts": 4}}).retry == Retry(4, 1, 2.0, 60)
    given = {"maxAttempts": 2, "intervalSeconds": 5, "backoffRate": 1.5, "maxDelaySeconds": 7}
    assert Node("a", "log", settings={"retry": given}).retry == Retry(2, 5, 1.5, 7)


@pytest.mark.parametrize(
    ("settings", "attempts"),
    [
        ({}, 1),
        ({"maxRetries": 5}, 1),  # means nothing without retryOnFailure
        ({"retryOnFailure": False, "maxRetries": 5}, 1),
        ({"retryOnFailure": True}, 4),
        ({"retryOnFailure": True, "maxRetries": 0}, 1),
        ({"retryOnFailure": True, "maxRetries": 2}, 3),
    ],
)
def test_default_retry_of_a_workflow(settings: dict[str, Any], attempts: int) -> None:
    """maxRetries are attempts less one, and count only where retryOnFailure is set."""
    workflow = Workflow(
        "w", "o", "u", "name", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z", settings=settings
    )
    assert workflow.default_retry.max_attempts == attempts
