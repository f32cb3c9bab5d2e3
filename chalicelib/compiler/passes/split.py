"""Splits a graph into what runs side by side and what runs one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chalicelib.compiler.blocks import MAX_DEPTH, MAX_FORKS, Block
from chalicelib.compiler.passes.grow import grow
from chalicelib.graph.structure import Successors, topological_order


def split(nodes: Sequence[str], edges: Successors, durations: Mapping[str, float]) -> Block:
    """The decomposition of a transitively reduced acyclic graph (Valdes, Tarjan, Lawler 1982: recognition of
    series-parallel digraphs).

    Parallel parts are the components that nothing connects. Series parts lie between cuts: every node before a cut
    precedes every node behind it. What splits no further, a *prime* block, or would nest too deep, is grown as an
    out-tree. All of it is exact: no order is lost and none is added. ``durations`` are what nodes are expected to take,
    1 where nothing is said.

    Example: ``a -> b -> d``, ``a -> c -> d`` is ``series(a, parallel(b, c), d)``.
    """
    return _split(topological_order(nodes, edges), edges, durations, 0)


def _split(order: Sequence[str], edges: Successors, durations: Mapping[str, float], depth: int) -> Block:
    if len(order) == 1:
        return Block("node", order[0])
    if depth < MAX_DEPTH:
        if len(components := _components(order, edges)) > 1:
            return Block("parallel", parts=tuple(_split(part, edges, durations, depth + 1) for part in components))
        if len(pieces := _pieces(order, edges)) > 1:
            return Block("series", parts=tuple(_split(part, edges, durations, depth + 1) for part in pieces))
    return grow(order, edges, durations, room=MAX_FORKS)


def _components(order: Sequence[str], edges: Successors) -> list[list[str]]:
    """The parts between which there is no edge, in topological order; ordered by their first nodes."""
    parent = {node: node for node in order}

    def root(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for node in order:
        for target in edges[node]:
            if target in parent:
                parent[root(target)] = root(node)
    groups: dict[str, list[str]] = {}
    for node in order:
        groups.setdefault(root(node), []).append(node)
    return list(groups.values())


def _pieces(order: Sequence[str], edges: Successors) -> list[list[str]]:
    """The parts between series cuts.

    A cut behind the k-th node of a topological order is one of series if each sink of what lies before has an edge to
    each source of what lies behind. Moving along the order changes few sinks and sources: each node becomes and stops
    being either once, so all cuts are found in time linear in nodes and edges.
    """
    members = set(order)
    targets = {node: [target for target in edges[node] if target in members] for node in order}
    origins: dict[str, list[str]] = {node: [] for node in order}
    for node in order:
        for target in targets[node]:
            origins[target].append(node)
    missing = {node: len(origins[node]) for node in order}  # predecessors that still lie behind the cut
    sinks: set[str] = set()
    sources = {node for node in order if not missing[node]}
    pairs = 0  # edges from one of `sinks` to one of `sources`
    pieces: list[list[str]] = [[]]
    for node in order:
        sources.discard(node)
        pairs -= sum(origin in sinks for origin in origins[node])
        for origin in origins[node]:
            if origin in sinks:
                sinks.remove(origin)
                pairs -= sum(target in sources for target in targets[origin])
        sinks.add(node)
        pairs += sum(target in sources for target in targets[node])
        for target in targets[node]:
            missing[target] -= 1
            if not missing[target]:
                sources.add(target)
                pairs += sum(origin in sinks for origin in origins[target])
        pieces[-1].append(node)
        if sources and pairs == len(sinks) * len(sources):
            pieces.append([])
    return [piece for piece in pieces if piece]
