"""``set-fields``: an object made of values and templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from chalicelib.foundation.errors import Permanent
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome, PassedMarker


class Config(NodeConfig):
    fields: Annotated[dict[str, Any], PassedMarker()]
    keep_input: bool = False


def run(context: NodeContext[Config]) -> Outcome:
    if not context.config.keep_input:
        return Outcome(context.config.fields)
    kept = context.values.load(context.data)
    if not isinstance(kept, Mapping):
        raise Permanent("InvalidInput", "keepInput needs an object as input")
    return Outcome({**kept, **context.config.fields})


TYPE = NodeType(
    name="set-fields",
    title="Set fields",
    category="data",
    description="Puts out an object of the given fields, on top of the input where keepInput is set.",
    handler=run,
    fusible=True,
    config_model=Config,
)
