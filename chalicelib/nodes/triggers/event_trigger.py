"""``event-trigger``: a run for each event of a type.

Its config is read when the workflow is saved (``graph.triggers``), not when a run begins: nothing in it is a template.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chalicelib.graph.triggers import EVENT_TRIGGER, MAX_FILTER_CHARS
from chalicelib.nodes.fields import EventPattern
from chalicelib.nodes.spec import ExpressionMarker, NodeConfig, NodeType, VerbatimMarker
from chalicelib.nodes.triggers.manual_trigger import run


class Config(NodeConfig):
    event_type: Annotated[EventPattern, VerbatimMarker()]
    filter: Annotated[str | None, Field(max_length=MAX_FILTER_CHARS), ExpressionMarker()] = None


TYPE = NodeType(
    name=EVENT_TRIGGER,
    title="Event trigger",
    category="triggers",
    description="Starts the workflow, while it is active, for each event of a type; its output is the event's payload.",
    handler=run,
    config_model=Config,
    fusible=True,
    is_trigger=True,
    ports_in=(),
)
