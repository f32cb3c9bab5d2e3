"""The life of a run, whoever looks after it: brought under way, looked after when nothing was heard of it, and ended.

Nobody asks here who may: ``executions`` and ``control`` do. Everything is harmless to repeat.

What if the process is killed ...

===================================  ================================================================================
between the record and the start     the next look at the execution starts it: a start under the same name is one start
after the start, before "running"    the next look, or the end of the run, puts it right
while records are being set aside    whoever repeats the request, or looks at the execution later, sets aside the rest
before the end is recorded           the event is delivered again; failing that, the next look asks Step Functions
after that, before steps are closed  the next read closes them
before others are told of the end    the same; that they have to be is noted with the end
before the next one in line starts   the next run of the workflow that comes or ends, or upkeep, admits it
===================================  ================================================================================

Who looks is whoever reads a run of which nothing was heard, and, at every run that has not ended, upkeep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib.compiler.asl.emit import Definition
from chalicelib.compiler.plan import Plan
from chalicelib.engines.failures import uncaught
from chalicelib.engines.payloads import Payloads
from chalicelib.engines.records import Records
from chalicelib.engines.reopen import reopen
from chalicelib.engines.stepfunctions import MachineRun, StepFunctionsEngine
from chalicelib.engines.visit import decided_before
from chalicelib.engines.waiting import child_id, closing, gate_of
from chalicelib.foundation.clock import Clock, parse_timestamp, timestamp
from chalicelib.foundation.errors import Downstream, Permanent
from chalicelib.foundation.logs import logger
from chalicelib.graph.approvals import ApprovalStatus
from chalicelib.graph.executions import (
    Execution,
    ExecutionStatus,
    Payload,
    Place,
    RunEnd,
    StepError,
    StepOutline,
    StepRecord,
    StepStatus,
)
from chalicelib.nodes.control import sub_workflow
from chalicelib.services.costs import cost_so_far
from chalicelib.services.limits import Limits
from chalicelib.services.telling import Telling
from chalicelib.store.due import Due
from chalicelib.store.executions import ExecutionRepository, RunSnapshot
from chalicelib.store.plans import PlanRepository
from chalicelib.store.table import ConditionFailed, Write

#: A run of which nothing was heard for this long is looked after when somebody reads it.
STALE_AFTER = timedelta(seconds=15)

#: Upkeep looks after a run when it is this old, then each time that its age has grown by half, within these bounds.
FIRST_LOOK = timedelta(minutes=1)
_LOOK_AT_LEAST_EVERY = timedelta(hours=1)
#: Ends that the workflow for errors hears of.
FAILURES = frozenset({ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT})

#: How steps stand that were under way when their run ended.
CUT_OFF = frozenset({StepStatus.CANCELLED, StepStatus.FAILED})

_OPEN = frozenset({StepStatus.RUNNING, StepStatus.WAITING})
_TIMED_OUT = StepError("RunTimedOut", "The run took longer than its workflow allows.")


class Lifecycle:
    def __init__(
        self,
        *,
        executions: ExecutionRepository,
        plans: PlanRepository,
        payloads: Payloads,
        engine: StepFunctionsEngine,
        telling: Telling,
        limits: Limits,
        follow: Callable[[Execution, Iterable[StepRecord]], None],
        clock: Clock,
    ) -> None:
        self._executions = executions
        self._plans = plans
        self._payloads = payloads
        self._engine = engine
        self._telling = telling
        self._limits = limits
        self._follow = follow
        self._clock = clock

    def launch(self, execution: Execution, plan: Plan, definition: Definition) -> None:
        """Brings a recorded run under way that does not wait in line, or the next round of one that was taken up."""
        if execution.reopening is not None and not self._reopen(execution, plan, execution.reopening):
            return  # somebody else has gone on with it
        now = timestamp(self._clock.now())
        self._executions.write_unentered(execution, decided_before(plan, execution, now))
        self._engine.start(execution, definition)
        self._executions.mark_running(execution, now)

    def relaunch(self, execution: Execution) -> None:
        """Brings a run under way that was recorded, and perhaps not started; one in line in its turn."""
        if execution.place is Place.WAITING:
            self.start_next(execution)
            return
        plan = self._plans.get(execution.plan)
        self.launch(execution, plan, self._engine.definition(plan))

    def start_next(self, execution: Execution, but: str | None = None) -> None:
        """Brings runs under way that wait in the line of ``execution``, as many as there is room for.

        ``but`` is the id of one that the caller brings under way, once it is admitted.
        """
        with _left_to_upkeep("line", execution):
            for admitted in self._limits.admitted(execution.organization_id, execution.workflow_id):
                if admitted.id != but:
                    self.start_admitted(admitted)

    def start_admitted(self, execution: Execution) -> None:
        """Brings a run under way that has just got a place. Where that fails, others are not kept up."""
        with _left_to_upkeep("run", execution):
            self.relaunch(execution)

    def ended(self, organization_id: str, execution_id: str, round: int, machine: MachineRun) -> None:
        """Takes note that the state machine of a round of a run has ended."""
        run = self._executions.load_end(organization_id, execution_id)
        execution = run.execution
        if execution is None or execution.round != round or machine.status is None or _is_held(execution, machine):
            return
        if not self.finish(execution, run, machine.status, machine.error):
            self._complete(run)
        if machine.status is not ExecutionStatus.SUCCEEDED:
            self._engine.close_gates(execution)

    def conclude(self, execution: Execution, run: RunSnapshot, machine: MachineRun, records: Records) -> RunEnd | None:
        """Ends a run as its engine did, and returns how; None where it has not ended by that."""
        if machine.status is None or _is_held(execution, machine):
            return None
        return self._finish(execution, run, machine.status, machine.error, records)

    def cancel(self, organization_id: str, execution_id: str) -> None:
        """Stops a run, if it is under way."""
        run = self._executions.load_end(organization_id, execution_id)
        if run.execution is not None and self.finish(run.execution, run, ExecutionStatus.CANCELLED, None):
            self._engine.stop(run.execution, "cancelled")

    def look_after(self, execution: Execution, run: RunSnapshot) -> bool:
        """Puts right what somebody who died has left: looks how a run fares of which nothing was heard, or whose time
        is over, and does what is left to do of one that has ended. False where there is nothing.
        """
        if execution.status.is_final:
            return self._complete(run)
        if not self._is_stale(execution, run):
            return False
        self.reconcile(execution)
        return True

    def reconcile(self, execution: Execution) -> None:
        """Asks Step Functions how a run fares that has not ended, and brings the record to what it says.

        A run that a process holds is its own business until the lease is over. Of one that has ended, what follows is
        done where it is not yet.
        """
        if execution.status.is_final:
            self._complete(self._executions.load_end(execution.organization_id, execution.id))
            return
        if execution.place is Place.WAITING:
            self.relaunch(execution)
            return
        if _is_leased(execution, timestamp(self._clock.now())):
            return
        machine = self._engine.describe(execution)
        if machine is not None and machine.status is not None:
            self.ended(execution.organization_id, execution.id, execution.round, machine)
        elif execution.status is ExecutionStatus.PAUSED:
            return
        elif machine is None:
            self.relaunch(execution)
        else:
            self._executions.mark_running(execution, execution.created_at)
            run = self._executions.load_end(execution.organization_id, execution.id)
            if self._is_overdue(execution):
                # Step Functions ends it too; it may be late.
                self.finish(execution, run, ExecutionStatus.TIMED_OUT, None)
                self._engine.stop(execution, "timed out")
            else:
                self._wake_again(execution, run)

    def _wake_again(self, execution: Execution, run: RunSnapshot) -> None:
        """Wakes steps that were told what they wait for and did not hear, and looks after runs that they wait for."""
        for step in run.steps.values():
            if step.status is not StepStatus.WAITING or step.gate is None:
                continue
            if not self._telling.open_again(execution, step) and step.child is not None:
                child = self._executions.load_end(execution.organization_id, step.child)
                if child.execution is not None:
                    self.look_after(child.execution, child)

    def _complete(self, run: RunSnapshot) -> bool:
        """Closes the steps of a run whose end is recorded, and does what follows from it; False where that is done."""
        execution = run.execution
        if execution is None or not execution.status.is_final:
            return False
        is_open = any(step.status in _OPEN for step in run.steps.values())
        if not is_open and not execution.follow_up:
            return False
        run = self._executions.load_end(execution.organization_id, execution.id)
        if is_open:
            explained = bool(uncaught(self._plans.get(execution.plan), run.steps))
            error = StepError(execution.error["name"], execution.error["message"]) if execution.error else None
            self._executions.close_steps(execution, self._closed(run, execution.status, explained, error))
            run = self._executions.load_end(execution.organization_id, execution.id)
        if execution.follow_up:
            self._follow(execution, run.steps.values())
        return True

    def _reopen(self, execution: Execution, plan: Plan, steps: Sequence[str]) -> bool:
        """Sets records aside until none is left to be. False where the run goes another way meanwhile."""
        while True:
            records = self._executions.load_run(execution.organization_id, execution.id).steps
            changes = reopen(plan, records, execution.round, steps, timestamp(self._clock.now()))
            if not changes:
                return self._executions.mark_reopened(execution)
            for old, new in changes:
                if old.is_cut_off and new.status is StepStatus.PENDING:
                    self.give_up(execution, old)
            try:
                self._executions.set_aside(execution, changes)
            except ConditionFailed as error:
                if error.index == 0:
                    return False
                # A handler that was still at work has written its record: once more, with that one.

    def give_up(self, execution: Execution, step: StepRecord) -> None:
        """Ends what a step waited for, or was about to, whose run has ended or that is to begin anew."""
        self._executions.write_each(closing(execution, step, ApprovalStatus.CANCELLED))
        if step.node_type == sub_workflow.TYPE.name:
            gate = gate_of(self._plans.get(execution.plan).nodes[step.node_id], step)
            child = self._executions.get(
                execution.organization_id, step.child or child_id(execution.id, gate, step.path)
            )
            if child is not None and child.parent is not None and not child.status.is_final:
                self.cancel(child.organization_id, child.id)

    def _is_overdue(self, execution: Execution) -> bool:
        """Whether the workflow's time limit has passed."""
        return execution.deadline is not None and execution.deadline <= timestamp(self._clock.now())

    def _is_stale(self, execution: Execution, run: RunSnapshot) -> bool:
        if self._is_overdue(execution):
            return True
        times = [execution.created_at, execution.started_at, execution.taken_up_at, execution.leased_until]
        for step in run.steps.values():
            times += [step.started_at, step.finished_at, step.until]
        latest = max(time for time in times if time)
        return self._clock.now() - parse_timestamp(latest) > STALE_AFTER

    def finish(
        self,
        execution: Execution,
        run: RunSnapshot,
        status: ExecutionStatus,
        machine_error: StepError | None,
        records: Records | None = None,
        also: Sequence[Write] = (),
    ) -> bool:
        """Ends a run, with the steps that are under way. False where it has ended, or goes on in another round.

        ``records`` is what has the records of the run, where that is not the store; ``also`` is written with the end,
        where it is.
        """
        return self._finish(execution, run, status, machine_error, records, also) is not None

    def _finish(
        self,
        execution: Execution,
        run: RunSnapshot,
        status: ExecutionStatus,
        machine_error: StepError | None,
        records: Records | None = None,
        also: Sequence[Write] = (),
    ) -> RunEnd | None:
        if execution.status.is_final:
            return None
        by_machine = records is None and not _is_leased(execution, timestamp(self._clock.now()))
        end, closed = self.end_of(execution, run, status, machine_error, by_machine=by_machine)
        if records is None:
            finished = self._executions.finish(execution, end, closed, also)
        else:
            finished = records.finish(execution, end, closed)
        if finished and execution.place is Place.COUNTED:
            self.start_next(execution)
        if finished and end.follow_up:
            steps = {**run.steps, **{(step.node_id, step.path): step for step in closed}}
            self._follow(replace(execution, status=end.status, output=end.output, error=end.error), steps.values())
        return end if finished else None

    def end_of(
        self,
        execution: Execution,
        run: RunSnapshot,
        status: ExecutionStatus,
        machine_error: StepError | None,
        *,
        by_machine: bool,
    ) -> tuple[RunEnd, list[StepRecord]]:
        """What there is to record of the end of a run, and of its steps that are under way; nothing is written but
        an output that is put together and large.
        """
        plan = self._plans.get(execution.plan)
        failed = uncaught(plan, run.steps)
        if status is ExecutionStatus.FAILED and not failed and self._is_overdue(execution):
            status = ExecutionStatus.TIMED_OUT  # the runner refused to run nodes of it, and nothing else failed
        if status is ExecutionStatus.TIMED_OUT:
            machine_error = _TIMED_OUT
        closed = self._closed(run, status, bool(failed), machine_error)
        steps = {**run.steps, **{(step.node_id, step.path): step for step in closed}}
        error = None
        if status is ExecutionStatus.TIMED_OUT:
            error = _TIMED_OUT.to_json()
        elif status is not ExecutionStatus.SUCCEEDED:
            error = _error_of(uncaught(plan, steps), machine_error)
        output = self._output(execution, plan, steps) if status is ExecutionStatus.SUCCEEDED else None
        follow_up = is_needed(execution, status, steps.values())
        now = timestamp(self._clock.now())
        cost = cost_so_far(plan, execution, steps.values(), by_machine=by_machine)
        return RunEnd(status, now, decided(steps.values()), output, error, follow_up, cost), closed

    def _closed(
        self, run: RunSnapshot, status: ExecutionStatus, explained: bool, machine_error: StepError | None
    ) -> list[StepRecord]:
        """What becomes of the steps that have not ended when the run does.

        Of those under way: failed where the run failed and no step that did ``explained`` it, else cancelled. What was
        set aside and never came about again (items of a loop that has fewer now) is skipped where the run succeeded.
        """
        now = timestamp(self._clock.now())
        closed = []
        for step in run.steps.values():
            if step.status is StepStatus.PENDING and status is ExecutionStatus.SUCCEEDED:
                closed.append(replace(step, status=StepStatus.SKIPPED, finished_at=now))
            elif step.status in _OPEN and status is ExecutionStatus.FAILED and not explained and step.count is None:
                closed.append(_lost(step, machine_error, now))
            elif step.status in _OPEN:
                closed.append(replace(step, status=StepStatus.CANCELLED, finished_at=now))
        return closed

    def _output(self, execution: Execution, plan: Plan, steps: dict[tuple[str, str], StepRecord]) -> Payload | None:
        """The output of the sink that ran, or an object by node id where several did."""
        ran = [step for sink in plan.sinks if (step := steps.get((sink, ""))) and step.port is not None]
        if len(ran) == 1:
            return ran[0].output
        if not ran:
            return None
        outputs = {step.node_id: self._payloads.value(step.output) for step in ran}
        try:
            return self._payloads.put(execution.shelf, outputs)
        except Permanent as error:  # the run has succeeded all the same, and each step has its output
            told = {"error": {"name": error.name, "message": error.message}}
            return self._payloads.put(execution.shelf, told)


