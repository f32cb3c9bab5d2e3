"""Calls upkeep once a minute. Two calls at the same time, or none for a while, do no harm."""

from __future__ import annotations

from chalice import Blueprint
from chalice.app import CloudWatchEvent

from chalicelib.bootstrap import lambda_services
from chalicelib.foundation.logs import logger

blueprint = Blueprint(__name__)


@blueprint.schedule("rate(1 minute)", name="upkeep")
def do_upkeep(_event: CloudWatchEvent) -> None:
    log = logger()
    for report in lambda_services().upkeep.run():
        for failure in report.failures:
            log.error("upkeep failed", extra={"part": report.part}, exc_info=failure)
        if report.done:
            log.info("upkeep done", extra={"part": report.part, "done": report.done})
