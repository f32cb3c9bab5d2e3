"""Finds what is series-parallel within a graph that is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.compiler.blocks import Block, parallel, series

#: Each round finds what is nested one level deeper, so the work stays linear. What is nested deeper still is not lost,
#: it only takes more gates.
ROUNDS = 8


@dataclass(frozen=True)
class Quotient:
    """A graph whose nodes are blocks in series. Each is called by its first node, in a topological order."""

    chains: Mapping[str, Sequence[Block]]
    origins: Mapping[str, Sequence[str]]


def modules(order: Sequence[str], edges: Mapping[str, Sequence[str]]) -> Quotient:
    """Puts nodes together that look like one from the outside: those side by side with the same predecessors and
    successors, and chains that nothing enters or leaves on the way (Valdes, Tarjan, Lawler 1982: the two reductions).

    Example: in ``u -> v, w -> x`` with an edge from ``u`` to elsewhere, ``v``, ``w`` and ``x`` become one block.
    """
    place = {node: index for index, node in enumerate(order)}
    targets: dict[str, set[str]] = {node: {target for target in edges[node] if target in place} for node in order}
    origins: dict[str, set[str]] = {node: set() for node in order}
    for node in order:
        for target in targets[node]:
            origins[target].add(node)
    parts: dict[str, list[Block]] = {node: [Block("node", node)] for node in order}  # in series
    for _ in range(ROUNDS):
        before = len(parts)
        _side_by_side(parts, origins, targets)
        _one_after_the_other(parts, origins, targets)
        if len(parts) == before:
            break
    return Quotient(
        parts,
        {name: sorted(origins[name], key=place.__getitem__) for name in parts},
    )


def _side_by_side(parts: dict[str, list[Block]], origins: dict[str, set[str]], targets: dict[str, set[str]]) -> None:
    alike: dict[tuple[frozenset[str], frozenset[str]], list[str]] = {}
    for name in parts:
        alike.setdefault((frozenset(origins[name]), frozenset(targets[name])), []).append(name)
    for (before, behind), names in alike.items():
        if len(names) == 1:
            continue
        parts[names[0]] = [parallel([part for name in names for part in _branches(parts[name])])]
        for name in names[1:]:
            del parts[name]
        for other in before:
            targets[other].difference_update(names[1:])
        for other in behind:
            origins[other].difference_update(names[1:])


def _branches(chain: list[Block]) -> Sequence[Block]:
    whole = series(chain)
    return whole.parts if whole.kind == "parallel" else [whole]


def _one_after_the_other(
    parts: dict[str, list[Block]], origins: dict[str, set[str]], targets: dict[str, set[str]]
) -> None:
    for name in reversed(list(parts)):
        if len(targets[name]) != 1:
            continue
        (behind,) = targets[name]
        if len(origins[behind]) == 1:
            parts[name] += parts.pop(behind)
            targets[name] = targets[behind]
            for other in targets[name]:
                origins[other].discard(behind)
                origins[other].add(name)
