"""The scopes of a graph: the top level, and the body of each loop, as graphs of their own.

Scope analysis is done once and asked by the passes. In its scope a loop counts as one node: what hangs from its body
port belongs to the scope within, what hangs from its other ports follows it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.foundation.errors import Conflict
from chalicelib.graph.catalog import Catalog
from chalicelib.graph.model import Connection, Graph
from chalicelib.graph.structure import MAX_NESTED_LOOPS, entered_loops, loops_around


@dataclass(frozen=True)
class Scope:
    loops: tuple[str, ...]  # the loops around it, outermost first; none at the top
    nodes: tuple[str, ...]
    connections: tuple[Connection, ...]  # between nodes of this very scope
    entries: tuple[Connection, ...]  # into this scope, from the loop around it
    bodies: Mapping[str, Scope]  # by loop node

    @property
    def sinks(self) -> tuple[str, ...]:
        sources = {connection.source for connection in self.connections}
        return tuple(node for node in self.nodes if node not in sources)

    def walk(self) -> Iterator[Scope]:
        """This scope and all within it."""
        stack = [self]
        while stack:
            scope = stack.pop()
            yield scope
            stack.extend(scope.bodies.values())


def analyse_scopes(graph: Graph, catalog: Catalog) -> Scope:
    """The scopes of a graph without errors.

    Raises ``Conflict`` where loops are nested deeper than ``MAX_NESTED_LOOPS``.
    """
    home = loops_around(graph, catalog)
    if max(map(len, home.values()), default=0) > MAX_NESTED_LOOPS:
        raise Conflict(f"Loops are nested deeper than {MAX_NESTED_LOOPS} levels.")
    bodies = entered_loops(graph, catalog)
    nodes: dict[tuple[str, ...], list[str]] = {}
    for node in graph.nodes:
        nodes.setdefault(home[node.id], []).append(node.id)
    connections: dict[tuple[str, ...], list[Connection]] = {}
    entries: dict[tuple[str, ...], list[Connection]] = {}
    for connection in graph.connections:
        loops = home[connection.target]
        found = connections if home[connection.source] == loops else entries
        found.setdefault(loops, []).append(connection)
    return _scope((), nodes, connections, entries, bodies)


def _scope(
    loops: tuple[str, ...],
    nodes: Mapping[tuple[str, ...], Sequence[str]],
    connections: Mapping[tuple[str, ...], Sequence[Connection]],
    entries: Mapping[tuple[str, ...], Sequence[Connection]],
    loop_nodes: Collection[str],
) -> Scope:
    members = tuple(nodes.get(loops, ()))
    return Scope(
        loops=loops,
        nodes=members,
        connections=tuple(connections.get(loops, ())),
        entries=tuple(entries.get(loops, ())),
        bodies={
            name: _scope((*loops, name), nodes, connections, entries, loop_nodes)
            for name in members
            if name in loop_nodes
        },
    )
