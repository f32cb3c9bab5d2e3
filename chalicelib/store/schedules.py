"""Notes of workflows whose schedules have to be looked after: at once when they change, and once a day as long as there
are any.

A note is written in the transaction that changes a workflow, so no change is forgotten, whoever dies. It carries the
revision to which it belongs, and is ticked off for that one alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.graph.model import Workflow
from chalicelib.store import keys
from chalicelib.store.due import Due, due_items, postpone
from chalicelib.store.table import ConditionFailed, Item, Table, Write, delete, put, update


@dataclass(frozen=True, slots=True)
class ScheduleNote:
    organization_id: str
    workflow_id: str
    revision: int
    is_settled: bool  # whether Scheduler was brought to this revision before


def note_write(workflow: Workflow, revision: int, at: str) -> Write:
    """Has the schedules of a workflow looked after at ``at``, whatever was noted before."""
    return put(
        {
            **keys.schedules(workflow.organization_id, workflow.id),
            "organizationId": workflow.organization_id,
            "workflowId": workflow.id,
            "revision": revision,
            "dueList": keys.DUE_SCHEDULES,
            "dueAt": at,
        }
    )


class ScheduleRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, organization_id: str, workflow_id: str) -> ScheduleNote | None:
        item = self._table.get(keys.schedules(organization_id, workflow_id))
        return _note(item) if item else None

    def due(self, now: str, limit: int) -> list[Due]:
        return due_items(self._table, keys.DUE_SCHEDULES, now, limit)

    def claim(self, due: Due, next_try: str) -> ScheduleNote | None:
        """None where somebody else looks after it, or has just done so."""
        item = postpone(self._table, due, next_try)
        return _note(item) if item else None

    def tick_off(self, note: ScheduleNote, next_look: str | None) -> bool:
        """Puts the next look off to ``next_look``, or to never. False where the workflow has changed since."""
        key = keys.schedules(note.organization_id, note.workflow_id)
        condition = "revision = :revision"
        try:
            if next_look is None:
                self._table.write(delete(key, condition, revision=note.revision))
            else:
                values: Item = {"revision": note.revision, "at": next_look, "yes": True}
                self._table.write(update(key, "SET dueAt = :at, settled = :yes", condition, **values))
        except ConditionFailed:
            return False
        return True


def _note(item: Item) -> ScheduleNote:
    return ScheduleNote(item["organizationId"], item["workflowId"], item["revision"], "settled" in item)
