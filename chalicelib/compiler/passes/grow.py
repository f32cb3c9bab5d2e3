"""Orders what splits no further: an out-tree, and gates for the edges that are not in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chalicelib.compiler.blocks import Block, parallel, series
from chalicelib.compiler.passes.modules import Quotient, modules


def grow(order: Sequence[str], edges: Mapping[str, Sequence[str]], durations: Mapping[str, float], room: int) -> Block:
    """The block of a transitively reduced graph whose nodes stand in the topological ``order``: any graph, exactly.

    Each node hangs under the predecessor that is expected to end last, and waits at a gate for the others (a *late
    join*). So it starts when its parent has ended and its gate is open, however long things take; what is expected
    only decides how often a gate is open already. Parts that are series-parallel by themselves stay so, and wait as
    one.

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
    """For each block its predecessor that is expected to end last; of several one that has nobody under it yet."""
    parents: dict[str, str] = {}
    taken: set[str] = set()
    ends: dict[str, float] = {}
    for name, chain in graph.chains.items():
        before = graph.origins[name]
        if before:
            parents[name] = max(before, key=lambda origin: (ends[origin], origin not in taken))
            taken.add(parents[name])
        begins = max((ends[origin] for origin in before), default=0)
        ends[name] = begins + sum(_duration(part, durations) for part in chain)
    return parents


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
