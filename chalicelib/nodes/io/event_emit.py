"""``event-emit``: tells an event on the bus, to all that listen there.

EventBridge knows no repetition: an attempt that is made again after a time-out may put the event there twice. Each
telling says which node of which run it is (``idempotencyKey``), so our own workflows start once, and others can tell.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from chalicelib.foundation.json_types import Json
from chalicelib.graph.events import EVENT_TYPE
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome


class Config(NodeConfig):
    event_type: Annotated[str, Field(pattern=EVENT_TYPE)]
    data: Any = None  # the input where it is not named


def run(context: NodeContext[Config]) -> Outcome:
    config = context.config
    data = context.values.load(context.data) if "data" not in config.model_fields_set else config.data
    detail: dict[str, Json] = {
        "organizationId": context.caller.organization_id,
        "data": data,
        "idempotencyKey": context.idempotency_key,
    }
    event_id = context.capabilities.events.put(config.event_type, detail)
    return Outcome({"eventId": event_id, "eventType": config.event_type})


TYPE = NodeType(
    name="event-emit",
    title="Emit event",
    category="io",
    description="Tells an event to the workflows of the organisation, and to all else that listens on the bus.",
    handler=run,
    config_model=Config,
    duration=2,
    scopes=("events:emit:{eventType}",),
)
