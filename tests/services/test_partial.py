"""Runs of a part of a graph: from one node on, and with outputs that are given."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.engines.payloads import INLINE_BYTES
from chalicelib.foundation.errors import InvalidInput
from chalicelib.foundation.json_types import Json
from chalicelib.graph.partial import MAX_PINNED
from chalicelib.services.executions import ExecutionDetail
from tests.fakes import World, graph, node
from tests.runs import OWNER, Runs


def part(runs: Runs, shape: dict[str, Any], start: str | None = None, pinned: Any = None, inputs: Any = None) -> str:
    return runs.services.executions.start(
        OWNER, runs.workflow(shape), inputs=inputs or {}, start_node=start, pinned=pinned
    )


def run(runs: Runs, *args: Any, **more: Any) -> ExecutionDetail:
    execution_id = part(runs, *args, **more)
    runs.walk(execution_id)
    runs.tell_end(execution_id)
    return runs.detail(execution_id)


def output(runs: Runs, detail: ExecutionDetail) -> Json:
    return runs.services.payloads.get(detail.execution.output)


def statuses(detail: ExecutionDetail) -> dict[str, str]:
    return {step.task_id: str(step.status) for step in detail.steps}


def faults(runs: Runs, *args: Any) -> list[str]:
    with pytest.raises(InvalidInput) as raised:
        part(runs, *args)
    return [fault.path for fault in raised.value.faults]


DIAMOND = graph(
    [node("t", "manual-trigger"), node("a", expression="'A'"), node("b", expression="'B'"), node("d"), node("e")],
    "t -> a -> d -> e",
    "t -> b -> d",
)


def test_from_a_node_on(runs: Runs) -> None:
    """It and what is downstream of it runs; all else is skipped, and counts."""
    detail = run(runs, DIAMOND, "a", inputs={"x": 1})
    assert statuses(detail) == {"t": "skipped", "b": "skipped", "a": "succeeded", "d": "succeeded", "e": "succeeded"}
    assert (detail.execution.tasks_total, detail.execution.tasks_executed) == (5, 5)


def test_the_start_node_is_given_what_the_run_is_started_with(runs: Runs) -> None:
    """Where nothing pinned leads to it, it begins like a node without connections into it."""
    detail = run(runs, DIAMOND, "e", inputs={"x": 1})
    assert output(runs, detail) == {"x": 1}


def test_what_does_not_run_is_dead(runs: Runs) -> None:
    """A join keeps its shape: the connection from a node that does not run is a dead one."""
    assert output(runs, run(runs, DIAMOND, "a")) == {"a": "A"}


def test_pinned_upstream(runs: Runs) -> None:
    """The output of a pinned node upstream flows in, and stands for it in expressions; it is marked."""
    detail = run(runs, DIAMOND, "d", {"b": {"p": 1}, "a": [2]})
    assert output(runs, detail) == {"a": [2], "b": {"p": 1}}
    by_id = {step.node_id: step for step in detail.steps}
    assert [by_id[name].pinned for name in ("a", "b", "d")] == [True, True, False]
    assert (str(by_id["a"].status), by_id["a"].attempts) == ("succeeded", ())
    named = graph(
        [node("far", expression="1"), node("mid"), node("end", expression="nodes.far.x")], "far -> mid -> end"
    )
    assert output(runs, run(runs, named, "end", {"far": {"x": 7}})) == 7


def test_large_pinned_outputs_lie_with_the_run(runs: Runs) -> None:
    """On the shelf of its retention, from which S3 takes them when it is over."""
    detail = run(runs, DIAMOND, "d", {"b": "x" * 50_000, "a": [2]})
    (key,) = [step.output.key for step in detail.steps if step.output and step.output.key and step.pinned]
    assert key.startswith(f"payloads/{detail.execution.shelf}/")


def test_pinned_nodes_do_not_run(runs: Runs, world: World) -> None:
    """In a run of the whole graph too: what it is in the way of goes on with the given output."""
    nodes = [node("h", "http-request", method="GET", url="http://x"), node("z", expression="data.body")]
    detail = run(runs, graph(nodes, "h -> z"), None, {"h": {"body": "given"}})
    assert (output(runs, detail), world.http.requests) == ("given", [])
    assert [step.pinned for step in detail.steps if step.node_id == "h"] == [True]


def test_a_pinned_node_on_a_path_that_is_not_taken(runs: Runs) -> None:
    """It is skipped like any other."""
    nodes = [node("c", "condition", expression="true"), node("no"), node("yes", expression="'y'")]
    detail = run(runs, graph(nodes, "c:false -> no", "c:true -> yes"), None, {"no": 1})
    assert statuses(detail) == {"c": "succeeded", "no": "skipped", "yes": "succeeded"}


def test_pinned_loops_and_waits(runs: Runs) -> None:
    """A loop's given output is that of `done`, and its body does not run; in a body the output holds for every item."""
    nodes = [node("l", "loop", items="[1, 2]"), node("x"), node("w", "wait", seconds=9), node("z")]
    shape = graph(nodes, "l:item -> x", "l:done -> w -> z")
    assert output(runs, run(runs, shape, None, {"l": ["a"]})) == ["a"]
    assert output(runs, run(runs, shape, None, {"x": 5})) == [5, 5]
    assert output(runs, run(runs, shape, "z", {"w": None})) is None
    assert output(runs, run(runs, shape, "w", {"l": [3]})) == [3]


def test_large_outputs_are_given(runs: Runs) -> None:
    """Many and large ones fit: what the record has no place for lies in S3."""
    names = [f"n{number}" for number in range(20)]
    shape = graph([*map(node, names), node("z", expression="$count($keys(data))")], *(f"{name} -> z" for name in names))
    given = dict.fromkeys(names, "x" * (INLINE_BYTES - 100))
    assert output(runs, run(runs, shape, "z", given)) == 20


def test_taken_up_again(runs: Runs, world: World) -> None:
    """What was given stays given in every round."""
    nodes = [node("a"), node("h", "http-request", method="GET", url="http://{{ data }}"), node("z")]
    detail = run(runs, graph(nodes, "a -> h -> z"), "h", {"a": "host"})
    again = runs.services.control.restart(OWNER, detail.execution.id, "h").execution.id
    runs.walk(again)
    runs.tell_end(again)
    assert [request.url for request in world.http.requests] == ["http://host", "http://host"]


def test_what_cannot_be(runs: Runs) -> None:
    """Every fault is told, with its place."""
    nodes = [
        node("c", "condition", expression="true"), node("f", "fail", error="E"), node("l", "loop", items="[1]"),
        node("x"), node("end"),
    ]  # fmt: skip
    shape = graph(nodes, "c:true -> l", "l:item -> x", "l:done -> end", "c:false -> f")
    assert faults(runs, shape, "none", {"gone": 1, "c": 1, "f": 1, "end": 1}) == [
        "startNode", "pinned.gone", "pinned.c", "pinned.f",
    ]  # fmt: skip
    assert faults(runs, shape, "x") == ["startNode"]
    assert faults(runs, shape, "end", {"end": 1}) == ["startNode"]
    assert faults(runs, shape, "end", {"x": 1}) == ["pinned.x"]
    assert faults(runs, shape, None, {f"n{number}": 1 for number in range(MAX_PINNED + 1)}) == ["pinned"]
