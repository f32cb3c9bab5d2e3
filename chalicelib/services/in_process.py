"""Runs that a process of ours runs by itself, where a state machine would be too slow or too dear.

A run is the same on either engine, and may change from one to the other: what is decided answers from its records.
That no two run it at once is the business of a lease, which a process takes when it begins and renews as long as it
lives. A run whose lease has lapsed is looked after like any other of which nothing was heard: Step Functions takes it
up.

A run that this process itself makes (``run_new``) is recorded with the lease already taken, as a running one. One that
only computes is over before it is worth that: it runs in one burst, and is recorded whole, with its end, in one
transaction. Until then nothing tells of it, and nobody was answered: should the process die, whoever asked asks again.
(Most such runs never come here: ``services.programs``.)

What if the process is killed ... depends on ``Recording``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from chalicelib.compiler.plan import Plan
from chalicelib.engines.inprocess import InProcessEngine
from chalicelib.engines.records import MemoryRecords, Recording, Records
from chalicelib.engines.step import StepRunner
from chalicelib.engines.stepfunctions import MachineRun, StepFunctionsEngine
from chalicelib.engines.visit import decided_before
from chalicelib.foundation.clock import Clock, parse_timestamp, timestamp
from chalicelib.foundation.errors import Conflict, Downstream, NotFound
from chalicelib.graph.executions import Execution, ExecutionStatus, Place, RunEnd, StepRecord
from chalicelib.services.lifecycle import Lifecycle
from chalicelib.store.executions import (
    EarlierStart,
    ExecutionRepository,
    IdempotentStart,
    RunSnapshot,
    creation,
    not_created,
    whole,
)
from chalicelib.store.group_commit import Commits
from chalicelib.store.plans import PlanRepository
from chalicelib.store.table import ConditionFailed, Write

LEASE = timedelta(seconds=30)

#: Seconds that a burst may hold up the event loop as a rule. Where one has, the next ones run in a thread.
INLINE_S = 0.01
_IN_THREADS = 100  # bursts, before the loop is tried again

MAX_SHORT_TASKS = 99  # with the execution itself as many as one transaction takes
MAX_SHORT_S = 3.0
#: Seconds that a node of a type takes, as a rule. What is not among them may take long.
_SHORT_S = {
    **dict.fromkeys(
        ("manual-trigger", "set-fields", "transform", "filter", "merge", "condition", "switch", "fail"), 0.01
    ),
    **dict.fromkeys(("csv-parse", "json-parse", "log"), 0.02),
    **dict.fromkeys(("http-request", "s3-read", "s3-write"), 0.5),
}


class AlreadyRecorded(Exception):
    """There is a run already: of this id, or with the client's key."""

    def __init__(self, earlier: EarlierStart | None) -> None:
        super().__init__()
        self.earlier = earlier  #: None where it is of this id


