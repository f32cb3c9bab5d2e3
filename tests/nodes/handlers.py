"""Calls the handler of one node type, as the runner does: config parsed by its model, expressions over its names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from chalicelib.foundation.expressions import compile_expression
from chalicelib.foundation.json_types import Json, Value
from chalicelib.nodes.capabilities import Caller, Capabilities, Values
from chalicelib.nodes.registry import CATALOG
from chalicelib.nodes.spec import NodeContext, NodeType, Outcome, Result
from tests.fakes import FakeValues, World

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def kind_of(name: str) -> NodeType:
    found = CATALOG.find(name)
    assert found is not None, f"the catalog has no {name}"
    return found


def call(
    name: str,
    config: Mapping[str, Value],
    data: Value = None,
    *,
    inputs: Sequence[Value] | None = None,
    trigger: Json = None,
    capabilities: Capabilities | None = None,
    values: Values | None = None,
) -> Result:
    """What the handler gives back. ``inputs`` are what the live connections bring, by default the one ``data``."""
    kind = kind_of(name)
    names: dict[str, Any] = {"data": data, "trigger": trigger, "vars": {}}
    context = NodeContext(
        config=kind.parse(config),
        data=data,
        trigger=trigger,
        inputs=[data] if inputs is None else inputs,
        values=values or FakeValues(),
        evaluate=lambda source, more: compile_expression(source).evaluate({**names, **more}),
        resolve=lambda source: compile_expression(source).evaluate(names),
        capabilities=capabilities or World().capabilities,
        now=NOW,
        idempotency_key="exec_1/node",
        caller=Caller("acme", "exec_1", "node", "", "node.1"),
    )
    return kind.handler(context)


def output(name: str, config: Mapping[str, Json], data: Json = None, **more: Any) -> Json:
    """The output of a node that ends at once and by its only port."""
    result = call(name, config, data, **more)
    assert isinstance(result, Outcome)
    assert result.port == "output"
    return FakeValues().load(result.output)
