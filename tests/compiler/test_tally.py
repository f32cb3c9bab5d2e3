"""The tally of a run: what its records say that it has cost. Whole runs are held against it in ``tests/engines``."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.tally import milliseconds, tally
from chalicelib.graph.executions import Attempt, StepRecord, StepStatus
from chalicelib.nodes.registry import CATALOG
from tests.compiler.golden import emitted
from tests.notation import graph
from tests.state_machines import Walk


def done(node: str, path: str = "", port: str = "output", node_type: str = "transform", **more: Any) -> StepRecord:
    attempts = more.pop("attempts", (Attempt("t", "t", ms=5),))
    return StepRecord(node, path, StepStatus.SUCCEEDED, node_type, port=port, attempts=attempts, **more)


@pytest.mark.parametrize("count", [0, 1, 40, 700, 3000])
def test_however_many_items_a_loop_has(count: int) -> None:
    """Items in place, in a range of their own, in ranges within ranges: counted as the machines go."""
    plan = compile_plan(graph("l=loop; l.item -> b=http-request; l.done -> d"), CATALOG)

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        port = {"l": "done" if event.get("phase") == "leave" else ""}.get(event["node"], "output")
        return {"path": event["path"], "port": port, "count": count, "until": ""}

    walk = Walk.of(emitted(plan), invoke)
    walk.run({"run": {"execution": "e", "round": 1}, "path": ""})
    items = [done("b", f"[{index}]", node_type="http-request") for index in range(count)]
    steps = [done("l", port="done", node_type="loop", count=count), done("d"), *items]
    assert tally(plan, steps, 1).transitions == walk.transitions


def test_a_step_of_an_earlier_round_is_passed_once_more() -> None:
    """Its attempts were counted then; that its state was entered again is counted now."""
    plan = compile_plan(graph("a=http-request -> b=http-request"), CATALOG)
    earlier = tuple(Attempt("t", "t", round=1) for _ in range(3))
    steps = [done("a", attempts=earlier), done("b", attempts=(*earlier, Attempt("t", "t", round=2)))]
    assert tally(plan, steps, 1).transitions == 1 + 3 + 3
    assert tally(plan, steps, 2).transitions == 1 + 1 + 1


def test_a_script_keeps_two_functions_busy() -> None:
    """The node runner waits for the function that runs it, so its time counts twice."""
    assert milliseconds([done("a"), done("s", node_type="script")]) == 5 + 2 * 5
