"""The layout of graphs: what has to hold of every drawing, and how good the drawings are."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.graph.layered.columns import columns, without_cycles
from chalicelib.graph.layered.drawing import LANES_EACH, draw
from chalicelib.graph.layered.order import crossings, reduce_crossings
from chalicelib.graph.layout import GRID, NODE_HEIGHT, NODE_WIDTH, ORIGIN, arrange, place_new
from chalicelib.graph.model import Graph
from chalicelib.graph.structure import cycles, successors
from chalicelib.nodes.registry import CATALOG
from tests.graph import drawings
from tests.graph.drawings import CORPUS, LIBRARIES, Edge, Point, as_graph, backward, corners, overlaps
from tests.graph.graphs import graphs
from tests.notation import graph, node

COORDINATES = st.floats(-1e6, 1e6)
POSITIONS = st.none() | st.fixed_dictionaries({"x": COORDINATES, "y": COORDINATES})


def arranged(given: Graph) -> dict[str, Point]:
    """The upper left corner of each node."""
    return {
        node.id: (node.position["x"], node.position["y"])
        for node in arrange(given, CATALOG).nodes
        if node.position is not None
    }


@st.composite
def edges(draw: st.DrawFn, acyclic: bool = False) -> tuple[int, list[Edge]]:
    count = draw(st.integers(1, 12))
    pair = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    found = draw(st.lists(pair, max_size=25, unique=True))
    return count, sorted({(min(pair), max(pair)) for pair in found if pair[0] != pair[1]}) if acyclic else found


@given(graphs())
@settings(max_examples=300, deadline=None)
def test_every_drawing(given: Graph) -> None:
    """Whatever may be saved is drawn: every node has a place on the grid, and no box is on another.

    Where there is no cycle, every connection leads to the right.
    """
    found = arranged(given)
    assert found.keys() == {node.id for node in given.nodes}
    assert all(value % GRID == ORIGIN % GRID and value >= ORIGIN for place in found.values() for value in place)
    assert list(overlaps(list(found.values()))) == []
    if not list(cycles(found, successors(given))):
        ends = [(c.source, c.target) for c in given.connections if c.source in found and c.target in found]
        assert all(found[source][0] + NODE_WIDTH < found[target][0] for source, target in ends)


@given(graphs(), st.data())
@settings(max_examples=100, deadline=None)
def test_where_nodes_stood_makes_no_difference(given: Graph, data: st.DataObject) -> None:
    """So a second layout changes nothing, and gives back the very same nodes."""
    moved = replace(given, nodes=tuple(replace(node, position=data.draw(POSITIONS)) for node in given.nodes))
    once = arrange(moved, CATALOG)
    assert once == arrange(given, CATALOG)
    assert all(before is after for before, after in zip(once.nodes, arrange(once, CATALOG).nodes, strict=True))
    assert replace(once, nodes=given.nodes) == given


def test_the_same_in_every_process() -> None:
    """No order of a set or of a hash decides anything."""
    program = "from tests.graph.test_layout import *; print(arranged(as_graph(drawings.workflow(60, 3))))"
    root = Path(__file__).parents[2]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=root, env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
            capture_output=True, text=True, timeout=60,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1
    assert "n59" in outputs.pop()


@pytest.mark.parametrize("name", CORPUS)
def test_few_crossings(name: str) -> None:
    """No graph of the corpus has more than twice the crossings of the better library's drawing, give or take two."""
    found = drawings.crossings(CORPUS[name], corners(arrange(as_graph(CORPUS[name]), CATALOG)))
    assert found <= 2 + 2 * min(LIBRARIES[name])


