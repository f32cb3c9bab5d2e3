"""What holds of every graph: random ones are compiled, and their state machines run, against naive models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.compiler.asl.emit import emit
from chalicelib.compiler.passes.reduce import reduce
from chalicelib.compiler.passes.split import Block, split
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Case, Choice, Loop, Parallel, Plan, Region, Series, Step
from chalicelib.graph.model import Graph
from chalicelib.graph.structure import Successors, reachable
from chalicelib.graph.validate import errors
from chalicelib.nodes.registry import CATALOG
from tests.compiler.golden import NODE_FUNCTION, TABLE
from tests.compiler.model import Oracle, Runner, ports_taken
from tests.compiler.random_graphs import dags, series_parallel, workflows
from tests.notation import graph
from tests.state_machines import Walk

Dag = tuple[list[str], Successors]
Pairs = set[tuple[str, str]]


def closure(dag: Dag) -> Pairs:
    """Which node precedes which."""
    nodes, edges = dag
    return {(node, other) for node in nodes for other in reachable([node], edges) - {node}}


def order_of(block: Block) -> Pairs:
    """Which node precedes which by a tree of blocks."""
    found = set().union(*(order_of(part) for part in block.parts))
    if block.kind == "series":
        found |= _ordered([list(_nodes(part)) for part in block.parts])
    return found


def _nodes(block: Block) -> Iterator[str]:
    if block.kind == "node":
        yield block.node
    for part in block.parts:
        yield from _nodes(part)


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


def region_order(region: Region | None) -> Pairs:
    """Which node precedes which by a tree of regions; a loop's body behind its node."""
    match region:
        case Series(parts):
            return _union(map(region_order, parts)) | _ordered([list(steps(part)) for part in parts])
        case Parallel(parts):
            return _union(map(region_order, parts))
        case Choice(_, cases):
            return _union(region_order(case.region) for case in cases)
        case Loop(node, body, _):
            return region_order(body) | {(node, member) for member in steps(body)}
    return set()


def walk(plan: Plan, runner: Runner, seed: int = 0) -> Any:
    """The output of the plan's state machine; what runs at once there runs in an order of chance here.

    Whatever crosses from one branch to another is sooner or later met in the wrong order.
    """
    random = Random(seed)
    definition = json.loads(emit(plan, NODE_FUNCTION, TABLE))
    machine = Walk(definition, runner, order=lambda items: random.sample(items, len(items)))
    return machine.run({"run": {"execution": "e"}, "path": ""})


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


@given(series_parallel())
@settings(max_examples=200, deadline=None)
def test_split_is_exact_for_series_parallel_graphs(dag: Dag) -> None:
    """Of a series-parallel graph no order is lost and none added."""
    nodes, edges = dag
    assert order_of(split(nodes, reduce(nodes, edges))) == closure(dag)


@given(dags())
@settings(max_examples=200, deadline=None)
def test_split_loses_no_order(dag: Dag) -> None:
    """Of any graph every order is kept, and every node stands in the tree once."""
    nodes, edges = dag
    block = split(nodes, reduce(nodes, edges))
    assert order_of(block) >= closure(dag)
    assert sorted(_nodes(block)) == sorted(nodes)


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
    assert emit(plans[0], NODE_FUNCTION, TABLE) == emit(plans[1], NODE_FUNCTION, TABLE)


@given(workflows(), st.integers(0, 1_000_000))
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
