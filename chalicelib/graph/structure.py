"""Questions about the shape of a graph, each answered in time linear in its nodes and connections."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from chalicelib.graph.catalog import Catalog
from chalicelib.graph.model import Graph

Successors = Mapping[str, Sequence[str]]


def successors(graph: Graph) -> dict[str, list[str]]:
    """For each node the nodes that it leads to, each once, in the order of the connections.

    Broken connections are passed over.
    """
    known = {node.id for node in graph.nodes}
    found: dict[str, dict[str, None]] = {node.id: {} for node in graph.nodes}
    for connection in graph.connections:
        if connection.source in known and connection.target in known:
            found[connection.source][connection.target] = None
    return {node: list(targets) for node, targets in found.items()}


def reachable(start: Iterable[str], edges: Successors) -> set[str]:
    """All that can be reached from ``start``, itself included."""
    seen = set(start)
    queue = deque(seen)
    while queue:
        for target in edges.get(queue.popleft(), ()):
            if target not in seen:
                seen.add(target)
                queue.append(target)
    return seen


def topological_order(nodes: Iterable[str], edges: Successors) -> list[str]:
    """The nodes, each after all that lead to it; ties in the given order (Kahn 1962). Nodes on a cycle are left out."""
    order = list(nodes)
    missing = dict.fromkeys(order, 0)
    for node in order:
        for target in edges.get(node, ()):
            if target in missing:
                missing[target] += 1
    queue = deque(node for node in order if not missing[node])
    result = []
    while queue:
        node = queue.popleft()
        result.append(node)
        for target in edges.get(node, ()):
            if target in missing:
                missing[target] -= 1
                if not missing[target]:
                    queue.append(target)
    return result


def cycles(nodes: Iterable[str], edges: Successors) -> Iterator[list[str]]:
    """One cycle, its first node not repeated, of each group of nodes that lie on cycles together."""
    names = list(nodes)
    acyclic = set(topological_order(names, edges))
    for group in _strong_components([name for name in names if name not in acyclic], edges):
        members = set(group)
        path: dict[str, None] = {}
        node = group[-1]
        while node not in path:
            path[node] = None
            node = next(target for target in edges[node] if target in members)
        walked = list(path)
        yield walked[walked.index(node) :]


def _strong_components(nodes: Sequence[str], edges: Successors) -> Iterator[list[str]]:
    """Groups of nodes that all reach each other (Tarjan 1972, without recursion); single nodes only where they lead to
    themselves.
    """
    allowed = set(nodes)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in allowed:
                    continue
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(edges[target])))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = [stack.pop()]
                    while component[-1] != node:
                        component.append(stack.pop())
                    on_stack.difference_update(component)
                    if len(component) > 1 or node in edges[node]:
                        yield component


def loop_bodies(graph: Graph, catalog: Catalog) -> dict[str, frozenset[str]]:
    """For each loop node the nodes of its body: all that is reachable from its body port."""
    edges = successors(graph)
    nodes = graph.by_id()
    ports = {node.id: (kind.body_port if (kind := catalog.find(node.type)) else None) for node in graph.nodes}
    entries: dict[str, list[str]] = {node: [] for node, port in ports.items() if port}
    for connection in graph.connections:
        if (
            connection.target in nodes
            and connection.source in entries
            and connection.source_port == ports[connection.source]
        ):
            entries[connection.source].append(connection.target)
    return {loop: frozenset(reachable(targets, edges)) for loop, targets in entries.items()}
