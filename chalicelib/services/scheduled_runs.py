"""Runs that the clock starts: called by EventBridge Scheduler, once or several times for each time that is due.

The id of a run follows from workflow, node and that time, so that it is started once: also where a cron is said in two
schedules which are both due, where Scheduler calls twice, and where a call is taken from the dead-letter queue days
later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.foundation.ids import derived
from chalicelib.foundation.logs import logger
from chalicelib.graph.model import Workflow
from chalicelib.graph.triggers import UTC
from chalicelib.services.executions import ExecutionService, Origin
from chalicelib.services.schedules import Scheduler, schedules_of
from chalicelib.store.workflows import WorkflowRepository

TRIGGER = "schedule"  # what a run says of who started it


@dataclass(frozen=True, slots=True)
class ScheduledCall:
    organization_id: str
    workflow_id: str
    node_id: str
    schedule: str  # its name
    scheduled_time: str  # as Scheduler writes it


class ScheduledRuns:
    def __init__(
        self, executions: ExecutionService, workflows: WorkflowRepository, scheduler: Callable[[], Scheduler]
    ) -> None:
        self._executions = executions
        self._workflows = workflows
        self._scheduler = scheduler

    def start(self, call: ScheduledCall) -> str | None:
        """Starts the run that is due, and returns its id; None for a schedule that there should not be any more.

        Raises ``Conflict`` for a workflow that cannot run, and ``Downstream``.
        """
        workflow = self._workflows.get(call.organization_id, call.workflow_id)
        if workflow is None or call.schedule not in {schedule.name for schedule in schedules_of(workflow)}:
            logger().warning("schedule deleted that nobody wants", extra={"schedule": call.schedule})
            self._scheduler().delete(call.schedule)
            return None
        origin = Origin(
            user_id=workflow.owner_id,
            type=TRIGGER,
            source=call.node_id,
            execution_id=derived("exec", TRIGGER, workflow.id, call.node_id, call.scheduled_time),
            trigger_node=call.node_id,
        )
        return self._executions.start_once(workflow, _payload(workflow, call), origin)


def _payload(workflow: Workflow, call: ScheduledCall) -> dict[str, str]:
    config = workflow.graph.by_id()[call.node_id].config
    return {
        "scheduled_time": call.scheduled_time,
        "cron": str(config["cron"]),
        "timezone": str(config.get("timezone") or UTC),
    }
