"""What holds of every graph: random ones are compiled, and their state machines run, against naive models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from random import Random
from typing import Any

import networkx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.compiler.blocks import Block
from chalicelib.compiler.passes.reduce import reduce
from chalicelib.compiler.passes.split import split
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Case, Chain, Choice, Gate, Loop, Parallel, Plan, Region, Series, Step
from chalicelib.graph.model import Graph
from chalicelib.graph.structure import Successors, reachable
from chalicelib.graph.validate import errors
from chalicelib.nodes.registry import CATALOG
from tests.compiler.golden import emitted
from tests.compiler.model import RUN, Oracle, Runner, ports_taken
from tests.compiler.random_graphs import dags, series_parallel, workflows, woven
from tests.notation import graph, show
from tests.state_machines import Walk

#: Both ways out of `c` are closed, and what is behind them is awaited: who is skipped has to tell too.
CLOSED_BEFORE_A_JOIN = graph("c=condition; q -> r -> s -> v; c.true -> t -> u; c.false -> f; u, f, v -> y; v -> z")

Dag = tuple[list[str], Successors]
Pairs = set[tuple[str, str]]


def closure(dag: Dag) -> Pairs:
    """Which node precedes which."""
    nodes, edges = dag
    return {(node, other) for node in nodes for other in reachable([node], edges) - {node}}


def order_of(block: Block) -> Pairs:
    """Which node precedes which by a tree of blocks and its gates."""
    return _closed(_said_by(block))


def _said_by(block: Block) -> Pairs:
    found = _union(_said_by(part) for part in block.parts)
    if block.kind == "series":
        found |= _ordered([list(part.nodes()) for part in block.parts])
    return found | {(awaited, node) for awaited in block.awaits for node in block.nodes()}


def _closed(pairs: Pairs) -> Pairs:
    found: networkx.DiGraph[str] = networkx.DiGraph(list(pairs))
    return set(networkx.transitive_closure(found).edges)


def _ordered(parts: Sequence[Sequence[str]]) -> Pairs:
    return {(a, b) for i, part in enumerate(parts) for a in part for other in parts[i + 1 :] for b in other}


def steps(region: Region | None) -> Iterator[str]:
    """Every mention of a node in a region, loop bodies included."""
    match region:
        case Step(node):
            yield node
        case Series(parts) | Parallel(parts):
            for part in parts:
                yield from steps(part)
        case Choice(_, cases):
            for case in cases:
                yield from steps(case.region)
        case Loop(node, body, _):
            yield node
            yield from steps(body)
        case Gate(_, _, behind):
            yield from steps(behind)
        case Chain(nodes):
            yield from nodes


def region_order(region: Region | None) -> Pairs:
    """Which node precedes which by a tree of regions and its gates; a loop's body behind its node."""
    return _closed(_region_order(region))


def _region_order(region: Region | None) -> Pairs:
    match region:
        case Series(parts):
            return _union(map(_region_order, parts)) | _ordered([list(steps(part)) for part in parts])
        case Parallel(parts):
            return _union(map(_region_order, parts))
        case Choice(_, cases):
            return _union(_region_order(case.region) for case in cases)
        case Loop(node, body, _):
            return _region_order(body) | {(node, member) for member in steps(body)}
        case Gate(_, awaits, behind):
            return _region_order(behind) | {(awaited, node) for awaited in awaits for node in steps(behind)}
        case Chain(nodes):
            return set(combinations(nodes, 2))
    return set()


def walk(plan: Plan, runner: Runner, seed: int = 0) -> Any:
    """The output of the plan's state machine; what runs at once there runs in an order of chance here.

    Whatever crosses from one branch to another is sooner or later met in the wrong order.
    """
    random = Random(seed)
    machine = Walk.of(
        emitted(plan),
        runner,
        order=lambda items: random.sample(items, len(items)),
        update=runner.gates.update,
        tokens=runner.gates.tokens,
    )
    return machine.run({"run": RUN, "path": ""})


def _union(many: Iterable[Pairs]) -> Pairs:
    return set().union(*many)


@given(dags())
@settings(max_examples=200, deadline=None)
def test_reduce_keeps_every_order_and_nothing_more(dag: Dag) -> None:
    """What reaches what stays, and no edge could go: the transitive reduction of an acyclic graph is unique."""
    nodes, edges = dag
    reduced = reduce(nodes, edges)
    assert closure((nodes, reduced)) == closure(dag)
    reference: networkx.DiGraph[str] = networkx.DiGraph()
    reference.add_nodes_from(nodes)
    reference.add_edges_from((source, target) for source in nodes for target in edges[source])
    minimal = networkx.transitive_reduction(reference)
    assert {(source, target) for source in nodes for target in reduced[source]} == set(minimal.edges)


