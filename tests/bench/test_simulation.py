"""Plans, simulated: no node of any graph waits for anything but its predecessors, whatever durations are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bench.recipes import recipes
from bench.simulation import earliest_ends, ends, with_barriers
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Gate, Parallel, Region, Series, Step
from chalicelib.graph.model import Connection, Graph
from chalicelib.graph.structure import Successors
from chalicelib.nodes.registry import CATALOG
from tests.compiler.random_graphs import dags, series_parallel
from tests.notation import node

SCIENTIFIC = [shape for shape in recipes() if shape["tasks"] <= 500]
N_GRAPH = {"a": ["x", "y"], "b": ["y"], "x": [], "y": []}
SECONDS = {"a": 1, "b": 5, "x": 1, "y": 1}


def region_of(edges: Successors) -> Region:
    """Of the plan of a graph of transforms."""
    links = [(source, target) for source, targets in edges.items() for target in targets]
    connections = (Connection(f"c{number}", *ends_of) for number, ends_of in enumerate(links))
    return compile_plan(Graph(tuple(map(node, edges)), tuple(connections)), CATALOG).root


@given(dags(max_nodes=20) | series_parallel(), st.data())
@hypothesis_settings(max_examples=300)
def test_every_node_ends_as_early_as_it_can(dag: tuple[list[str], Successors], data: st.DataObject) -> None:
    """In any graph and for any durations, and so the run takes as long as its critical path: 1.000 of it."""
    nodes, edges = dag
    seconds = {name: data.draw(st.integers(0, 9)) for name in nodes}
    assert ends(region_of({name: edges[name] for name in nodes}), seconds) == earliest_ends(nodes, edges, seconds)


@pytest.mark.parametrize("shape", SCIENTIFIC, ids=lambda shape: shape["name"])
def test_scientific_workflows_take_their_critical_path(shape: dict[str, Any]) -> None:
    """The graphs of the benchmarks too, with the times of their traces and with the same time for each."""
    edges: dict[str, list[str]] = {f"n{index}": [] for index in range(shape["tasks"])}
    for source, target in shape["edges"]:
        edges[f"n{source}"].append(f"n{target}")
    region = region_of(edges)
    for seconds in (dict(zip(edges, shape["seconds"], strict=True)), dict.fromkeys(edges, 1.0)):
        assert ends(region, seconds) == pytest.approx(earliest_ends(list(edges), edges, seconds))


def test_barriers_are_seen() -> None:
    """Level by level takes longer, by a region or by counting: the simulation can tell."""
    levels = Series((Parallel((Step("a"), Step("b"))), Parallel((Step("x"), Step("y")))))
    assert ends(levels, SECONDS) == {"a": 1, "b": 5, "x": 6, "y": 6}
    assert with_barriers(list(N_GRAPH), N_GRAPH, SECONDS) == 6
    assert ends(region_of(N_GRAPH), SECONDS) == {"a": 1, "b": 5, "x": 2, "y": 6}


def test_an_order_that_is_lost_is_seen() -> None:
    """Without its gate a node would begin too early; with it, it waits for what runs beside it."""
    behind_a = Parallel((Series((Step("a"), Parallel((Step("x"), Step("y"))))), Step("b")))
    assert ends(behind_a, SECONDS)["y"] == 2
    gated = Parallel((Series((Step("a"), Parallel((Step("x"), Gate("y", ("b",), Step("y")))))), Step("b")))
    assert ends(gated, SECONDS)["y"] == 6
