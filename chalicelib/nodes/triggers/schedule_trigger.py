"""``schedule-trigger``: runs that the clock starts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from chalicelib.graph.cron import Cron
from chalicelib.graph.triggers import MAX_CRON_CHARS, MAX_TIMEZONE_CHARS, SCHEDULE_TRIGGER, UTC
from chalicelib.nodes.spec import NodeConfig, NodeType, VerbatimMarker
from chalicelib.nodes.triggers.manual_trigger import run


class Config(NodeConfig):
    # Nothing runs yet when a schedule is made: there is nobody to render a template.
    cron: Annotated[str, Field(max_length=MAX_CRON_CHARS), VerbatimMarker()]
    timezone: Annotated[str, Field(max_length=MAX_TIMEZONE_CHARS), VerbatimMarker()] = UTC

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, text: str) -> str:
        Cron.parse(text)
        return text

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        from zoneinfo import available_timezones  # reads a few hundred files, once

        if name not in available_timezones():
            raise ValueError(f"there is no time zone {name!r}; Europe/Zurich is one, for instance")
        return name


TYPE = NodeType(
    name=SCHEDULE_TRIGGER,
    title="Schedule trigger",
    category="triggers",
    description="Starts the workflow, while it is active, at the times of a cron expression in a time zone.",
    handler=run,
    config_model=Config,
    fusible=True,
    is_trigger=True,
    ports_in=(),
)
