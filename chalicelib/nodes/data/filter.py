"""``filter``: the items of a list for which a condition holds."""

from __future__ import annotations

from typing import Annotated

from chalicelib.nodes.spec import ExpressionMarker, NodeConfig, NodeContext, NodeType, Outcome
from chalicelib.nodes.values import as_list, is_true


class Config(NodeConfig):
    condition: Annotated[str, ExpressionMarker()]
    items: Annotated[str, ExpressionMarker()] = "data"


def run(context: NodeContext[Config]) -> Outcome:
    items = as_list(context.evaluate(context.config.items, {}))
    condition = context.config.condition
    return Outcome([item for item in items if is_true(context.evaluate(condition, {"item": item}))])


TYPE = NodeType(
    name="filter",
    title="Filter",
    category="data",
    description="Keeps the items for which the condition, an expression over `item`, holds.",
    handler=run,
    fusible=True,
    config_model=Config,
)
