"""Upkeep: what nobody asks for and has to be done all the same. A schedule calls it once a minute.

The parts are independent: one that fails is told of, and the others are done. Each does a bounded amount of work and
finds by itself where to go on, so a call that dies, comes twice or not at all changes nothing but when things are done.

===============  ======================================================================================================
``runs``         looks after runs that have not ended: their event may be lost, their starter dead, their time over
``lines``        starts runs that wait for others of their workflow to end, where whoever was to do it has died
``machines``     deletes state machines that nobody has used for long and that nothing runs on
``strays``       lists all state machines once a day, for those that are not known to be there, and makes them known
``schedules``    brings EventBridge Scheduler to what workflows say, where whoever was to has died; once a day anyway
``deployments``  looks after deployed workflows: what is wanted of them, what their policies want, how they come up
``remains``      deletes what deleted workflows have left, when nobody wants it back any more
===============  ======================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from chalicelib.cloud.state_machines import StateMachines
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.services.deployments import DeploymentService
from chalicelib.services.lifecycle import Lifecycle, next_look
from chalicelib.services.limits import Limits
from chalicelib.services.schedules import ScheduleService
from chalicelib.store.due import Due
from chalicelib.store.executions import ExecutionRepository
from chalicelib.store.machines import MachineRepository, Survey, UnusedMachine
from chalicelib.store.retention import RetentionRepository
from chalicelib.store.workflows import WorkflowRepository

TIME = timedelta(seconds=45)  # for all parts together; what is left is done a minute later
RUNS_AT_ONCE = 480  # looked after in one call; Step Functions tells of 15 executions in a second
LINES_AT_ONCE = 100  # of workflows
MACHINES_AT_ONCE = 20  # deleted in one call; Step Functions deletes one in a second
SURVEY_PAGE = 100  # of the list of all state machines, in one call
SURVEY_EVERY = timedelta(days=1)
REMAINS_AT_ONCE = 20  # deleted workflows
_NEXT_TRY = timedelta(minutes=10)

Job = Callable[[], object]


@dataclass(frozen=True)
class PartReport:
    """What one call has done of one part."""

    part: str
    done: int  # jobs
    failures: tuple[Exception, ...] = ()


class Upkeep:
    def __init__(
        self,
        *,
        executions: ExecutionRepository,
        lifecycle: Lifecycle,
        limits: Limits,
        machines: MachineRepository,
        step_functions: StateMachines,
        retention: RetentionRepository,
        workflows: WorkflowRepository,
        schedules: ScheduleService,
        deployments: DeploymentService,
        clock: Clock,
    ) -> None:
        self._executions = executions
        self._lifecycle = lifecycle
        self._limits = limits
        self._machines = machines
        self._step_functions = step_functions
        self._retention = retention
        self._workflows = workflows
        self._schedules = schedules
        self._deployments = deployments
        self._clock = clock

    def run(self) -> list[PartReport]:
        """Does what is due, as far as the time of one call goes. Failures are in what it returns, none is raised."""
        until = self._clock.now() + TIME
        parts = {
            "runs": self._runs,
            "lines": self._waiting,
            "schedules": self._schedules.due,
            "deployments": self._deployments.due,
            "machines": self._unused,
            "strays": self._strays,
            "remains": self._remains,
        }
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
        if execution is None:
            return
        try:
            self._lifecycle.reconcile(execution)
        finally:
            if not execution.status.is_final:
                self._retention.move_on(execution, self._clock.now())

    def _waiting(self) -> Iterator[Job]:
        for due in self._limits.due(LINES_AT_ONCE):
            yield partial(self._start_waiting, due)

    def _start_waiting(self, due: Due) -> None:
        for admitted in self._limits.look_at(due):
            self._lifecycle.start_admitted(admitted)

    def _unused(self) -> Iterator[Job]:
        for machine in self._machines.unused(MACHINES_AT_ONCE):
            yield partial(self._delete, machine)

    def _delete(self, machine: UnusedMachine) -> None:
        # In this order: what runs began before the last use was long ago, and what begins now meets the claim.
        if self._step_functions.is_running(machine.name):
            self._machines.keep(machine)
        elif self._machines.claim(machine):
            self._step_functions.delete(machine.name)
            self._machines.forget(machine)

    def _strays(self) -> Iterator[Job]:
        survey, now = self._machines.survey(), self._clock.now()
        if survey.at <= timestamp(now):
            yield partial(self._survey, survey, now)

    def _survey(self, survey: Survey, now: datetime) -> None:
        names, token = self._step_functions.page(survey.token, SURVEY_PAGE)
        self._machines.adopt(names)
        self._machines.surveyed(Survey(token, timestamp(now if token else now + SURVEY_EVERY)))

    def _remains(self) -> Iterator[Job]:
        now = self._clock.now()
        for due in self._workflows.due_remains(timestamp(now), REMAINS_AT_ONCE):
            yield partial(self._workflows.clear, due, timestamp(now + _NEXT_TRY))
