"""A graph in columns, so that every line leads from one column to the next.

An edge that passes columns is cut there: in each of them it has a *lane*, a vertex of its own, so that its line finds a
place between the boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.graph.layered.columns import Edge

#: Lanes for each vertex and edge, at most; where a graph would take more, its longest edges have none and run across
#: what is in between. It keeps the time linear: a hub that leads to 10,000 nodes in a row would take 50 million.
LANES_EACH = 1

#: Where a line goes to or comes from, and where it leaves the box of its source: from -0.5 at the top to 0.5.
End = tuple[int, float]


@dataclass
class Drawing:
    """Vertices from ``boxes`` on are lanes."""

    boxes: int
    columns: list[list[int]]  #: from top to bottom
    after: list[list[End]]  #: of each vertex, the lines to the next column
    before: list[list[End]]  #: and those from the column before
    place: list[int] = field(init=False)  #: of each vertex in its column

    def __post_init__(self) -> None:
        self.place = [0] * len(self.after)
        for column in self.columns:
            self.number(column)

    def number(self, column: Sequence[int]) -> None:
        """To be called where a column has changed."""
        for index, vertex in enumerate(column):
            self.place[vertex] = index


def draw(column_of: Sequence[int], edges: Sequence[Edge], ports: Mapping[Edge, float]) -> Drawing:
    """The drawing in its first order, that of a depth-first search by ports: what hangs together stands together.

    ``ports`` says where edges leave their source, if not from its middle.
    """
    count = len(column_of)
    boxes: list[list[int]] = [[] for _ in range(max(column_of, default=-1) + 1)]
    after: list[list[End]] = [[] for _ in range(count)]
    before: list[list[End]] = [[] for _ in range(count)]

    def connect(source: int, target: int, port: float) -> None:
        after[source].append((target, port))
        before[target].append((source, port))

    def connect_by_lanes(source: int, target: int) -> None:
        last, port = source, ports.get((source, target), 0.0)
        for column in range(column_of[source] + 1, column_of[target]):
            lane = len(after)
            after.append([])
            before.append([])
            boxes[column].append(lane)
            connect(last, lane, port)
            last, port = lane, 0.0
        connect(last, target, port)

    drawn = _short_enough(column_of, edges)
    targets: list[list[int]] = [[] for _ in range(count)]
    entered = set()
    for edge in sorted(edges, key=lambda edge: ports.get(edge, 0.0), reverse=True):
        targets[edge[0]].append(edge[1])
        entered.add(edge[1])
    seen = [False] * count
    stack: list[tuple[int | None, int]] = [(None, root) for root in range(count) if root not in entered]
    stack.reverse()
    while stack:
        source, vertex = stack.pop()
        if source is not None and (source, vertex) in drawn:
            connect_by_lanes(source, vertex)
        if not seen[vertex]:
            seen[vertex] = True
            boxes[column_of[vertex]].append(vertex)
            stack.extend((vertex, target) for target in targets[vertex])
    return Drawing(count, boxes, after, before)


def _short_enough(column_of: Sequence[int], edges: Sequence[Edge]) -> set[Edge]:
    """The edges that get lanes: the shortest ones, as many as there are lanes for."""
    left = LANES_EACH * (len(column_of) + len(edges))
    chosen = set()
    for source, target in sorted(edges, key=lambda edge: column_of[edge[1]] - column_of[edge[0]]):
        left -= column_of[target] - column_of[source] - 1
        if left < 0:
            break
        chosen.add((source, target))
    return chosen
