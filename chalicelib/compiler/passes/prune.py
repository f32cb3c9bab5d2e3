"""Leaves out what this start never reaches."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.graph.catalog import Catalog
from chalicelib.graph.model import Graph, Node
from chalicelib.graph.structure import loop_bodies, reachable, successors


@dataclass(frozen=True)
class Start:
    """Where a run begins, and what is left of the graph from there."""

    graph: Graph
    trigger: str | None  # the trigger node that fires; None for a graph without triggers
    dead: tuple[
        Node, ...
    ]  # nodes that are skipped from the beginning; the body of a dead loop has no items to be skipped


def prune(graph: Graph, catalog: Catalog, trigger_type: str) -> Start:
    """Cuts a graph down to what hangs from the trigger that fires.

    Fires the first trigger of ``trigger_type``, else the first of all. A graph without triggers runs from its nodes
    without inbound connections.

    Example: of ``t -> a``, ``u -> b`` with the triggers ``t`` and ``u``, a run that ``t`` starts keeps ``t -> a``;
    ``u`` and ``b`` are dead.
    """
    triggers = [node for node in graph.nodes if (kind := catalog.find(node.type)) and kind.is_trigger]
    if not triggers:
        return Start(graph, None, ())
    fired = next((node for node in triggers if node.type == trigger_type), triggers[0]).id
    live = reachable([fired], successors(graph))
    in_loops = frozenset().union(*loop_bodies(graph, catalog).values())
    return Start(
        graph=Graph(
            nodes=tuple(node for node in graph.nodes if node.id in live),
            connections=tuple(c for c in graph.connections if c.source in live and c.target in live),
        ),
        trigger=fired,
        dead=tuple(node for node in graph.nodes if node.id not in live | in_loops),
    )
