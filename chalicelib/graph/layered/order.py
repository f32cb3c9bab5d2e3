"""Who stands above whom in a column, so that few lines cross.

The columns are swept to the right and to the left, each put in the order of the middles of its neighbours, and then
neighbours in a column change places wherever that saves crossings. The best order seen is kept: the first one where no
other is better, so that a drawing follows the order in which its nodes and ports were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from chalicelib.graph.layered.drawing import Drawing, End

MAX_ROUNDS = 40
PATIENCE = 8  # rounds without anything better after which the search ends
#: Lines to be looked at in all rounds together, about: bounds the time that large graphs take. There are always four.
WORK = 200_000
EXCHANGES = 4  # times through a column


def reduce_crossings(drawing: Drawing) -> int:
    """Reorders the columns; returns how many crossings are left."""
    best, fewest = [list(column) for column in drawing.columns], crossings(drawing)
    lines = 1 + sum(map(len, drawing.after))
    idle = 0
    for number in range(max(4, min(MAX_ROUNDS, WORK // lines))):
        if not fewest or idle == PATIENCE:
            break
        _sweep(drawing, forth=number % 2 == 0, turned=number % 4 >= 2)
        for column in drawing.columns:
            _exchange(drawing, column)
        found = crossings(drawing)
        idle += 1
        if found < fewest:
            best, fewest, idle = [list(column) for column in drawing.columns], found, 0
    drawing.columns[:] = best
    for column in best:
        drawing.number(column)
    return fewest


def crossings(drawing: Drawing) -> int:
    """Pairs of lines that cross; lines that leave or reach the same point do not."""
    return sum(map(_crossings, [drawing] * (len(drawing.columns) - 1), drawing.columns, drawing.columns[1:]))


def _crossings(drawing: Drawing, column: Sequence[int], following: Sequence[int]) -> int:
    """The lines from the top down: each crosses those before it that end lower (Barth, Jünger and Mutzel 2002).

    ``ends`` counts the ends of those before, by place, as a Fenwick tree.
    """
    ends = [0] * (len(following) + 1)
    count = drawn = 0
    for vertex in column:
        lines = sorted([(port, drawing.place[target] + 1) for target, port in drawing.after[vertex]])
        for _, group in groupby(lines, key=itemgetter(0)):  # lines from one port do not cross
            places = [place for _, place in group]
            for place in places:
                count += drawn - _up_to(ends, place)
            for place in places:
                _add(ends, place)
            drawn += len(places)
    return count


def _up_to(tree: Sequence[int], place: int) -> int:
    count = 0
    while place:
        count += tree[place]
        place &= place - 1
    return count


def _add(tree: list[int], place: int) -> None:
    while place < len(tree):
        tree[place] += 1
        place += place & -place


def _sweep(drawing: Drawing, *, forth: bool, turned: bool) -> None:
    """Sorts each column by where its lines come from, or go to. Ties stay as they are, or are ``turned`` round.

    What has no lines on that side keeps its place, and the others are sorted around it.
    """
    for column in drawing.columns if forth else reversed(drawing.columns):
        ends, sign = (drawing.before, 1) if forth else (drawing.after, -1)
        middle = {
            vertex: sum(drawing.place[other] + sign * port for other, port in ends[vertex]) / len(ends[vertex])
            for vertex in column
            if ends[vertex]
        }
        moving = iter(sorted(reversed(middle) if turned else middle, key=middle.__getitem__))
        column[:] = [next(moving) if vertex in middle else vertex for vertex in column]
        drawing.number(column)


def _exchange(drawing: Drawing, column: list[int]) -> None:
    before = {vertex: _heights(drawing, drawing.before[vertex], 1) for vertex in column}
    after = {vertex: _heights(drawing, drawing.after[vertex], 0) for vertex in column}
    for _ in range(EXCHANGES):
        improved = False
        for index in range(len(column) - 1):
            upper, lower = column[index], column[index + 1]
            if _saved(before[upper], before[lower]) + _saved(after[upper], after[lower]) > 0:
                column[index : index + 2] = lower, upper
                improved = True
        if not improved:
            break
    drawing.number(column)


def _heights(drawing: Drawing, ends: Sequence[End], scale: int) -> list[float]:
    return sorted([drawing.place[other] + scale * port for other, port in ends])


def _saved(upper: Sequence[float], lower: Sequence[float]) -> int:
    """Crossings saved when what leads to the heights ``upper`` goes below what leads to ``lower``; both are sorted."""
    if not upper or not lower:
        return 0
    if upper[-1] <= lower[0]:  # nothing crosses now, which spares most of the counting
        return -1 if upper[0] < lower[-1] else 0
    return _pairs(lower, upper) - _pairs(upper, lower)


def _pairs(above: Sequence[float], below: Sequence[float]) -> int:
    """Pairs of one of each in which the first is the higher on the page."""
    count = index = 0
    for height in below:
        while index < len(above) and above[index] < height:
            index += 1
        count += index
    return count