class InProcessRuns:
    """``holder`` names this process among all that may hold a lease."""

    def __init__(
        self,
        *,
        holder: str,
        executions: ExecutionRepository,
        plans: PlanRepository,
        lifecycle: Lifecycle,
        steps: StepRunner,
        engine: InProcessEngine,
        machines: StepFunctionsEngine,
        commits: Commits,
        clock: Clock,
        lease: timedelta = LEASE,
    ) -> None:
        self._holder = holder
        self._executions = executions
        self._plans = plans
        self._lifecycle = lifecycle
        self._steps = steps
        self._engine = engine
        self._machines = machines
        self._commits = commits
        self._clock = clock
        self._lease = lease
        self._in_threads = 0  # bursts that are to run in a thread before one is tried in the event loop again

    async def run(self, organization_id: str, execution_id: str, recording: Recording | None = None) -> bool:
        """Runs a recorded run to its end. False where it ends elsewhere: another process has it, it is over or held, or
        it waits for so long that it was given to Step Functions.

        A run that a state machine has under way has to be stopped there first. Raises ``NotFound`` and ``Downstream``.
        """
        return await self.run_known(organization_id, execution_id, recording) is not None

    async def run_known(
        self,
        organization_id: str,
        execution_id: str,
        recording: Recording | None = None,
        leave: asyncio.Event | None = None,
    ) -> RunEnd | None:
        """The same; how it ended, or None. Once the process is to ``leave`` it, it is given to Step Functions as it
        is.
        """
        begun = await asyncio.to_thread(self._begin, organization_id, execution_id, recording)
        return None if begun is None else await self._to_its_end(begun, leave)

    async def run_new(
        self,
        execution: Execution,
        plan: Plan,
        start: IdempotentStart | None = None,
        recorded: Callable[[], object] = lambda: None,
        leave: asyncio.Event | None = None,
    ) -> RunEnd | None:
        """Records a run, which comes under no limit, and runs it to its end; what is returned is as of ``run_known``.

        ``recorded`` is called as soon as the run is recorded. Raises ``AlreadyRecorded`` and ``Downstream``: then
        nothing has begun.
        """
        now = self._clock.now()
        execution = replace(
            execution,
            status=ExecutionStatus.RUNNING,
            started_at=timestamp(now),
            leased_by=self._holder,
            leased_until=timestamp(now + self._lease),
        )
        recording = recording_of(plan)
        memory = MemoryRecords(self._executions, RunSnapshot(execution, {}))
        memory.write_unentered(execution, decided_before(plan, execution, timestamp(now)))
        ended = None
        if recording is Recording.RUN and self._engine.only_computes(plan):
            ended = await self._burst(execution, plan, memory)
            if ended is not None and (found := await self._whole(execution, plan, memory, ended, start)) is not None:
                writes, end = found
                await self._commit(writes, execution, start)
                recorded()
                return end
        await self._commit(creation(execution, start), execution, start)
        recorded()
        lease = _Lease(self._executions, execution, self._holder, self._clock, self._lease)
        records: Records = memory
        if recording is Recording.STEP:
            records = self._executions
            if unentered := memory.load_end(execution.organization_id, execution.id).steps:
                await asyncio.to_thread(records.write_unentered, execution, list(unentered.values()))
        return await self._to_its_end(_Begun(execution, plan, recording, records, lease), leave, ended)

    async def _burst(self, execution: Execution, plan: Plan, memory: MemoryRecords) -> MachineRun | None:
        """Runs a plan that only computes, in the event loop as long as that is not held up by it.

        A hop to a thread and back costs as much as some nodes.
        """
        steps = self._steps.recording_to(memory)
        if self._in_threads:
            self._in_threads -= 1
            return await asyncio.to_thread(self._engine.burst, execution, plan, steps)
        began = time.thread_time()  # what others take of the processor says nothing of this plan
        ended = self._engine.burst(execution, plan, steps.at_hand())
        if time.thread_time() - began > INLINE_S:
            self._in_threads = _IN_THREADS
        return ended

    async def _whole(
        self, execution: Execution, plan: Plan, memory: MemoryRecords, ended: MachineRun, start: IdempotentStart | None
    ) -> tuple[list[Write], RunEnd] | None:
        """What records a run whole that has ended in a burst; None where something follows from its end, or it does
        not fit.
        """
        if ended.status is not ExecutionStatus.SUCCEEDED:
            return None
        run = memory.load_end(execution.organization_id, execution.id)
        if len(plan.sinks) > 1:  # outputs that are put together may be large
            end, closed = await asyncio.to_thread(self._end_of, execution, run, ended)
        else:
            end, closed = self._end_of(execution, run, ended)
        if closed or end.follow_up:
            return None
        writes = whole(execution, list(run.steps.values()), end, start)
        return None if writes is None else (writes, end)

    def _end_of(self, execution: Execution, run: RunSnapshot, ended: MachineRun) -> tuple[RunEnd, list[StepRecord]]:
        assert ended.status is not None
        return self._lifecycle.end_of(execution, run, ended.status, ended.error, by_machine=False)

    async def _commit(self, writes: list[Write], execution: Execution, start: IdempotentStart | None) -> None:
        try:
            await self._commits.commit(writes)
        except ConditionFailed as error:
            try:
                earlier = not_created(execution, start, error)
            except Conflict:
                raise AlreadyRecorded(None) from error
            raise AlreadyRecorded(earlier) from error

    async def _to_its_end(
        self, begun: _Begun, leave: asyncio.Event | None, ended: MachineRun | None = None
    ) -> RunEnd | None:
        if ended is None:
            steps = self._steps.recording_to(begun.records)
            ended = await self._engine.run(
                begun.execution, begun.plan, steps, begun.recording, begun.lease.renew, leave
            )
        return await asyncio.to_thread(self._end, begun, ended)

    def _begin(self, organization_id: str, execution_id: str, recording: Recording | None) -> _Begun | None:
        known = self._executions.get(organization_id, execution_id)
        if known is None:
            raise NotFound("execution", execution_id)
        if known.place is Place.WAITING:
            self._lifecycle.start_next(known, but=execution_id)
        lease = _Lease(self._executions, known, self._holder, self._clock, self._lease)
        execution = lease.take()
        if execution is None:
            return None
        plan = self._plans.get(execution.plan)
        records: Records = self._executions
        recording = recording or recording_of(plan)
        if recording is Recording.RUN:
            recorded = self._executions.load_run(organization_id, execution_id)
            records = MemoryRecords(self._executions, replace(recorded, execution=execution))
        now = timestamp(self._clock.now())
        records.write_unentered(execution, decided_before(plan, execution, now))
        return _Begun(execution, plan, recording, records, lease)

    def _end(self, begun: _Begun, ended: MachineRun) -> RunEnd | None:
        execution = begun.execution
        if ended.status is not None:
            run = begun.records.load_end(execution.organization_id, execution.id)
            if run.execution is None or run.execution.round != execution.round:
                return None
            return self._lifecycle.conclude(run.execution, run, ended, begun.records)
        if isinstance(begun.records, MemoryRecords):
            begun.records.hand_over()  # nothing of it is written where the run has ended or is in another round
        now = timestamp(self._clock.now())
        if self._executions.release(execution, self._holder, now):
            # Nobody else has it, and it is not held: it waits for too long, or this process is to end. Should it die
            # right here, upkeep launches the run within a minute.
            self._lifecycle.launch(execution, begun.plan, self._machines.definition(begun.plan))
        return None


