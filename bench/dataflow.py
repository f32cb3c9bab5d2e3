"""How exact the dataflow of compiled plans is: simulated makespans over the critical path, and transitions per node.

No clock is involved: how long nodes take is given, and when each begins follows from the plan's regions as the engine
runs them. The critical path is the longest way through the graph, so nothing can be faster. Beside it stands what level
barriers would take, where each level of the graph waits for the whole of the one before.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench import graphs
from bench.recipes import recipes
from bench.report import Cell, Figures, Progress
from bench.simulation import earliest_ends, ends, with_barriers
from chalicelib.compiler.estimate import estimate
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
)
MAX_TRANSITIONS = 1.15  # per node, in the median over the graphs that recipes made: a gate is one more
_RANDOM_SIZES = (20, 50, 200)
_RANDOM_EACH = 10
_RANDOM = {f"random, {size} nodes": size for size in _RANDOM_SIZES}


def measure(progress: Progress) -> Sequence[Figures]:
    """``broken`` where a node waits for more than its predecessors, and where nodes take too many transitions."""
    rows: list[list[Cell]] = []
    broken: list[str] = []
    per_node: list[float] = []
    for family, members in _families():
        progress(f"{family}: {len(members)} graphs")
        found = [_measured(graph) for graph in members]
        exact, barriers, transitions = (list(column) for column in zip(*found, strict=True))
        if family not in _RANDOM:
            per_node += transitions
        sizes = sorted(graph["tasks"] for graph in members)
        shown = f"{sizes[0]:,}" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to {sizes[-1]:,}"
        medians = [statistics.median(barriers), max(barriers), statistics.median(transitions)]
        rows.append([family, len(members), shown, max(exact), *medians])
        if max(exact) > 1 + 1e-9:
            broken.append(f"{family}: a makespan of {max(exact):.3f} critical paths")
    median = statistics.median(per_node)
    rows.append(["all but random", len(per_node), "", None, None, None, median])
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


def _measured(graph: Mapping[str, Any]) -> tuple[float, float, float]:
    """Makespan and that with level barriers, over the critical path; transitions per node."""
    names = [f"n{index}" for index in range(graph["tasks"])]
    edges: dict[str, list[str]] = {name: [] for name in names}
    for source, target in graph["edges"]:
        edges[names[source]].append(names[target])
    seconds = dict(zip(names, graph["seconds"], strict=True))
    plan = compile_plan(parsed(graphs.shape(len(names), graph["edges"])), CATALOG)
    best = max(earliest_ends(names, edges, seconds).values())
    return (
        max(ends(plan.root, seconds).values()) / best,
        with_barriers(names, edges, seconds) / best,
        estimate(plan).run.transitions / len(names),
    )
