"""What is found out once of a node, and what is found out anew at every visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest

from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Plan
from chalicelib.engines.payloads import KEPT_CHARS, KeptPayloads
from chalicelib.engines.prepared import PreparedConfig, PreparedNode, preparation
from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.expressions import ExpressionError
from chalicelib.foundation.lazy import lazy
from chalicelib.graph.executions import Attempt, Payload, StepError, StepRecord, StepStatus
from chalicelib.graph.model import Graph
from chalicelib.nodes.registry import CATALOG
from chalicelib.nodes.spec import NodeType
from chalicelib.store.blobs import Blobs
from tests.fakes import graph, node


def kind(name: str) -> NodeType:
    found = CATALOG.find(name)
    assert found is not None
    return found


def plan_of(shape: dict[str, Any]) -> Plan:
    connections = [{"id": f"c{index}", **each} for index, each in enumerate(shape["connections"])]
    return compile_plan(Graph.from_json({"nodes": shape["nodes"], "connections": connections}), CATALOG)


class ManyPlans:
    """A repository that counts how often it is asked."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._plans = {plan.hash: plan for plan in plans}
        self.asked = 0

    def get(self, plan_hash: str) -> Plan:
        self.asked += 1
        return self._plans[plan_hash]


@pytest.mark.parametrize(
    ("name", "config", "is_constant"),
    [
        ("set-fields", {"fields": {"a": [1, {"b": "x"}], "c": None}}, True),
        ("set-fields", {"fields": {"a": [1, {"b": "x{{ data.n }}"}]}}, False),
        ("set-fields", {"fields": {"a": "Bearer ${TOKEN}"}}, False),
        ("set-fields", {"fields": {"a": "$ {TOKEN} ${token"}}, True),
        ("condition", {"expression": "data.n > 10"}, True),  # the expression itself is evaluated by the handler
        ("fail", {"error": "E", "message": "${TOKEN}"}, True),  # control nodes name no credentials
    ],
)
def test_a_config_is_parsed_once_where_nothing_of_it_can_change(
    name: str, config: dict[str, Any], is_constant: bool
) -> None:
    prepared = PreparedConfig(kind(name), config)
    assert (prepared.constant is not None) is is_constant
    assert prepared.constant is prepared.constant
    if is_constant:
        assert prepared.constant == kind(name).parse(config)


def test_a_constant_config_that_is_wrong_is_so_at_every_visit() -> None:
    prepared = PreparedConfig(kind("set-fields"), {"fields": 7})
    for _ in range(2):
        with pytest.raises(Permanent, match="fields"):
            assert prepared.constant


def test_a_malformed_template_fails_the_visit_and_not_the_preparation() -> None:
    shape = graph([node("a", "set-fields", fields={})])
    plan = plan_of(shape)
    broken = PreparedNode(plan, replace(plan.nodes["a"], config={"fields": {"x": "{{ ( }}"}}), kind("set-fields"))
    for _ in range(2):
        with pytest.raises(ExpressionError):
            assert broken.config


@pytest.mark.parametrize(("chars", "is_kept"), [(900, True), (1_100, False)])
def test_long_expressions_are_not_kept(chars: int, is_kept: bool) -> None:
    """Ten short ones of one config are as much as one long one."""
    config = {"fields": {f"f{index}": "{{ '%s' }}" % ("x" * (chars // 10)) for index in range(10)}}
    plan = plan_of(graph([node("a", "set-fields", **config)]))
    prepared = PreparedNode(plan, plan.nodes["a"], kind("set-fields"))
    assert (prepared.config is prepared.config) is is_kept


def test_a_bounded_number_of_nodes_and_plans_is_kept() -> None:
    names = [f"n{index}" for index in range(257)]
    several = [plan_of(graph([node(name, "set-fields", fields={}) for name in names], " -> ".join(names)))]
    several += [plan_of(graph([node("n0", "set-fields", fields={"a": index})])) for index in range(8)]
    plans = ManyPlans(several)
    prepared: Any = preparation(plans, CATALOG)  # type: ignore[arg-type]
    large, *small = [plan.hash for plan in several]
    first, *others = [each.key for each in several[0].nodes.values()]
    known = prepared(large, first)
    assert prepared(large, first) is known
    for key in others:
        prepared(large, key)
    assert prepared(large, first) is not known
    assert plans.asked == 1
    for plan_hash in [*small, *small]:
        prepared(plan_hash, first)
    assert plans.asked == 9
    prepared(large, first)
    assert plans.asked == 10


def test_what_a_node_needs_follows_the_iteration() -> None:
    shape = graph(
        [node("a"), node("l", "loop", items="[1]"), node("b", expression="nodes.a"), node("c")],
        "a -> l",
        "l:item -> b -> c",
    )
    plan = plan_of(shape)
    prepared = PreparedNode(plan, plan.nodes["c"], kind("transform"))
    assert set(prepared.needs("[3]")) == {("c", "[3]"), ("b", "[3]"), ("l", "")}
    assert set(prepared.needs("[4]")) == {("c", "[4]"), ("b", "[4]"), ("l", "")}
    outside = PreparedNode(plan, plan.nodes["l"], kind("loop"))
    assert set(outside.needs("")) == {("l", ""), ("a", "")}


def test_a_record_that_ends_well_keeps_everything_else() -> None:
    """Every field is given another value than it has by itself, so that a new one cannot be forgotten."""
    text = Payload(text="1", size=1)
    error = StepError("E", "m")
    given: dict[str, Any] = {
        "node_id": "n", "path": "[1]", "status": StepStatus.RUNNING, "node_type": "t", "label": "l", "port": "p",
        "output": text, "items": text, "count": 3, "until": "u", "gate": "g", "approval": "a", "event": "e",
        "child": "c", "error": error, "attempts": (Attempt("1", "2", error), Attempt("3", round=2, ms=7)),
        "started_at": "1", "finished_at": "2", "pinned": True, "since": 2, "late": 2,
        "order": 5,
    }  # fmt: skip
    assert given.keys() == {field.name for field in fields(StepRecord)}
    record = StepRecord(**given)
    output = Payload(text="2", size=1)
    assert record.succeeded("q", output, "4") == replace(
        record,
        status=StepStatus.SUCCEEDED,
        port="q",
        output=output,
        error=None,
        attempts=(record.attempts[0], Attempt("3", "4", None, 2, 7)),
        finished_at="4",
    )


def test_a_value_is_parsed_once_for_a_run_as_long_as_there_is_room() -> None:
    payloads = KeptPayloads(Blobs(None, "bucket"))
    small = payloads.put("shelf", {"n": [1]})
    assert payloads.value(small) is payloads.value(Payload(text='{"n":[1]}', size=9))
    assert payloads.value(small) == {"n": [1]}
    large = Payload(text=f'["{"x" * KEPT_CHARS}"]', size=KEPT_CHARS + 4)
    assert payloads.value(large) is not payloads.value(large)
    assert payloads.value(payloads.put("shelf", {"n": 2})) == {"n": 2}
    assert payloads.value(None) is None


def test_what_is_lazy_is_worked_out_once_and_again_after_an_error() -> None:
    asked = []

    class Thing:
        @lazy
        def value(self) -> int:
            asked.append(self)
            return 7 // (len(asked) - 1)

    thing, other = Thing(), Thing()
    with pytest.raises(ZeroDivisionError):
        assert thing.value
    assert [thing.value, thing.value, other.value] == [7, 7, 3]
    assert len(asked) == 3
    assert isinstance(Thing.value, lazy)