def test_fewer_crossings_than_libraries_where_it_counts() -> None:
    """Graphs as people draw them cross less than in any library's drawing, and all together less than in grandalf's."""
    found = {
        name: drawings.crossings(edges, corners(arrange(as_graph(edges), CATALOG))) for name, edges in CORPUS.items()
    }
    workflows = [name for name in CORPUS if name.startswith("workflow")]
    for library in (0, 1):
        assert sum(found[name] for name in workflows) < 0.8 * sum(LIBRARIES[name][library] for name in workflows)
    assert sum(found.values()) < 0.8 * sum(grandalf for grandalf, _ in LIBRARIES.values())
    assert sum(found.values()) < 1.15 * sum(graphlay for _, graphlay in LIBRARIES.values())


@pytest.mark.parametrize(
    ("name", "edges"), [("tree", drawings.tree(60, 1)), ("fan", drawings.fan(40)), ("chain", drawings.chain(50))]
)
def test_what_can_be_drawn_without_crossings_is(name: str, edges: list[Edge]) -> None:
    """Trees, fans and chains: no line crosses another or runs across a box."""
    boxes = corners(arrange(as_graph(edges), CATALOG))
    assert drawings.crossings(edges, boxes) == 0
    assert drawings.struck(edges, boxes) == 0
    if name == "chain":
        assert {y for _, y in boxes} == {ORIGIN}


def test_ports_from_the_top_down() -> None:
    """What hangs from ports stands in their order, whatever the order of nodes and connections; errors lowest."""
    found = arranged(
        graph("t=manual-trigger -> s=switch; s.error -> e; s.default -> d; s.blue -> b; s.red -> r", {
            "s": {"config": {"expression": "data", "cases": ["red", "blue"]}}
        })
    )  # fmt: skip
    assert sorted("rbde", key=lambda name: found[name][1]) == ["r", "b", "d", "e"]
    found = arranged(graph("a -> c=condition; c.false -> n; c.true -> y"))
    assert found["y"][1] < found["n"][1]


def test_a_loop_runs_its_body_before_it_is_done() -> None:
    """The body stands below the line that goes on, and what follows the loop to the right of all of it.

    The same within a body.
    """
    found = arranged(
        graph(
            "t=manual-trigger -> l=loop; l.done -> after -> end; l.item -> a -> i=loop; i.item -> x -> y; i.done -> z"
        )
    )
    body = {"a", "i", "x", "y", "z"}
    assert all(found[name][0] < found["after"][0] for name in body)
    assert all(found[name][1] > found["l"][1] for name in body)
    assert found["after"][1] <= found["l"][1]
    assert found["y"][0] < found["z"][0]
    assert found["x"][1] > found["z"][1]


def test_a_loop_that_leaks_is_drawn() -> None:
    """What leads from behind a loop back into its body makes no circle in the drawing."""
    found = arranged(graph("t=manual-trigger -> l=loop; l.item -> a -> b; l.done -> c -> a"))
    assert found["t"][0] < found["l"][0] < found["c"][0] < found["a"][0] < found["b"][0]


def test_a_cycle_opens_where_it_is_entered() -> None:
    """Only the connection that leads back to the entry points to the left."""
    text = "c -> a; t=manual-trigger -> a -> b -> c; b -> b"
    found = arranged(graph(text))
    assert found["t"][0] < found["a"][0] < found["b"][0] < found["c"][0]


def test_a_late_source_stands_beside_what_it_leads_to() -> None:
    """Also with a node in between: no line runs along the whole graph."""
    found = arranged(graph("t=manual-trigger -> a -> b -> c -> d; u -> v -> d"))
    assert found["v"][0] == found["c"][0]
    assert found["u"][0] == found["b"][0]


def test_parts_stand_below_each_other() -> None:
    """Each connected part has its rows to itself; nodes without connections fill rows at the bottom."""
    found = arranged(graph("x; a -> b -> c; p -> q, r; y; z; zz"))
    first = max(found[name][1] for name in "abc")
    second = [found[name][1] for name in "pqr"]
    alone = [found[name] for name in ("x", "y", "z", "zz")]
    assert first + NODE_HEIGHT < min(second)
    assert max(second) + NODE_HEIGHT < min(y for _, y in alone)
    assert len({x for x, _ in alone}) == len({y for _, y in alone}) == 2


