"""What follows from the end of a run: what it waited for is asked no more, the runs that it started are stopped, the
run that waits for it is told, and where it failed the error workflow is started.

That all this is still to be done is noted with the end itself, and the note goes when it is. So whoever meets a run
with the note, the event that tells its end again or somebody who reads it, does it; everything is harmless to repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chalicelib.engines.payloads import Payloads
from chalicelib.foundation.errors import Conflict
from chalicelib.foundation.ids import derived, is_id
from chalicelib.foundation.json_types import Json
from chalicelib.foundation.logs import logger
from chalicelib.graph.executions import Execution, ExecutionStatus, StepError, StepRecord
from chalicelib.services.access import Principal
from chalicelib.services.audit import AuditService
from chalicelib.services.executions import ExecutionService, Origin
from chalicelib.services.lifecycle import CUT_OFF, FAILURES
from chalicelib.services.telling import Telling
from chalicelib.store.executions import ExecutionRepository
from chalicelib.store.plans import PlanRepository
from chalicelib.store.replies import StoredReply, WaitingAt
from chalicelib.store.table import Write
from chalicelib.store.workflows import WorkflowRepository

#: Of a run that an error workflow is: its own failure starts nothing, so that no two can start each other for ever.
ERROR_TRIGGER = "error"


class Aftermath:
    """``give_up`` ends what a step of a run waited for."""

    def __init__(
        self,
        *,
        executions: ExecutionRepository,
        workflows: WorkflowRepository,
        plans: PlanRepository,
        payloads: Payloads,
        telling: Telling,
        service: ExecutionService,
        give_up: Callable[[Execution, StepRecord], None],
        audit: AuditService,
    ) -> None:
        self._executions = executions
        self._workflows = workflows
        self._plans = plans
        self._payloads = payloads
        self._telling = telling
        self._service = service
        self._give_up = give_up
        self._audit = audit

    def follow(self, execution: Execution, steps: Iterable[StepRecord]) -> None:
        """Does what follows from the end of a run."""
        steps = list(steps)
        for step in steps:
            if step.status in CUT_OFF:
                self._give_up(execution, step)
        if execution.parent is not None:
            parent = execution.parent
            place = WaitingAt(execution.organization_id, parent.execution_id, parent.gate, parent.path)
            self._telling.tell(place, self._reply(execution))
        notes = self._start_error_workflow(execution, steps)
        self._executions.followed_up(execution, notes)

    def _reply(self, execution: Execution) -> StoredReply:
        """What the run that waits for this one is told."""
        if execution.status is ExecutionStatus.SUCCEEDED:
            nothing = execution.output or self._payloads.put(execution.shelf, None)
            return StoredReply(output=nothing)
        error = execution.error or {}
        why = ": ".join(filter(None, (error.get("name"), error.get("message"))))
        told = f"Run {execution.id} of workflow {execution.workflow_id} has {execution.status}" + (why and f": {why}")
        return StoredReply(error=StepError("SubWorkflowFailed", told))

    def _start_error_workflow(self, execution: Execution, steps: Iterable[StepRecord]) -> list[Write]:
        """Starts what the workflow of a failed run names; returns the note in the audit where that cannot be."""
        if execution.status not in FAILURES or execution.trigger.type == ERROR_TRIGGER:
            return []
        workflow = self._workflows.get(execution.organization_id, execution.workflow_id)
        wanted = workflow.settings.get("errorWorkflowId") if workflow else None
        if workflow is None or not wanted:
            return []
        target = self._workflows.get(execution.organization_id, wanted) if is_id(wanted) else None
        owner = Principal(execution.organization_id, workflow.owner_id, frozenset())
        try:
            if target is None or not owner.may_see(target):
                raise Conflict("There is no such workflow that the owner of this one can see.")
            self._service.start_once(
                target,
                _report(execution, steps),
                Origin(
                    user_id=execution.started_by,
                    type=ERROR_TRIGGER,
                    source=execution.id,
                    execution_id=derived("exec", ERROR_TRIGGER, execution.id, str(execution.round)),
                ),
            )
        except Conflict as error:
            logger().warning("error workflow not started", extra={"workflow": wanted, "reason": error.detail})
            return [
                self._audit.entry(
                    owner,
                    "workflow.error-workflow-not-started",
                    workflow.id,
                    execution=execution.id,
                    errorWorkflow=wanted,
                    reason=error.detail,
                )
            ]
        return []


def _report(execution: Execution, steps: Iterable[StepRecord]) -> Json:
    """What an error workflow is started with."""
    error = dict(execution.error or {})
    task = next((step for step in steps if step.task_id == error.get("nodeId")), None)
    return {
        "executionId": execution.id,
        "workflowId": execution.workflow_id,
        "error": error,
        "task": _task(task) if task else None,
    }


def _task(step: StepRecord) -> Json:
    return {
        "taskId": step.task_id,
        "taskName": step.label,
        "taskType": step.node_type,
        "attempts": len(step.attempts),
        "startedAt": step.started_at,
        "finishedAt": step.finished_at,
    }
