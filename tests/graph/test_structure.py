"""Questions about the shape of a graph, answered as networkx answers them."""

from __future__ import annotations

from itertools import pairwise

import networkx
import pytest
from hypothesis import given, settings

from chalicelib.graph.structure import cycles, loop_bodies, reachable, successors, topological_order
from chalicelib.nodes.registry import CATALOG
from tests.graph.graphs import edges
from tests.notation import graph

Edges = tuple[list[str], dict[str, list[str]]]


def reference(given: Edges) -> networkx.DiGraph[str]:
    nodes, targets = given
    found: networkx.DiGraph[str] = networkx.DiGraph()
    found.add_nodes_from(nodes)
    found.add_edges_from((source, target) for source in nodes for target in targets[source])
    return found


def test_successors_in_the_order_of_the_connections() -> None:
    """Each target stands once, and connections to nowhere count for nothing."""
    found = successors(graph("b -> a; b -> c; b.error -> a"))
    assert found == {"b": ["a", "c"], "a": [], "c": []}


def test_topological_order_keeps_the_given_order_where_it_can() -> None:
    """Ties are decided by the order of the nodes, so that a plan is the same each time."""
    assert topological_order(["c", "b", "a", "d"], {"a": ["d"], "b": [], "c": ["d"], "d": []}) == ["c", "b", "a", "d"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a -> b -> c", []),
        ("a -> a", [["a"]]),
        ("a -> b -> a", [["a", "b"]]),
        ("x -> a -> b -> c -> a; c -> y", [["a", "b", "c"]]),  # what leads in and out is not part of it
        ("a -> b -> a; b -> c -> b", [["a", "b"]]),  # one group, one cycle
        ("a -> b -> a; c -> d -> c", [["a", "b"], ["c", "d"]]),
        ("a -> b -> a; b -> c; c -> d -> c", [["c", "d"], ["a", "b"]]),
        ("a -> a; a -> b -> b", [["b"], ["a"]]),
    ],
)
def test_cycles_spelled_out(text: str, expected: list[list[str]]) -> None:
    """One cycle for each group of nodes that all reach each other, a node that leads to itself included."""
    found = graph(text)
    assert list(cycles([node.id for node in found.nodes], successors(found))) == expected


@given(edges())
@settings(max_examples=300, deadline=None)
def test_order_and_cycles_agree_with_networkx(given: Edges) -> None:
    """The order holds just the nodes that no cycle keeps from running, each behind its predecessors.

    The cycles are real ones, one per strong component.
    """
    nodes, targets = given
    order = topological_order(nodes, targets)
    graph = reference(given)
    on_cycles = [
        component
        for component in networkx.strongly_connected_components(graph)
        if len(component) > 1 or any(graph.has_edge(node, node) for node in component)
    ]
    held_up = set().union(
        *(networkx.descendants(graph, node) | {node} for component in on_cycles for node in component)
    )
    assert set(order) == set(nodes) - held_up
    place = {node: index for index, node in enumerate(order)}
    assert all(place[source] < place[target] for source in order for target in targets[source] if target in place)
    found = list(cycles(nodes, targets))
    assert all(target in targets[source] for cycle in found for source, target in pairwise([*cycle, cycle[0]]))
    assert all(len(set(cycle)) == len(cycle) for cycle in found)
    assert sorted(min(component) for component in on_cycles) == sorted(
        min(component) for cycle in found for component in on_cycles if set(cycle) <= component
    )


@given(edges())
@settings(max_examples=100, deadline=None)
def test_reachable_agrees_with_networkx(given: Edges) -> None:
    """A node reaches itself and its descendants."""
    nodes, targets = given
    for node in nodes[:2]:
        assert reachable([node], targets) == {node} | networkx.descendants(reference(given), node)


def test_bodies_of_nested_loops() -> None:
    """A body is all that hangs from the port `item`; the body of an inner loop belongs to the outer one too."""
    found = graph("t -> outer=loop; outer.done -> d; outer.item -> a -> inner=loop; inner.item -> b; inner.done -> c")
    assert loop_bodies(found, CATALOG) == {"outer": {"a", "inner", "b", "c"}, "inner": {"b"}}