@contextmanager
def _left_to_upkeep(what: str, execution: Execution) -> Iterator[None]:
    """Tells of what cannot be started now; upkeep does it within some minutes. Whoever is here has done their own."""
    try:
        yield
    except Downstream as error:
        logger().warning(f"{what} left to upkeep", extra={"execution": execution.id, "reason": error.detail})


def next_look(due: Due, now: datetime) -> str:
    """When upkeep looks again after a run that has not ended now: the older it is, the less often.

    One that a process has taken is looked after all the time: a process may die.
    """
    age = now - parse_timestamp(due.created_at)
    pause = FIRST_LOOK if due.is_leased else min(max(age / 2, FIRST_LOOK), _LOOK_AT_LEAST_EVERY)
    look = timestamp(now + pause)
    return min(look, due.deadline) if due.deadline is not None and due.deadline > timestamp(now) else look


def is_needed(execution: Execution, status: ExecutionStatus, steps: Iterable[StepRecord]) -> bool:
    """Whether anything follows from the end of a run, for ``aftermath`` to do."""
    cut_off = (step for step in steps if step.status in CUT_OFF)
    waited = any(step.gate or step.node_type == sub_workflow.TYPE.name for step in cut_off)
    return status in FAILURES or execution.parent is not None or waited


def decided(steps: Iterable[StepOutline | StepRecord]) -> int:
    """How many tasks of a run are decided, items of loops aside."""
    return sum(step.status.is_final and not step.path for step in steps)


