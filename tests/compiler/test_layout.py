"""What is too much for one execution has others, and nothing else about a run changes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.compiler.asl import quotas
from chalicelib.compiler.asl.emit import Definition, emit, planned
from chalicelib.compiler.asl.layout import Budget, Laid
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Gate, Part, Plan, steps_of
from chalicelib.compiler.plan import walk as walk_regions
from chalicelib.graph.model import Graph
from chalicelib.nodes.registry import CATALOG
from tests.compiler.golden import MACHINES, NODE_FUNCTION, TABLE, emitted
from tests.compiler.model import RUN, Oracle, Runner, ports_taken
from tests.compiler.random_graphs import workflows, woven
from tests.compiler.test_growth import chain, fan_out, ladder, nested_conditions, nested_diamonds
from tests.notation import graph
from tests.state_machines import Walk

INPUT = {"run": {"execution": "exec_1", "round": 1}, "path": ""}
SMALL = Budget(events=60, nesting=3, iterations=7, inline_events=40)


def made(plan: Plan, budget: Budget) -> Definition:
    return emit(plan, NODE_FUNCTION, TABLE, MACHINES, budget)


def compiled(text: str, config: dict[str, Any] | None = None) -> Plan:
    return compile_plan(graph(text, config), CATALOG, fused=False)


# --- The same run -----------------------------------------------------------------------------------------------------


@given(workflows() | woven(), st.integers(0, 1_000_000))
@settings(max_examples=150, deadline=None)
def test_a_parted_machine_runs_the_live_nodes(graph: Graph, seed: int) -> None:
    """Those and no other, none before its predecessors, none twice, none missing, as in one execution; and no execution
    has more events than were planned for, whatever the counts of loops are, and however many nodes are visited too
    early. A gate is in the execution of what is behind it.
    """
    plan = compile_plan(graph, CATALOG)
    oracle, chance = Oracle(seed), Random(seed)
    runner = Runner(plan, graph, oracle)
    regions = list(walk_regions(planned(plan, SMALL).root.region))
    assert not any(isinstance(region, Gate) and isinstance(region.region, Part) for region in regions)
    walk = Walk.of(
        made(plan, SMALL),
        runner,
        order=lambda items: chance.sample(items, len(items)),
        update=runner.gates.update,
        tokens=runner.gates.tokens,
    )
    walk.run({"run": RUN, "path": ""})
    assert runner.complaints == []
    assert runner.taken == ports_taken(graph, oracle)
    assert max(walk.events.values()) <= SMALL.events + 20


def test_the_check_of_events_can_fail() -> None:
    """Undivided, the same graph has more."""
    plan = compile_plan(chain(30), CATALOG, fused=False)
    counted = {}
    for budget in (SMALL, Budget()):
        walk = Walk.of(made(plan, budget), _answering({}))
        walk.run(INPUT)
        counted[budget] = max(walk.events.values())
    assert counted[SMALL] <= SMALL.events + 2 < counted[Budget()] == 30 * 5 + 2


def _answering(counts: dict[str, int], visits: Counter[tuple[str, str]] | None = None) -> Any:
    """A runner that takes the first port and finds so many items."""

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        if visits is not None and event.get("phase") is None:
            visits[event["node"], event["path"]] += 1
        return {"path": event["path"], "port": "true", "count": counts.get(event["node"], 0), "until": ""}

    return invoke


# --- Large plans ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [chain, fan_out, ladder, nested_conditions, nested_diamonds])
def test_ten_thousand_nodes_are_some_executions(shape: Callable[[int], Graph]) -> None:
    """Each below 1 MB and 12,000 events, about as many as the bytes demand; every node stands in one of them once."""
    plan = compile_plan(shape(10_000), CATALOG, fused=False)
    definition = emitted(plan)
    texts = [definition.text, *definition.children.values()]
    assert max(map(len, texts)) <= quotas.MAX_DEFINITION_BYTES
    assert 6 <= len(texts) <= 24
    root = planned(plan).root
    assert sorted(steps_of(root.region)) == sorted(plan.nodes)
    assert all(Budget().holds(laid.weight) for laid in _all(root))
    assert len({laid.region.key for laid in _all(root) if isinstance(laid.region, Part)}) == len(texts) - 1


def _all(laid: Laid) -> list[Laid]:
    found, todo = [], [laid]
    while todo:
        top = todo.pop()
        found.append(top)
        todo += top.inner
    return found


def test_small_plans_are_one_execution() -> None:
    """Nothing is divided that need not be."""
    definition = emitted(compile_plan(chain(1_000), CATALOG, fused=False))
    assert definition.children == {}


def test_children_stand_before_those_that_have_them() -> None:
    """In the order in which they can be made: no definition names one that is not there yet."""
    definition = made(compile_plan(nested_diamonds(300), CATALOG, fused=False), SMALL)
    assert len(definition.children) > 20
    known: set[str] = set()
    for name, text in definition.children.items():
        assert _named(text) <= known
        known.add(name)
    assert _named(definition.text) <= known
    assert known == _named(definition.text).union(*map(_named, definition.children.values()))


def _named(text: str) -> set[str]:
    return {
        value.rpartition(":")[2] for value in text.split('"') if value.startswith("arn:") and ":stateMachine:" in value
    }


def test_names_of_executions_are_the_same_each_time_and_others_each_round() -> None:
    """Started again is started once; what was taken up again runs anew."""
    plan = compile_plan(chain(60), CATALOG, fused=False)

    def names(number: int) -> list[str]:
        walk = Walk.of(made(plan, SMALL), _answering({}))
        walk.run({"run": {"execution": "exec_1", "round": number}, "path": ""})
        return walk.started

    assert names(1) == names(1)
    assert set(names(1)).isdisjoint(names(2))
    assert len(set(names(1))) == len(names(1)) > 4


def test_the_port_crosses_into_an_execution_and_out_of_it() -> None:
    """A choice may be the first state of a part, and the node that it reads the last of the one before."""
    text = "; ".join(f"c{a}=condition; c{a}.true -> x{a} -> c{b}=condition" for a, b in pairwise(range(12)))
    plan = compiled(text)
    visits: Counter[tuple[str, str]] = Counter()
    walk = Walk.of(made(plan, Budget(events=12)), _answering({}, visits))
    walk.run(INPUT)
    assert len(walk.started) > 5
    assert {node for node, _ in visits} == set(plan.by_key)


def test_an_error_comes_out() -> None:
    """A part that fails fails the run, and the error of the node is told in the cause of each around it."""

    class Boom(Exception):
        pass

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        if event["node"] == "n17":
            raise Boom("no more")
        return {"path": event["path"], "port": "", "count": 0, "until": ""}

    walk = Walk.of(made(compile_plan(chain(30), CATALOG, fused=False), SMALL), invoke)
    with pytest.raises(Exception, match=r"States\.TaskFailed") as failure:
        walk.run(INPUT)
    assert "Boom" in str(failure.value)


# --- Loops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6, 7, 8, 49, 50, 200, 500])
@pytest.mark.parametrize("limit", [None, 1, 40, 41, 100])
def test_every_item_runs_once(count: int, limit: int | None) -> None:
    """However many there are, and in however many executions."""
    config = {"items": "data"} | ({} if limit is None else {"maxConcurrency": limit})
    plan = compiled("a -> l=loop; l.item -> b -> c; l.done -> d", {"l": {"config": config}})
    visits: Counter[tuple[str, str]] = Counter()
    walk = Walk.of(made(plan, SMALL), _answering({"l": count}, visits))
    walk.run(INPUT)
    items = {("b", f"[{index}]"): 1 for index in range(count)} | {("c", f"[{index}]"): 1 for index in range(count)}
    assert visits == {("a", ""): 1, ("l", ""): 1, ("d", ""): 1} | items
    assert max(walk.events.values()) <= SMALL.events + 20


@pytest.mark.parametrize(("outer", "within"), [(3, 3), (40, 2), (2, 90), (12, 12)])
def test_loops_within_loops_do_not_multiply(outer: int, within: int) -> None:
    """No execution holds more than planned, whatever the counts are."""
    plan = compiled("o=loop; o.item -> i=loop; i.item -> b")
    visits: Counter[tuple[str, str]] = Counter()
    walk = Walk.of(made(plan, SMALL), _answering({"o": outer, "i": within}, visits))
    walk.run(INPUT)
    assert sum(number for (node, _), number in visits.items() if node == "b") == outer * within
    assert max(visits.values()) == 1
    assert max(walk.events.values()) <= SMALL.events + 20


def test_a_few_items_stay_where_the_loop_is() -> None:
    """They need no execution of their own; a hundred of a small body are few."""
    plan = compiled("l=loop; l.item -> a -> b")
    walk = Walk.of(emitted(plan), _answering({"l": 100}))
    walk.run(INPUT)
    assert walk.started == []


def test_ten_thousand_items_fit() -> None:
    """By what is planned: some ten executions beside that of the loop, each within the limits of Step Functions."""
    plan = compiled("l=loop; l.item -> a -> b")
    caps = planned(plan).caps["l"]
    assert caps.inline >= 100
    assert 10 <= -(-10_000 // caps.in_range) <= 20
    assert caps.ranges * (quotas.ITERATION_EVENTS + quotas.SUBMITTED_TASK_EVENTS) < 12_000


@pytest.mark.parametrize("limit", [1, 2, 7, 39, 40, 41, 79, 80, 81, 100, 200, 399, 999, 1000])
def test_concurrency_is_never_more_than_asked(limit: int) -> None:
    """Nor much less: so many executions at once with so many items at once."""
    plan = compiled("l=loop; l.item -> a", {"l": {"config": {"items": "data", "maxConcurrency": limit}}})
    caps = planned(plan).caps["l"]
    assert 0.97 * limit <= caps.at_once * caps.ranges_at_once <= limit
    assert caps.at_once <= quotas.INLINE_MAP_CONCURRENCY
    assert caps.inline <= quotas.INLINE_MAP_CONCURRENCY or limit <= quotas.INLINE_MAP_CONCURRENCY


def test_bodies_are_defined_once_per_level() -> None:
    """However deep loops nest: definitions grow with the nodes times their depth, not with its powers."""
    text = "; ".join(f"l{a}=loop; l{a}.item -> l{b}=loop" for a, b in pairwise(range(30))) + "; l29.item -> x"
    definition = emitted(compiled(text))
    assert len(definition.children) == 30
    assert sum(map(len, definition.children.values())) < 30 * 30 * 6_000


def test_state_machines_hold_json_of_bounded_depth() -> None:
    """Whatever a graph nests, a parser of JSON can read its definitions."""
    for shape in (nested_diamonds, nested_conditions):
        definition = emitted(compile_plan(shape(3_000), CATALOG, fused=False))
        for text in (definition.text, *definition.children.values()):
            assert _depth(json.loads(text)) < 400


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [
        part
        for item in level
        for part in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
    ]:
        depth += 1
    return depth
