"""Executions and their step records.

Every write carries the condition that makes it safe to repeat: a record that is final stays as it is, whoever comes
later and however often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from chalicelib.foundation.clock import parse_timestamp
from chalicelib.foundation.errors import Conflict
from chalicelib.graph.executions import (
    FINAL_STATUSES,
    Attempt,
    Execution,
    ExecutionStatus,
    Place,
    RunCost,
    RunEnd,
    StepOutline,
    StepRecord,
    StepStatus,
)
from chalicelib.graph.retention import end_of_retention
from chalicelib.store import keys, whole_runs
from chalicelib.store.claims import Claim, claim_write
from chalicelib.store.due import Due, due_items, postpone
from chalicelib.store.execution_items import (
    WITHOUT_PAYLOADS,
    attempt_item,
    cost_item,
    execution_item,
    execution_of,
    expires_at,
    step_item,
    step_of,
)
from chalicelib.store.lines import leaving
from chalicelib.store.table import ABSENT, TRANSACTION_ITEMS, ConditionFailed, Item, Table, Write, put, update

#: How many runs of an organisation are looked through for those that a user may see.
SEARCHED_RUNS = 5_000

_NOT_FINAL = "attribute_exists(pk) AND NOT #status IN (:f0, :f1, :f2, :f3)"
_STILL_THIS_ROUND = f"{_NOT_FINAL} AND round = :round"
_FINAL = {f"f{i}": str(status) for i, status in enumerate(sorted(FINAL_STATUSES))}
#: That no other delivery has decided the step, and nobody has set it aside.
_UNDECIDED = "(attribute_not_exists(pk) OR (#status IN (:pending, :running, :waiting) AND since = :since))"
_UNDECIDED_VALUES = {str(status): str(status) for status in StepStatus if not status.is_final}
#: That no attempt was begun since the record was read.
_NO_OTHER_ATTEMPT = "(attribute_not_exists(attempts) OR size(attempts) = :known)"
_AS_IT_IS = "#status = :was AND round = :round"
#: Where the steps of a run stand, see ``whole_runs``: each in an item of its own, which may be written; or all in that
#: of the execution. Then nobody reads step items that are there all the same: whoever made them was about to take the
#: run up, or they are left of an earlier run of this id, whose retention was over.
_IN_ITEMS = "attribute_not_exists(steps)"
_HELD = "attribute_exists(steps)"
_REOPENING = "#status = :queued AND round = :round AND attribute_exists(reopening)"

_TRANSACTION_BYTES = 3_500_000  # DynamoDB takes 4 MB in one, names of attributes included
_RECORD_BYTES = 20_000  # what a record holds at most beside its payloads, but for dozens of failed attempts


@dataclass(frozen=True, slots=True)
class IdempotentStart:
    """A start that a client may repeat."""

    key: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class EarlierStart:
    """What an Idempotency-Key was used for before."""

    execution_id: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """What one read brought of a run."""

    execution: Execution | None
    steps: Mapping[tuple[str, str], StepRecord]  # by node id and path

    @property
    def has_loops(self) -> bool:
        """Whether there may be steps within loops, as far as those outside tell: a loop may have been set aside."""
        taken_up = self.execution is not None and self.execution.round > 1
        return taken_up or any(step.items is not None for step in self.steps.values())


@dataclass(frozen=True, slots=True)
class ExecutionPage:
    total: int  # of all that match
    executions: tuple[Execution, ...]


class ExecutionRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def create(
        self, execution: Execution, start: IdempotentStart | None = None, also: Sequence[Write] = ()
    ) -> EarlierStart | None:
        """Records a run before it begins, with ``also``, which have no conditions.

        Returns the earlier start where the client's key was used before, and writes nothing then. Raises ``Conflict``
        where there is a run of this id, or where the one has ended that waits for it.
        """
        writes = [*creation(execution, start), *also]
        try:
            self._table.transact(writes) if len(writes) > 1 else self._table.write(writes[0])
        except ConditionFailed as error:
            return not_created(execution, start, error)
        return None

    def earlier_start(self, organization_id: str, key: str, now: datetime) -> EarlierStart | None:
        item = self._table.get(keys.idempotency(organization_id, key))
        if item is None or item["expiresAt"] < int(now.timestamp()):
            return None
        return EarlierStart(item["executionId"], item["requestHash"])

    def get(self, organization_id: str, execution_id: str) -> Execution | None:
        item = self._table.get(keys.execution(organization_id, execution_id))
        return execution_of(item) if item else None

    def load_run(self, organization_id: str, execution_id: str) -> RunSnapshot:
        """An execution and all its steps."""
        pk = keys.execution(organization_id, execution_id)["pk"]
        return _snapshot(self._table.query(pk))

    def load_outside(self, organization_id: str, execution_id: str) -> RunSnapshot:
        """An execution and its steps outside of loops."""
        pk = keys.execution(organization_id, execution_id)["pk"]
        return _snapshot(self._table.query(pk, at_most=("sk", keys.WITHIN_LOOPS)))

    def items_of_loops(
        self, organization_id: str, execution_id: str, first: int, end: int
    ) -> Mapping[tuple[str, str], StepRecord]:
        """Steps within loops in the order of their keys, from number ``first`` on, before number ``end``."""
        pk = keys.execution(organization_id, execution_id)["pk"]
        items = self._table.query(pk, prefix=("sk", keys.WITHIN_LOOPS), limit=end)
        return _snapshot(islice(items, first, None)).steps

    def load_end(self, organization_id: str, execution_id: str) -> RunSnapshot:
        """An execution and all its steps, those within loops that have ended well without what they put out: of a loop
        of many items neither reading nor keeping them takes much.
        """
        run = self.load_outside(organization_id, execution_id)
        if not run.has_loops:
            return run
        pk = keys.execution(organization_id, execution_id)["pk"]
        items = _snapshot(self._table.query(pk, prefix=("sk", keys.WITHIN_LOOPS), attributes=WITHOUT_PAYLOADS)).steps
        whole = self.load_steps(organization_id, execution_id, [key for key, step in items.items() if not step.is_well])
        return RunSnapshot(run.execution, {**run.steps, **items, **whole.steps})

    def load_steps(self, organization_id: str, execution_id: str, wanted: Iterable[tuple[str, str]]) -> RunSnapshot:
        """An execution and some of its steps, named by node id and path."""
        named = dict.fromkeys(wanted)
        steps = [keys.step(organization_id, execution_id, path, node) for node, path in named]
        run = _snapshot(self._table.get_many([keys.execution(organization_id, execution_id), *steps]))
        # With an execution that holds its steps all of them come.
        return RunSnapshot(run.execution, {key: step for key, step in run.steps.items() if key in named})

    def mark_running(self, execution: Execution, started_at: str) -> None:
        """Says that a round of a queued run has begun; of any other run it says nothing."""
        values = {"running": str(ExecutionStatus.RUNNING), "at": started_at, **_queued(execution)}
        expression = "SET #status = :running, startedAt = if_not_exists(startedAt, :at)"
        with suppress(ConditionFailed):  # it has run or even ended already
            condition = "#status = :queued AND round = :round"
            self._table.write(update(_key(execution), expression, condition, **values))

    def pause(self, execution: Execution, also: Sequence[Write] = ()) -> bool:
        """Holds a run, which gives up its place. False where it is no longer as it was read."""
        held = "SET #status = :status REMOVE place"
        return self._change(execution, held, [*leaving(execution), *also], status=str(ExecutionStatus.PAUSED))

    def take_up(
        self,
        execution: Execution,
        at: str,
        look_at: str,
        deadline: str | None,
        reopening: Sequence[str] | None,
        cost: RunCost | None,
        also: Sequence[Write] = (),
        line: Sequence[Write] = (),
    ) -> bool:
        """Queues a run for another round, as if it had never ended; with ``line``, the writes that do so, in line.

        False where it is no longer as it was read. Afterwards each of its steps is an item.
        """
        expression = "SET #status = :status, round = :next, takenUpAt = :at, dueList = :dueList, dueAt = :dueAt"
        values: dict[str, Any] = {
            "status": str(ExecutionStatus.QUEUED),
            "next": execution.round + 1,
            "at": at,
            "dueList": keys.due_runs(execution.id),
            "dueAt": look_at,
        }
        if deadline is not None:
            expression += ", deadline = :deadline"
            values["deadline"] = deadline
        if cost is not None:
            expression += ", cost = :cost"
            values["cost"] = cost_item(cost)
        if reopening is not None:
            expression += ", reopening = :reopening"
            values["reopening"] = list(reopening)
        if line:
            expression += ", place = :place"
            values["place"] = str(Place.WAITING)
        expression += " REMOVE finishedAt, tasksExecuted, leasedBy, leasedUntil, #output, #error"
        if deadline is None:
            expression += ", deadline"
        return self._change(execution, expression, [*line, *also], **values)

    def set_aside(self, execution: Execution, records: Sequence[tuple[StepRecord, StepRecord]]) -> None:
        """Replaces records that were read (the first of each pair) while the run is being reopened.

        Raises ``ConditionFailed``: with the index 0 where the run is not being reopened any more, else where a record
        has changed since it was read; then some are replaced and some are not.
        """
        check = Write("ConditionCheck", _key(execution), condition=_REOPENING, values=_queued(execution))
        size = TRANSACTION_ITEMS - 1
        for start in range(0, len(records), size):
            chunk = records[start : start + size]
            self._table.transact([check, *(_replaced(execution, old, new) for old, new in chunk)])

    def mark_reopened(self, execution: Execution) -> bool:
        """Says that all records are set aside. False where somebody has said so before, or the run goes another way."""
        try:
            self._table.write(update(_key(execution), "REMOVE reopening", _REOPENING, **_queued(execution)))
        except ConditionFailed:
            return False
        return True

    def _change(self, execution: Execution, expression: str, also: Sequence[Write], **values: Any) -> bool:
        """``expression`` ends with what it removes. False where the run is no longer as it was read."""
        values |= {"was": str(execution.status), "round": execution.round, **_place(execution)}
        # What follows from an end comes before whatever follows after it.
        condition = f"{_AS_IT_IS} AND attribute_not_exists(followUp) AND {_in_its_place(execution)}"
        for where in (_IN_ITEMS, _HELD):  # almost every run has its steps in items: the others pay for it
            own = update(_key(execution), f"{expression}, steps", f"{condition} AND {where}", **values)
            try:
                self._table.transact([own, *also])
            except ConditionFailed as error:
                if error.index or not self._write_out(execution, error.old or {}):
                    return False
            else:
                return True
        return False

    def _write_out(self, execution: Execution, item: Item) -> bool:
        """Makes an item of each step that the item of the execution holds. Nobody reads those before it holds them no
        more, so a process that is killed then has changed nothing, and may begin again.

        False where it holds none, or the run is not as it was read.
        """
        if "steps" not in item:
            return False
        values = {"was": str(execution.status), "round": execution.round}
        check = Write("ConditionCheck", _key(execution), condition=f"{_HELD} AND {_AS_IT_IS}", values=values)
        steps = [put(step_item(execution, step)) for step in whole_runs.records_of(item["steps"])]
        try:
            self._table.transact([check, *steps])
        except ConditionFailed:
            return False
        return True

    def lease(self, execution: Execution, holder: str, now: str, until: str) -> Execution | None:
        """Takes or renews the right to run a run in a process, which makes it a running one.

        None where the run is over, held or in line, where another round of it is under way, where another process holds
        it, and where ``holder`` has held it and let it lapse.
        """
        expression = "SET #status = :running, leasedBy = :holder, leasedUntil = :until"
        expression += ", startedAt = if_not_exists(startedAt, :now)"
        held_by_nobody = "attribute_not_exists(leasedBy) OR (leasedBy <> :holder AND leasedUntil < :now)"
        condition = (
            "#status IN (:queued, :running, :waiting) AND round = :round AND attribute_not_exists(reopening)"
            " AND (attribute_not_exists(place) OR place = :counted)"
            f" AND ({held_by_nobody} OR (leasedBy = :holder AND leasedUntil >= :now))"
        )
        values = {"holder": holder, "now": now, "until": until, "round": execution.round}
        values["counted"] = str(Place.COUNTED)
        statuses = (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING, ExecutionStatus.WAITING)
        values |= {str(status): str(status) for status in statuses}
        try:
            return execution_of(self._table.write(update(_key(execution), expression, condition, **values)))
        except ConditionFailed:
            return None

    def release(self, execution: Execution, holder: str, now: str) -> bool:
        """Gives up the right to run a run, which somebody else is to take up at once.

        False where ``holder`` has it no more, and where the run is over or held.
        """
        condition = "#status IN (:running, :waiting) AND round = :round AND leasedBy = :holder AND leasedUntil >= :now"
        values = {"holder": holder, "now": now, "round": execution.round}
        values |= {str(status): str(status) for status in (ExecutionStatus.RUNNING, ExecutionStatus.WAITING)}
        try:
            self._table.write(update(_key(execution), "REMOVE leasedBy, leasedUntil", condition, **values))
        except ConditionFailed:
            return False
        return True

    def due(self, now: str, limit: int) -> list[Due]:
        """Runs that have not ended and are to be looked at, the earliest first; ``limit`` at most."""
        partitions = keys.all_due_runs()
        found = [
            each
            for partition in partitions
            for each in due_items(self._table, partition, now, limit // len(partitions))
        ]
        return sorted(found, key=lambda each: each.at)

    def look_again(self, due: Due, at: str) -> Execution | None:
        """Says when a run that is due is looked at next; None where it has ended, or somebody else has said so."""
        item = postpone(self._table, due, at)
        return execution_of(item) if item else None

    def finish(
        self,
        execution: Execution,
        end: RunEnd,
        closed: Sequence[StepRecord] = (),
        also: Sequence[Write] = (),
    ) -> bool:
        """Ends a run, then ``closed`` steps of it that had not ended.

        False where it had ended before, or goes on in another round: then nothing is changed.
        """
        last = _end(execution, end)
        also = [*leaving(execution), *also]
        try:
            self._table.transact([last, *also]) if also else self._table.write(last)
        except ConditionFailed:
            return False
        self.close_steps(execution, closed)
        return True

    def finish_whole(self, execution: Execution, steps: Sequence[StepRecord], end: RunEnd) -> bool:
        """Ends a run with steps that were recorded nowhere before: in one transaction, or in as few as it takes, the
        end in the last.

        False where the run had ended before, or somebody else has decided one of the steps: then the last of them, and
        whatever stood in one transaction with it, is not written.
        """
        return self._write_whole(execution, steps, [_end(execution, end), *leaving(execution)])

    def hand_over(self, execution: Execution, steps: Sequence[StepRecord]) -> bool:
        """Records the steps of a run that goes on elsewhere; else as ``finish_whole``."""
        return self._write_whole(execution, steps, [_still_this_round(execution)])

    def _write_whole(self, execution: Execution, steps: Sequence[StepRecord], last: Sequence[Write]) -> bool:
        groups = _transactions(steps, TRANSACTION_ITEMS - len(last)) or [[]]
        try:
            for group in groups:
                own = last if group is groups[-1] else [_still_this_round(execution)]
                self._table.transact([*own, *(_undecided(execution, step) for step in group)])
        except ConditionFailed:
            return False
        return True

    def followed_up(self, execution: Execution, also: Sequence[Write] = ()) -> None:
        """Says that what follows from the end of a run is done, with ``also`` in one transaction.

        Harmless to repeat.
        """
        key = keys.execution(execution.organization_id, execution.id)
        done = update(key, "REMOVE followUp, dueList, dueAt", "attribute_exists(followUp)")
        with suppress(ConditionFailed):
            self._table.transact([done, *also]) if also else self._table.write(done)

    def write_each(self, writes: Iterable[Write]) -> None:
        """Does those of the writes, one by one, whose conditions hold."""
        for write in writes:
            with suppress(ConditionFailed):
                self._table.write(write)

    def close_steps(self, execution: Execution, closed: Sequence[StepRecord]) -> None:
        """Ends steps of a run that has ended, as long as nobody takes it up again. Who decides a step first wins."""
        over = f"#status IN (:f0, :f1, :f2, :f3) AND round = :round AND {_IN_ITEMS}"
        check = Write("ConditionCheck", _key(execution), condition=over, values={**_FINAL, "round": execution.round})
        for step in closed:
            try:
                self._table.transact([check, _undecided(execution, step)])
            except ConditionFailed as error:
                if error.index == 0:
                    return

    def list_of_organization(
        self, organization_id: str, status: ExecutionStatus | None, limit: int, offset: int
    ) -> ExecutionPage:
        pk = keys.executions_of_organization(organization_id)
        return self._page(keys.BY_ORGANIZATION, "orgList", pk, status, limit, offset)

    def list_of_workflow(
        self, organization_id: str, workflow_id: str, status: ExecutionStatus | None, limit: int, offset: int
    ) -> ExecutionPage:
        pk = keys.executions_of_workflow(organization_id, workflow_id)
        return self._page(keys.BY_WORKFLOW, "workflowList", pk, status, limit, offset)

    def list_of_workflows(
        self,
        organization_id: str,
        workflow_ids: frozenset[str],
        status: ExecutionStatus | None,
        limit: int,
        offset: int,
    ) -> ExecutionPage:
        """Runs of some workflows, out of the ``SEARCHED_RUNS`` newest of the organisation."""
        found = self._table.query(
            keys.executions_of_organization(organization_id),
            index=keys.BY_ORGANIZATION,
            pk_name="orgList",
            filters={"status": str(status)} if status else None,
            newest_first=True,
            limit=SEARCHED_RUNS,
        )
        ids = [item["executionId"] for item in found if item["workflowId"] in workflow_ids]
        return ExecutionPage(len(ids), self._in_order(organization_id, ids[offset : offset + limit]))

    def outlines(self, organization_id: str, execution_id: str) -> Iterator[StepOutline]:
        """The steps of a run outside of loops."""
        pk = keys.execution(organization_id, execution_id)["pk"]
        attributes = ("sk", "status", "path", "count", "steps")
        # From the execution on, which comes first: it may hold them. What stands in between is little beside the steps.
        for item in self._table.query(pk, at_most=("sk", keys.WITHIN_LOOPS), attributes=attributes):
            if item["sk"].startswith(keys.STEP_PREFIX):
                yield StepOutline(StepStatus(item["status"]), item["path"], item.get("count"))
            elif "steps" in item:
                held = whole_runs.records_of(item["steps"])
                yield from (StepOutline(step.status, step.path, step.count) for step in held)
                return

    def failed_below(self, organization_id: str, execution_id: str, path: str) -> dict[tuple[str, str], StepRecord]:
        """The steps that failed in items of loops that stand at ``path``, by node id and path."""
        pk = keys.execution(organization_id, execution_id)["pk"]
        found = self._table.query(
            pk, prefix=("sk", f"{keys.STEP_PREFIX}{path}["), filters={"status": str(StepStatus.FAILED)}
        )
        return {(step.node_id, step.path): step for step in map(step_of, found)}

    def begin_step(self, execution: Execution, record: StepRecord) -> StepRecord:
        """Notes a new attempt at a node, beside the ``attempts`` that the caller knows of.

        Raises ``ConditionFailed`` where the node is decided, or another attempt was begun.
        """
        assert record.started_at is not None
        attempt = Attempt(record.started_at, round=execution.round)
        late = {} if record.late is None else {"late": record.late}
        written = self._table.write(
            update(
                keys.step(execution.organization_id, execution.id, record.path, record.node_id),
                "SET #status = :running, #label = :label, nodeType = :nodeType, nodeId = :nodeId, #path = :path,"
                " since = :since, startedAt = if_not_exists(startedAt, :at), expiresAt = :expires,"
                " attempts = list_append(if_not_exists(attempts, :none), :attempt),"
                f" #order = :order{', late = :late' if late else ''}",
                f"{_UNDECIDED} AND {_NO_OTHER_ATTEMPT}",
                since=record.since,
                known=len(record.attempts),
                label=record.label,
                nodeType=record.node_type,
                nodeId=record.node_id,
                path=record.path,
                at=record.started_at,
                none=[],
                attempt=[attempt_item(attempt)],
                expires=expires_at(execution, record.started_at),
                order=record.order,
                **late,
                **_UNDECIDED_VALUES,
            )
        )
        return step_of(written)

    def write_step(
        self,
        execution: Execution,
        record: StepRecord,
        skipped: Sequence[StepRecord] = (),
        also: Sequence[Write] = (),
    ) -> StepRecord:
        """Writes a record over one that is not final yet, with what that decides to skip, and ``also``: all at once.

        Returns what is recorded now: the given record, or the one that stands there where the node was decided by
        another delivery, or was set aside since it was begun. Raises ``ConditionFailed`` where a condition of ``also``
        does not hold.
        """
        own = _undecided(execution, record)
        room = TRANSACTION_ITEMS - 1 - len(also)
        first, rest = skipped[:room], skipped[room:]
        try:
            if first or also:
                self._table.transact([own, *also, *(_skip(execution, step) for step in first)])
            else:
                self._table.write(own)
        except ConditionFailed as error:
            if error.index or error.old is None:
                raise
            return step_of(error.old)
        self.skip(execution, rest)
        return record

    def write_steps(
        self, execution: Execution, records: Sequence[StepRecord], skipped: Sequence[StepRecord] = ()
    ) -> None:
        """Writes records over ones that are not final yet, with what they decide to skip: all at once.

        Raises ``ConditionFailed`` where one of them was decided by another delivery, or was set aside: then none is
        written. ``records`` are few enough for one transaction.
        """
        room = TRANSACTION_ITEMS - len(records)
        writes = [_undecided(execution, record) for record in records]
        writes += [_skip(execution, step) for step in skipped[:room]]
        self._table.transact(writes) if len(writes) > 1 else self._table.write(writes[0])
        self.skip(execution, skipped[room:])

    def end_attempt(self, execution: Execution, record: StepRecord, finished_at: str) -> None:
        """Notes that the last attempt of ``record`` is over, in a record that others have written since."""
        place = f"attempts[{len(record.attempts) - 1}]"
        key = keys.step(execution.organization_id, execution.id, record.path, record.node_id)
        condition = f"{place}.startedAt = :began AND attribute_not_exists({place}.finishedAt)"
        values = {"began": record.attempts[-1].started_at, "at": finished_at}
        with suppress(ConditionFailed):  # it is noted already
            self._table.write(update(key, f"SET {place}.finishedAt = :at", condition, **values))

    def skip(self, execution: Execution, records: Sequence[StepRecord]) -> None:
        """Records steps that are decided not to run; one that a later round has decided otherwise is left, with those
        that stand in one transaction with it.
        """
        for start in range(0, len(records), TRANSACTION_ITEMS):
            with suppress(ConditionFailed):
                self._table.transact([_skip(execution, step) for step in records[start : start + TRANSACTION_ITEMS]])

    def write_unentered(self, execution: Execution, records: Iterable[StepRecord]) -> None:
        """Records steps that no round ever enters. Repeating it changes nothing."""
        self._table.write_all(step_item(execution, record) for record in records)

    def _page(
        self, index: str, pk_name: str, pk: str, status: ExecutionStatus | None, limit: int, offset: int
    ) -> ExecutionPage:
        filters = {"status": str(status)} if status else None
        total = self._table.count(pk, index=index, pk_name=pk_name, filters=filters)
        if offset >= total:
            return ExecutionPage(total, ())
        # Without a filter what is read is what matches, so the read can be bounded.
        bound = None if filters else offset + limit
        found = self._table.query(pk, index=index, pk_name=pk_name, filters=filters, newest_first=True, limit=bound)
        page = [item["executionId"] for number, item in enumerate(_first(found, offset + limit)) if number >= offset]
        return ExecutionPage(total, self._in_order(pk.split("#")[1], page))

    def _in_order(self, organization_id: str, execution_ids: Sequence[str]) -> tuple[Execution, ...]:
        items = self._table.get_many([keys.execution(organization_id, each) for each in execution_ids])
        by_id = {item["executionId"]: execution_of(item) for item in items}
        return tuple(by_id[each] for each in execution_ids if each in by_id)


def creation(execution: Execution, start: IdempotentStart | None = None) -> list[Write]:
    """What records a run before it begins."""
    writes = [put(execution_item(execution), ABSENT)]
    if execution.parent is not None:
        writes.append(still_going(execution.organization_id, execution.parent.execution_id))
    return [*_claims(execution, start), *writes]


def whole(
    execution: Execution, steps: Sequence[StepRecord], end: RunEnd, start: IdempotentStart | None = None
) -> list[Write] | None:
    """What records a run that has begun and ended and of which nothing is recorded yet, all at once: one item with its
    steps in it, or with an item for each where they are large.

    None where it does not fit into one transaction. It comes under no limit, and nothing follows from its end.
    """
    assert execution.place is None
    assert not end.follow_up
    own = _claims(execution, start)
    held = whole_runs.embedded(steps)
    if held is None and len(_transactions(steps, TRANSACTION_ITEMS - 1 - len(own))) > 1:
        return None
    ended = replace(
        execution,
        status=end.status,
        finished_at=end.finished_at,
        tasks_executed=end.tasks_executed,
        output=end.output,
        error=end.error,
        cost=end.cost,
        expires_at=end_of_retention(end.finished_at, execution.retention_days),
        look_at=None,
        leased_by=None,
        leased_until=None,
    )
    if held is not None:
        return [*own, put({**execution_item(ended), "steps": held}, ABSENT)]
    return [*own, put(execution_item(ended), ABSENT), *(put(step_item(execution, step)) for step in steps)]


def not_created(execution: Execution, start: IdempotentStart | None, error: ConditionFailed) -> EarlierStart:
    """Why a run was not recorded, by the write of ``creation`` or ``whole`` whose condition did not hold.

    Raises ``Conflict`` where it is not that the client's key was used before.
    """
    if start is not None and error.index == 0 and error.old is not None:
        return EarlierStart(error.old["executionId"], error.old["requestHash"])
    if execution.parent is not None and error.index == 1 + (start is not None):
        raise Conflict(f"Execution {execution.parent.execution_id!r} has ended.") from error
    raise Conflict(f"There is an execution {execution.id!r} already.") from error


def _claims(execution: Execution, start: IdempotentStart | None) -> list[Write]:
    if start is None:
        return []
    claim = Claim(execution.organization_id, start.key, start.request_hash, execution.id)
    return [claim_write(claim, parse_timestamp(execution.created_at))]


def _end(execution: Execution, end: RunEnd) -> Write:
    """The write that ends a run. One from whose end something follows stays due, until that is done."""
    values: dict[str, Any] = {
        "status": str(end.status),
        "at": end.finished_at,
        "n": end.tasks_executed,
        "round": execution.round,
        "expires": end_of_retention(end.finished_at, execution.retention_days),
    }
    expression = (
        "SET #status = :status, finishedAt = :at, tasksExecuted = :n, expiresAt = :expires,"
        " startedAt = if_not_exists(startedAt, :at)"
    )
    if end.output is not None:
        expression += ", #output = :output"
        values["output"] = end.output.to_json()
    if end.error is not None:
        expression += ", #error = :error"
        values["error"] = dict(end.error)
    if end.cost is not None:
        expression += ", cost = :cost"
        values["cost"] = cost_item(end.cost)
    if end.follow_up:
        expression += ", followUp = :followUp REMOVE place"
        values["followUp"] = True
    else:
        expression += " REMOVE place, dueList, dueAt"
    condition = f"{_STILL_THIS_ROUND} AND {_in_its_place(execution)}"
    return update(_key(execution), expression, condition, **values, **_FINAL, **_place(execution))


def _in_its_place(execution: Execution) -> str:
    """The condition that a run stands under the limit of its workflow where it did when it was read."""
    return "place = :placed" if execution.place else "attribute_not_exists(place)"


def _place(execution: Execution) -> dict[str, str]:
    return {"placed": str(execution.place)} if execution.place else {}


def still_going(organization_id: str, execution_id: str) -> Write:
    """The check, in a transaction, that a run is there and has not ended."""
    return Write("ConditionCheck", keys.execution(organization_id, execution_id), condition=_NOT_FINAL, values=_FINAL)


def _still_this_round(execution: Execution) -> Write:
    values = {**_FINAL, "round": execution.round}
    return Write("ConditionCheck", _key(execution), condition=_STILL_THIS_ROUND, values=values)


def _undecided(execution: Execution, record: StepRecord) -> Write:
    """Writes a record over none, or one that is not final and was not set aside since it was read."""
    return put(step_item(execution, record), _UNDECIDED, since=record.since, **_UNDECIDED_VALUES)


def _transactions(steps: Sequence[StepRecord], room: int) -> list[list[StepRecord]]:
    """Steps in groups of ``room`` that each fit into one transaction, beside a write of the execution."""
    groups: list[list[StepRecord]] = []
    size = _TRANSACTION_BYTES
    for step in steps:
        own = _RECORD_BYTES + sum(payload.size for payload in (step.output, step.items) if payload and not payload.key)
        if size + own > _TRANSACTION_BYTES or len(groups[-1]) == room:
            groups.append([])
            size = 0
        groups[-1].append(step)
        size += own
    return groups


def _first(items: Iterable[Item], number: int) -> Iterable[Item]:
    for index, item in enumerate(items):
        if index >= number:
            return
        yield item


def _key(execution: Execution) -> keys.Key:
    return keys.execution(execution.organization_id, execution.id)


def _queued(execution: Execution) -> dict[str, Any]:
    return {"queued": str(ExecutionStatus.QUEUED), "round": execution.round}


def _skip(execution: Execution, record: StepRecord) -> Write:
    """Skips a step, whose earlier attempts stay."""
    expression = (
        "SET #status = :skipped, nodeId = :node, #path = :path, nodeType = :type, #label = :label, finishedAt = :at,"
        " since = if_not_exists(since, :since), expiresAt = :expires, #order = :order"
    )
    values: dict[str, Any] = {
        "skipped": str(StepStatus.SKIPPED),
        "pending": str(StepStatus.PENDING),
        "node": record.node_id,
        "path": record.path,
        "type": record.node_type,
        "label": record.label,
        "at": record.finished_at,
        "since": record.since,
        "order": record.order,
        "expires": expires_at(execution, record.finished_at),
    }
    if record.error is not None:
        expression += ", #error = :error"
        values["error"] = record.error.to_json()
    key = keys.step(execution.organization_id, execution.id, record.path, record.node_id)
    return update(key, expression, "attribute_not_exists(pk) OR #status IN (:pending, :skipped)", **values)


def _replaced(execution: Execution, old: StepRecord, new: StepRecord) -> Write:
    values = {"was": str(old.status), "since": old.since, "known": len(old.attempts)}
    condition = f"#status = :was AND since = :since AND {_NO_OTHER_ATTEMPT}"
    return put(step_item(execution, new), condition, **values)


def _snapshot(items: Iterable[Item]) -> RunSnapshot:
    execution = None
    steps = {}
    held = None
    for item in items:
        if item["sk"] == keys.EXECUTION:
            execution = execution_of(item)
            held = item.get("steps")
        elif item["sk"].startswith(keys.STEP_PREFIX):
            record = step_of(item)
            steps[record.node_id, record.path] = record
    return RunSnapshot(execution, steps if held is None else _held(held))


def _held(text: str) -> dict[tuple[str, str], StepRecord]:
    """The steps that an execution holds, which are all that it has, in the order of the keys that they would have."""
    records = sorted(whole_runs.records_of(text), key=lambda step: step.node_id)
    return {(step.node_id, step.path): step for step in records}
