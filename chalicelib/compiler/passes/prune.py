"""Leaves out what this start never reaches."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from chalicelib.graph.catalog import Catalog
from chalicelib.graph.model import Connection, Graph, Node
from chalicelib.graph.structure import loops_around, reachable, successors


@dataclass(frozen=True)
class Start:
    """Where a run begins, and what is left of the graph from there."""

    graph: Graph
    trigger: str | None  # the trigger node that fires; None for a graph without triggers
    dead: tuple[
        Node, ...
    ]  # nodes that are skipped from the beginning; the body of a dead loop has no items to be skipped
    given: tuple[Node, ...] = ()  # nodes whose outputs are given, and to which this start does not lead
    inbound: tuple[Connection, ...] = ()  # besides the graph's own those that lead into it from given nodes


def prune(graph: Graph, catalog: Catalog, trigger: str) -> Start:
    """Cuts a graph down to what hangs from the trigger that fires.

    ``trigger`` is the id of a trigger node, or a type of which the first fires, or else the first of all. A graph
    without triggers runs from its nodes without inbound connections.

    Example: of ``t -> a``, ``u -> b`` with the triggers ``t`` and ``u``, a run that ``t`` starts keeps ``t -> a``;
    ``u`` and ``b`` are dead.
    """
    triggers = [node for node in graph.nodes if (kind := catalog.find(node.type)) and kind.is_trigger]
    if not triggers:
        return Start(graph, None, (), inbound=graph.connections)
    named = [node for node in triggers if node.id == trigger] or [node for node in triggers if node.type == trigger]
    fired = (named or triggers)[0].id
    live = reachable([fired], successors(graph))
    in_loops = {node for node, loops in loops_around(graph, catalog).items() if loops}
    connections = tuple(c for c in graph.connections if c.source in live and c.target in live)
    return Start(
        graph=Graph(nodes=tuple(node for node in graph.nodes if node.id in live), connections=connections),
        trigger=fired,
        dead=tuple(node for node in graph.nodes if node.id not in live | in_loops),
        inbound=connections,
    )


def prune_to(graph: Graph, catalog: Catalog, start_node: str, pinned: Collection[str]) -> Start:
    """Cuts a graph down to ``start_node`` and what is downstream of it, for a run of a part of the graph.

    Nothing upstream runs, so what leads from there is dead, but for connections from ``pinned`` nodes, whose outputs
    are given. The start node itself, where none of them leads to it, begins like a node without connections into it.

    Example: of ``a -> b -> d``, ``a -> c -> d`` a run from ``b`` with ``c`` pinned keeps ``b -> d``; ``a`` is dead, and
    ``c -> d`` is an inbound connection of ``d``.
    """
    kind = catalog.find(graph.by_id()[start_node].type)
    live = reachable([start_node], successors(graph))
    in_loops = {node for node, loops in loops_around(graph, catalog).items() if loops}
    given = {*pinned} - live
    return Start(
        graph=Graph(
            nodes=tuple(node for node in graph.nodes if node.id in live),
            connections=tuple(c for c in graph.connections if c.source in live and c.target in live),
        ),
        trigger=start_node if kind is not None and kind.is_trigger else None,
        dead=tuple(node for node in graph.nodes if node.id not in live | in_loops | given),
        given=tuple(node for node in graph.nodes if node.id in given),
        inbound=tuple(c for c in graph.connections if c.target in live and c.source in live | given),
    )
