"""``email-trigger``: a run for each mail that comes in for the workflow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chalicelib.graph.triggers import EMAIL_TRIGGER, MAX_ADDRESS_CHARS
from chalicelib.nodes.spec import NodeConfig, NodeType, VerbatimMarker
from chalicelib.nodes.triggers.manual_trigger import run


class Config(NodeConfig):
    #: Besides `<workflow id>@<inbound domain>`, which always leads here; nobody else can have it.
    address: Annotated[
        str | None, Field(max_length=MAX_ADDRESS_CHARS, pattern=r"^[^\s@<>,;:\"]+@[A-Za-z0-9.-]+$"), VerbatimMarker()
    ] = None


TYPE = NodeType(
    name=EMAIL_TRIGGER,
    title="Email trigger",
    category="triggers",
    description="Starts the workflow, while it is active, for each mail to its address.",
    handler=run,
    config_model=Config,
    fusible=True,
    is_trigger=True,
    ports_in=(),
)
