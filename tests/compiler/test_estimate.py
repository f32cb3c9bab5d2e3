"""The estimate of a run counts what a run really takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from chalicelib.compiler.asl.emit import Definition
from chalicelib.compiler.estimate import Cost, estimate, price
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Plan
from chalicelib.graph.model import Graph
from chalicelib.nodes.registry import CATALOG
from tests.compiler.golden import GOLDENS, emitted
from tests.notation import graph
from tests.runs import Runs, parsed
from tests.state_machines import Walk

EXAMPLES = Path(__file__).parents[2] / "examples"

SURE = {
    "chain": "a -> b -> c",
    "fan-out": "a -> b, c, d; b, c, d -> e",
    "condition": "c=condition; c.true -> a; c.false -> b; a, b -> d",
    "wait": "a -> w=wait -> b",
    "loop": "l=loop; l.item -> a -> b; l.done -> c",
    "not series-parallel": "a -> c, d; b -> d; c, d -> e",
    "a fan-out with a late join": "a -> c, d -> f; b -> c, d; a -> e",
}
CONFIGS: dict[str, dict[str, Any]] = {"w": {"config": {"seconds": 0}}, "l": {"config": {"items": "[7]"}}}


@pytest.mark.parametrize("text", SURE.values(), ids=SURE)
def test_a_run_takes_what_was_estimated(text: str, runs: Runs) -> None:
    """Graphs whose ways cost the same, loops of one item: nothing is left open, so the count is exact."""
    shape = graph(text, {name: config for name, config in CONFIGS.items() if f"{name}=" in text})
    walk = runs.run(shape.to_json()).walk
    expected = estimate(compile_plan(shape, CATALOG)).run
    tasks = [name for name in walk.visited if _is_task(name)]
    assert (walk.transitions, len(tasks)) == (expected.transitions, expected.invocations)


GRAPHS: dict[str, Graph] = {
    "condition with one side": graph("c=condition; c.true -> a"),
    "choice at the end of a branch": graph("r -> a, s=switch; s.red -> b -> c; s.green -> d"),
    "choice at the end of an item": graph("l=loop; l.item -> c=condition; c.true -> a -> b; c.false -> w=wait"),
    "choices within choices": graph("c=condition; c.true -> d=condition; d.true -> x -> y; d.false -> z; c.false -> e"),
    "script": graph("a -> s=script -> b"),
    "script in a loop": graph("l=loop; l.item -> a -> i=loop; i.item -> x -> s=script; i.done -> y; l.done -> z"),
    "time limit": graph("a -> b", {"a": {"settings": {"timeoutSeconds": 5, "onError": "continue"}}}),
    **{f"golden {golden.name}": golden.graph for golden in GOLDENS},
    **{
        f"example {path.stem}": parsed(raw.get("workflow", raw))
        for path in [*EXAMPLES.glob("*.json"), EXAMPLES / "weather" / "workflow.json"]
        if "nodes" in (raw := json.loads(path.read_text())).get("workflow", raw)
    },
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_dearest_of_all_ways(name: str) -> None:
    """Every way that the state machine can go is walked, whatever the nodes are: the dearest is what is estimated."""
    plan = compile_plan(GRAPHS[name], CATALOG)
    machine = emitted(plan)
    choices = dict(_choices(machine))
    ways = product(*([*ports, "no case"] for ports in choices.values()))
    walked = [_walked(plan, machine, dict(zip(choices, ports, strict=True)), {}) for ports in ways]
    assert price(estimate(plan).run) == pytest.approx(price(max(walked, key=price)))
    assert estimate(plan).run in walked


@pytest.mark.parametrize(("outer", "inner"), [(1, 1), (4, 1), (1, 5)])
def test_items_add_what_they_say(outer: int, inner: int) -> None:
    """A client multiplies: each item of a loop beyond the first adds its cost."""
    plan = compile_plan(GRAPHS["script in a loop"], CATALOG)
    found = estimate(plan)
    expected = found.run
    for loop, items in (("l", outer), ("i", inner)):
        expected = sum([found.per_item[loop]] * (items - 1), expected)
    assert _walked(plan, emitted(plan), {}, {"l": outer, "i": inner}) == expected


def _choices(definition: Definition) -> Iterator[tuple[str, list[str]]]:
    """For each node whose port a Choice reads, the ports that lead somewhere."""
    for text in (definition.text, *definition.children.values()):
        yield from _choices_in(json.loads(text))


def _choices_in(machine: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for name, state in machine["States"].items():
        match state["Type"]:
            case "Choice" if name.endswith(".port"):
                yield name.removesuffix(".port"), [_unescaped(rule["Condition"]) for rule in state["Choices"]]
            case "Parallel":
                for branch in state["Branches"]:
                    yield from _choices_in(branch)
            case "Map":
                yield from _choices_in(state["ItemProcessor"])


def _unescaped(condition: str) -> str:
    port: str = json.loads('"' + condition.split("'")[1] + '"')
    return port


def _walked(plan: Plan, machine: Definition, ports: Mapping[str, str], items: Mapping[str, int]) -> Cost:
    """What runs when nodes take ``ports`` and loops have ``items``, one where nothing is said."""
    invocations = 0

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        nonlocal invocations
        node = plan.by_key[event["node"]]
        invocations += 2 if node.type == "script" else 1
        count = items.get(node.id, 1)
        last = plan.nodes[plan.chains.get(node.key, (node.id,))[-1]]
        told = {"until": "2026-01-01T00:00:00Z", "gate": "g", "seconds": 1}
        return {"path": event["path"], "port": ports.get(last.key, ""), "count": count, **told}

    walk = Walk.of(machine, invoke, update=lambda request: False)  # every gate is open
    walk.run({"run": {"execution": "e", "round": 1}, "path": ""})
    return Cost(walk.transitions, invocations)


def test_a_choice_counts_with_its_dearest_way() -> None:
    """Of a way of one node and a way of three, the longer."""
    shape = graph("c=condition; c.true -> a; c.false -> x -> y -> z")
    unfused = compile_plan(shape, CATALOG, fused=False)
    assert estimate(unfused).run == Cost(transitions=1 + 1 + 1 + 3, invocations=1 + 3)


def test_a_chain_counts_as_one() -> None:
    """Nodes that share a state share its transition and its invocation."""
    shape = graph("a -> b -> c -> h=http-request -> d -> e")
    assert estimate(compile_plan(shape, CATALOG)).run == Cost(transitions=1 + 3, invocations=3)


def test_each_item_of_a_loop_is_told_apart() -> None:
    """An outer item holds one inner one; both say what a further item adds."""
    found = estimate(compile_plan(graph("o=loop; o.item -> i=loop; i.item -> a -> b"), CATALOG, fused=False))
    assert found.per_item == {"i": Cost(2, 2), "o": Cost(6, 4)}
    assert found.run == Cost(1, 0) + Cost(4, 2) + Cost(6, 4)


def test_the_price_is_that_of_the_list() -> None:
    """A thousand transitions cost two and a half cents, and the date of the list is told."""
    told = estimate(compile_plan(graph("a -> b"), CATALOG, fused=False)).to_json()
    assert told["stateTransitions"] == 3
    assert 3 * 0.000025 < told["priceUsd"] < 4 * 0.000025
    assert told["pricesOf"] == "2026-11-22"


def _is_task(state: str) -> bool:
    return not state.startswith("parallel.") and not state.endswith((".port", ".size", ".items", ".wait", ".gate"))
