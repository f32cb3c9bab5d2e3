"""``fail``: ends in an error on purpose."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chalicelib.foundation.errors import Permanent
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome


class Config(NodeConfig):
    error: Annotated[str, Field(min_length=1, max_length=200)]
    message: str


def run(context: NodeContext[Config]) -> Outcome:
    raise Permanent(context.config.error, context.config.message)


TYPE = NodeType(
    name="fail",
    title="Fail",
    category="control",
    description="Fails with the given error and message.",
    handler=run,
    fusible=True,
    config_model=Config,
    ports=(),
)
