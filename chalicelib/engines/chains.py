"""Chains: nodes that a state machine calls for at once, run one after the other by the runner that runs any node.

What a state machine calls for may not be ready, be it a chain or a node alone: then the visit may wait a little
(``engines.patience``), and begins again.

Their records are read in one call when the chain begins, and kept in mind while it goes on: what a node puts out, the
next need not read. They are written together, in one transaction, on the same conditions as anywhere: when the chain
ends, and before that whenever somebody may want to know what is decided, which is when a node has failed, has closed a
branch or is awaited by one elsewhere, and after a second.

What if the process is killed: the engine tries again, what was written is answered from its record, and the chain goes
on behind it; nodes that were not recorded, which only compute, run again. So it does when it takes too long: it gives
up early enough to be tried again. Where another delivery of the chain has decided a node meanwhile, what this one has
not written yet is dropped, and it is tried again as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib.compiler.plan import Plan, PlanNode
from chalicelib.engines.patience import Patience, patience_s
from chalicelib.engines.prepared import needs
from chalicelib.engines.records import StepKey
from chalicelib.engines.step import StepRunner
from chalicelib.engines.visit import NotReady, StepAnswer, StepRequest
from chalicelib.foundation.clock import Clock
from chalicelib.foundation.errors import Downstream
from chalicelib.graph.executions import Execution, StepRecord, StepStatus
from chalicelib.store.executions import ExecutionRepository, RunSnapshot
from chalicelib.store.plans import PlanRepository
from chalicelib.store.table import ConditionFailed, Write

#: How long what was read of a run is believed. After that the next node finds out whether it was cancelled meanwhile.
FRESH = timedelta(seconds=1)

BUDGET_S = 300  # of the 900 seconds of the node runner: what is left is for the node that is under way then


class ChainRunner:
    """Runs what a state of a state machine calls for: a node, or a chain by its first node."""

    def __init__(
        self,
        steps: StepRunner,
        records: ExecutionRepository,
        plans: PlanRepository,
        clock: Clock,
        patience: Patience,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = steps
        self._records = records
        self._plans = plans
        self._clock = clock
        self._patience = patience
        self._seconds = seconds

    def run(self, request: StepRequest) -> StepAnswer:
        """The answer of the node, or of the last of its chain. Raises as ``StepRunner.run`` does, and ``NotReady`` only
        where it does not pay to wait.
        """
        plan = self._plans.get(request.plan)
        if request.late:  # what the visit has waited that sent it to its gate counts as its own
            awaited = len(plan.late_joins.get(request.node, ()))
            request = replace(request, waited_s=patience_s(plan.by_key[request.node], awaited))
        with suppress(NotReady):
            return self._visit(plan, request)
        return self._visit(plan, replace(request, waited_s=self._patience.wait(plan, request)))

    def _visit(self, plan: Plan, request: StepRequest) -> StepAnswer:
        chain = [plan.nodes[name] for name in plan.chains.get(request.node, ())]
        if not chain:
            return self._steps.run(request)
        kept = _Kept(
            self._records, plan, {key for node in chain for key in needs(plan, node, request.path)}, self._clock
        )
        try:
            answer = self._run(chain, request, self._steps.through(kept))
        except Exception:
            kept.flush()
            raise
        kept.flush()
        return answer

    def _run(self, chain: Sequence[PlanNode], request: StepRequest, steps: StepRunner) -> StepAnswer:
        end = self._seconds() + BUDGET_S
        answer = steps.run(request)
        for node in chain[1:]:
            if self._seconds() > end:
                raise Downstream(f"the chain of node {request.node} goes on in another invocation")
            answer = steps.run(replace(request, node=node.key, late=False, waited_s=0))
        return answer


class _Kept:
    """Records of which those that are ``wanted`` are read at once, and kept in mind; ``flush`` writes what is new."""

    def __init__(self, store: ExecutionRepository, plan: Plan, wanted: Set[StepKey], clock: Clock) -> None:
        self._store = store
        self._plan = plan
        self._wanted = wanted
        self._clock = clock
        self._read_at: datetime | None = None
        self._execution: Execution | None = None
        self._steps: dict[StepKey, StepRecord] = {}
        self._new: list[StepRecord] = []

    def flush(self, skipped: Sequence[StepRecord] = ()) -> None:
        """Raises ``Downstream`` where another delivery has decided any of it: all is to be read anew then."""
        new, self._new = self._new, []
        if not new:
            return
        assert self._execution is not None
        try:
            self._store.write_steps(self._execution, new, skipped)
        except ConditionFailed as error:
            raise Downstream("another delivery of this chain was quicker") from error

    def load_steps(self, organization_id: str, execution_id: str, wanted: Iterable[StepKey]) -> RunSnapshot:
        keys = set(wanted)
        if not keys <= self._wanted:
            return self._store.load_steps(organization_id, execution_id, keys)
        now = self._clock.now()
        if self._read_at is None or now - self._read_at > FRESH:
            self.flush()
            self._read(organization_id, execution_id, now)
        return RunSnapshot(self._execution, {key: self._steps[key] for key in keys if key in self._steps})

    def write_step(
        self,
        execution: Execution,
        record: StepRecord,
        skipped: Sequence[StepRecord] = (),
        also: Sequence[Write] = (),
    ) -> StepRecord:
        if also:
            self.flush()
            return self._store.write_step(execution, record, skipped, also)
        self._new.append(record)
        self._steps[record.node_id, record.path] = record
        if skipped or record.status is StepStatus.FAILED or self._plan.nodes[record.node_id].tells:
            self.flush(skipped)
            self._read_at = None if skipped else self._read_at
        return record

    def skip(self, execution: Execution, records: Sequence[StepRecord]) -> None:
        self._store.skip(execution, records)
        self._read_at = None if records else self._read_at

    # What short nodes do not ask for, and those that run otherwise do not need to have kept.

    def failed_below(self, organization_id: str, execution_id: str, path: str) -> Mapping[StepKey, StepRecord]:
        return self._store.failed_below(organization_id, execution_id, path)

    def begin_step(self, execution: Execution, record: StepRecord) -> StepRecord:
        return self._store.begin_step(execution, record)

    def end_attempt(self, execution: Execution, record: StepRecord, finished_at: str) -> None:
        self._store.end_attempt(execution, record, finished_at)

    def _read(self, organization_id: str, execution_id: str, now: datetime) -> None:
        read = self._store.load_steps(organization_id, execution_id, self._wanted)
        self._read_at, self._execution, self._steps = now, read.execution, dict(read.steps)
