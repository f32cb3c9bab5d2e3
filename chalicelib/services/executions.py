"""Executions: started, listed and read, by those who may.

A start that dies before the run is recorded has done nothing, and the client tries again; what becomes of a run that is
recorded is the business of ``lifecycle``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from chalicelib.compiler.pipeline import MANUAL, compile_plan
from chalicelib.compiler.plan import Plan
from chalicelib.engines.payloads import INLINE_BYTES, Payloads
from chalicelib.engines.stepfunctions import StepFunctionsEngine
from chalicelib.foundation.clock import Clock
from chalicelib.foundation.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound
from chalicelib.foundation.ids import Ids, is_id
from chalicelib.foundation.json_types import Json, Value
from chalicelib.graph.deployments import Deployed
from chalicelib.graph.executions import (
    MAX_TASKS,
    Execution,
    ExecutionStatus,
    Parent,
    Place,
    StepOutline,
    StepRecord,
    StepStatus,
    Trigger,
)
from chalicelib.graph.model import Graph, Workflow, WorkflowStatus
from chalicelib.graph.partial import partial_faults
from chalicelib.graph.retention import shelf
from chalicelib.graph.validate import errors
from chalicelib.nodes.registry import Registry
from chalicelib.services.access import ADMIN, Principal
from chalicelib.services.calls import circles
from chalicelib.services.lifecycle import Lifecycle, decided
from chalicelib.services.limits import Limits
from chalicelib.services.recording import Started, new_execution
from chalicelib.store.claims import request_hash
from chalicelib.store.executions import ExecutionPage, ExecutionRepository, IdempotentStart, RunSnapshot
from chalicelib.store.plans import PlanRepository
from chalicelib.store.workflows import WorkflowRepository


@dataclass(frozen=True)
class ExecutionDetail:
    """A run with its steps, or a page of them, in the order in which they were decided or began."""

    execution: Execution
    steps: tuple[StepRecord, ...]
    next_offset: int | None = None  # of the page behind; None where there is none


@dataclass(frozen=True)
class Origin:
    """What starts a run, and for whom."""

    user_id: str
    type: str = "manual"
    source: str = "api"
    execution_id: str | None = None  # where it follows from what starts the run; a new one otherwise
    trigger_node: str = MANUAL  # that fires, or the type of which the first one does
    parent: Parent | None = None
    ancestors: tuple[str, ...] = ()
    priority: int = 0  # where runs wait in line


class ExecutionService:
    def __init__(
        self,
        *,
        executions: ExecutionRepository,
        workflows: WorkflowRepository,
        plans: PlanRepository,
        payloads: Payloads,
        engine: StepFunctionsEngine,
        lifecycle: Lifecycle,
        limits: Limits,
        catalog: Registry,
        ids: Ids,
        clock: Clock,
    ) -> None:
        self._executions = executions
        self._workflows = workflows
        self._plans = plans
        self._payloads = payloads
        self._engine = engine
        self._lifecycle = lifecycle
        self._limits = limits
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
        start_node: str | None = None,
        pinned: Mapping[str, Json] | None = None,
        launch: bool = True,
    ) -> str:
        """Starts a run of ``workflow``, or of ``definition`` in its place, and returns the execution's id.

        With ``start_node`` that node runs and what is downstream of it; ``pinned`` nodes do not run, and have these
        outputs.

        Without ``launch`` it is recorded and not begun: the caller runs it (``in_process``), and should they not, it is
        launched when somebody reads it later.

        Raises ``InvalidInput`` for a start node and pinned nodes that cannot be, all of them, ``Conflict`` for an
        archived workflow and for a graph with errors, which it lists;
        ``IdempotencyMismatch`` where the key was used for another request within 24 hours. The same request with the
        same key gives the first answer again.
        """
        pinned = pinned or {}
        request: dict[str, Json] = {"workflow": workflow.id, "inputs": inputs}
        request["definition"] = None if definition is None else definition.to_json()
        request |= {"startNode": start_node, "pinned": pinned} if start_node or pinned else {}
        repeatable = _repeatable(idempotency_key, request)
        if repeatable and (earlier := self._earlier(principal.organization_id, repeatable)):
            return earlier
        plan = self._plan_of(workflow, definition, start_node, pinned)
        return self._begin(workflow, plan, inputs, Origin(principal.user_id), pinned, repeatable, launch)

    def start_once(self, workflow: Workflow, inputs: Value, origin: Origin) -> str:
        """Starts the run that ``origin`` names, where it is not there yet, and returns its id.

        Raises ``Conflict`` as ``start`` does, and where the run that is to wait for it has ended.
        """
        assert origin.execution_id is not None
        try:
            plan = self._plan_of(workflow, trigger=origin.trigger_node)
            return self._begin(workflow, plan, inputs, origin, {}, None)
        except Conflict:
            there = self._executions.get(workflow.organization_id, origin.execution_id)
            if there is None:
                raise
        if there.status is ExecutionStatus.QUEUED:
            self._lifecycle.relaunch(there)
        return there.id

    def prepare(self, workflow: Workflow) -> Plan:
        """The plan of a run of the graph as it stands: kept, and with its state machine made. Harmless to repeat.

        Raises ``Conflict`` as ``start`` does.
        """
        plan = self._plan_of(workflow)
        definition = self._engine.definition(plan)
        self._plans.put(plan)
        self._engine.prepare(definition)
        return plan

    def start_deployed(self, deployed: Deployed, inputs: Value, origin: Origin) -> str:
        """Starts the run that ``origin`` names, of the version that is deployed, where nobody has taken it yet, and
        returns its id. A run that is there already stays with who has it.
        """
        assert origin.execution_id is not None
        there = self._executions.get(deployed.organization_id, origin.execution_id)
        if there is None:
            try:
                return self._begin(_version(deployed), self._plans.get(deployed.plan), inputs, origin, {}, None)
            except Conflict:  # a pod has recorded it meanwhile
                there = self._executions.get(deployed.organization_id, origin.execution_id)
                if there is None:
                    raise
        if there.status is ExecutionStatus.QUEUED:
            self._lifecycle.relaunch(there)
        return there.id

    def record(
        self,
        workflow: Workflow,
        inputs: Json,
        origin: Origin,
        idempotency_key: str | None,
        check: Callable[[Workflow], None],
    ) -> str:
        """Records a run that ``begin`` begins, and returns its id. Raises as ``start`` and ``check`` do, which is not
        asked where the request is a repeated one.
        """
        request = {"workflow": workflow.id, "inputs": inputs, "trigger": origin.trigger_node}
        request |= {"source": origin.source, "priority": origin.priority}
        repeatable = _repeatable(idempotency_key, request)
        if repeatable and (earlier := self._earlier(workflow.organization_id, repeatable)):
            return earlier
        check(workflow)
        plan = self._plan_of(workflow, trigger=origin.trigger_node)
        return self._begin(workflow, plan, inputs, origin, {}, repeatable, launch=False)

    def begin(self, organization_id: str, workflow_id: str, execution_id: str) -> bool:
        """Begins a run that is recorded. Harmless to repeat. False where there is none.

        Raises ``Conflict`` for a run of another workflow.
        """
        there = self._executions.get(organization_id, execution_id)
        if there is None:
            return False
        if there.workflow_id != workflow_id:
            raise Conflict(f"Execution {execution_id!r} is one of another workflow.")
        if there.status is ExecutionStatus.QUEUED:
            self._lifecycle.relaunch(there)
        return True

    def _plan_of(
        self,
        workflow: Workflow,
        definition: Graph | None = None,
        start_node: str | None = None,
        pinned: Collection[str] = (),
        trigger: str = MANUAL,
    ) -> Plan:
        """Raises ``Conflict`` for what does not run, ``InvalidInput`` for a part that cannot be run."""
        if workflow.status is WorkflowStatus.ARCHIVED:
            raise Conflict("The workflow is archived: it cannot be executed.")
        graph = definition if definition is not None else workflow.graph
        if faults := list(partial_faults(graph, self._catalog, start_node, pinned)):
            raise InvalidInput(faults)
        if found := [*circles(workflow.id, graph, partial(self._graph, workflow)), *errors(graph, self._catalog)]:
            raise Conflict("The workflow has errors and cannot be executed.", [problem.to_json() for problem in found])
        return compile_plan(
            graph,
            self._catalog,
            trigger=trigger,
            default_retry=workflow.default_retry,
            timeout_s=workflow.settings.get("timeout"),
            start_node=start_node,
            pinned=pinned,
        )

    def _graph(self, caller: Workflow, workflow_id: str) -> Graph | None:
        """Of a workflow that another one may call."""
        found = self._workflows.get(caller.organization_id, workflow_id) if is_id(workflow_id) else None
        return found.graph if found else None

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

    def find(self, principal: Principal, execution_id: str, limit: int = MAX_TASKS, offset: int = 0) -> ExecutionDetail:
        """A run and ``limit`` of its tasks, those outside of loops first. Raises ``NotFound``."""
        execution, run = self._page(principal, execution_id, limit, offset)
        # Of a run of more tasks than are asked for it is not seen here whether something has happened lately.
        is_whole = offset == 0 and len(run.steps) <= limit
        if (execution.status.is_final or is_whole) and self._lifecycle.look_after(execution, run):
            execution, run = self._page(principal, execution_id, limit, offset)
        if execution.tasks_executed is None:
            execution = _progress(execution, run.steps.values())
        outside = sorted((step for step in run.steps.values() if not step.path), key=_begun)
        told = [*outside[offset:], *(step for step in run.steps.values() if step.path)]
        following = offset + limit if len(told) > limit else None
        return ExecutionDetail(execution, tuple(sorted(told[:limit], key=_begun)), following)

    def _page(self, principal: Principal, execution_id: str, limit: int, offset: int) -> tuple[Execution, RunSnapshot]:
        """A run, all its steps outside of loops, and those within for the page, and one more if there is one.

        Raises as ``load`` does.
        """
        execution, run = self._visible(principal, execution_id, self._executions.load_outside)
        first, end = (max(0, place - len(run.steps)) for place in (offset, offset + limit + 1))
        if not run.has_loops or end == 0:
            return execution, run
        items = self._executions.items_of_loops(execution.organization_id, execution.id, first, end)
        return execution, RunSnapshot(execution, {**run.steps, **items})

    def _begin(
        self,
        workflow: Workflow,
        plan: Plan,
        inputs: Value,
        origin: Origin,
        pinned: Mapping[str, Json],
        repeatable: IdempotentStart | None,
        launch: bool = True,
    ) -> str:
        now = self._clock.now()
        limit = self._limits.of(workflow)
        place = shelf(workflow.organization_id, workflow.retention_days)
        definition = self._engine.definition(plan)
        started = Started(
            id=origin.execution_id or self._ids.new("exec"),
            organization_id=workflow.organization_id,
            workflow_id=workflow.id,
            retention_days=workflow.retention_days,
            user_id=origin.user_id,
            parent=origin.parent,
            ancestors=origin.ancestors,
            pinned={
                # Together they have as much room in the record as one payload.
                node: self._payloads.put(place, output, INLINE_BYTES // len(pinned))
                for node, output in pinned.items()
            },
            priority=origin.priority,
        )
        payload = self._payloads.put(place, inputs)
        trigger = Trigger(type=origin.type, source=origin.source, payload=payload, node_id=plan.trigger)
        execution = new_execution(started, plan, definition.name, trigger, limit, now)
        self._plans.put(plan)
        line = [] if limit is None else self._limits.line_up(execution, limit, plan.timeout_s)
        if self._executions.create(execution, repeatable, line):
            assert repeatable is not None
            earlier = self._earlier(workflow.organization_id, repeatable)
            assert earlier is not None
            return earlier
        if launch and execution.place is Place.WAITING:
            self._lifecycle.start_next(execution)
        elif launch:
            self._lifecycle.launch(execution, plan, definition)
        return execution.id

    def _earlier(self, organization_id: str, start: IdempotentStart) -> str | None:
        earlier = self._executions.earlier_start(organization_id, start.key, self._clock.now())
        if earlier is None:
            return None
        if earlier.request_hash != start.request_hash:
            raise IdempotencyMismatch
        return earlier.execution_id

    def load(self, principal: Principal, execution_id: str) -> tuple[Execution, RunSnapshot]:
        """A run that the caller may see: who started it, and who sees its workflow.

        Raises ``NotFound``, also for a run whose retention is over: its parts go one by one, within some days.
        """
        return self._visible(principal, execution_id, self._executions.load_end)

    def _visible(
        self, principal: Principal, execution_id: str, load: Callable[[str, str], RunSnapshot]
    ) -> tuple[Execution, RunSnapshot]:
        if not is_id(execution_id):
            raise NotFound("execution", execution_id)
        run = load(principal.organization_id, execution_id)
        execution = run.execution
        if (
            execution is None
            or self._is_gone(execution)
            or (execution.started_by != principal.user_id and not self._may_see(principal, execution.workflow_id))
        ):
            raise NotFound("execution", execution_id)
        return execution, run

    def _is_gone(self, execution: Execution) -> bool:
        return execution.expires_at is not None and execution.expires_at <= self._clock.now().timestamp()

    def _may_see(self, principal: Principal, workflow_id: str) -> bool:
        """Whether the caller sees a workflow; of one that is deleted, only administrators see what is left."""
        if principal.has(ADMIN):
            return True
        workflow = self._workflows.get(principal.organization_id, workflow_id) if is_id(workflow_id) else None
        return workflow is not None and principal.may_see(workflow)

    def _with_progress(self, execution: Execution) -> Execution:
        if execution.tasks_executed is not None:
            return execution
        return _progress(execution, self._executions.outlines(execution.organization_id, execution.id))


def _version(deployed: Deployed) -> Workflow:
    """A deployed workflow, as far as a run of it asks."""
    settings = {"retentionDays": deployed.retention_days, "maxConcurrentRuns": deployed.max_concurrent_runs}
    return Workflow(
        id=deployed.workflow_id,
        organization_id=deployed.organization_id,
        owner_id=deployed.owner_id,
        name="",
        created_at="",
        updated_at="",
        version=deployed.version,
        revision=deployed.revision,
        settings=settings,
    )


def _repeatable(key: str | None, request: Mapping[str, Json]) -> IdempotentStart | None:
    return None if key is None else IdempotentStart(key, request_hash(request))


def _begun(step: StepRecord) -> tuple[str, int, str]:
    return step.started_at or step.finished_at or "", step.order, step.task_id


def _progress(execution: Execution, steps: Iterable[StepOutline | StepRecord]) -> Execution:
    """A run under way as its steps tell it: it waits when one of them does, and none is at work."""
    steps = list(steps)
    waits = any(step.status is StepStatus.WAITING for step in steps)
    works = any(step.status is StepStatus.RUNNING and step.count is None for step in steps)
    status = ExecutionStatus.WAITING if waits and not works else execution.status
    return replace(
        execution,
        status=status if execution.status is ExecutionStatus.RUNNING else execution.status,
        tasks_executed=decided(steps),
    )
