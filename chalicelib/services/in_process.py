"""Runs that a process of ours runs by itself, where a state machine would be too slow or too dear.

A run is the same on either engine, and may change from one to the other: what is decided answers from its records.
That no two run it at once is the business of a lease, which a process takes when it begins and renews as long as it
lives. A run whose lease has lapsed is looked after like any other of which nothing was heard: Step Functions takes it
up.

What if the process is killed ... depends on ``Recording``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

from chalicelib.compiler.plan import Plan
from chalicelib.engines.inprocess import InProcessEngine
from chalicelib.engines.records import MemoryRecords, Recording, Records
from chalicelib.engines.step import StepRunner
from chalicelib.engines.stepfunctions import MachineRun, StepFunctionsEngine
from chalicelib.engines.visit import decided_before
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Downstream, NotFound
from chalicelib.graph.executions import Execution, Place
from chalicelib.services.lifecycle import Lifecycle
from chalicelib.store.executions import ExecutionRepository
from chalicelib.store.plans import PlanRepository

LEASE = timedelta(seconds=30)

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
        clock: Clock,
    ) -> None:
        self._holder = holder
        self._executions = executions
        self._plans = plans
        self._lifecycle = lifecycle
        self._steps = steps
        self._engine = engine
        self._machines = machines
        self._clock = clock

    async def run(self, organization_id: str, execution_id: str, recording: Recording | None = None) -> bool:
        """Runs a recorded run to its end. False where it ends elsewhere: another process has it, it is over or held, or
        it waits for so long that it was given to Step Functions.

        A run that a state machine has under way has to be stopped there first. Raises ``NotFound`` and ``Downstream``.
        """
        begun = await asyncio.to_thread(self._begin, organization_id, execution_id, recording)
        if begun is None:
            return False
        steps = self._steps.recording_to(begun.records)
        ended = await self._engine.run(begun.execution, begun.plan, steps, begun.recording, begun.lease.renew)
        return await asyncio.to_thread(self._end, begun, ended)

    def _begin(self, organization_id: str, execution_id: str, recording: Recording | None) -> _Begun | None:
        known = self._executions.get(organization_id, execution_id)
        if known is None:
            raise NotFound("execution", execution_id)
        if known.place is Place.WAITING:
            self._lifecycle.start_next(known, but=execution_id)
        lease = _Lease(self._executions, known, self._holder, self._clock)
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

    def _end(self, begun: _Begun, ended: MachineRun) -> bool:
        execution = begun.execution
        if ended.status is not None:
            run = begun.records.load_end(execution.organization_id, execution.id)
            if run.execution is None or run.execution.round != execution.round:
                return False
            return self._lifecycle.conclude(run.execution, run, ended, begun.records)
        if isinstance(begun.records, MemoryRecords):
            begun.records.hand_over()  # nothing of it is written where the run has ended or is in another round
        if begun.lease.renew():  # nobody else has it, and it is not held: it waits for too long
            self._lifecycle.launch(execution, begun.plan, self._machines.definition(begun.plan))
        return False


@dataclass(frozen=True)
class _Begun:
    execution: Execution
    plan: Plan
    recording: Recording
    records: Records
    lease: _Lease


class _Lease:
    """The right of this process to run a run."""

    def __init__(self, executions: ExecutionRepository, execution: Execution, holder: str, clock: Clock) -> None:
        self._executions = executions
        self._execution = execution
        self._holder = holder
        self._clock = clock
        self._until = clock.now()

    def take(self) -> Execution | None:
        """The execution, as it is from now on; None where somebody else has it, or nobody is to."""
        now = self._clock.now()
        until = now + LEASE
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
