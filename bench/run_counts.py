"""Counts of whole runs: state transitions, and calls to DynamoDB, of which most of the price of a run is made.

The runs are real but for AWS: the state machine that was emitted is walked state by state, and each Task calls the node
runner (``tests/state_machines.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench import graphs
from bench.aws import ACCOUNT, BUCKET, REGION, aws_in_process, sdk
from bench.report import Cell, Figures, Progress
from chalicelib.bootstrap import services
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.foundation.settings import Settings
from chalicelib.nodes.registry import CATALOG
from tests.fakes import Calls, FakeClock, watched
from tests.runs import OWNER, Runs, parsed
from tests.state_machines import StepFunctions

MAX_READS, MAX_WRITES = 1, 2  # of a visit, be it of a node or of a chain
_CONTROL = ("Parallel", "Choice", "Map")  # states that may cost a transition of their own
_CHAINED = 0.5  # transitions per node of a chain of short nodes
_DATA_KEY = "weather.csv"

COLUMNS = (
    "graph", "nodes", "transitions", "limit", "reads of a visit", "writes of a visit",
    "calls at start", "in nodes", "at end", "to S3",
)  # fmt: skip


def measure(progress: Progress) -> Sequence[Figures]:
    """One table; ``broken`` where a run takes more than is allowed."""
    inputs = {"bucket": BUCKET, "key": _DATA_KEY, "reportKey": "report.md", "threshold": 35}
    shapes: list[tuple[str, graphs.Shape, dict[str, Any]]] = [
        ("chain of 20", graphs.chain(20), {}),
        ("chain of 20 states", graphs.chain_of_states(20), {}),
        ("fan-out of 10, and a join", graphs.fan_out(12), {}),
        ("demo", graphs.demo(), inputs),
    ]
    counts = []
    with aws_in_process():
        sdk("s3").put_object(Bucket=BUCKET, Key=_DATA_KEY, Body=(graphs.WEATHER / "seattle-weather.csv").read_bytes())
        for name, shape, given in shapes:
            progress(name)
            counts.append(RunCount(name, shape, given))
    rows = [count.row() for count in counts]
    broken = [fault for count in counts for fault in count.broken()]
    return [Figures("State transitions and DynamoDB calls of one run", COLUMNS, rows, broken)]


class RunCount:
    """What one run took."""

    def __init__(self, name: str, shape: graphs.Shape, inputs: Mapping[str, Any]) -> None:
        self.name = name
        self.nodes = len(shape["nodes"])
        self.visits: dict[str, tuple[int, int]] = {}  #: reads and writes, by node or first node of a chain
        self._plan = compile_plan(parsed(shape), CATALOG)
        # Time stands still: how often a long chain looks up depends on it, and a count is not to depend on a machine.
        wired = services(Settings.from_environment(), clock=FakeClock())
        runs = Runs(wired, StepFunctions(ACCOUNT, REGION))
        workflow = runs.workflow({"nodes": shape["nodes"], "connections": shape["connections"]})
        with watched(sdk("dynamodb")) as calls, watched(sdk("s3")) as objects:
            execution_id = wired.executions.start(OWNER, workflow, inputs=dict(inputs))
            self.at_start = _taken(calls)
            self.walk = runs.walk(execution_id, lambda event: self._visit(runs, calls, event))
            runs.tell_end(execution_id)
            self.at_end = _taken(calls)
            self.objects = len(objects.operations)
        detail = runs.detail(execution_id)
        assert str(detail.execution.status) == "succeeded", detail.execution.error
        assert all(step.status.is_final for step in detail.steps)

    def _visit(self, runs: Runs, calls: Calls, event: dict[str, Any]) -> dict[str, Any]:
        calls.clear()
        answer = runs.invoke(event)
        node = event["node"]
        reads, writes = self.visits.get(node, (0, 0))
        self.visits[node] = (reads + calls.reads, writes + calls.writes)
        calls.clear()
        return answer

    @property
    def transitions(self) -> int:
        return len(self.walk.visited)

    @property
    def most_transitions(self) -> int:
        control = sum(state["Type"] in _CONTROL for state in states_of(self.walk.definition))
        chained = sum(map(len, self._plan.chains.values()))
        return int(self.nodes - chained + _CHAINED * chained) + control

    @property
    def worst(self) -> tuple[int, int]:
        """Reads and writes of a visit, where most of each are made."""
        reads, writes = zip(*self.visits.values(), strict=True)
        return max(reads), max(writes)

    def row(self) -> list[Cell]:
        in_nodes = sum(map(sum, self.visits.values()))
        figures = (self.nodes, self.transitions, self.most_transitions, *self.worst)
        return [self.name, *figures, self.at_start, in_nodes, self.at_end, self.objects]

    def broken(self) -> Iterator[str]:
        if self.transitions > self.most_transitions:
            yield f"{self.name}: {self.transitions} transitions, {self.most_transitions} at most"
        for node, (reads, writes) in self.visits.items():
            if reads > MAX_READS or writes > MAX_WRITES:
                yield f"{self.name}: node {node} takes {reads} reads and {writes} writes"


def _taken(calls: Calls) -> int:
    number = len(calls.operations)
    calls.clear()
    return number


def states_of(machine: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All states of a definition, those in branches and loops too."""
    for state in machine["States"].values():
        yield state
        inner = [*state.get("Branches", ()), *filter(None, [state.get("ItemProcessor")])]
        for part in inner:
            yield from states_of(part)
