"""In which column each vertex stands: to the right of all that leads to it, and not much farther."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Edge = tuple[int, int]


def without_cycles(count: int, edges: Sequence[Edge]) -> list[Edge]:
    """The edges between ``count`` vertices, those that close a cycle turned round.

    An edge closes a cycle where a depth-first search, in the order of vertices and edges, comes back to a vertex that
    it has not left yet. The search begins where nothing leads to, so that a cycle opens where it is entered. An edge
    from a vertex to itself says nothing about columns and is left out.
    """
    targets = _targets(count, edges)
    entered = {target for source, target in edges if source != target}
    begun, left = [False] * count, [False] * count
    turned: set[Edge] = set()
    for root in sorted(range(count), key=entered.__contains__):
        if begun[root]:
            continue
        begun[root] = True
        path = [(root, iter(targets[root]))]
        while path:
            vertex, rest = path[-1]
            for target in rest:
                if not begun[target]:
                    begun[target] = True
                    path.append((target, iter(targets[target])))
                    break
                if not left[target]:
                    turned.add((vertex, target))
            else:
                left[vertex] = True
                path.pop()
    return [(b, a) if (a, b) in turned else (a, b) for a, b in edges if a != b]


def columns(count: int, edges: Sequence[Edge], after: Sequence[Edge] = ()) -> list[int]:
    """The column of each vertex, from 0, in a graph without cycles. ``after`` are further pairs that only order.

    At first each stands as far to the left as it can. Then what pulls more to the right goes there, which brings a late
    source beside what it leads to; then what pulls more to the left, or as much, goes back. Neither makes the edges
    longer in sum.
    """
    targets = _targets(count, (*edges, *after))
    sources = _targets(count, ((target, source) for source, target in (*edges, *after)))
    pull, entered = [0] * count, [False] * count
    for source, target in edges:
        pull[source] += 1
        pull[target] -= 1
        entered[target] = True

    order = _topological_order(targets, sources)
    column = [0] * count
    for vertex in order:
        column[vertex] = max((column[source] + 1 for source in sources[vertex]), default=0)
    for vertex in reversed(order):
        if pull[vertex] >= 0 and targets[vertex]:
            column[vertex] = min(column[target] for target in targets[vertex]) - 1
    for vertex in order:
        if pull[vertex] <= 0 and entered[vertex]:
            column[vertex] = max(column[source] for source in sources[vertex]) + 1
    return column


def _targets(count: int, edges: Iterable[Edge]) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        found[source].append(target)
    return found


def _topological_order(targets: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[int]:
    missing = [len(leading) for leading in sources]
    order = [vertex for vertex, number in enumerate(missing) if not number]
    for vertex in order:  # grows on the way
        for target in targets[vertex]:
            missing[target] -= 1
            if not missing[target]:
                order.append(target)
    return order
