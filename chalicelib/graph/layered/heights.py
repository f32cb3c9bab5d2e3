"""How high each vertex is: as level with its neighbours as the order and the room allow.

The columns are swept to the right and to the left. Each vertex wishes to be at the mean height of its neighbours there,
and a column comes as near to its wishes as it can.
"""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.graph.layered.drawing import Drawing, End

SWEEPS = 8  # even: the last one goes to the left, and puts a source in the middle of its targets

#: How much a line wants to be level that ends at none, one or two lanes: a bend between boxes is the worst.
PULLS = (1, 4, 16)


def heights(drawing: Drawing, box: float, lane: float) -> list[float]:
    """The middle of each vertex. ``box`` and ``lane`` are the room that one takes, half of it on either side."""
    room = [box if vertex < drawing.boxes else lane for vertex in range(len(drawing.after))]
    y = [0.0] * len(room)
    for column in drawing.columns:
        _settle(y, column, [0.0] * len(column), [1.0] * len(column), room)
    forth, back = _pulls(drawing, drawing.before), _pulls(drawing, drawing.after)
    for sweep in range(SWEEPS):
        pulls, columns = (forth, drawing.columns) if sweep % 2 == 0 else (back, drawing.columns[::-1])
        for column in columns:
            wishes, weights = [], []
            for vertex in column:
                ends, weight = pulls[vertex]
                wishes.append(sum([y[end] * pull for end, pull in ends]) / weight if ends else y[vertex])
                weights.append(weight)
            _settle(y, column, wishes, weights, room)
    return y


def _pulls(drawing: Drawing, lines: Sequence[Sequence[End]]) -> list[tuple[list[tuple[int, int]], float]]:
    """For each vertex what pulls at it, and how much in sum: a little where nothing does."""
    found = []
    for vertex, ends in enumerate(lines):
        pulls = [(end, PULLS[(end >= drawing.boxes) + (vertex >= drawing.boxes)]) for end, _ in ends]
        found.append((pulls, sum(pull for _, pull in pulls) or 0.01))
    return found


def _settle(
    y: list[float], column: Sequence[int], wishes: Sequence[float], weights: Sequence[float], room: Sequence[float]
) -> None:
    """Puts a column at the heights nearest to its wishes (weighted least squares) in which none overlap.

    Less the room of those above, heights must only not fall: isotonic regression, solved by pooling those who stand in
    each other's way (Ayer et al. 1955).
    """
    offsets: list[float] = []
    pools: list[tuple[float, float, int]] = []  # height, weight, members
    offset = 0.0
    for vertex, wish, weight in zip(column, wishes, weights, strict=True):
        offsets.append(offset + room[vertex] / 2)
        offset += room[vertex]
        height, members = wish - offsets[-1], 1
        while pools and pools[-1][0] >= height:
            above, heavy, more = pools.pop()
            height = (above * heavy + height * weight) / (heavy + weight)
            weight, members = weight + heavy, members + more
        pools.append((height, weight, members))
    pooled = (height for height, _, members in pools for _ in range(members))
    for vertex, height, offset in zip(column, pooled, offsets, strict=True):
        y[vertex] = height + offset