@dataclass(frozen=True)
class _Begun:
    execution: Execution
    plan: Plan
    recording: Recording
    records: Records
    lease: _Lease


class _Lease:
    """The right of this process to run a run."""

    def __init__(
        self, executions: ExecutionRepository, execution: Execution, holder: str, clock: Clock, span: timedelta
    ) -> None:
        self._executions = executions
        self._execution = execution
        self._holder = holder
        self._clock = clock
        self._span = span
        # Of one that was recorded with the lease it is known; of any other nothing is before it is taken.
        has_it = execution.leased_by == holder and execution.leased_until is not None
        self._until = parse_timestamp(str(execution.leased_until)) if has_it else clock.now()

    def take(self) -> Execution | None:
        """The execution, as it is from now on; None where somebody else has it, or nobody is to."""
        now = self._clock.now()
        until = now + self._span
        taken = self._executions.lease(self._execution, self._holder, timestamp(now), timestamp(until))
        if taken is not None:
            self._until = until
        return taken

    def renew(self) -> bool:
        """Whether this process still has the run. While the store does not answer, it has until the lease is over."""
        try:
            return self.take() is not None
        except Downstream:
            return self._clock.now() < self._until


def recording_of(plan: Plan) -> Recording:
    """How a run of ``plan`` is recorded where nobody says: all at the end where it is sure to be short.

    Short is what fits into one transaction, waits for nothing, has no loop (whose items nobody knows) and calls few
    others.
    """
    nodes = plan.nodes.values()
    is_long = any(node.body_sinks or node.retry.max_attempts > 1 or node.type not in _SHORT_S for node in nodes)
    seconds = sum(_SHORT_S.get(node.type, 0) for node in nodes)
    if is_long or seconds > MAX_SHORT_S or plan.tasks_total > MAX_SHORT_TASKS:
        return Recording.STEP
    return Recording.RUN
