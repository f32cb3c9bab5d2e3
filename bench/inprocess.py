"""The in-process engine: what it adds to a node that does nothing, where no record leaves the process.

Engine, node runner and records in memory are the real ones; the wall clock runs from the first node to the last. Nodes
are ``set-fields`` with a constant and, in one of the graphs, a transform with an expression of its own.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence

from bench import graphs
from bench.aws import aws_in_process
from bench.report import Cell, Figures, Progress
from chalicelib.bootstrap import lambda_services
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.engines.inprocess import InProcessEngine
from chalicelib.engines.records import MemoryRecords, Recording, Records
from chalicelib.foundation.clock import SystemClock, timestamp
from chalicelib.graph.executions import Execution, ExecutionStatus, Trigger
from chalicelib.graph.model import Graph
from chalicelib.nodes.registry import CATALOG
from chalicelib.store.executions import RunSnapshot

SIZE = 10_000
RUNS = 3

COLUMNS = ("graph", "nodes", "edges", "nodes/s, best", "median", "µs/node, best")


def measure(progress: Progress) -> Sequence[Figures]:
    """One table."""
    shapes = {
        "chain": graphs.chain(SIZE),
        "fan-out, and a join": graphs.fan_out(SIZE),
        "random layers of ten": graphs.layered(SIZE),
        "chain of expressions": graphs.chain_of_expressions(SIZE),
    }
    rows: list[list[Cell]] = []
    with aws_in_process():
        for name, shape in shapes.items():
            progress(name)
            seconds = [_run(shape) for _ in range(RUNS)]
            best = min(seconds)
            rows.append(
                [name, SIZE, len(shape["connections"]), round(SIZE / best), round(SIZE / statistics.median(seconds)),
                 best / SIZE * 1e6]
            )  # fmt: skip
        progress("random layers of ten, recorded step by step")
        seconds_recorded = _run(shapes["random layers of ten"], Recording.STEP)
    recorded: list[Cell] = ["random layers of ten", SIZE, seconds_recorded, seconds_recorded / SIZE * 1e3]
    return [
        Figures("In process, nothing recorded outside of it", COLUMNS, rows),
        Figures("In process, recorded step by step on moto", ("graph", "nodes", "seconds", "ms/node"), [recorded]),
    ]


def _run(shape: graphs.Shape, recording: Recording = Recording.RUN) -> float:
    """Seconds for one run of a graph, compiled before."""
    services = lambda_services()
    plan = compile_plan(Graph.from_json(shape), CATALOG)
    services._plans.put(plan)
    now = timestamp(SystemClock().now())
    trigger = Trigger("manual", "bench", services.payloads.put("bench", {"n": 1}))
    execution = Execution(
        id="exec_bench",
        organization_id="bench",
        workflow_id="wf_bench",
        status=ExecutionStatus.RUNNING,
        plan=plan.hash,
        machine="",
        trigger=trigger,
        tasks_total=plan.tasks_total,
        created_at=now,
    )
    records: Records = MemoryRecords(services._executions, RunSnapshot(execution, {}))
    if recording is Recording.STEP:
        services._executions.create(execution)
        records = services._executions
    engine = InProcessEngine(CATALOG, SystemClock())
    began = time.perf_counter()
    ended = asyncio.run(engine.run(execution, plan, services.steps.recording_to(records), recording))
    seconds = time.perf_counter() - began
    engine.close()
    assert ended.status is ExecutionStatus.SUCCEEDED, ended.error
    steps = records.load_end("bench", "exec_bench").steps
    assert len(steps) == SIZE
    assert all(step.status == "succeeded" for step in steps.values())
    return seconds
