"""``email-trigger``: a run for each mail that comes in for the workflow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chalicelib.foundation.mail import MAX_ADDRESS_CHARS
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome, VerbatimMarker


class Config(NodeConfig):
    #: Besides `<workflow id>@<inbound domain>`, which always leads here; nobody else can have it.
    address: Annotated[
        str | None, Field(max_length=MAX_ADDRESS_CHARS, pattern=r"^[^\s@<>,;:\"]+@[A-Za-z0-9.-]+$"), VerbatimMarker()
    ] = None


def run(context: NodeContext[Config]) -> Outcome:
    return Outcome(context.trigger)


TYPE = NodeType(
    name="email-trigger",
    title="Email trigger",
    category="triggers",
    description="Starts the workflow, while it is active, for each mail to its address.",
    handler=run,
    config_model=Config,
    fusible=True,
    is_trigger=True,
    ports_in=(),
)
