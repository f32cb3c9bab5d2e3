"""Called by EventBridge Scheduler when a schedule of a workflow is due.

The event is what ``services.schedules`` has told it to say. What fails is called again by Lambda, twice, and then goes
to the dead-letter queue.
"""

from __future__ import annotations

from typing import Any

from chalice import Blueprint

from chalicelib.bootstrap import lambda_services
from chalicelib.foundation.logs import logger

blueprint = Blueprint(__name__)


@blueprint.lambda_function(name="schedules")
def start_scheduled_run(event: dict[str, Any], _context: Any) -> None:
    from chalicelib.services.scheduled_runs import ScheduledCall  # the API imports this module, and starts no such run

    call = ScheduledCall(
        organization_id=event["organization"],
        workflow_id=event["workflow"],
        node_id=event["node"],
        schedule=event["schedule"],
        scheduled_time=event["scheduledTime"],
    )
    execution_id = lambda_services().scheduled_runs.start(call)
    logger().info("schedule due", extra={"workflow": call.workflow_id, "execution": execution_id})