def test_an_empty_graph() -> None:
    """Has nothing to be placed."""
    assert arrange(Graph(), CATALOG) == Graph()
    assert place_new(Graph()) == {"x": ORIGIN, "y": ORIGIN}


@given(edges(acyclic=True))
@settings(max_examples=200, deadline=None)
def test_columns(given: tuple[int, list[Edge]]) -> None:
    """Every edge leads to a later column, and no column is left empty."""
    count, found = given
    column = columns(count, found)
    assert all(column[source] < column[target] for source, target in found)
    assert set(column) == set(range(max(column) + 1))


@given(edges())
@settings(max_examples=200, deadline=None)
def test_without_cycles(given: tuple[int, list[Edge]]) -> None:
    """The same edges, some the other way round and loops at a vertex left out; none where there was no cycle."""
    count, found = given
    turned = without_cycles(count, found)
    names = {str(vertex): [str(b) for a, b in turned if a == vertex] for vertex in range(count)}
    assert list(cycles(names, names)) == []
    assert [{*edge} for edge in turned] == [{a, b} for a, b in found if a != b]
    assert without_cycles(count, turned) == turned


@given(edges(acyclic=True), st.data())
@settings(max_examples=200, deadline=None)
def test_crossings_are_counted(given: tuple[int, list[Edge]], data: st.DataObject) -> None:
    """The count is that of comparing all pairs of lines, and ordering never makes it larger."""
    count, found = given
    ports = {edge: data.draw(st.sampled_from([-0.25, 0.0, 0.25])) for edge in found}
    drawing = draw(columns(count, found), found, ports)

    def naive() -> int:
        total = 0
        for column in drawing.columns:
            lines = [(drawing.place[v] + port, drawing.place[end]) for v in column for end, port in drawing.after[v]]
            total += sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in combinations(lines, 2))
        return total

    before = crossings(drawing)
    assert before == naive()
    assert reduce_crossings(drawing) == crossings(drawing) == naive() <= before


def test_lanes_are_bounded() -> None:
    """A hub over a long chain takes lanes in proportion to its size, not to its square."""
    edges = drawings.hub(500)
    drawing = draw(columns(500, edges), edges, {})
    assert len(drawing.after) <= 500 + LANES_EACH * (500 + len(edges))
    boxes = corners(arrange(as_graph(edges), CATALOG))
    assert list(overlaps(boxes)) == []
    assert backward(edges, boxes) == []


def test_a_large_graph() -> None:
    """10,000 nodes: in place, on each other nowhere, all to the right. How fast: ``python -m bench.layouts large``."""
    edges = drawings.workflow(10_000, 1)
    boxes = corners(arrange(as_graph(edges), CATALOG))
    assert len(boxes) == 10_000
    assert list(overlaps(boxes)) == []
    assert backward(edges, boxes) == []


@given(st.lists(POSITIONS, max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_new_node_stands_to_the_right(positions: list[dict[str, float] | None]) -> None:
    """Of all that have a place, level with the rightmost one; so nothing that is added overlaps anything."""
    given = Graph(tuple(node(f"n{index}", position=position) for index, position in enumerate(positions)))
    boxes = [(position["x"], position["y"]) for position in positions if position]
    for number in range(3):
        spot = place_new(given)
        assert all(spot["x"] > x + NODE_WIDTH for x, _ in boxes)
        boxes.append((spot["x"], spot["y"]))
        given = replace(given, nodes=(*given.nodes, node(f"new{number}", position=spot)))


def test_a_new_node_is_level_with_the_rightmost() -> None:
    """The last of several that are equally far to the right."""
    spots = [(100, 0), (900, 40), (900, 240), (300, 900)]
    given = Graph(tuple(node(str(i), position={"x": x, "y": y}) for i, (x, y) in enumerate(spots)))
    assert place_new(given) == {"x": 1160, "y": 240}
