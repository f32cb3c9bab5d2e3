"""``script``: Python of the user's own, run in a Lambda that can reach nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome, VerbatimMarker


class Config(NodeConfig):
    language: Literal["python"] = "python"
    code: Annotated[str, VerbatimMarker(), Field(min_length=1, max_length=200_000)]
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 30


def run(context: NodeContext[Config]) -> Outcome:
    config = context.config
    data = context.values.load(context.data)
    return Outcome(context.capabilities.scripts.run(config.code, data, config.timeout_seconds))


TYPE = NodeType(
    name="script",
    title="Script",
    category="io",
    description="Puts out what the function main(data) of a Python program returns.",
    handler=run,
    duration=5,
    config_model=Config,
    scopes=("scripts:run",),
)
