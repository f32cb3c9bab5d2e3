"""Where the nodes of a workflow stand when nobody has put them anywhere: ``POST /workflows/{id}/layout`` asks.

From left to right as time goes: every connection leads to the right, what a loop does for its items stands before what
comes after it, and lines cross as seldom as they can cheaply be made to. Boxes never overlap. Parts that nothing
connects stand below each other, and nodes without any connection in rows at the very bottom.

What comes out depends on nodes, ports and connections in their order, and on nothing else: not on where nodes stood. So
a second layout changes nothing, and a small edit changes little. It takes time in proportion to the size of the graph
(docs/decisions/0011-layout.md has figures, and says why no library does this).

The steps are in ``graph.layered``; here is what they have to know of workflows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt

from chalicelib.graph.catalog import Catalog
from chalicelib.graph.layered.columns import Edge, columns, without_cycles
from chalicelib.graph.layered.drawing import draw
from chalicelib.graph.layered.heights import heights
from chalicelib.graph.layered.order import reduce_crossings
from chalicelib.graph.model import ERROR_PORT, Graph, Node, OnError
from chalicelib.graph.structure import loop_bodies, reachable, successors

# Pixels. A position is the upper left corner of a node's box.
NODE_WIDTH = 180
NODE_HEIGHT = 60
COLUMN_GAP = 80  # between columns, where lines run
ROW_GAP = 40  # between boxes above each other
LANE = 60  # the height kept free where a line passes a column: editors draw it from end to end, and not by our way
GRID = 20  # positions are multiples of it from the origin, and so is the room of a box: rounding makes no overlap
ORIGIN = 100  # of both axes: the upper left corner of the drawing

COLUMN = NODE_WIDTH + COLUMN_GAP
ROW = NODE_HEIGHT + ROW_GAP

Position = dict[str, int]


def arrange(graph: Graph, catalog: Catalog) -> Graph:
    """``graph`` with every node in its place. A node that stands there already is the same object."""
    positions = _positions(graph, catalog)
    return replace(
        graph,
        nodes=tuple(
            node if node.position == positions[node.id] else replace(node, position=positions[node.id])
            for node in graph.nodes
        ),
    )


def place_new(graph: Graph) -> dict[str, float]:
    """Where a node goes that is added without a position: one column to the right of all, level with the rightmost."""
    placed = [node.position for node in reversed(graph.nodes) if node.position]
    if not placed:
        return {"x": ORIGIN, "y": ORIGIN}
    rightmost = max(placed, key=lambda position: position["x"])
    return {"x": rightmost["x"] + COLUMN, "y": rightmost["y"]}


def _positions(graph: Graph, catalog: Catalog) -> dict[str, Position]:
    links = _Links(successors(graph), _behind_loops(graph, catalog), _ports(graph, catalog))
    found: dict[str, Position] = {}
    bottom = ORIGIN
    alone = []
    for part in _parts(links.targets):
        if len(part) == 1:
            alone += part
            continue
        for name, (column, top) in _arranged(part, links).items():
            found[name] = _position(column, bottom + GRID * round(top / GRID))
        bottom = max(found[name]["y"] for name in part) + ROW
    across = ceil(sqrt(len(alone)))
    for index, name in enumerate(alone):
        found[name] = _position(index % across, bottom + index // across * ROW)
    return found


def _position(column: int, y: int) -> Position:
    return {"x": ORIGIN + column * COLUMN, "y": y}


@dataclass(frozen=True)
class _Links:
    """What the connections of a graph say about places."""

    targets: Mapping[str, Sequence[str]]
    behind: Mapping[str, Sequence[str]]  # nodes that stand farther right although no connection says so
    ports: Mapping[tuple[str, str], float]  # by source and target: how far from its middle the line leaves the source

    def between(self, part: Sequence[str]) -> tuple[list[Edge], list[Edge], dict[Edge, float]]:
        """The same for a part, its nodes by their numbers in it."""
        number = {name: index for index, name in enumerate(part)}
        pairs = [(source, target) for source in part for target in self.targets[source]]
        edges = [(number[source], number[target]) for source, target in pairs]
        behind = [(number[source], number[target]) for source in part for target in self.behind.get(source, ())]
        return edges, behind, {edge: self.ports[pair] for edge, pair in zip(edges, pairs, strict=True)}


def _arranged(part: Sequence[str], links: _Links) -> dict[str, tuple[int, float]]:
    """The column of each node of a connected part, and its distance in pixels from the part's upper edge."""
    given, behind, ports = links.between(part)
    edges = list(dict.fromkeys(without_cycles(len(part), given)))
    if without_cycles(len(part), [*edges, *behind]) != [*edges, *behind]:
        behind = []  # something leads from behind a loop into its body: such a graph does not run
    column = columns(len(part), edges, behind)
    drawing = draw(column, edges, ports)
    reduce_crossings(drawing)
    middle = heights(drawing, ROW, LANE)
    top = min(middle[: len(part)])
    return {name: (column[index], middle[index] - top) for index, name in enumerate(part)}


def _parts(targets: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """The nodes that are connected with each other by whatever way, each part in the order of the nodes."""
    neighbours: dict[str, list[str]] = {name: list(found) for name, found in targets.items()}
    for source, found in targets.items():
        for target in found:
            neighbours[target].append(source)
    place = {name: index for index, name in enumerate(targets)}
    seen: set[str] = set()
    for name in targets:
        if name not in seen:
            part = reachable([name], neighbours)
            seen |= part
            yield sorted(part, key=place.__getitem__)


def _behind_loops(graph: Graph, catalog: Catalog) -> dict[str, list[str]]:
    """For the last nodes of each loop's body the nodes that come when the loop is done."""
    found: dict[str, list[str]] = defaultdict(list)
    targets = successors(graph)
    for loop, body in loop_bodies(graph, catalog).items():
        following = [target for target in targets[loop] if target not in body]
        last = [name for name in body if not targets[name]]
        # Wide on both sides it would take too many pairs: what follows then begins below the body.
        if len(following) * len(last) <= len(targets):
            for name in last:
                found[name] += following
    return found


def _ports(graph: Graph, catalog: Catalog) -> dict[tuple[str, str], float]:
    """Where lines leave their source, from -0.5 at its top to 0.5: by their ports as the catalog has them, downwards.

    But a loop's body hangs below the line that goes on, and an error leaves lowest of all.
    """
    leaving: dict[str, dict[str, None]] = {node.id: dict.fromkeys(_ports_out(node, catalog)) for node in graph.nodes}
    for connection in graph.connections:
        if connection.source in leaving:
            leaving[connection.source].setdefault(connection.source_port)
    heights_of = {
        name: {port: (index + 1) / (len(ports) + 1) - 0.5 for index, port in enumerate(ports)}
        for name, ports in leaving.items()
    }
    found: dict[tuple[str, str], float] = {}
    for connection in graph.connections:
        if connection.source in leaving:
            height = heights_of[connection.source][connection.source_port]
            found.setdefault((connection.source, connection.target), height)
    return found


def _ports_out(node: Node, catalog: Catalog) -> list[str]:
    kind = catalog.find(node.type)
    if kind is None:
        return []
    ports = sorted(kind.ports_out(node.config), key=lambda port: port == kind.body_port)
    return [*ports, ERROR_PORT] if node.on_error is OnError.PORT else ports
