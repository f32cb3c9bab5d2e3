"""``transform``: one expression over the input."""

from __future__ import annotations

from typing import Annotated

from chalicelib.nodes.spec import ExpressionMarker, NodeConfig, NodeContext, NodeType, Outcome


class Config(NodeConfig):
    expression: Annotated[str, ExpressionMarker()]


def run(context: NodeContext[Config]) -> Outcome:
    return Outcome(context.resolve(context.config.expression))


TYPE = NodeType(
    name="transform",
    title="Transform",
    category="data",
    description="Puts out the value of an expression.",
    handler=run,
    fusible=True,
    config_model=Config,
)
