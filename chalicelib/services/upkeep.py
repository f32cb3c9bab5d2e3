"""Upkeep: what nobody asks for and has to be done all the same. A schedule calls it once a minute.

The parts are independent: one that fails is told of, and the others are done. Each does a bounded amount of work and
finds by itself where to go on, so a call that dies, comes twice or not at all changes nothing but when things are done.

========  ==========================================================================================================
``runs``  looks after runs that have not ended: their event may be lost, their starter dead, their time over
========  ==========================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.services.lifecycle import Lifecycle, next_look
from chalicelib.store.due import Due
from chalicelib.store.executions import ExecutionRepository

TIME = timedelta(seconds=45)  # for all parts together; what is left is done a minute later
RUNS_AT_ONCE = 480  # looked after in one call; Step Functions tells of 15 executions in a second

Job = Callable[[], object]


@dataclass(frozen=True)
class PartReport:
    """What one call has done of one part."""

    part: str
    done: int  # jobs
    failures: tuple[Exception, ...] = ()


class Upkeep:
    def __init__(self, *, executions: ExecutionRepository, lifecycle: Lifecycle, clock: Clock) -> None:
        self._executions = executions
        self._lifecycle = lifecycle
        self._clock = clock

    def run(self) -> list[PartReport]:
        """Does what is due, as far as the time of one call goes. Failures are in what it returns, none is raised."""
        until = self._clock.now() + TIME
        parts = {"runs": self._runs}
        return [self._do(name, jobs(), until) for name, jobs in parts.items()]

    def _do(self, name: str, jobs: Iterator[Job], until: datetime) -> PartReport:
        done = 0
        failures: list[Exception] = []
        try:
            for job in jobs:
                if self._clock.now() >= until:
                    break
                try:
                    job()
                    done += 1
                except Exception as error:
                    failures.append(error)
        except Exception as error:
            failures.append(error)
        return PartReport(name, done, tuple(failures))

    def _runs(self) -> Iterator[Job]:
        for due in self._executions.due(timestamp(self._clock.now()), RUNS_AT_ONCE):
            yield partial(self._look_after, due)

    def _look_after(self, due: Due) -> None:
        # Moved on before anything else: a run at which every look fails does not stand in the way of others.
        execution = self._executions.look_again(due, next_look(due, self._clock.now()))
        if execution is not None:
            self._lifecycle.reconcile(execution)
