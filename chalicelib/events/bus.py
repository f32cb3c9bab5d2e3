"""Takes what is put on the bus of the stage, and tells it to the workflows that listen.

An event may come twice, which is harmless. One that fails comes again, twice; then Lambda leaves it, with the reason,
in the dead-letter queue of the triggers (``requestPayload`` is the event: this function, called with it, goes on).
"""

from __future__ import annotations

from chalice import Blueprint
from chalice.app import CloudWatchEvent

from chalicelib.bootstrap import lambda_services
from chalicelib.foundation.logs import logger

blueprint = Blueprint(__name__)

# Whatever comes: also what does not say whose it is, so that somebody is told that it came to nothing. The deployment
# sees to it that it is the bus of its own stage (``infra.packaging``).
PATTERN = {"source": [{"prefix": ""}]}


@blueprint.on_cw_event(PATTERN, name="bus")
def take_event(event: CloudWatchEvent) -> None:
    raw = event.to_dict()
    logger().set_correlation_id(raw["id"])
    lambda_services().events.receive(raw)
