"""Edits of a graph: each takes a graph and gives the next one, or says what is wrong with the request.

An edit touches what it names and nothing else, so it can be done again on a graph that somebody else has changed
meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.foundation.errors import Conflict, Fault, InvalidInput, NotFound
from chalicelib.foundation.json_types import Json
from chalicelib.graph.model import Connection, Graph, Node


@dataclass(frozen=True)
class NodeChange:
    """What a request names of a node; None is what it does not name. ``config`` is merged, the rest replaced."""

    label: str | None = None
    config: Mapping[str, Json] | None = None
    position: Mapping[str, float] | None = None
    settings: Mapping[str, Any] | None = None
    input_mappings: Mapping[str, str] | None = None
    pass_through_values: Mapping[str, str] | None = None


def node_of(graph: Graph, node_id: str) -> Node:
    """Raises ``NotFound``."""
    for node in graph.nodes:
        if node.id == node_id:
            return node
    raise NotFound("node", node_id)


def add_node(graph: Graph, node: Node) -> Graph:
    """Raises ``Conflict`` where the id is taken."""
    if any(other.id == node.id for other in graph.nodes):
        raise Conflict(f"There is a node {node.id!r} already.")
    return replace(graph, nodes=(*graph.nodes, node))


def change_node(graph: Graph, node_id: str, change: NodeChange) -> Graph:
    """Raises ``NotFound``."""
    node = node_of(graph, node_id)
    changed = replace(
        node,
        label=node.label if change.label is None else change.label,
        config=node.config if change.config is None else merged(node.config, change.config),
        position=node.position if change.position is None else change.position,
        settings=node.settings if change.settings is None else change.settings,
        input_mappings=node.input_mappings if change.input_mappings is None else change.input_mappings,
        pass_through_values=(
            node.pass_through_values if change.pass_through_values is None else change.pass_through_values
        ),
    )
    return replace(graph, nodes=tuple(changed if other is node else other for other in graph.nodes))


def remove_node(graph: Graph, node_id: str) -> tuple[Graph, int]:
    """The graph without a node and its connections, and how many of those there were. Raises ``NotFound``."""
    node = node_of(graph, node_id)
    kept = tuple(item for item in graph.connections if node_id not in (item.source, item.target))
    nodes = tuple(other for other in graph.nodes if other is not node)
    return Graph(nodes, kept), len(graph.connections) - len(kept)


def connect(graph: Graph, connection: Connection) -> Graph:
    """Raises ``InvalidInput`` for ends that are not there, ``Conflict`` for a connection that is."""
    nodes = graph.by_id()
    ends = (("sourceNodeId", connection.source), ("targetNodeId", connection.target))
    if faults := [Fault(field, f"There is no node {name!r}.") for field, name in ends if name not in nodes]:
        raise InvalidInput(faults)
    for other in graph.connections:
        if replace(other, id=connection.id) == connection:
            raise Conflict(f"These ports are connected already, by {other.id!r}.")
        if other.id == connection.id:
            raise Conflict(f"There is a connection {connection.id!r} already.")
    return replace(graph, connections=(*graph.connections, connection))


def disconnect(graph: Graph, connection_id: str) -> Graph:
    """Raises ``NotFound``."""
    kept = tuple(connection for connection in graph.connections if connection.id != connection_id)
    if len(kept) == len(graph.connections):
        raise NotFound("connection", connection_id)
    return replace(graph, connections=kept)


def merged(present: Mapping[str, Json], change: Mapping[str, Json]) -> dict[str, Json]:
    """``present`` with ``change`` over it, objects merged within; null takes a key away (RFC 7396)."""
    result = dict(present)
    for key, value in change.items():
        old = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merged(old if isinstance(old, Mapping) else {}, value)
        else:
            result[key] = value
    return result
