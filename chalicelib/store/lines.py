"""Runs of workflows that have a limit: how many are under way, and the line of those that wait for room.

Each such workflow has a partition: the item ``COUNT``, and behind it an entry for each run that waits, who is first
comes first. So one Query brings both.

Where a run stands is its *place*, an attribute of the execution. It changes in the very transaction that changes count
and line, on the condition of what it was. So the count is exact, whoever dies when and whatever is repeated; nothing
ever has to be counted again.

::

    recorded, or taken up again    WAITING    an entry more
    admitted                       COUNTED    an entry less, one more that counts, if the limit allows
    held, or ended                 none       an entry less, or one less that counts

That nobody waits in vain takes an order: who lines up writes the entry first and then looks for room; who makes room
writes that first and then looks at the line. So whoever comes second sees both. Should they die on the way, the count
is in ``by-due`` as long as there may be entries, and upkeep looks.

Attributes of a count: ``active``, how many count; ``entered``, how many ever came into the line, by which one knows
whether anybody has come since the line was read; ``allowed``, the limit of the last one who came, for when the workflow
is gone.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from chalicelib.graph.executions import Execution, Place
from chalicelib.store import keys
from chalicelib.store.due import Due, due_items, postpone
from chalicelib.store.table import PRESENT, ConditionFailed, Table, Write, delete, put, update


@dataclass(frozen=True, slots=True)
class Entry:
    """A run that waits in line."""

    key: keys.Key
    organization_id: str
    execution_id: str
    timeout_s: int | None  # of the run, from when it is admitted


@dataclass(frozen=True, slots=True)
class Line:
    """The runs of one workflow that wait, as far as they were read, and how many are under way."""

    active: int
    allowed: int
    first: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class DueLine:
    """Of which workflow the line is to be looked at, and how many had come into it before the look."""

    organization_id: str
    workflow_id: str
    entered: int


class LineRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self, organization_id: str, workflow_id: str, number: int) -> Line:
        """The line, with the first ``number`` that wait."""
        count = keys.count_of_runs(organization_id, workflow_id)
        items = list(self._table.query(count["pk"], limit=1 + number))
        if not items:
            return Line(0, 0, ())
        own, *waiting = items
        entries = (
            Entry(keys.Key(pk=each["pk"], sk=each["sk"]), organization_id, each["executionId"], each.get("timeout"))
            for each in waiting
        )
        return Line(own.get("active", 0), own["allowed"], tuple(entries))

    def admit(self, entry: Entry, limit: int | None, look_at: str, deadline: str | None) -> bool:
        """Lets a run count that waits. False where there is no room any more, or it does not wait any more."""
        count: keys.Key = {"pk": entry.key["pk"], "sk": keys.COUNT}
        has_room, values = None, {}
        if limit is not None:
            has_room, values = "attribute_not_exists(active) OR active < :limit", {"limit": limit}
        expression = "SET place = :counted, dueAt = :look"
        places = {"counted": str(Place.COUNTED), "waiting": str(Place.WAITING), "look": look_at}
        if deadline is not None:
            expression += ", deadline = :deadline"
            places["deadline"] = deadline
        execution = keys.execution(entry.organization_id, entry.execution_id)
        writes = [
            update(count, "ADD active :one", has_room, one=1, **values),
            delete(entry.key, PRESENT),
            update(execution, expression, "place = :waiting", **places),
        ]
        try:
            self._table.transact(writes)
        except ConditionFailed as error:
            if error.index == 2:  # nobody keeps what waits beyond all retention
                self._table.write(delete(entry.key))
            return False
        return True

    def due(self, now: str, limit: int) -> list[Due]:
        return due_items(self._table, keys.DUE_LINES, now, limit)

    def look_again(self, due: Due, at: str) -> DueLine | None:
        """Says when a line is looked at next; None where somebody else has said so."""
        item = postpone(self._table, due, at)
        return DueLine(item["organizationId"], item["workflowId"], item["entered"]) if item else None

    def rest(self, line: DueLine) -> None:
        """Says that a line is empty and needs no look any more, unless a run has come into it since it was due."""
        key = keys.count_of_runs(line.organization_id, line.workflow_id)
        with suppress(ConditionFailed):
            self._table.write(update(key, "REMOVE dueList, dueAt", "entered = :entered", entered=line.entered))


def entering(execution: Execution, limit: int, timeout_s: int | None, look_at: str) -> list[Write]:
    """What lines a run up, in the transaction that records it or takes it up again."""
    expression = (
        "SET organizationId = :organization, workflowId = :workflow, allowed = :limit, dueList = :list,"
        " dueAt = if_not_exists(dueAt, :look) ADD entered :one"
    )
    values = {"organization": execution.organization_id, "workflow": execution.workflow_id, "limit": limit}
    count = keys.count_of_runs(execution.organization_id, execution.workflow_id)
    return [
        put({**_entry(execution), "executionId": execution.id, "timeout": timeout_s}),
        update(count, expression, None, **values, list=keys.DUE_LINES, look=look_at, one=1),
    ]


def leaving(execution: Execution) -> list[Write]:
    """What gives up the place of a run, in the transaction that takes it from its record."""
    match execution.place:
        case Place.WAITING:
            return [delete(_entry(execution))]
        case Place.COUNTED:
            count = keys.count_of_runs(execution.organization_id, execution.workflow_id)
            return [update(count, "ADD active :less", None, less=-1)]
    return []


def _entry(execution: Execution) -> keys.Key:
    organization, workflow = execution.organization_id, execution.workflow_id
    return keys.place_in_line(organization, workflow, execution.priority, execution.lined_up_at, execution.id)
