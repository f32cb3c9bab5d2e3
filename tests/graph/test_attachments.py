"""Steps, and what is attached to them, told apart."""

from __future__ import annotations

from hypothesis import given, settings

from chalicelib.graph.attachments import attachments, detach
from chalicelib.graph.model import Graph
from chalicelib.nodes.registry import CATALOG
from tests.graph.graphs import graphs
from tests.notation import graph

TEXT = "t=manual-trigger -> a=agent -> z; m=bedrock-model -> a:ai; h=http-request -> a:tools; x -> a:other"


def test_attached_nodes_are_no_steps() -> None:
    """They are gone with their connections, and known by the agent; any other port of an agent is an ordinary one."""
    apart = detach(graph(TEXT), CATALOG)
    assert [node.id for node in apart.graph.nodes] == ["t", "a", "z", "x"]
    assert [(c.source, c.target) for c in apart.graph.connections] == [("t", "a"), ("a", "z"), ("x", "a")]
    assert {agent: [(item.port, item.node.id) for item in found] for agent, found in apart.attached.items()} == {
        "a": [("ai", "m"), ("tools", "h")]
    }


def test_a_tool_of_two_agents_and_attached_twice() -> None:
    """It belongs to both, and to each once."""
    apart = detach(graph("a=agent -> b=agent; h=http-request -> a:tools, b:tools; h -> a:tools"), CATALOG)
    assert {agent: len(found) for agent, found in apart.attached.items()} == {"a": 1, "b": 1}


def test_a_graph_without_agents_is_left_as_it_is() -> None:
    """The very same."""
    plain = graph("t=manual-trigger -> x -> m=merge:ai; t -> m:tools")
    assert detach(plain, CATALOG).graph is plain


@given(graphs())
@settings(max_examples=100)
def test_nothing_is_lost(given: Graph) -> None:
    """Each node is a step or attached; no connection that is left touches what is attached."""
    apart = detach(given, CATALOG)
    away = {item.node.id for found in apart.attached.values() for item in found}
    assert {node.id for node in given.nodes} == {node.id for node in apart.graph.nodes} | away
    assert not away & {node.id for node in apart.graph.nodes}
    assert not [c for c in apart.graph.connections if away & {c.source, c.target}]
    assert {connection.source for _, connection in attachments(given, CATALOG)} == away