def _is_leased(execution: Execution, now: str) -> bool:
    """Whether a process has the run."""
    return execution.leased_until is not None and execution.leased_until >= now


def _is_held(execution: Execution, machine: MachineRun) -> bool:
    """Whether the run is held: it was to be expected then that its engine ends, and it goes on later.

    Unless nothing was left to hold, and it has succeeded.
    """
    return execution.status is ExecutionStatus.PAUSED and machine.status is not ExecutionStatus.SUCCEEDED


def _lost(step: StepRecord, error: StepError | None, now: str) -> StepRecord:
    """A step that failed with its machine. Where its process died it is known that its attempt is over."""
    attempts = step.attempts
    if step.is_cut_off and error is not None and error.name == "Runtime.ExitError":
        attempts = (*attempts[:-1], replace(attempts[-1], finished_at=now, error=error))
    return replace(step, status=StepStatus.FAILED, error=error, attempts=attempts, finished_at=now)


def _error_of(failed: Sequence[StepRecord], machine_error: StepError | None) -> dict[str, str] | None:
    """Why a run did not succeed: the first step that failed for good, else what Step Functions says."""
    for step in failed:
        if step.error is not None:
            return {**step.error.to_json(), "nodeId": step.task_id}
    return machine_error.to_json() if machine_error else None
