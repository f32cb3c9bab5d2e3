"""What a run has come to, counted by its records: what ``estimate`` guesses before a run, known behind it.

The regions of the plan are gone through once for the top level and once for each item of a loop, by the records of
that path: what has none was not entered, and of a choice counts the case whose port was taken. So the count needs no
history of Step Functions, and the records of one path at a time.

Whether a node was ready when it was visited stands in its record, which says in which round it has stood at its gate.

What leaves no record is not seen: a state in which a run was cut off before it reached a node, or at the gate of one;
tries again of what could not be begun; and where a time limit cut something off, whether the state behind it was
reached, which may come to two transitions for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from chalicelib.compiler.asl.emit import planned
from chalicelib.compiler.asl.layout import Caps, Layout
from chalicelib.compiler.estimate import MISS, START, Cost
from chalicelib.compiler.plan import (
    Case,
    Chain,
    Choice,
    Gate,
    Loop,
    Parallel,
    Part,
    Plan,
    PlanNode,
    Region,
    Series,
    Step,
    walk,
)
from chalicelib.graph.executions import StepRecord, StepStatus
from chalicelib.nodes.control import wait
from chalicelib.nodes.io import script

NOTHING = Cost()


def tally(plan: Plan, steps: Iterable[StepRecord], round: int, layout: Layout | None = None) -> Cost:
    """What ``round`` of a run has come to: transitions and invocations.

    ``steps``: all records of the run, those of one path side by side. A step that an earlier round has decided is
    passed through once more.
    """
    scopes = _Scopes(plan, layout or planned(plan))
    total = START
    for path, group in groupby(steps, key=lambda step: step.path):
        records = {step.node_id: step for step in group if step.status is not StepStatus.PENDING}
        total += _Passage(plan, scopes.layout, records, round).cost(scopes.region(path, records))
    return total


def milliseconds(steps: Iterable[StepRecord]) -> int:
    """How long functions ran for the attempts at all steps; a script runs in one while another waits for it."""
    return sum(
        attempt.ms * (2 if step.node_type == script.TYPE.name else 1) for step in steps for attempt in step.attempts
    )


class _Scopes:
    """The regions that are gone through once for each path: the top level, and the bodies of loops."""

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self._plan = plan
        self.layout = layout
        self._bodies = {region.node: region.body for region in walk(layout.root.region) if isinstance(region, Loop)}

    def region(self, path: str, records: Mapping[str, StepRecord]) -> Region | None:
        if not path:
            return self.layout.root.region
        loops = next((self._plan.nodes[name].loops for name in records), ())
        return self._bodies[loops[-1]] if loops else None


@dataclass(frozen=True)
class _Passage:
    """One way through a scope."""

    plan: Plan
    layout: Layout
    records: Mapping[str, StepRecord]  # by node
    round: int

    def cost(self, region: Region | None, last: bool = True) -> Cost:
        """``last``: whether nothing comes behind the region in its branch."""
        match region:
            case None:
                return NOTHING
            case Step(node):
                return self._step(self.plan.nodes[node])
            case Chain(nodes):
                return self._visits(nodes)
            case Choice(node, cases):
                return self._choice(self.plan.nodes[node], cases, last)
            case Loop(node, body, _):
                return self._loop(self.plan.nodes[node], body)
            case Series(parts):
                *before, behind = parts
                return sum((self.cost(part, last=False) for part in before), self.cost(behind, last))
            case Parallel(branches):
                return _with(Cost(transitions=1), sum(map(self.cost, branches), NOTHING))
            case Gate(node, _, behind):
                return _with(self._gate(node) if region.is_tried else Cost(transitions=1), self.cost(behind, last))
            case Part(_, whole):
                return _with(Cost(transitions=1) + START, self.cost(whole))

    def _gate(self, node: str) -> Cost:
        record = self.records.get(node)
        return MISS if record is not None and record.late == self.round else NOTHING

    def _choice(self, node: PlanNode, cases: tuple[Case, ...], last: bool) -> Cost:
        record = self.records.get(node.id)
        if record is None or _ends_here(node, record):
            return NOTHING
        for case in cases:
            if case.port == record.port:
                return Cost(transitions=1) + self.cost(case.region, last)
        return Cost(transitions=2 if last else 1)  # a branch cannot end with a Choice

    def _step(self, node: PlanNode) -> Cost:
        record = self.records.get(node.id)
        if record is None:
            return NOTHING
        total = self._visits([node.id])
        ends_here = _ends_here(node, record)
        if _is_settled(node, record):
            total += Cost(1, 1)
        if node.type != wait.TYPE.name and not node.awaits:
            return total
        if not ends_here or record.until or record.gate:
            total += Cost(transitions=1)
        return total if ends_here else total + Cost(1, 1)

    def _visits(self, names: Iterable[str]) -> Cost:
        """Of the one Task that runs these nodes: each further attempt at one of them is a further try of it."""
        records = [self.records[name] for name in names if name in self.records]
        if not records:
            return NOTHING
        again = sum(max(0, self._attempts(record) - 1) for record in records)
        scripts = sum(max(1, self._attempts(record)) for record in records if record.node_type == script.TYPE.name)
        return Cost(1 + again, 1 + again + scripts)

    def _attempts(self, record: StepRecord) -> int:
        return sum(attempt.round == self.round for attempt in record.attempts)

    def _loop(self, node: PlanNode, body: Region | None) -> Cost:
        total = self._visits([node.id])
        record = self.records.get(node.id)
        if record is None or body is None:
            return total
        if record.count is None and _ends_here(node, record):
            return total
        total += Cost(transitions=1) + _spread(record.count or 0, self.layout.caps[node.id])
        if _is_settled(node, record):
            total += Cost(1, 1)
        return total if _ends_here(node, record) else total + Cost(1, 1)


def _with(own: Cost, within: Cost) -> Cost:
    """What a state comes to with what is in it: nothing where nothing in it was reached."""
    return NOTHING if within == NOTHING else own + within


def _ends_here(node: PlanNode, record: StepRecord) -> bool:
    """Whether nothing came behind a step: it was cut off, or the run has failed with it."""
    if record.status is StepStatus.FAILED and node.contained:
        return False
    return record.port is None and record.status is not StepStatus.SKIPPED


def _is_settled(node: PlanNode, record: StepRecord) -> bool:
    """Whether Step Functions has cut a node off, and then had that recorded: its errors have names of their own."""
    if not node.settles or record.status is not StepStatus.FAILED or record.error is None:
        return False
    return record.count is not None or record.error.name.startswith(("States.", "Lambda.", "Runtime.", "Sandbox."))


def _spread(count: int, caps: Caps) -> Cost:
    """Transitions from the size of a loop to its items, by ``stepfn_templates/size.json`` and ``range.json``."""
    if count <= caps.inline:
        return Cost(transitions=1 if caps.inline else 0)
    return Cost(transitions=1) + _range(count, caps, caps.ranges_at_once)


def _range(count: int, caps: Caps, at_once: int) -> Cost:
    """An execution of a range: its start, a Choice, a Map; of items, or of the ranges that it falls into."""
    total = START + Cost(transitions=2)
    if count <= (caps.in_range if at_once == 1 else min(caps.in_range, caps.at_once)):
        return total
    size = max(math.ceil(count / caps.ranges), min(caps.in_range, math.ceil(count / at_once)))
    whole, rest = divmod(count, size)
    parts = [size] * whole + ([rest] if rest else [])
    return sum((Cost(transitions=1) + _range(part, caps, 1) for part in parts), total)
