"""How exact the dataflow of compiled plans is: simulated makespans over the critical path, and transitions per node.

No clock is involved: how long nodes take is given, and when each begins follows from the plan's regions as the engine
runs them. The critical path is the longest way through the graph, so nothing can be faster. Beside it stands what level
barriers would take, where each level of the graph waits for the whole of the one before.

Transitions are those of that run, each node with a state of its own: one with late joins takes two more where it is
reached longer before the last of them ends than a visit waits (``compiler.prices``), and none otherwise. Beside them
stands what it would be if each were reached too early, and what it is with chains fused, as these nodes only compute.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import graphs
from bench.recipes import recipes
from bench.report import Cell, Figures, Progress
from bench.simulation import Timed, earliest_ends, timed, with_barriers
from chalicelib.compiler import prices
from chalicelib.compiler.estimate import MISS, estimate
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.nodes.registry import CATALOG
from tests.runs import parsed

COLUMNS = (
    "graphs",
    "how many",
    "nodes",
    "makespan / critical path",
    "with level barriers",
    "at worst",
    "transitions / node",
    "every join missed",
    "fused",
    "joins missed",
)
MAX_TRANSITIONS = 1.15  # per node, in the median over all graphs, without fusion
_RANDOM_SIZES = (20, 50, 200)
_RANDOM_EACH = 10
_RANDOM = {f"random, {size} nodes": size for size in _RANDOM_SIZES}


def measure(progress: Progress) -> Sequence[Figures]:
    """``broken`` where a node waits for more than its predecessors, and where nodes take too many transitions."""
    rows: list[list[Cell]] = []
    broken: list[str] = []
    found: dict[str, list[_Measured]] = {}
    for family, members in _families():
        progress(f"{family}: {len(members)} graphs")
        measured = found[family] = [_measured(graph) for graph in members]
        sizes = sorted(graph["tasks"] for graph in members)
        shown = f"{sizes[0]:,}" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to {sizes[-1]:,}"
        exact, barriers = max(each.makespan for each in measured), [each.barriers for each in measured]
        rows.append(
            [family, len(members), shown, exact, statistics.median(barriers), max(barriers), *_medians(measured)]
        )
        if exact > 1 + 1e-9:
            broken.append(f"{family}: a makespan of {exact:.3f} critical paths")
    chosen = {
        "all": list(found),
        "all but random": [family for family in found if family not in _RANDOM],
        "random": list(_RANDOM),
    }
    for name, families in chosen.items():
        together = [each for family in families for each in found[family]]
        rows.append([name, len(together), "", None, None, None, *_medians(together)])
    median = statistics.median(each.transitions for measured in found.values() for each in measured)
    if median > MAX_TRANSITIONS:
        broken.append(f"{median:.3f} transitions per node in the median, {MAX_TRANSITIONS} at most")
    return [Figures("Exactness of the dataflow, simulated", COLUMNS, rows, broken)]


def _families() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    yield "chain", [_random_durations([(i, i + 1) for i in range(99)], 100)]
    by_recipe = itertools.groupby(recipes(), key=lambda graph: str(graph["name"]).rpartition("-")[0])
    yield from ((name, list(members)) for name, members in by_recipe)
    for name, size in _RANDOM.items():
        yield name, [_random_graph(size, seed) for seed in range(_RANDOM_EACH)]


def _random_graph(size: int, seed: int) -> dict[str, Any]:
    """Each node hangs under up to three of the twenty before it."""
    chance = random.Random(seed)
    edges = {
        (source, target)
        for target in range(1, size)
        for source in chance.sample(range(max(0, target - 20), target), min(target, chance.randint(0, 3)))
    }
    return _random_durations(sorted(edges), size, seed)


def _random_durations(edges: Sequence[tuple[int, int]], size: int, seed: int = 0) -> dict[str, Any]:
    chance = random.Random(seed)
    return {"tasks": size, "edges": edges, "seconds": [chance.uniform(0.3, 0.9) for _ in range(size)]}


@dataclass(frozen=True)
class _Measured:
    """Of one graph: makespan and that with level barriers, over the critical path; transitions per node as the run is,
    if every late join were missed, and with chains fused; and the share of nodes with late joins reached too early.
    """

    makespan: float
    barriers: float
    transitions: float
    at_most: float
    fused: float
    missed: float | None  # None without any


def _medians(measured: Sequence[_Measured]) -> list[Cell]:
    missed = [each.missed for each in measured if each.missed is not None]
    return [
        statistics.median(each.transitions for each in measured),
        statistics.median(each.at_most for each in measured),
        statistics.median(each.fused for each in measured),
        statistics.median(missed) if missed else None,
    ]


def _measured(graph: Mapping[str, Any]) -> _Measured:
    names = [f"n{index}" for index in range(graph["tasks"])]
    edges: dict[str, list[str]] = {name: [] for name in names}
    for source, target in graph["edges"]:
        edges[names[source]].append(names[target])
    seconds = dict(zip(names, graph["seconds"], strict=True))
    shape = parsed(graphs.shape(len(names), graph["edges"]))
    plan, fused = compile_plan(shape, CATALOG, fused=False), compile_plan(shape, CATALOG)
    run = timed(plan.root, seconds)
    tried, missed = _late(run)
    best = max(earliest_ends(names, edges, seconds).values())
    return _Measured(
        makespan=max(run.ends.values()) / best,
        barriers=with_barriers(names, edges, seconds) / best,
        transitions=(estimate(plan).run.transitions + missed * MISS.transitions) / len(names),
        at_most=estimate(plan).at_most.transitions / len(names),
        fused=(estimate(fused).run.transitions + _late(timed(fused.root, seconds))[1] * MISS.transitions) / len(names),
        missed=missed / tried if tried else None,
    )


def _late(run: Timed) -> tuple[int, int]:
    """How many nodes with late joins there are, and how many are visited for longer too early than they wait."""
    tried = [(gate, early) for gate, early in run.late if gate.is_tried]
    return len(tried), sum(early > prices.patience_s(len(gate.awaits)) for gate, early in tried)
