"""What the nodes of a workflow need."""

from __future__ import annotations

from chalicelib.graph.model import Graph, Node
from chalicelib.graph.scopes import required_scopes
from chalicelib.nodes.registry import CATALOG


def test_scopes_are_the_sorted_union_of_what_the_nodes_need() -> None:
    """Each once, filled from the configs; a template or nothing at all is any."""
    nodes = (
        Node("w", "s3-write", config={"bucket": "reports", "key": "k", "body": "b"}),
        Node("r", "s3-read", config={"bucket": "{{ trigger.bucket }}", "key": "k"}),
        Node("r2", "s3-read", config={"key": "k"}),
        Node("s", "script", config={"code": "def main(data): return data"}),
        Node("h", "http-request", config={"method": "GET", "url": "https://example.com"}),
        Node("t", "transform", config={"expression": "data"}),
        Node("x", "unheard-of"),
    )
    assert required_scopes(Graph(nodes), CATALOG) == ("http:request", "s3:read:*", "s3:write:reports", "scripts:run")


def test_an_empty_workflow_needs_nothing() -> None:
    """No nodes, no scopes."""
    assert required_scopes(Graph(), CATALOG) == ()
