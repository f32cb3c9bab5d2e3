"""Takes note of the end of a run: "Step Functions Execution Status Change" on the default event bus.

An event may come twice or never. Twice is harmless; of a run whose event never came, the next read asks Step Functions
itself.
"""

from __future__ import annotations

import json
from typing import Any

from chalice import Blueprint
from chalice.app import CloudWatchEvent

from chalicelib.bootstrap import lambda_services
from chalicelib.foundation.logs import logger

blueprint = Blueprint(__name__)

# The deployment narrows it to the state machines of its own stage.
PATTERN = {
    "source": ["aws.states"],
    "detail-type": ["Step Functions Execution Status Change"],
    "detail": {
        "status": ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"],
        "name": [{"anything-but": {"prefix": "part-"}}],  # executions of a part end before the run does
    },
}


@blueprint.on_cw_event(PATTERN, name="run_status")
def note_run_status(event: CloudWatchEvent) -> None:
    from chalicelib.engines.stepfunctions import MachineRun  # the API imports this module, and runs nothing

    detail: dict[str, Any] = event.detail
    log = logger()
    log.set_correlation_id(detail["name"])
    run = json.loads(detail["input"])["run"]
    machine = MachineRun.of(detail["status"], detail.get("error"), detail.get("cause"))
    lambda_services().lifecycle.ended(run["organization"], run["execution"], run.get("round", 1), machine)
    log.info("run ended", extra={"status": detail["status"]})
