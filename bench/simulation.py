"""How long a plan takes where nothing costs time but the nodes: its regions and gates as a graph of moments.

What Step Functions does with a state machine is said by the regions: a series goes on when a part has ended, a parallel
when all branches have, a gate when all that it awaits are decided. So each node begins at the latest of some other
moments, and one pass in their order finds them all. So it is known, too, which nodes are reached before their gates
would be open, and how long before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from chalicelib.compiler.plan import Chain, Gate, Parallel, Region, Series, Step
from chalicelib.graph.structure import Successors, topological_order

_START = -1


class _Moments:
    """Moments by number; ``after`` is what has to be over for each, ``node`` which node it is the end of, if of any."""

    def __init__(self, region: Region) -> None:
        self.after: dict[int, list[int]] = {_START: []}
        self.ended: dict[str, int] = {}
        self.node: dict[int, str] = {}
        self.opened: dict[int, tuple[int, Gate]] = {}  # when the gate was reached, by when it is open
        self._run(region, _START)
        for moment, (_, gate) in self.opened.items():
            self.after[moment] += [self.ended[name] for name in gate.awaits]

    def _run(self, region: Region, start: int) -> int:
        """The moment at which a region has ended that begins at ``start``."""
        match region:
            case Step(node):
                return self._node(node, start)
            case Chain(nodes):
                for node in nodes:
                    start = self._node(node, start)
                return start
            case Series(parts):
                for part in parts:
                    start = self._run(part, start)
                return start
            case Parallel(branches):
                return self._moment([self._run(branch, start) for branch in branches])
            case Gate(_, _, behind):
                opened = self._moment([start])
                self.opened[opened] = start, region
                return self._run(behind, opened)
        raise ValueError("what a run does then is known only when it runs")

    def _node(self, node: str, start: int) -> int:
        self.ended[node] = moment = self._moment([start])
        self.node[moment] = node
        return moment

    def _moment(self, after: list[int]) -> int:
        moment = len(self.after)
        self.after[moment] = after
        return moment


@dataclass(frozen=True)
class Timed:
    """A run of a region that begins at 0."""

    ends: Mapping[str, float]  # by node
    late: Sequence[tuple[Gate, float]]  # each gate, and how long before it was open it was reached


def timed(region: Region, seconds: Mapping[str, float]) -> Timed:
    """The run of a region without choices and loops, whose nodes take ``seconds``. Raises ``ValueError``."""
    moments = _Moments(region)
    at: dict[int, float] = {}
    for moment in TopologicalSorter(moments.after).static_order():
        begins = max((at[before] for before in moments.after[moment]), default=0)
        at[moment] = begins + seconds.get(moments.node.get(moment, ""), 0)
    late = [(gate, at[opened] - at[reached]) for opened, (reached, gate) in moments.opened.items()]
    return Timed({node: at[moment] for node, moment in moments.ended.items()}, late)


def ends(region: Region, seconds: Mapping[str, float]) -> Mapping[str, float]:
    """When each node of a region has ended; else as ``timed``."""
    return timed(region, seconds).ends


def earliest_ends(nodes: Sequence[str], edges: Successors, seconds: Mapping[str, float]) -> dict[str, float]:
    """When each node of a graph can have ended at the earliest; the last of them is its critical path."""
    begins = dict.fromkeys(nodes, 0.0)
    for node in topological_order(nodes, edges):
        for target in edges[node]:
            begins[target] = max(begins[target], begins[node] + seconds[node])
    return {node: begins[node] + seconds[node] for node in nodes}


def with_barriers(nodes: Sequence[str], edges: Successors, seconds: Mapping[str, float]) -> float:
    """How long a graph takes level by level, as other compilers run it: a level ends with the longest of its nodes."""
    level = dict.fromkeys(nodes, 0)
    longest: dict[int, float] = {}
    for node in topological_order(nodes, edges):
        longest[level[node]] = max(longest.get(level[node], 0), seconds[node])
        for target in edges[node]:
            level[target] = max(level[target], level[node] + 1)
    return sum(longest.values())
