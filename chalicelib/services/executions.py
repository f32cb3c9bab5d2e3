"""Executions: started, read, cancelled, and brought to their end.

What if the process is killed ...

===================================  ================================================================================
before the record is written         nothing has happened; the client tries again
between the record and the start     the next read of the execution starts it: a start under the same name is one start
after the start, before "running"    the first reader, or the end of the run, puts it right
before the end is recorded           the event is delivered again; failing that, the next read asks Step Functions
===================================  ================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from chalicelib.compiler.asl.emit import emit
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Plan
from chalicelib.engines.payloads import Payloads
from chalicelib.engines.step import skipped_record
from chalicelib.engines.stepfunctions import MachineRun, StepFunctionsEngine
from chalicelib.foundation.clock import Clock, parse_timestamp, timestamp
from chalicelib.foundation.errors import Conflict, IdempotencyMismatch, NotFound
from chalicelib.foundation.ids import Ids, is_id
from chalicelib.foundation.json_types import Json, canonical
from chalicelib.graph.executions import Execution, ExecutionStatus, Payload, StepError, StepRecord, StepStatus, Trigger
from chalicelib.graph.model import Graph, Workflow, WorkflowStatus
from chalicelib.graph.validate import errors
from chalicelib.nodes.registry import Registry
from chalicelib.services.access import ADMIN, Principal
from chalicelib.store.executions import ExecutionPage, ExecutionRepository, IdempotentStart, RunSnapshot
from chalicelib.store.plans import PlanRepository
from chalicelib.store.workflows import WorkflowRepository

#: A run of which nothing was heard for this long is looked after when somebody reads it.
STALE_AFTER = timedelta(seconds=15)


@dataclass(frozen=True)
class ExecutionDetail:
    """A run with its steps, in the order in which they were decided or began."""

    execution: Execution
    steps: tuple[StepRecord, ...]
    output: str | None  # JSON text


class ExecutionService:
    def __init__(
        self,
        *,
        executions: ExecutionRepository,
        workflows: WorkflowRepository,
        plans: PlanRepository,
        payloads: Payloads,
        engine: StepFunctionsEngine,
        catalog: Registry,
        ids: Ids,
        clock: Clock,
    ) -> None:
        self._executions = executions
        self._workflows = workflows
        self._plans = plans
        self._payloads = payloads
        self._engine = engine
        self._catalog = catalog
        self._ids = ids
        self._clock = clock

    def start(
        self,
        principal: Principal,
        workflow: Workflow,
        *,
        inputs: Json,
        definition: Graph | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Starts a run of ``workflow``, or of ``definition`` in its place, and returns the execution's id.

        Raises ``Conflict`` for an archived workflow and for a graph with errors, which it lists;
        ``IdempotencyMismatch`` where the key was used for another request within 24 hours. The same request with the
        same key gives the first answer again.
        """
        repeatable = None
        if idempotency_key is not None:
            request = {"workflow": workflow.id, "inputs": inputs, "definition": definition and definition.to_json()}
            repeatable = IdempotentStart(idempotency_key, hashlib.sha256(canonical(request)).hexdigest())
            if earlier := self._earlier(principal, repeatable):
                return earlier
        if workflow.status is WorkflowStatus.ARCHIVED:
            raise Conflict("The workflow is archived: it cannot be executed.")
        graph = definition if definition is not None else workflow.graph
        if found := errors(graph, self._catalog):
            raise Conflict("The workflow has errors and cannot be executed.", [problem.to_json() for problem in found])
        plan = compile_plan(
            graph,
            self._catalog,
            default_retry=workflow.default_retry,
            timeout_s=workflow.settings.get("timeout"),
        )
        return self._begin(principal, workflow, plan, inputs, repeatable)

    def list(
        self,
        principal: Principal,
        workflow_id: str | None,
        status: ExecutionStatus | None,
        limit: int,
        offset: int,
    ) -> ExecutionPage:
        """Runs of a workflow, or of all workflows that the caller may see, newest first."""
        organization = principal.organization_id
        if workflow_id is not None:
            if not is_id(workflow_id) or not self._may_see(principal, workflow_id):
                return ExecutionPage(0, ())
            page = self._executions.list_of_workflow(organization, workflow_id, status, limit, offset)
        elif principal.has(ADMIN):
            page = self._executions.list_of_organization(organization, status, limit, offset)
        else:
            visible = self._workflows.visible_ids(organization, principal.user_id)
            page = self._executions.list_of_workflows(organization, visible, status, limit, offset)
        return replace(page, executions=tuple(map(self._with_progress, page.executions)))

    def find(self, principal: Principal, execution_id: str) -> ExecutionDetail:
        """Raises ``NotFound``."""
        execution, run = self._load(principal, execution_id)
        if not execution.status.is_final and self._is_stale(execution, run):
            self._reconcile(execution)
            execution, run = self._load(principal, execution_id)
        if execution.tasks_executed is None:
            execution = replace(execution, tasks_executed=_decided(run.steps.values()))
        steps = sorted(run.steps.values(), key=lambda step: (step.started_at or step.finished_at or "", step.task_id))
        return ExecutionDetail(execution, tuple(steps), self._payloads.text(execution.output))

    def cancel(self, principal: Principal, execution_id: str) -> ExecutionDetail:
        """Stops a run. Raises ``Conflict`` where it has ended."""
        execution, run = self._load(principal, execution_id)
        if not self._finish(execution, run, ExecutionStatus.CANCELLED, None):
            ended = self._executions.get(principal.organization_id, execution_id) or execution
            raise Conflict(f"The execution is {ended.status} already: it cannot be cancelled.")
        # The record comes first: a node that starts in between reads it and stops by itself.
        self._engine.stop(execution, "cancelled")
        return self.find(principal, execution_id)

    def ended(self, organization_id: str, execution_id: str, round: int, machine: MachineRun) -> None:
        """Takes note that the state machine of a round of a run has ended. Harmless to repeat."""
        run = self._executions.load_run(organization_id, execution_id)
        if run.execution is not None and run.execution.round == round and machine.status is not None:
            self._finish(run.execution, run, machine.status, machine.error)

    def _begin(
        self, principal: Principal, workflow: Workflow, plan: Plan, inputs: Json, repeatable: IdempotentStart | None
    ) -> str:
        now = timestamp(self._clock.now())
        definition = emit(plan, self._engine.node_function)
        execution = Execution(
            id=self._ids.new("exec"),
            organization_id=workflow.organization_id,
            workflow_id=workflow.id,
            status=ExecutionStatus.QUEUED,
            plan=plan.hash,
            machine=self._engine.machine_name(definition),
            trigger=Trigger(
                type="manual",
                source="api",
                payload=self._payloads.put(workflow.organization_id, inputs),
                node_id=plan.trigger,
            ),
            tasks_total=plan.tasks_total,
            created_at=now,
            started_by=principal.user_id,
        )
        self._plans.put(plan)
        if self._executions.create(execution, repeatable):
            assert repeatable is not None
            earlier = self._earlier(principal, repeatable)
            assert earlier is not None
            return earlier
        self._launch(execution, plan, definition)
        return execution.id

    def _launch(self, execution: Execution, plan: Plan, definition: str) -> None:
        """Brings a recorded run under way. Harmless to repeat."""
        now = timestamp(self._clock.now())
        self._executions.write_skipped(execution, (skipped_record(node, "", now) for node in plan.dead))
        self._engine.start(execution, definition)
        self._executions.mark_running(execution.organization_id, execution.id, now)

    def _earlier(self, principal: Principal, start: IdempotentStart) -> str | None:
        earlier = self._executions.earlier_start(principal.organization_id, start.key, self._clock.now())
        if earlier is None:
            return None
        if earlier.request_hash != start.request_hash:
            raise IdempotencyMismatch
        return earlier.execution_id

    def _load(self, principal: Principal, execution_id: str) -> tuple[Execution, RunSnapshot]:
        """A run that the caller may see: who started it, and who sees its workflow. Raises ``NotFound``."""
        if not is_id(execution_id):
            raise NotFound("execution", execution_id)
        run = self._executions.load_run(principal.organization_id, execution_id)
        execution = run.execution
        if execution is None or (
            execution.started_by != principal.user_id and not self._may_see(principal, execution.workflow_id)
        ):
            raise NotFound("execution", execution_id)
        return execution, run

    def _may_see(self, principal: Principal, workflow_id: str) -> bool:
        """Whether the caller sees a workflow; of one that is deleted, only administrators see what is left."""
        if principal.has(ADMIN):
            return True
        workflow = self._workflows.get(principal.organization_id, workflow_id) if is_id(workflow_id) else None
        return workflow is not None and principal.may_see(workflow)

    def _with_progress(self, execution: Execution) -> Execution:
        if execution.tasks_executed is not None:
            return execution
        decided = self._executions.count_decided(execution.organization_id, execution.id)
        return replace(execution, tasks_executed=decided)

    def _is_stale(self, execution: Execution, run: RunSnapshot) -> bool:
        times = [execution.created_at, execution.started_at]
        for step in run.steps.values():
            times += [step.started_at, step.finished_at, step.until]
        latest = max(time for time in times if time)
        return self._clock.now() - parse_timestamp(latest) > STALE_AFTER

    def _reconcile(self, execution: Execution) -> None:
        """Asks Step Functions how a run fares of which nothing was heard."""
        machine = self._engine.describe(execution)
        if machine is None:
            plan = self._plans.get(execution.plan)
            self._launch(execution, plan, emit(plan, self._engine.node_function))
        elif machine.status is None:
            self._executions.mark_running(execution.organization_id, execution.id, execution.created_at)
        else:
            self.ended(execution.organization_id, execution.id, execution.round, machine)

    def _finish(
        self, execution: Execution, run: RunSnapshot, status: ExecutionStatus, machine_error: StepError | None
    ) -> bool:
        """Ends a run: closes the steps that were under way, then the execution. False where it had ended before."""
        if execution.status.is_final:
            return False
        now = timestamp(self._clock.now())
        steps = dict(run.steps)
        for step in self._closed(run, status, machine_error, now):
            steps[step.node_id, step.path] = self._executions.write_step(execution, step)
        error = _error_of(steps.values(), machine_error) if status is not ExecutionStatus.SUCCEEDED else None
        output = self._output(execution, steps) if status is ExecutionStatus.SUCCEEDED else None
        return self._executions.finish(
            execution, status, now, tasks_executed=_decided(steps.values()), output=output, error=error
        )

    def _closed(
        self, run: RunSnapshot, status: ExecutionStatus, machine_error: StepError | None, now: str
    ) -> Iterable[StepRecord]:
        """What becomes of steps that were under way.

        Failed where the run failed and nothing else explains it, else cancelled.
        """
        under_way = [step for step in run.steps.values() if not step.status.is_final]
        explained = any(step.status is StepStatus.FAILED and step.port is None for step in run.steps.values())
        for step in under_way:
            if status is ExecutionStatus.FAILED and not explained and step.count is None:
                yield replace(step, status=StepStatus.FAILED, error=machine_error, finished_at=now)
            else:
                yield replace(step, status=StepStatus.CANCELLED, finished_at=now)

    def _output(self, execution: Execution, steps: dict[tuple[str, str], StepRecord]) -> Payload | None:
        """The output of the sink that ran, or an object by node id where several did."""
        sinks = self._plans.get(execution.plan).sinks
        ran = [step for sink in sinks if (step := steps.get((sink, ""))) and step.port is not None]
        if len(ran) == 1:
            return ran[0].output
        if not ran:
            return None
        outputs = {step.node_id: self._payloads.get(step.output) for step in ran}
        return self._payloads.put(execution.organization_id, outputs)


def _decided(steps: Iterable[StepRecord]) -> int:
    """How many tasks of a run are decided, items of loops aside."""
    return sum(step.status.is_final and not step.path for step in steps)


def _error_of(steps: Iterable[StepRecord], machine_error: StepError | None) -> dict[str, str] | None:
    """Why a run did not succeed: the first step that failed for good, else what Step Functions says."""
    failed = [step for step in steps if step.status is StepStatus.FAILED and step.port is None and step.error]
    if failed:
        first = min(failed, key=lambda step: step.finished_at or "")
        assert first.error is not None
        return {**first.error.to_json(), "nodeId": first.task_id}
    return machine_error.to_json() if machine_error else None
