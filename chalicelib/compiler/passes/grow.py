"""Orders what splits no further: an out-tree, and gates for the edges that are not in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from chalicelib.compiler.blocks import Block, parallel, series
from chalicelib.compiler.passes.modules import Quotient, modules
from chalicelib.compiler.prices import MISS_TRANSITIONS

#: How long a node may wait in its visit for the price of a fork, a transition, as a multiple of what the quickest nodes
#: take. That price is a second and a half; half a second is what a node takes, all in all, that does little.
FORK_COSTS = 3


def grow(order: Sequence[str], edges: Mapping[str, Sequence[str]], durations: Mapping[str, float], room: int) -> Block:
    """The block of a transitively reduced graph whose nodes stand in the topological ``order``: any graph, exactly.

    Each node hangs under one of its predecessors, one that is expected to end late, and waits for the others (a *late
    join*), at a gate if need be. So it starts when its parent and they have ended, however long things take; what is
    expected only decides what that costs. Parts that are series-parallel by themselves stay so, and wait as one.

    Parallel blocks nest no deeper than ``room``: what would is moved to the root, behind a gate for all that it waits
    for.

    Example: of the N ``a -> x; a, b -> y`` with equal durations, ``y`` hangs under ``b`` and waits for ``a``:
    ``parallel(series(a, x), series(b, gate(y, a)))``.
    """
    graph = modules(order, edges)
    parents = _parents(graph, durations)
    children: dict[str, list[str]] = {name: [] for name in graph.chains}
    for name, parent in parents.items():
        children[parent].append(name)
    roots = [name for name in graph.chains if name not in parents]
    branches: dict[str, list[Block]] = {}  # from a block to the end of its branch, the last first
    nested: dict[str, int] = {}  # levels of parallel blocks within it
    for name in reversed(list(graph.chains)):
        kept = children[name]
        if len(kept) > 1 and any(nested[child] >= room for child in kept):
            deep = [child for child in kept if nested[child] >= room]
            kept = [child for child in kept if nested[child] < room] or [deep.pop()]
            roots += deep
        below = [_behind_gate(graph, child, name, branches.pop(child)) for child in kept]
        nested[name] = max((nested[child] for child in kept), default=0) + (len(kept) > 1)
        branch = below[0] if len(below) == 1 else [parallel([_series(each) for each in below])] if below else []
        branch += reversed(graph.chains[name])
        branches[name] = branch
    return parallel([_series(_behind_gate(graph, root, None, branches[root])) for root in roots])


def _parents(graph: Quotient, durations: Mapping[str, float]) -> dict[str, str]:
    """For each block the predecessor under which it hangs.

    Under the one that is expected to end last it is sure to be ready. But where a second one hangs under a block there
    is a fork, a state more; so it hangs under one that ends a little earlier where that costs less. All are placed in
    their order, and then, backwards, once more: now it is known which forks there are.
    """
    waits = _waits(graph, durations)
    parents: dict[str, str] = {}
    below = Counter[str]()
    for name, before in waits.items():
        if before:
            parents[name] = _cheapest(before, below)
            below[parents[name]] += 1
    for name in reversed(list(parents)):
        below[parents[name]] -= 1
        parents[name] = _cheapest(waits[name], below, parents[name])
        below[parents[name]] += 1
    return parents


def _cheapest(waits: Mapping[str, float], below: Mapping[str, int], present: str = "") -> str:
    """Of several, the one that is expected to end last, and of those the ``present`` one."""
    return min(waits, key=lambda origin: (waits[origin] + (below[origin] == 1), waits[origin], origin != present))


def _waits(graph: Quotient, durations: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """For each block, by predecessor: what it costs, in forks, to wait from the end of that one to that of the last."""
    found: dict[str, dict[str, float]] = {}
    ends: dict[str, float] = {}
    for name, chain in graph.chains.items():
        begins = max((ends[origin] for origin in graph.origins[name]), default=0)
        found[name] = {
            origin: min((begins - ends[origin]) / FORK_COSTS, MISS_TRANSITIONS) for origin in graph.origins[name]
        }
        ends[name] = begins + sum(_duration(part, durations) for part in chain)
    return found


def _duration(block: Block, durations: Mapping[str, float]) -> float:
    match block.kind:
        case "node":
            return durations.get(block.node, 1)
        case "parallel":
            return max(_duration(part, durations) for part in block.parts)
        case _:
            return sum(_duration(part, durations) for part in block.parts)


def _behind_gate(graph: Quotient, name: str, parent: str | None, branch: list[Block]) -> list[Block]:
    """``branch`` with a gate before its first block, where that waits for more than its parent."""
    awaits = tuple(
        sink for origin in graph.origins[name] if origin != parent for sink in graph.chains[origin][-1].sinks()
    )
    if awaits:
        branch[-1] = Block("gate", name, (branch[-1],), awaits)
    return branch


def _series(branch: list[Block]) -> Block:
    return series(branch[::-1])
