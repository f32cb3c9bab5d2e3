"""Graphs to be drawn, made from seeds, and what can be measured of a drawing.

The boxes have the size that ``graph.layout`` assumes, and lines run straight from the middle of one box's right side to
the middle of another's left side. ``LIBRARIES`` holds what layout libraries made of the same graphs; ``python -m
bench.layouts`` measures them anew.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from chalicelib.graph.layout import NODE_HEIGHT, NODE_WIDTH
from chalicelib.graph.model import Connection, Graph, Node

Edge = tuple[int, int]
Point = tuple[float, float]


def workflow(count: int, seed: int) -> list[Edge]:
    """Grown as people draw: chains, some branches, joins, now and then a line from far away."""
    chosen = random.Random(seed)
    edges: dict[Edge, None] = {}
    ends = [0]
    for vertex in range(1, count):
        kind = chosen.random()
        if kind < 0.12 and len(ends) > 1:
            for source in chosen.sample(ends, min(len(ends), chosen.choice([2, 2, 3]))):
                edges[source, vertex] = None
                ends.remove(source)
        else:
            source = chosen.choice(ends[-3:])
            edges[source, vertex] = None
            if kind < 0.75:
                ends.remove(source)
            if chosen.random() < 0.05:
                edges[chosen.randrange(vertex), vertex] = None
        ends.append(vertex)
    return list(edges)


def random_dag(count: int, edges: int, seed: int) -> list[Edge]:
    """Any pairs, from lower to higher numbers."""
    chosen = random.Random(seed)
    found: dict[Edge, None] = {}
    while len(found) < edges:
        low, high = sorted(chosen.sample(range(count), 2))
        if high - low <= 12:
            found[low, high] = None
    return list(found)


def layers(width: int, depth: int, density: float, seed: int) -> list[Edge]:
    """Wide: every vertex leads to some of the next layer."""
    chosen = random.Random(seed)
    found: dict[Edge, None] = {}
    for start in range(0, width * (depth - 1), width):
        for source in range(start, start + width):
            found[source, start + width + chosen.randrange(width)] = None
            for target in range(start + width, start + 2 * width):
                if chosen.random() < density:
                    found[source, target] = None
    return list(found)


def tree(count: int, seed: int) -> list[Edge]:
    chosen = random.Random(seed)
    return [(chosen.randrange(max(0, vertex - 8), vertex), vertex) for vertex in range(1, count)]


def fan(width: int) -> list[Edge]:
    return [edge for vertex in range(1, width + 1) for edge in ((0, vertex), (vertex, width + 1))]


def chain(count: int) -> list[Edge]:
    return [(vertex, vertex + 1) for vertex in range(count - 1)]


def hub(count: int) -> list[Edge]:
    """A chain whose first vertex leads to all others: as many lines pass a column as there are columns."""
    return [*chain(count), *((0, vertex) for vertex in range(2, count))]


CORPUS: dict[str, list[Edge]] = {
    **{f"workflow of 30, {seed}": workflow(30, seed) for seed in range(6)},
    **{f"workflow of 100, {seed}": workflow(100, seed) for seed in range(4)},
    **{f"random 20/30, {seed}": random_dag(20, 30, seed) for seed in range(4)},
    **{f"random 50/75, {seed}": random_dag(50, 75, seed) for seed in range(4)},
    **{f"layers 6x6, {seed}": layers(6, 6, 0.15, seed) for seed in range(3)},
    **{f"layers 12x8, {seed}": layers(12, 8, 0.08, seed) for seed in range(2)},
    **{f"tree of 60, {seed}": tree(60, seed) for seed in range(2)},
    "fan of 40": fan(40),
    "chain of 200": chain(200),
}


def vertices(edges: Sequence[Edge]) -> int:
    return 1 + max(map(max, edges))


def as_graph(edges: Sequence[Edge], kind: str = "transform") -> Graph:
    nodes = tuple(Node(f"n{vertex}", kind) for vertex in range(vertices(edges)))
    return Graph(nodes, tuple(Connection(f"c{index}", f"n{a}", f"n{b}") for index, (a, b) in enumerate(edges)))


def corners(graph: Graph) -> list[Point]:
    """The upper left corners of all boxes."""
    return [(node.position["x"], node.position["y"]) for node in graph.nodes if node.position is not None]


def overlaps(boxes: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Boxes that stand on each other, found from left to right."""
    near: list[Point] = []
    for box in sorted(boxes):
        near = [other for other in near if other[0] + NODE_WIDTH > box[0]]
        yield from ((other, box) for other in near if abs(other[1] - box[1]) < NODE_HEIGHT)
        near.append(box)


