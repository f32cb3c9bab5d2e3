"""Questions about the shape of a graph, each answered in time linear in its nodes and connections."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from chalicelib.graph.catalog import Catalog
from chalicelib.graph.model import Connection, Graph

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


#: Loops nest no deeper than this: each level is one of Step Functions' own, and of JSON's; and a body runs as often as
#: all counts around it multiplied.
MAX_NESTED_LOOPS = 40

_MOST_LOOPS = MAX_NESTED_LOOPS + 10  # that are told of a node: more are too many in any case


def loops_around(graph: Graph, catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """For each node the loops in whose bodies it is: all from whose body port a way leads to it.

    Outer loops come before inner ones, and of very many only the first are told. Nothing is told of nodes on a cycle,
    nor of what lies behind one.
    """
    entered = entered_loops(graph, catalog)
    inbound: dict[str, list[Connection]] = {node.id: [] for node in graph.nodes}
    for connection in graph.connections:
        if connection.target in inbound:
            inbound[connection.target].append(connection)
    around: dict[str, tuple[str, ...]] = dict.fromkeys(inbound, ())
    for node in topological_order(inbound, successors(graph)):
        ways = {loops_on(connection, around, entered): None for connection in inbound[node]}
        if len(ways) == 1:
            around[node] = next(iter(ways))
        elif ways:
            around[node] = tuple(dict.fromkeys(loop for way in ways for loop in way))[:_MOST_LOOPS]
    return around


def loops_on(
    connection: Connection, around: Mapping[str, tuple[str, ...]], entered: Mapping[str, str]
) -> tuple[str, ...]:
    """The loops in whose bodies a connection is: those around its source, and the source where it enters its body."""
    loops = around.get(connection.source, ())
    if entered.get(connection.source) == connection.source_port:
        return (*loops, connection.source)[:_MOST_LOOPS]
    return loops


def entered_loops(graph: Graph, catalog: Catalog) -> dict[str, str]:
    """Each loop node and the port by which its body is entered."""
    return {node.id: kind.body_port for node in graph.nodes if (kind := catalog.find(node.type)) and kind.body_port}


def loop_bodies(graph: Graph, catalog: Catalog) -> dict[str, frozenset[str]]:
    """For each loop node the nodes of its body, as ``loops_around`` has it."""
    bodies: dict[str, set[str]] = {loop: set() for loop in entered_loops(graph, catalog)}
    for node, loops in loops_around(graph, catalog).items():
        for loop in loops:
            bodies[loop].add(node)
    return {loop: frozenset(body) for loop, body in bodies.items()}
