"""What people do to a run: hold it and let it go on, end it, and take it up again once it has ended.

Each is one conditional change of the execution's record, with its audit entry in the same transaction; everything else
follows from the record. Who is at work when it changes finds that out by themselves: a node that is entered in a run
that is held, has ended or is in a later round does not begin.

A run that is taken up again begins another *round*: it is queued as at its first start, and ``lifecycle`` brings it
under way, once the records that are to be decided anew are set aside (``engines.reopen``). A process that dies on that
way has left a queued run behind, which the same request, or whoever reads it next, finishes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from chalicelib.engines.stepfunctions import StepFunctionsEngine
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Conflict, InvalidInput
from chalicelib.foundation.json_types import Json
from chalicelib.graph.executions import Execution, ExecutionStatus, Place, StepRecord
from chalicelib.services.access import Principal
from chalicelib.services.audit import AuditService
from chalicelib.services.costs import cost_so_far
from chalicelib.services.executions import ExecutionDetail, ExecutionService
from chalicelib.services.lifecycle import FIRST_LOOK, Lifecycle
from chalicelib.services.limits import WAITING_LOOK, Limits
from chalicelib.store.executions import ExecutionRepository
from chalicelib.store.plans import PlanRepository
from chalicelib.store.table import Write

_UNDER_WAY = frozenset({ExecutionStatus.QUEUED, ExecutionStatus.RUNNING, ExecutionStatus.WAITING})
_HELD = frozenset({ExecutionStatus.PAUSED})
_FAILED = frozenset({ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT})
_ENDED = _FAILED | {ExecutionStatus.SUCCEEDED}
_TRIES = 10  # a run changes its status a few times in its life


class RunControl:
    def __init__(
        self,
        *,
        executions: ExecutionService,
        lifecycle: Lifecycle,
        limits: Limits,
        engine: StepFunctionsEngine,
        repository: ExecutionRepository,
        plans: PlanRepository,
        audit: AuditService,
        clock: Clock,
    ) -> None:
        self._executions = executions
        self._lifecycle = lifecycle
        self._limits = limits
        self._engine = engine
        self._repository = repository
        self._plans = plans
        self._audit = audit
        self._clock = clock

    def cancel(self, principal: Principal, execution_id: str) -> ExecutionDetail:
        """Ends a run. Raises ``Conflict`` where it has ended."""
        for _ in range(_TRIES):
            execution, run = self._executions.load(principal, execution_id)
            _check(execution, _UNDER_WAY | _HELD, "cancelled")
            if self._lifecycle.finish(
                execution, run, ExecutionStatus.CANCELLED, None, also=[self._entry(principal, execution, "cancelled")]
            ):
                # The record comes first: a node that starts in between reads it and stops by itself.
                self._engine.stop(execution, "cancelled")
                return self._executions.find(principal, execution_id)
        raise _restless(execution_id)

    def pause(self, principal: Principal, execution_id: str) -> ExecutionDetail:
        """Holds a run: nodes that are at work end, no other begins. Raises ``Conflict`` where it is not under way."""
        for _ in range(_TRIES):
            execution, _run = self._executions.load(principal, execution_id)
            _check(execution, _UNDER_WAY, "paused")
            if self._repository.pause(execution, [self._entry(principal, execution, "paused")]):
                if execution.place is Place.COUNTED:
                    self._lifecycle.start_next(execution)
                return self._executions.find(principal, execution_id)
        raise _restless(execution_id)

    def resume(self, principal: Principal, execution_id: str) -> ExecutionDetail:
        """Lets a run go on that was held. Raises ``Conflict`` for any other."""
        return self._take_up(principal, execution_id, _HELD, "resumed", None)

    def retry(self, principal: Principal, execution_id: str) -> ExecutionDetail:
        """Takes up again a run that did not succeed: what failed or was cancelled is decided anew, what succeeded
        stays. Raises ``Conflict`` for any other.
        """
        return self._take_up(principal, execution_id, _FAILED, "retried", ())

    def restart(self, principal: Principal, execution_id: str, step: str) -> ExecutionDetail:
        """Takes up again a run that has ended or is held, from ``step`` on: it and all downstream of it are decided
        anew.

        Raises ``InvalidInput`` for a step that the run does not have, or that was never decided, and ``Conflict`` for a
        run that is under way.
        """
        execution, run = self._executions.load(principal, execution_id)
        self._check_step(execution, run.steps.values(), step)
        return self._take_up(principal, execution_id, _ENDED | _HELD, "restarted", (step,), fromStep=step)

    def _take_up(
        self,
        principal: Principal,
        execution_id: str,
        allowed: Collection[ExecutionStatus],
        verb: str,
        steps: Sequence[str] | None,
        **detail: Json,
    ) -> ExecutionDetail:
        """``steps``: from which to begin again, besides what failed; None where no record is set aside."""
        for _ in range(_TRIES):
            execution, run = self._executions.load(principal, execution_id)
            if _is_on_its_way(execution, steps):
                self._lifecycle.relaunch(execution)
                return self._executions.find(principal, execution_id)
            _check(execution, allowed, verb)
            self._lifecycle.look_after(execution, run)  # what follows from its end comes before another beginning
            # What an earlier request began to set aside, and somebody interrupted, is set aside now.
            reopening = steps if execution.reopening is None else (*execution.reopening, *(steps or ()))
            entry = self._entry(principal, execution, verb, **detail)
            now = self._clock.now()
            plan = self._plans.get(execution.plan)
            line = self._limits.line_up_again(execution, timestamp(now), plan.timeout_s)
            deadline = None if plan.timeout_s is None or line else timestamp(now + timedelta(seconds=plan.timeout_s))
            look_at = timestamp(now + (WAITING_LOOK if line else FIRST_LOOK))
            cost = execution.cost
            if execution.status is ExecutionStatus.PAUSED:  # its round has no end that told
                cost = cost_so_far(plan, execution, run.steps.values(), by_machine=execution.leased_by is None)
            if self._repository.take_up(execution, timestamp(now), look_at, deadline, reopening, cost, [entry], line):
                if execution.status is ExecutionStatus.PAUSED:
                    # Of the round before there may be states that wait. They count no more.
                    self._engine.stop(execution, verb)
                    self._engine.close_gates(execution)
                queued, _ = self._executions.load(principal, execution_id)
                self._lifecycle.relaunch(queued)
                return self._executions.find(principal, execution_id)
        raise _restless(execution_id)

    def _check_step(self, execution: Execution, records: Collection[StepRecord], step: str) -> None:
        if step not in self._plans.get(execution.plan).nodes:
            raise InvalidInput.at("fromStep", f"The run has no step {step!r}.")
        if not any(record.node_id == step for record in records):
            raise InvalidInput.at("fromStep", f"The step {step!r} was never decided: there is nothing to repeat.")

    def _entry(self, principal: Principal, execution: Execution, verb: str, **detail: Json) -> Write:
        return self._audit.entry(
            principal, f"execution.{verb}", execution.id, workflowId=execution.workflow_id, **detail
        )


def _is_on_its_way(execution: Execution, steps: Sequence[str] | None) -> bool:
    """Whether the same request came before, and may have died before the run was brought under way."""
    return (
        execution.status is ExecutionStatus.QUEUED
        and execution.reopening is not None
        and steps is not None
        and set(steps) <= set(execution.reopening)
    )


def _check(execution: Execution, allowed: Collection[ExecutionStatus], verb: str) -> None:
    if execution.status not in allowed:
        states = " or ".join(sorted(allowed))
        raise Conflict(f"The execution is {execution.status}: only one that is {states} can be {verb}.")


def _restless(execution_id: str) -> Conflict:
    return Conflict(f"The execution {execution_id} changes its status all the time.")
