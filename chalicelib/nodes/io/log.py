"""``log``: a line in the log of the run's Lambda."""

from __future__ import annotations

from typing import Literal

from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome


class Config(NodeConfig):
    message: str
    level: Literal["debug", "info", "warning", "error"] = "info"


def run(context: NodeContext[Config]) -> Outcome:
    context.capabilities.log.write(context.config.level, context.config.message)
    return Outcome(context.data)


TYPE = NodeType(
    name="log",
    title="Log",
    category="io",
    description="Writes a message to the log and passes its input on.",
    handler=run,
    fusible=True,
    config_model=Config,
)
