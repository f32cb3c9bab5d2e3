"""Which records are set aside when a run that has ended, or is held, is taken up again.

A record that is set aside goes back to undecided and keeps its attempts, as history. Two rules say which:

- **What failed.** A step that failed for good, or was cancelled, is decided anew. So is one whose failure the run went
  on from, unless a step downstream of it has succeeded: what succeeded never runs a second time by itself. Steps
  downstream that were skipped may run this time, so they are set aside too.
- **From a step.** That step and all that is downstream of it, whatever became of them; of the rest what ended the run.

Those that were cut off go on where they were, as after a pause: a loop keeps its items, a wait its time, and what a
handler still brings that nobody could stop is welcome. The others begin anew (``StepRecord.since``).

All of it is computed from the records alone and from nothing else, and comes to nothing when it is done: who dies in
the middle is followed by whoever does it again. For that what is downstream comes first: a step tells why those behind
it are set aside, as long as it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from chalicelib.compiler.plan import Plan, PlanNode
from chalicelib.engines.failures import uncaught
from chalicelib.engines.inputs import path_to
from chalicelib.graph.executions import StepRecord, StepStatus
from chalicelib.graph.structure import topological_order
from chalicelib.nodes.control import sub_workflow

Place = tuple[str, str]  # node id and path
Steps = Mapping[Place, StepRecord]
Change = tuple[StepRecord, StepRecord]  # as it is, and as it is to be


def reopen(plan: Plan, records: Steps, round: int, steps: Sequence[str], now: str) -> list[Change]:
    """What the records of a run have to become before ``round`` begins, from ``steps`` on if there are any."""
    again = _Reopening(plan, records, round, now)
    became = {**again.failed(handled=not steps), **again.from_steps(steps)}
    changes = [(records[place], record) for place, record in became.items() if record != records[place]]
    return sorted(changes, key=lambda change: again.order[change[0].node_id], reverse=True)


@dataclass(frozen=True)
class _Reopening:
    plan: Plan
    records: Steps
    round: int
    now: str

    def failed(self, *, handled: bool) -> dict[Place, StepRecord]:
        """``handled``: failures that the run went on from as well."""
        cancelled = [record for record in self.records.values() if record.status is StepStatus.CANCELLED]
        ended = [*cancelled, *self._uncaught]
        if handled:
            ended += self._without_success()
        behind = {_place(record) for node, of_node in _by_node(ended).items() for record in self._fed_by(node, of_node)}
        became = {
            _place(record): self._anew(record) if _place(record) in behind else self._once_more(record)
            for record in ended
        }
        for place in behind:
            if self.records[place].status is StepStatus.SKIPPED:
                became[place] = self._anew(self.records[place])
        return became

    @cached_property
    def _uncaught(self) -> list[StepRecord]:
        return uncaught(self.plan, self.records)

    def from_steps(self, steps: Sequence[str]) -> dict[Place, StepRecord]:
        found = {}
        for step in steps:
            anew, results = self._dependents(step)
            for place, record in self.records.items():
                if place[0] == step or place[0] in anew:
                    found[place] = self._anew(record)
                elif place[0] in results and place not in found:
                    found[place] = replace(self._anew(record), items=record.items, count=record.count)
        return found

    def _without_success(self) -> Iterator[StepRecord]:
        """Failures that the run went on from, and of which nothing has come that succeeded."""
        ended = {_place(record) for record in self._uncaught}
        failures = [
            record
            for place, record in self.records.items()
            if record.status is StepStatus.FAILED and place not in ended
        ]
        for node, of_node in _by_node(failures).items():
            anew, results = self._dependents(node)
            reaches = self._depths(node, anew | results)
            blocked = {
                (depth, path_to(record.path, depth))
                for record in self.records.values()
                if record.status is StepStatus.SUCCEEDED and (depth := reaches.get(record.node_id)) is not None
            }
            for failure in of_node:
                if not any((depth, path_to(failure.path, depth)) in blocked for depth in set(reaches.values())):
                    yield failure

    def _fed_by(self, node: str, of_node: Sequence[StepRecord]) -> Iterator[StepRecord]:
        """The records of steps whose input depends on these ones of ``node``."""
        anew, _ = self._dependents(node)
        reaches = self._depths(node, anew)
        paths = {(depth, path_to(record.path, depth)) for depth in set(reaches.values()) for record in of_node}
        for record in self.records.values():
            depth = reaches.get(record.node_id)
            if depth is not None and (depth, path_to(record.path, depth)) in paths:
                yield record

    def _depths(self, node: str, others: Iterable[str]) -> dict[str, int]:
        """In how many loops these are together with ``node``: there only the same iteration is concerned."""
        loops = self.plan.nodes[node].loops
        return {name: _shared(loops, self.plan.nodes[name].loops) for name in others}

    def _dependents(self, node: str) -> tuple[set[str], set[str]]:
        """The nodes whose input depends on a node, and the loops around it: of these only the results do."""
        anew: set[str] = set()
        results: set[str] = set()
        stack = [node]
        while stack:
            name = stack.pop()
            loops = self.plan.nodes[name].loops
            if loops and loops[-1] != node and loops[-1] not in anew | results:
                results.add(loops[-1])
                stack.append(loops[-1])
            for target in self._successors[name]:
                inside = name in results - anew and name in self.plan.nodes[target].loops
                if target not in anew and not inside:
                    anew.add(target)
                    stack.append(target)
        return anew, results

    @cached_property
    def order(self) -> dict[str, int]:
        """The place of each node in an order in which none stands before one that it depends on."""
        return {name: place for place, name in enumerate(topological_order(self.plan.nodes, self._successors))}

    @cached_property
    def _successors(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, dict[str, None]] = {name: {} for name in self.plan.nodes}
        for node in self.plan.nodes.values():
            for edge in node.inbound:
                if edge.source in found:
                    found[edge.source][node.id] = None
        return {name: list(targets) for name, targets in found.items()}

    def _once_more(self, record: StepRecord) -> StepRecord:
        asked = record.gate is not None or _has_ended_with_it(self.plan.nodes[record.node_id])
        if not record.is_cut_off or asked:  # whom it asks was told that it is over
            return replace(self._anew(record), items=record.items, count=record.count)
        status = StepStatus.RUNNING if record.until is None else StepStatus.WAITING
        return replace(record, status=status, error=None, finished_at=None)

    def _anew(self, record: StepRecord) -> StepRecord:
        attempts = record.attempts
        if record.is_cut_off and (record.until or record.gate or record.count is not None):
            # A loop, or it waits: no handler is at work, though the attempt has no end.
            attempts = (*attempts[:-1], replace(attempts[-1], finished_at=self.now))
        return StepRecord(
            node_id=record.node_id,
            path=record.path,
            status=StepStatus.PENDING,
            node_type=record.node_type,
            label=record.label,
            attempts=attempts,
            since=self.round,
            order=record.order,
        )


def _has_ended_with_it(node: PlanNode) -> bool:
    """Whether what a node may have begun, before it came to wait for it, was ended with the run."""
    return node.type == sub_workflow.TYPE.name and node.config.get("wait") is not False


def _place(record: StepRecord) -> Place:
    return record.node_id, record.path


def _by_node(records: Iterable[StepRecord]) -> dict[str, list[StepRecord]]:
    found: dict[str, list[StepRecord]] = {}
    for record in records:
        found.setdefault(record.node_id, []).append(record)
    return found


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many loops, from the outermost on, are the same."""
    return next(
        (depth for depth, (left, right) in enumerate(zip(one, other, strict=False)) if left != right),
        min(len(one), len(other)),
    )
