"""``merge``: one value out of what several connections bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.json_types import Json
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome


class Config(NodeConfig):
    mode: Literal["object", "list", "first"]


def run(context: NodeContext[Config]) -> Outcome:
    match context.config.mode:
        case "list":
            return Outcome(list(context.inputs))
        case "first":
            return Outcome(context.inputs[0] if context.inputs else None)
        case "object":
            merged: dict[str, Json] = {}
            for index, stored in enumerate(context.inputs):
                value = context.values.load(stored)
                if not isinstance(value, Mapping):
                    raise Permanent("InvalidInput", f"mode 'object' merges objects; input {index} is none")
                merged.update(value)
            return Outcome(merged)


TYPE = NodeType(
    name="merge",
    title="Merge",
    category="data",
    description="Joins branches: all keys in one object, a list of the inputs, or the first that is live.",
    handler=run,
    fusible=True,
    config_model=Config,
    ports_in=None,
)
