"""How the time to compile a graph grows with its size. Linear growth is a ratio of about 1.

Each figure is the best of some tries, in processor time: what the machine does besides only ever adds. Every try has a
graph of its own, so that no expression was parsed before.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from functools import partial

from bench import graphs
from bench.report import Cell, Figures, Progress
from chalicelib.compiler.asl.emit import Definition, emit
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Plan
from chalicelib.foundation.json_types import canonical
from chalicelib.graph.validate import errors
from chalicelib.nodes.registry import CATALOG
from tests.runs import parsed

SIZES = (10, 100, 1_000, 10_000)
SHAPES: dict[str, Callable[[int], graphs.Shape]] = {
    "chain": graphs.chain,
    "fan-out and join": graphs.fan_out,
    "layers at random": graphs.layered,
    "chain, an expression each": graphs.chain_of_expressions,
}
_TRIES = {10: 20, 100: 10, 1_000: 5, 10_000: 2}
_FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:millrace-prod-node"
_MACHINES = "arn:aws:states:eu-central-1:123456789012:stateMachine:millrace-prod-"

COLUMNS = (
    "graph", "nodes", "validate, µs/node", "plan, µs/node", "emit, µs/node", "plan, B/node", "ASL, B/node",
    "machines",
)  # fmt: skip
GROWTH = ("graph", "validate", "plan", "emit")


def measure(progress: Progress) -> Sequence[Figures]:
    """Times per node, and the times per node of the largest graph over those of one a tenth as large."""
    rows: list[list[Cell]] = []
    growth: list[list[Cell]] = []
    for name, make in SHAPES.items():
        by_size = {}
        for size in SIZES:
            progress(f"{name}, {size:,} nodes")
            times, sizes = _compiled(partial(make, size), _TRIES[size])
            by_size[size] = times
            rows.append([name, size, *times, *sizes])
        large, small = by_size[SIZES[-1]], by_size[SIZES[-2]]
        growth.append([name, *(a / b for a, b in zip(large, small, strict=True))])
    return [
        Figures("Compiling", COLUMNS, rows),
        Figures("Time per node at 10,000 nodes over that at 1,000", GROWTH, growth),
    ]


def _compiled(make: Callable[[], graphs.Shape], tries: int) -> tuple[list[float], list[Cell]]:
    """Microseconds per node of each stage, and bytes per node of what comes out."""
    graph = parsed(make())
    size = len(graph.nodes)
    plan = compile_plan(graph, CATALOG)
    definition = _definition(plan)
    seconds = [
        min(_seconds(partial(errors, parsed(make()), CATALOG)) for _ in range(tries)),
        min(_seconds(partial(compile_plan, parsed(make()), CATALOG)) for _ in range(tries)),
        min(_seconds(partial(_definition, plan)) for _ in range(tries)),
    ]
    texts = [definition.text, *definition.children.values()]
    sizes: list[Cell] = [len(canonical(plan.to_json())) / size, sum(map(len, texts)) / size, len(texts)]
    return [stage * 1e6 / size for stage in seconds], sizes


def _definition(plan: Plan) -> Definition:
    return emit(plan, _FUNCTION, "millrace-prod", _MACHINES)


def _seconds(stage: Callable[[], object]) -> float:
    """The garbage collector is part of it, but looks at nothing that was there before."""
    gc.collect()
    gc.freeze()
    try:
        began = time.process_time()
        stage()
        return time.process_time() - began
    finally:
        gc.unfreeze()
