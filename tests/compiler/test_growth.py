"""How plans and state machines grow with their graph. Counted, not timed: what is linear here is so on any machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest

from chalicelib.compiler.blocks import MAX_DEPTH
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Plan, Region, region_to_json
from chalicelib.foundation.errors import Conflict
from chalicelib.graph.model import Connection, Graph, Node
from chalicelib.graph.validate import errors
from chalicelib.nodes.registry import CATALOG
from tests.compiler.golden import emitted
from tests.compiler.test_properties import steps
from tests.notation import node


def _graph(nodes: list[Node], *connections: tuple[str, str, str]) -> Graph:
    links = (
        Connection(f"c{number}", source, target, port) for number, (source, port, target) in enumerate(connections)
    )
    return Graph(tuple(nodes), tuple(links))


def chain(size: int) -> Graph:
    names = [f"n{index}" for index in range(size)]
    return _graph([node(name) for name in names], *((a, "output", b) for a, b in pairwise(names)))


def fan_out(size: int) -> Graph:
    names = [f"n{index}" for index in range(size - 2)]
    ends = [edge for name in names for edge in (("start", "output", name), (name, "output", "end"))]
    return _graph([node("start"), *map(node, names), node("end")], *ends)


def diamonds(size: int) -> Graph:
    """One diamond after the other."""
    nodes, edges = [node("d0")], []
    for index in range(size // 3):
        nodes += [node(f"a{index}"), node(f"b{index}"), node(f"d{index + 1}")]
        for side in "ab":
            edges += [(f"d{index}", "output", f"{side}{index}"), (f"{side}{index}", "output", f"d{index + 1}")]
    return _graph(nodes, *edges)


def ladder(size: int) -> Graph:
    """Two chains with a rung from one to the other at each step: nothing of it is series-parallel."""
    nodes, edges = [], []
    for index in range(size // 2):
        nodes += [node(f"a{index}"), node(f"b{index}")]
        edges.append((f"a{index}", "output", f"b{index}"))
        if index:
            edges += [(f"{side}{index - 1}", "output", f"{side}{index}") for side in "ab"]
    return _graph(nodes, *edges)


def nested_conditions(size: int) -> Graph:
    """Each condition stands under the port `true` of the one before, and each has a node under `false`."""
    nodes, edges = [], []
    for index in range(size // 2):
        nodes += [node(f"c{index}", "condition"), node(f"n{index}")]
        edges.append((f"c{index}", "false", f"n{index}"))
        if index:
            edges.append((f"c{index - 1}", "true", f"c{index}"))
    return _graph(nodes, *edges)


def nested_diamonds(size: int) -> Graph:
    """A diamond in one branch of a diamond, and so on."""
    nodes, edges = [], []
    for index in range(size // 3):
        nodes += [node(f"s{index}"), node(f"m{index}"), node(f"e{index}")]
        edges += [(f"s{index}", "output", f"m{index}"), (f"m{index}", "output", f"e{index}")]
        if index:
            edges += [(f"s{index - 1}", "output", f"s{index}"), (f"e{index}", "output", f"e{index - 1}")]
    return _graph(nodes, *edges)


def conditions_in_turn(size: int) -> Graph:
    """Each condition goes on by both ports, so no branch is closed."""
    names = [f"c{index}" for index in range(size)]
    pairs = list(pairwise(names))
    return _graph(
        [node(name, "condition") for name in names], *((a, port, b) for a, b in pairs for port in ("true", "false"))
    )


def loops_in_turn(size: int) -> Graph:
    nodes, edges = [], []
    for index in range(size // 2):
        nodes += [node(f"l{index}", "loop"), node(f"b{index}")]
        edges.append((f"l{index}", "item", f"b{index}"))
        if index:
            edges.append((f"l{index - 1}", "done", f"l{index}"))
    return _graph(nodes, *edges)


def _bytes(plan: Plan) -> int:
    definition = emitted(plan)
    return len(definition.text) + sum(map(len, definition.children.values()))


Shape = Callable[[int], Graph]
SHAPES = [chain, fan_out, diamonds, ladder, nested_conditions, nested_diamonds, conditions_in_turn, loops_in_turn]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)


def regions(region: Region | None) -> int:
    """How many regions a tree has: lists that begin with a word."""
    todo, found = [region_to_json(region)], 0
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            found += item[0] in ("step", "series", "parallel", "choice", "loop", "gate", "chain")
            todo += item
    return found


@each_shape
def test_plans_and_machines_grow_with_the_graph(shape: Shape) -> None:
    """Three times the nodes make about three times the regions, and about three times the bytes of definition."""
    small, large = (compile_plan(shape(size), CATALOG) for size in (240, 720))
    assert regions(large.root) <= 3.2 * regions(small.root)
    assert _bytes(large) <= 3.4 * _bytes(small)


@each_shape
def test_work_grows_with_the_graph(shape: Shape) -> None:
    """Three times the nodes take about three times the work: lines of the compiler that are executed."""
    small, large = (lines(partial(compile_plan, shape(size), CATALOG)) for size in (240, 720))
    assert large <= 3.5 * small


def lines(call: Callable[[], Any]) -> int:
    """How many lines ``call`` executes, each turn of a loop counted."""
    found = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal found
        if "chalicelib" not in frame.f_code.co_filename:
            return None
        found += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return found


@each_shape
def test_depth_is_bounded(shape: Shape) -> None:
    """However deep a graph nests, its plan does not, and every node is in it."""
    plan = compile_plan(shape(4000), CATALOG)
    assert depth(region_to_json(plan.root)) <= 6 * MAX_DEPTH
    assert len(list(steps(plan.root))) == len(plan.nodes)
    with suppress(Conflict):  # it is larger than Step Functions takes, which is another matter
        emitted(plan)


def depth(region: Any) -> int:
    level, found = [region], 0
    while level := [item for part in level if isinstance(part, list) for item in part]:
        found += 1
    return found


def test_loops_nested_deeper_than_anybody_needs() -> None:
    """They are refused, and do not exhaust the stack."""
    loops = [node(f"l{index}", "loop") for index in range(1000)]
    graph = _graph(loops, *((a.id, "item", b.id) for a, b in pairwise(loops)))
    with pytest.raises(Conflict, match="nested"):
        compile_plan(graph, CATALOG)


def test_a_large_graph_is_judged() -> None:
    """Nothing in the validation of 2,000 nested conditions or of a ladder recurses."""
    assert errors(nested_conditions(4000), CATALOG) == []
    assert errors(ladder(4000), CATALOG) == []


def test_nesting_is_told_before_anybody_runs_it() -> None:
    """Forty levels are fine; the loop that stands in forty others is told, and told once, in work that is bounded."""

    def nested(levels: int) -> Graph:
        loops = [node(f"l{index}", "loop") for index in range(levels)]
        pairs = pairwise([*(loop.id for loop in loops), "x"])
        return _graph([*loops, node("x")], *((a, "item", b) for a, b in pairs))

    assert errors(nested(40), CATALOG) == []
    for levels in (41, 5000):
        (problem,) = errors(nested(levels), CATALOG)
        assert (problem.type, problem.node_id) == ("invalid-config", "l40")
