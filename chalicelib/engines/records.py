"""Where an engine keeps the records of a run: in the store, step by step, or in memory until the run has ended.

``Records`` is what ``engines.step`` and the end of a run need. ``store.executions`` has it for every engine;
``MemoryRecords`` has it for a run that one process begins and ends by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Protocol, TypeAlias

from chalicelib.graph.executions import Attempt, Execution, RunEnd, StepRecord, StepStatus
from chalicelib.store.executions import ExecutionRepository, RunSnapshot
from chalicelib.store.table import ConditionFailed, Write

StepKey: TypeAlias = tuple[str, str]  #: node id and path


class Recording(StrEnum):
    """When the steps of a run that a process runs by itself are written, and so what its death costs."""

    STEP = "step"  # each as it happens: nodes that are under way run again
    RUN = "run"  # all at the end, in one transaction where they fit: every node runs again, and nobody sees any before


class StepRecords(Protocol):
    """What running a node needs of the records of runs. Every write is safe to repeat: what is final stays as it is."""

    def load_steps(self, organization_id: str, execution_id: str, wanted: Iterable[StepKey], /) -> RunSnapshot:
        """An execution and some of its steps."""

    def failed_below(self, organization_id: str, execution_id: str, path: str, /) -> Mapping[StepKey, StepRecord]:
        """The steps that failed in items of loops that stand at ``path``."""

    def begin_step(self, execution: Execution, record: StepRecord, /) -> StepRecord:
        """Notes a new attempt at a node, beside those of ``record``.

        Raises ``ConditionFailed`` where the node is decided, or another attempt was begun.
        """

    def end_attempt(self, execution: Execution, record: StepRecord, finished_at: str, /) -> None:
        """Notes that the last attempt of ``record`` is over, in a record that others have written since."""

    def write_step(
        self,
        execution: Execution,
        record: StepRecord,
        skipped: Sequence[StepRecord] = (),
        also: Sequence[Write] = (),
    ) -> StepRecord:
        """Writes a record over one that is not final, with what it decides to skip; returns what is recorded now.

        ``also`` are writes of the same transaction, where the records are in the store. Raises ``ConditionFailed``
        where a condition of theirs does not hold.
        """

    def skip(self, execution: Execution, records: Sequence[StepRecord], /) -> None:
        """Records steps that are decided not to run."""


class Records(StepRecords, Protocol):
    """The records of runs, from their beginning to their end."""

    def load_end(self, organization_id: str, execution_id: str, /) -> RunSnapshot:
        """An execution and all its steps, those within loops perhaps without what they put out."""

    def write_unentered(self, execution: Execution, records: Iterable[StepRecord], /) -> None:
        """Records steps that no round ever enters."""

    def finish(self, execution: Execution, end: RunEnd, closed: Sequence[StepRecord] = ()) -> bool:
        """Ends a run and ``closed`` steps of it. False where it had ended before: then nothing is changed."""


def begun_again(execution: Execution, earlier: StepRecord | None, record: StepRecord) -> StepRecord:
    """A record with one attempt more, of the present round. Raises ``ConditionFailed`` where the node is decided."""
    assert record.started_at is not None
    if earlier is not None and earlier.status.is_final:
        raise ConditionFailed
    attempt = Attempt(record.started_at, round=execution.round)
    if earlier is None:
        return replace(record, attempts=(attempt,))
    attempts = (*earlier.attempts, attempt)
    began = earlier.started_at or record.started_at
    return replace(earlier, status=record.status, started_at=began, attempts=attempts, late=record.late)


class MemoryRecords:
    """The records of one run, in memory; ``finish`` writes them all.

    ``known`` is what is recorded of the run already. Nobody else sees a step before the end, and a death before it
    loses them all: whoever takes the run up then runs every node again.
    """

    def __init__(self, store: ExecutionRepository, known: RunSnapshot) -> None:
        assert known.execution is not None
        self._store = store
        self._execution = known.execution
        self._stored = known.steps
        self._steps = dict(known.steps)
        self._lock = threading.Lock()

    def load_end(self, _organization_id: str, _execution_id: str) -> RunSnapshot:
        with self._lock:
            return RunSnapshot(self._execution, dict(self._steps))

    def load_steps(self, _organization_id: str, _execution_id: str, wanted: Iterable[StepKey]) -> RunSnapshot:
        steps = self._steps
        return RunSnapshot(self._execution, {key: step for key in wanted if (step := steps.get(key)) is not None})

    def failed_below(self, _organization_id: str, _execution_id: str, path: str) -> Mapping[StepKey, StepRecord]:
        with self._lock:
            steps = list(self._steps.items())
        below = f"{path}["
        return {key: step for key, step in steps if key[1].startswith(below) and step.status is StepStatus.FAILED}

    def begin_step(self, execution: Execution, record: StepRecord) -> StepRecord:
        with self._lock:
            begun = begun_again(execution, self._steps.get((record.node_id, record.path)), record)
            self._steps[record.node_id, record.path] = begun
        return begun

    def write_step(
        self,
        _execution: Execution,
        record: StepRecord,
        skipped: Sequence[StepRecord] = (),
        also: Sequence[Write] = (),
    ) -> StepRecord:
        self._store.write_each(also)
        with self._lock:
            earlier = self._steps.get((record.node_id, record.path))
            if earlier is not None and earlier.status.is_final:
                return earlier
            self._steps[record.node_id, record.path] = record
            self._skip(skipped)
        return record

    def end_attempt(self, _execution: Execution, record: StepRecord, finished_at: str) -> None:
        """Nothing: within one process nobody waits for an attempt that came too late."""

    def skip(self, execution: Execution, records: Sequence[StepRecord]) -> None:
        self.write_unentered(execution, records)

    def write_unentered(self, _execution: Execution, records: Iterable[StepRecord]) -> None:
        with self._lock:
            self._skip(records)

    def finish(self, execution: Execution, end: RunEnd, closed: Sequence[StepRecord] = ()) -> bool:
        for step in closed:
            self.write_step(execution, step)
        return self._store.finish_whole(execution, self._new(), end)

    def hand_over(self) -> None:
        """Writes what is known so far, for whoever goes on with the run."""
        self._store.hand_over(self._execution, self._new())

    def _new(self) -> list[StepRecord]:
        with self._lock:
            return [step for key, step in self._steps.items() if step is not self._stored.get(key)]

    def _skip(self, records: Iterable[StepRecord]) -> None:
        for record in records:
            known = self._steps.get((record.node_id, record.path))
            if known is None:
                self._steps[record.node_id, record.path] = record
            elif known.status is StepStatus.PENDING:  # set aside: its history stays
                again = replace(record, attempts=known.attempts, since=known.since)
                self._steps[record.node_id, record.path] = again
