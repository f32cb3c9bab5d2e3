"""A run of a part of a graph: from one node on, or with the outputs of some nodes given."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from chalicelib.foundation.errors import Fault
from chalicelib.graph.attachments import detach
from chalicelib.graph.catalog import Catalog
from chalicelib.graph.model import Graph
from chalicelib.graph.structure import loop_bodies, reachable, successors

MAX_PINNED = 100  # nodes; the record of the run has a place for each


def partial_faults(graph: Graph, catalog: Catalog, start_node: str | None, pinned: Collection[str]) -> Iterator[Fault]:
    """What is wrong with a request to run ``graph`` from ``start_node`` on, with outputs of ``pinned`` nodes given."""
    steps = detach(graph, catalog).graph
    nodes, edges, bodies = steps.by_id(), successors(steps), loop_bodies(steps, catalog)
    if start_node is not None:
        if start_node not in nodes:
            yield Fault("startNode", f"The workflow has no step {start_node!r}.")
        elif any(start_node in body for body in bodies.values()):
            yield Fault("startNode", f"{start_node!r} is in the body of a loop: start at the loop.")
        elif start_node in pinned:
            yield Fault("startNode", f"{start_node!r} is pinned: it does not run.")
    if len(pinned) > MAX_PINNED:
        yield Fault("pinned", f"{len(pinned)} nodes are pinned, {MAX_PINNED} at most can be.")
        return
    runs = reachable([start_node], edges) if start_node in nodes else set(nodes)
    for name in pinned:
        node = nodes.get(name)
        kind = catalog.find(node.type) if node else None
        if node is None:
            yield Fault(f"pinned.{name}", f"The workflow has no step {name!r}.")
        elif kind is not None and len({*kind.ports_out(node.config)} - {kind.body_port}) != 1:
            yield Fault(f"pinned.{name}", f"{name!r} has not one output but several, or none: it cannot be pinned.")
        elif name not in runs and any(name in body for body in bodies.values()):
            yield Fault(f"pinned.{name}", f"{name!r} is in the body of a loop that does not run.")
