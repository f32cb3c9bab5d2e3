"""Puts nodes into one visit of the runner that need no state of their own."""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.compiler.plan import Case, Chain, Choice, Gate, Loop, Parallel, Part, PlanNode, Region, Series, Step
from chalicelib.graph.model import Retry
from chalicelib.nodes.registry import Registry

#: Nodes of a chain. Each is recorded as it ends, so it is no matter of safety how many there are: it bounds what one
#: visit reads at once, and how late a cancelled run is noticed.
MAX_CHAIN = 40


def fuse(region: Region, is_fusible: Callable[[str], bool]) -> Region:
    """The region with a ``Chain`` wherever fusible nodes follow each other, in the same order as before.

    A gate may stand before the first, and a choice may follow the last, whose port is that of the chain.

    Example: ``series(a, b, parallel(c, d))`` becomes ``series(chain(a, b), parallel(c, d))``.
    """
    match region:
        case Series(parts):
            fused: list[Region] = []
            run: list[Region] = []  # parts that will make one chain
            for part in parts:
                if not (_follows(part, is_fusible) and len(run) < MAX_CHAIN):
                    fused += _chained(run)
                    run = []
                if _follows(part, is_fusible) or _leads(part, is_fusible):
                    run.append(part)
                else:
                    fused.append(fuse(part, is_fusible))
            fused += _chained(run)
            return fused[0] if len(fused) == 1 else Series(tuple(fused))
        case Parallel(branches):
            return Parallel(tuple(fuse(branch, is_fusible) for branch in branches))
        case Choice(node, cases):
            return Choice(node, tuple(Case(case.port, fuse(case.region, is_fusible)) for case in cases))
        case Loop(node, body, limit):
            return Loop(node, body and fuse(body, is_fusible), limit)
        case Gate(node, awaits, behind):
            return Gate(node, awaits, fuse(behind, is_fusible))
        case Step() | Chain() | Part():
            return region


def is_fusible(node: PlanNode, catalog: Registry) -> bool:
    """Whether a node may share a visit: its type says so, and no setting asks for a retry, limit or way out of it."""
    kind = catalog.find(node.type)
    return kind is not None and kind.fusible and not node.settles and node.retry == Retry()


def _follows(part: Region, is_fusible: Callable[[str], bool]) -> bool:
    return isinstance(part, Step) and is_fusible(part.node)


def _leads(part: Region, is_fusible: Callable[[str], bool]) -> bool:
    return isinstance(part, Gate) and _follows(part.region, is_fusible)


def _chained(run: list[Region]) -> list[Region]:
    if len(run) < 2:
        return run
    names = tuple(part.node for part in run if isinstance(part, (Step, Gate)))
    first = run[0]
    return [Gate(first.node, first.awaits, Chain(names)) if isinstance(first, Gate) else Chain(names)]
