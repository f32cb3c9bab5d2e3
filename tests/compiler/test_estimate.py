"""The estimate of a run counts what a run really takes."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.compiler.estimate import Cost, estimate
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.nodes.registry import CATALOG
from tests.notation import graph
from tests.runs import Runs

SURE = {
    "chain": "a -> b -> c",
    "fan-out": "a -> b, c, d; b, c, d -> e",
    "condition": "c=condition; c.true -> a; c.false -> b; a, b -> d",
    "wait": "a -> w=wait -> b",
    "loop": "l=loop; l.item -> a -> b; l.done -> c",
    "not series-parallel": "a -> c, d; b -> d; c, d -> e",
}
CONFIGS: dict[str, dict[str, Any]] = {"w": {"config": {"seconds": 0}}, "l": {"config": {"items": "[7]"}}}


@pytest.mark.parametrize("text", SURE.values(), ids=SURE)
def test_a_run_takes_what_was_estimated(text: str, runs: Runs) -> None:
    """Graphs whose ways cost the same, loops of one item: nothing is left open, so the count is exact."""
    shape = graph(text, {name: config for name, config in CONFIGS.items() if f"{name}=" in text})
    walk = runs.run(shape.to_json()).walk
    expected = estimate(compile_plan(shape, CATALOG)).run
    tasks = [name for name in walk.visited if _is_task(name)]
    assert (len(walk.visited) + 1, len(tasks)) == (expected.transitions, expected.invocations)


def test_a_choice_counts_with_its_dearest_way() -> None:
    """Of a way of one node and a way of three, the longer."""
    shape = graph("c=condition; c.true -> a; c.false -> x -> y -> z")
    assert estimate(compile_plan(shape, CATALOG)).run == Cost(transitions=1 + 1 + 1 + 3, invocations=1 + 3)


def test_each_item_of_a_loop_is_told_apart() -> None:
    """An outer item holds one inner one; both say what a further item adds."""
    found = estimate(compile_plan(graph("o=loop; o.item -> i=loop; i.item -> a -> b"), CATALOG))
    assert found.per_item == {"i": Cost(2, 2), "o": Cost(5, 4)}
    assert found.run == Cost(1, 0) + Cost(3, 2) + Cost(5, 4)


def test_the_price_is_that_of_the_list() -> None:
    """A thousand transitions cost two and a half cents, and the date of the list is told."""
    told = estimate(compile_plan(graph("a -> b"), CATALOG)).to_json()
    assert told["stateTransitions"] == 3
    assert 3 * 0.000025 < told["priceUsd"] < 4 * 0.000025
    assert told["pricesOf"] == "2026-11-22"


def _is_task(state: str) -> bool:
    return not state.startswith("parallel.") and not state.endswith((".port", ".items", ".wait"))
