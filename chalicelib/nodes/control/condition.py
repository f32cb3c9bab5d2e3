"""``condition``: goes on by ``true`` or by ``false``."""

from __future__ import annotations

from typing import Annotated

from chalicelib.nodes.spec import ExpressionMarker, NodeConfig, NodeContext, NodeType, Outcome
from chalicelib.nodes.values import is_true


class Config(NodeConfig):
    expression: Annotated[str, ExpressionMarker()]


def run(context: NodeContext[Config]) -> Outcome:
    holds = is_true(context.evaluate(context.config.expression, {}))
    return Outcome(context.data, "true" if holds else "false")


TYPE = NodeType(
    name="condition",
    title="Condition",
    category="control",
    description="Passes its input on by the port `true` or `false`.",
    handler=run,
    fusible=True,
    config_model=Config,
    ports=("true", "false"),
    continue_port="false",
)