def backward(edges: Sequence[Edge], boxes: Sequence[Point]) -> list[Edge]:
    return [(a, b) for a, b in edges if boxes[b][0] < boxes[a][0] + NODE_WIDTH]


def crossings(edges: Sequence[Edge], boxes: Sequence[Point]) -> int:
    """Pairs of lines that cross, common ends aside."""
    lines = [(a, b, *_line(boxes[a], boxes[b])) for a, b in edges]
    return sum(_cross(p, q, r, s) for (a, b, p, q), (c, d, r, s) in combinations(lines, 2) if not {a, b} & {c, d})


def struck(edges: Sequence[Edge], boxes: Sequence[Point]) -> int:
    """How often a line runs across a box that it has nothing to do with."""
    return sum(
        _strikes(*_line(boxes[a], boxes[b]), box)
        for a, b in edges
        for vertex, box in enumerate(boxes)
        if vertex not in (a, b)
    )


def area(boxes: Sequence[Point]) -> float:
    """Of the whole drawing, in millions of square pixels."""
    width = max(x for x, _ in boxes) - min(x for x, _ in boxes) + NODE_WIDTH
    return width * (max(y for _, y in boxes) - min(y for _, y in boxes) + NODE_HEIGHT) / 1e6


def _line(source: Point, target: Point) -> tuple[Point, Point]:
    return (source[0] + NODE_WIDTH, source[1] + NODE_HEIGHT / 2), (target[0], target[1] + NODE_HEIGHT / 2)


def _cross(p: Point, q: Point, r: Point, s: Point) -> bool:
    return _side(p, q, r) * _side(p, q, s) < 0 and _side(r, s, p) * _side(r, s, q) < 0


def _side(p: Point, q: Point, r: Point) -> float:
    return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])


def _strikes(start: Point, end: Point, box: Point) -> bool:
    left, right = max(start[0], box[0]), min(end[0], box[0] + NODE_WIDTH)
    if left >= right:
        return False
    slope = (end[1] - start[1]) / (end[0] - start[0])
    heights = [start[1] + slope * (x - start[0]) for x in (left, right)]
    return max(heights) > box[1] and min(heights) < box[1] + NODE_HEIGHT


#: Crossings in the drawings of grandalf 0.8, a few more or less from run to run, and of graphlay 0.3.1.
LIBRARIES: Mapping[str, tuple[int, int]] = {
    "workflow of 30, 0": (0, 0),
    "workflow of 30, 1": (2, 0),
    "workflow of 30, 2": (0, 0),
    "workflow of 30, 3": (6, 5),
    "workflow of 30, 4": (2, 1),
    "workflow of 30, 5": (2, 5),
    "workflow of 100, 0": (37, 34),
    "workflow of 100, 1": (39, 27),
    "workflow of 100, 2": (41, 34),
    "workflow of 100, 3": (25, 19),
    "random 20/30, 0": (23, 16),
    "random 20/30, 1": (20, 8),
    "random 20/30, 2": (19, 10),
    "random 20/30, 3": (13, 18),
    "random 50/75, 0": (86, 42),
    "random 50/75, 1": (61, 43),
    "random 50/75, 2": (51, 37),
    "random 50/75, 3": (115, 46),
    "layers 6x6, 0": (45, 39),
    "layers 6x6, 1": (37, 29),
    "layers 6x6, 2": (43, 26),
    "layers 12x8, 0": (247, 173),
    "layers 12x8, 1": (268, 189),
    "tree of 60, 0": (0, 0),
    "tree of 60, 1": (0, 0),
    "fan of 40": (0, 0),
    "chain of 200": (0, 0),
}
