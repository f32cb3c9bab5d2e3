"""``json-parse``: the value that JSON text says."""

from __future__ import annotations

from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.json_types import loads
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome


class Config(NodeConfig):
    text: str


def run(context: NodeContext[Config]) -> Outcome:
    try:
        return Outcome(loads(context.config.text))
    except ValueError as error:
        raise Permanent("JsonError", str(error)) from None


TYPE = NodeType(
    name="json-parse",
    title="Parse JSON",
    category="data",
    description="Puts out the value that a JSON text says.",
    handler=run,
    fusible=True,
    config_model=Config,
)
