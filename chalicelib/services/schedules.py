"""Schedules: what ``schedule-trigger`` nodes of active workflows come to in EventBridge Scheduler.

Which there have to be follows from the workflow alone. The name of each says what it is made of, so to bring Scheduler
to it is to make the names that are missing and to delete those that are too many, in whatever order, as often as one
likes.

A change of a workflow that changes its schedules leaves a note in its own transaction (``store.schedules``), and
Scheduler is told right after it. Should that fail, or the process die in between, the note is due a minute later and
upkeep does it. A note stays as long as a workflow has schedules, and a day longer, and is due once a day: what somebody
has deleted by hand comes back, what nobody wants goes. The day longer is for those who were about to make a schedule
and slept while it was given up. Until then, whoever is called by a schedule that there should not be deletes it
(``scheduled_runs``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Protocol

from chalicelib.cloud.schedules import SCHEDULED_TIME, Schedule
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Downstream
from chalicelib.foundation.logs import logger
from chalicelib.graph.cron import Cron, CronError
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.graph.triggers import TriggerEntry, TriggerKind, trigger_entries
from chalicelib.store.due import Due
from chalicelib.store.schedules import ScheduleNote, ScheduleRepository, note_write
from chalicelib.store.table import Write
from chalicelib.store.workflows import WorkflowRepository

NOTES_AT_ONCE = 50  # looked after in one call of upkeep; Scheduler makes some fifty schedules in a second

_FIRST_LOOK = timedelta(minutes=1)
_NEXT_TRY = timedelta(minutes=5)
_LOOK_EVERY = timedelta(days=1)
_TRIES = 5  # at a workflow that others change at the same moment


class Scheduler(Protocol):
    def create(self, schedule: Schedule) -> None: ...

    def delete(self, name: str) -> None: ...

    def names(self, prefix: str) -> list[str]: ...


class ScheduleService:
    def __init__(
        self,
        notes: ScheduleRepository,
        workflows: WorkflowRepository,
        scheduler: Callable[[], Scheduler],
        clock: Clock,
    ) -> None:
        """``scheduler`` is asked for when there is something to tell it: few requests have."""
        self._notes = notes
        self._workflows = workflows
        self._scheduler = scheduler
        self._clock = clock

    def note(self, before: Workflow | None, after: Workflow | None) -> list[Write]:
        """What goes into the transaction of a change; nothing where it changes no schedules."""
        workflow = after or before
        assert workflow is not None
        if _entries(before) == _entries(after):
            return []
        revision = before.revision + 1 if before else workflow.revision
        return [note_write(workflow, revision, timestamp(self._clock.now() + _FIRST_LOOK))]

    def follow(self, workflow: Workflow) -> None:
        """Brings Scheduler to what a changed workflow says. What fails is left to upkeep."""
        try:
            for _ in range(_TRIES):
                note = self._notes.get(workflow.organization_id, workflow.id)
                if note is None or self._settle(note):
                    return
        except Downstream as error:
            logger().warning("schedules left to upkeep", extra={"workflow": workflow.id, "reason": error.detail})

    def due(self) -> Iterator[Callable[[], None]]:
        """What upkeep has to do now."""
        for due in self._notes.due(timestamp(self._clock.now()), NOTES_AT_ONCE):
            yield partial(self._look_after, due)

    def _look_after(self, due: Due) -> None:
        note = self._notes.claim(due, timestamp(self._clock.now() + _NEXT_TRY))
        if note is not None:
            self._settle(note)

    def _settle(self, note: ScheduleNote) -> bool:
        """False where the workflow has changed meanwhile: what was done may be too much or too little."""
        workflow = self._workflows.get(note.organization_id, note.workflow_id)
        wanted = {schedule.name: schedule for schedule in schedules_of(workflow)}
        scheduler = self._scheduler()
        there = set(scheduler.names(f"{note.workflow_id}-"))
        for name in wanted.keys() - there:
            scheduler.create(wanted[name])
        for name in there - wanted.keys():
            scheduler.delete(name)
        is_over = note.is_settled and not wanted and not there
        return self._notes.tick_off(note, None if is_over else timestamp(self._clock.now() + _LOOK_EVERY))


def schedules_of(workflow: Workflow | None) -> list[Schedule]:
    """The schedules that there have to be of a workflow."""
    found = []
    for entry in _entries(workflow):
        assert workflow is not None
        timezone = entry.detail
        for expression in Cron.parse(entry.name).expressions():
            parts = (workflow.organization_id, workflow.id, entry.node_id, expression, timezone)
            name = f"{workflow.id}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:20]}"
            payload = {
                "organization": workflow.organization_id,
                "workflow": workflow.id,
                "node": entry.node_id,
                "schedule": name,
                "scheduledTime": SCHEDULED_TIME,
            }
            found.append(Schedule(name, expression, timezone, payload))
    return found


def _entries(workflow: Workflow | None) -> list[TriggerEntry]:
    if workflow is None or workflow.status is not WorkflowStatus.ACTIVE:
        return []
    return [entry for entry in trigger_entries(workflow) if entry.kind is TriggerKind.SCHEDULE and _fires(entry)]


def _fires(entry: TriggerEntry) -> bool:
    """An active workflow has no invalid cron, as long as nobody changes what is valid."""
    try:
        Cron.parse(entry.name)
    except CronError:
        return False
    return True
