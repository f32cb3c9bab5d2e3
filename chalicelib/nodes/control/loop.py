"""``loop``: runs its body, all that hangs from the port ``item``, once for each item of a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from chalicelib.foundation.json_types import Json
from chalicelib.nodes.spec import ExpressionMarker, Iterate, NodeConfig, NodeContext, NodeType, VerbatimMarker
from chalicelib.nodes.values import as_list

BODY_PORT = "item"
DONE_PORT = "done"


class Config(NodeConfig):
    items: Annotated[str, ExpressionMarker()]
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    # `fail`: the first item that fails ends the loop. `continue`: its result is `{error: {name, message}}`. The
    # compiler has to know which, so no template may say it.
    on_item_error: Annotated[Literal["fail", "continue"], VerbatimMarker()] = "fail"


def goes_on(config: Mapping[str, Json]) -> bool:
    """Whether a loop goes on when one of its items fails."""
    return config.get("onItemError") == "continue"


def concurrency(config: Mapping[str, Json]) -> int | None:
    """How many items run at once, as far as the config says so before anything runs."""
    try:
        return Config.model_validate(config).max_concurrency
    except ValidationError:
        return None  # a template, or `items` is missing: the node itself says so when it runs


def run(context: NodeContext[Config]) -> Iterate:
    return Iterate(as_list(context.evaluate(context.config.items, {})))


TYPE = NodeType(
    name="loop",
    title="Loop",
    category="control",
    description="Runs its body for each item; `done` goes on with the list of the body's results, in their order.",
    handler=run,
    duration=20,
    config_model=Config,
    ports=(BODY_PORT, DONE_PORT),
    body_port=BODY_PORT,
    continue_port=DONE_PORT,
    two_phase=True,
)
