"""``switch``: goes on by the port of the case that a value equals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from chalicelib.foundation.expressions import to_text
from chalicelib.foundation.json_types import Json
from chalicelib.nodes.spec import ExpressionMarker, NodeConfig, NodeContext, NodeType, Outcome

DEFAULT = "default"
Case = str | bool | int | float


def _distinct(cases: list[Case]) -> list[Case]:
    names = [to_text(case) for case in cases]
    if len(set(names)) < len(names) or DEFAULT in names:
        raise ValueError(f"cases have to differ from each other and from {DEFAULT!r}")
    if "" in names:
        raise ValueError(f"a case cannot be empty, as no port is called so: what equals no case goes by {DEFAULT!r}")
    return cases


class Config(NodeConfig):
    expression: Annotated[str, ExpressionMarker()]
    cases: Annotated[list[Case], AfterValidator(_distinct)]


def run(context: NodeContext[Config]) -> Outcome:
    value = to_text(context.evaluate(context.config.expression, {}))
    return Outcome(context.data, value if value in map(to_text, context.config.cases) else DEFAULT)


def _ports(config: Mapping[str, Json]) -> tuple[str, ...]:
    cases = config.get("cases")
    return (*map(to_text, cases if isinstance(cases, list) else ()), DEFAULT)


TYPE = NodeType(
    name="switch",
    title="Switch",
    category="control",
    description="Passes its input on by the port that is named like the value of the expression, else by `default`.",
    handler=run,
    fusible=True,
    config_model=Config,
    ports=_ports,
    continue_port=DEFAULT,
)
