"""Where the boxes of a graph stand and where its lines run: layered, left to right.

The classic recipe (Sugiyama's) in its simplest form. Layers are given; a connection that passes a layer gets a point
there, so that it runs between the boxes and not across them; within a layer the order follows the neighbours; last,
everything is pulled level with its neighbours as far as the room allows. Pure and deterministic: the same graph
always gives the same picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: A node, or where the connection with this index passes this layer.
Place = str | tuple[int, int]

GAP = 26.0  # pixels between what stands above each other
LANE = 8.0  # pixels, the height kept free for a passing line
ORDER_SWEEPS = 8  # there and back through the layers; small graphs settle after two
LEVEL_SWEEPS = 7  # odd: the last one goes forth, so that chains end up straight


@dataclass(frozen=True)
class Layout:
    columns: list[list[Place]]  #: from left to right, each from top to bottom
    y: dict[Place, float]  #: middle, in pixels from the top of the graph
    routes: list[list[Place]]  #: for each connection what it touches, from its source to its target
    height: float


def arrange(
    layers: Sequence[Sequence[str]], connections: Sequence[tuple[str, str]], heights: Mapping[str, float]
) -> Layout:
    """Places the nodes of ``layers``. ``connections`` are pairs of source and target; ``heights`` are in pixels."""
    columns: list[list[Place]] = [list(layer) for layer in layers]
    layer_of = {node: index for index, layer in enumerate(layers) for node in layer}
    routes: list[list[Place]] = []
    for index, (source, target) in enumerate(connections):
        passing: list[Place] = [(index, layer) for layer in range(layer_of[source] + 1, layer_of[target])]
        for layer, place in enumerate(passing, layer_of[source] + 1):
            columns[layer].append(place)
        routes.append([source, *passing, target])

    before: dict[Place, list[Place]] = defaultdict(list)
    after: dict[Place, list[Place]] = defaultdict(list)
    for route in routes:
        for left, right in pairwise(route):
            after[left].append(right)
            before[right].append(left)

    _order(columns, before, after)
    height_of: dict[Place, float] = {place: LANE for column in columns for place in column}
    height_of.update(heights)
    y = _level(columns, before, after, height_of)
    top = min(y[place] - height_of[place] / 2 for place in y)
    y = {place: middle - top for place, middle in y.items()}
    return Layout(columns, y, routes, max(y[place] + height_of[place] / 2 for place in y))


def _order(columns: list[list[Place]], before: Mapping[Place, list[Place]], after: Mapping[Place, list[Place]]) -> None:
    """Sorts each column by the mean position of the neighbours, forth and back, so that few lines cross."""
    for sweep in range(ORDER_SWEEPS):
        forth = sweep % 2 == 0
        neighbours = before if forth else after
        position = {place: index for column in columns for index, place in enumerate(column)}
        for column in columns if forth else reversed(columns):
            weight = {
                place: _mean([position[other] for other in neighbours.get(place, ())], position[place])
                for place in column
            }
            column.sort(key=weight.__getitem__)
            position.update((place, index) for index, place in enumerate(column))


def _level(
    columns: list[list[Place]],
    before: Mapping[Place, list[Place]],
    after: Mapping[Place, list[Place]],
    height_of: Mapping[Place, float],
) -> dict[Place, float]:
    """Pulls everything level with its neighbours; what would overlap is pushed apart, evenly up and down."""
    y: dict[Place, float] = {place: index * 2 * GAP for column in columns for index, place in enumerate(column)}
    for sweep in range(LEVEL_SWEEPS):
        forth = sweep % 2 == 0
        neighbours = before if forth else after
        for column in columns if forth else reversed(columns):
            wished = {place: _mean([y[other] for other in neighbours.get(place, ())], y[place]) for place in column}
            floor = float("-inf")
            for place in column:
                y[place] = max(wished[place], floor + height_of[place] / 2)
                floor = y[place] + height_of[place] / 2 + GAP
            shift = _mean([wished[place] - y[place] for place in column], 0.0)
            for place in column:
                y[place] += shift
    return y


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
