"""What is attached to an agent: a model on its port ``ai``, tools on its port ``tools``.

An attached node is no step of its own. It says what the agent may use, and runs when the agent uses it, so the
connection that attaches it orders nothing and carries nothing. Everything that reasons about order looks at the graph
without them (``detach``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chalicelib.graph.catalog import Catalog
from chalicelib.graph.model import Connection, Graph, Node

AI = "ai"
TOOLS = "tools"


@dataclass(frozen=True, slots=True)
class Attached:
    """A node on a port of an agent."""

    port: str
    node: Node


@dataclass(frozen=True, slots=True)
class Detached:
    """A graph, taken apart: its steps, and what is attached to them."""

    graph: Graph
    attached: Mapping[str, tuple[Attached, ...]]  # by the id of the agent, in the order of the connections


def attachments(graph: Graph, catalog: Catalog) -> Iterator[tuple[int, Connection]]:
    """The connections that attach a node, with their places. Broken ones are passed over."""
    nodes = graph.by_id()
    for index, connection in enumerate(graph.connections):
        target = nodes.get(connection.target)
        kind = catalog.find(target.type) if target else None
        if kind is not None and connection.source in nodes and connection.target_port in kind.attachment_ports:
            yield index, connection


def detach(graph: Graph, catalog: Catalog) -> Detached:
    """Takes attached nodes out of a graph, with every connection of theirs.

    Example: of ``t -> a``, ``m -> a:ai``, ``h -> a:tools`` with the agent ``a``, what is left is ``t -> a``; ``m`` and
    ``h`` are attached to ``a``.
    """
    nodes = graph.by_id()
    attached: dict[str, dict[tuple[str, str], Attached]] = {}
    for _, connection in attachments(graph, catalog):
        found = Attached(connection.target_port, nodes[connection.source])
        attached.setdefault(connection.target, {})[connection.target_port, connection.source] = found
    if not attached:
        return Detached(graph, {})
    away = {item.node.id for found in attached.values() for item in found.values()}
    steps = Graph(
        nodes=tuple(node for node in graph.nodes if node.id not in away),
        connections=tuple(c for c in graph.connections if c.source not in away and c.target not in away),
    )
    return Detached(steps, {agent: tuple(found.values()) for agent, found in attached.items()})