@given(dags(), st.data())
@settings(max_examples=400, deadline=None)
def test_split_is_exact(dag: Dag, data: st.DataObject) -> None:
    """Of any graph no order is lost and none added, whatever is expected; every node stands in the tree once."""
    nodes, edges = dag
    durations = data.draw(st.dictionaries(st.sampled_from(nodes), st.integers(0, 9)))
    block = split(nodes, reduce(nodes, edges), durations)
    assert order_of(block) == closure(dag)
    assert sorted(block.nodes()) == sorted(nodes)


@given(series_parallel())
@settings(max_examples=200, deadline=None)
def test_series_parallel_graphs_need_no_gate(dag: Dag) -> None:
    """What Step Functions can say by itself has no late join."""
    nodes, edges = dag
    assert "gate" not in show(split(nodes, reduce(nodes, edges), {}))


@given(workflows())
@settings(max_examples=150, deadline=None)
def test_plan_is_complete(graph: Graph) -> None:
    """Every node stands in the regions once or is dead, and the regions keep the order of every connection."""
    assert errors(graph, CATALOG) == []
    plan = compile_plan(graph, CATALOG)
    assert sorted(steps(plan.root)) == sorted(plan.nodes)
    assert {node.id for node in plan.dead}.isdisjoint(plan.nodes)
    pairs = {(connection.source, connection.target) for connection in graph.connections}
    assert {pair for pair in pairs if pair[1] in plan.nodes and pair[0] in plan.nodes} <= region_order(plan.root)


@given(workflows())
@settings(max_examples=100, deadline=None)
def test_plan_survives_its_json(graph: Graph) -> None:
    """A plan that was stored is the plan, and has the same hash."""
    plan = compile_plan(graph, CATALOG)
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.hash == plan.hash


@given(workflows())
@settings(max_examples=50, deadline=None)
def test_same_graph_same_machine(graph: Graph) -> None:
    """Nothing of chance is in a plan or in a state machine: both are found again by their hash."""
    plans = [compile_plan(graph, CATALOG) for _ in range(2)]
    assert plans[0].hash == plans[1].hash
    assert emitted(plans[0]) == emitted(plans[1])


@given(workflows() | woven(), st.integers(0, 1_000_000))
@example(CLOSED_BEFORE_A_JOIN, 0)
@example(CLOSED_BEFORE_A_JOIN, 1)
@example(CLOSED_BEFORE_A_JOIN, 2)
@example(CLOSED_BEFORE_A_JOIN, 3)
@settings(max_examples=400, deadline=None)
def test_machine_runs_the_live_nodes(graph: Graph, seed: int) -> None:
    """The state machine has just those nodes run that are live, none before its predecessors are decided, none twice.

    The runner complains of a visit to a node that is decided already, or whose predecessors are not. At the end every
    node is decided.
    """
    plan = compile_plan(graph, CATALOG)
    oracle = Oracle(seed)
    runner = Runner(plan, graph, oracle)
    output = walk(plan, runner, seed)
    assert runner.complaints == []
    assert output.keys() <= {"run", "path", "port", "count", "until"}
    assert runner.taken == ports_taken(graph, oracle)
    decided = {name for name, path in [*runner.taken, *runner.skipped] if not path} | {node.id for node in plan.dead}
    in_bodies = {node.id for node in plan.nodes.values() if node.loops}
    assert decided >= {node.id for node in graph.nodes} - in_bodies - _in_dead_bodies(graph, plan)


def _in_dead_bodies(graph: Graph, plan: Plan) -> set[str]:
    """A loop that is dead from the beginning has no items, so its body is nowhere."""
    return {node.id for node in graph.nodes} - set(plan.nodes) - {node.id for node in plan.dead}


@pytest.mark.parametrize(
    ("root", "complaint"),
    [
        (Series((Step("c"), Step("t"), Choice("c", (Case("true", Step("a")),)))), "before"),
        (Series((Step("t"), Step("c"), Step("a"))), "decided already"),
    ],
)
def test_wrong_machines_are_caught(root: Region, complaint: str) -> None:
    """The check above can fail: it meets a wrong order, and a branch that should be closed."""
    given = graph("t=manual-trigger -> c=condition; c.true -> a")
    plan = compile_plan(given, CATALOG)
    oracle = next(oracle for seed in range(100) if ("a", ()) not in ports_taken(given, oracle := Oracle(seed)))
    runner = Runner(plan, given, oracle)
    walk(replace(plan, root=root), runner)
    assert any(complaint in told for told in runner.complaints)
