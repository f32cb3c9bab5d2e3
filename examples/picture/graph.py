"""The upper half of the picture: a box for each node, a line for each connection.

A line leaves its box at the height of its port, named where there is a choice, and is dashed where one of its ends
was skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.picture.layout import Place, arrange
from examples.picture.svg import LABEL, Canvas, cut, number, text_width
from examples.runs import NodeRun, layers, words

# Pixels.
BOX_HEIGHT = 62
BOX_PADDING = 14
COLUMN_GAP = 36
PORT_GAP = 18  # between the lines that leave a box by different ports

IDLE = frozenset({"SKIPPED", "PENDING"})


@dataclass(frozen=True)
class Box:
    """Where a node stands, or where a line passes a layer: then it has no height."""

    x: float
    y: float  #: the middle
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width


@dataclass(frozen=True)
class Graph:
    boxes: dict[Place, Box]
    routes: list[list[Place]]  #: for each connection
    ports: dict[str, list[str]]  #: for each node those that connections leave by
    width: float
    height: float


def arrange_graph(workflow: Mapping[str, Any], runs: Sequence[NodeRun]) -> Graph:
    """Places everything, from the origin to the right and downwards."""
    ports: dict[str, list[str]] = {run.id: [] for run in runs}
    for connection in workflow["connections"]:
        if (port := _port(connection)) not in (leaving := ports[connection["sourceNodeId"]]):
            leaving.append(port)

    heights = {node_id: max(BOX_HEIGHT, PORT_GAP * (len(leaving) + 1)) for node_id, leaving in ports.items()}
    connections = [(connection["sourceNodeId"], connection["targetNodeId"]) for connection in workflow["connections"]]
    layout = arrange(layers(workflow), connections, heights)

    by_id = {run.id: run for run in runs}
    boxes, x, gap = {}, 0.0, 0.0
    for column in layout.columns:
        nodes = [place for place in column if isinstance(place, str)]
        width = max(_content_width(by_id[node_id]) for node_id in nodes) + 2 * BOX_PADDING
        for place in column:
            height = heights[place] if isinstance(place, str) else 0.0
            boxes[place] = Box(x, layout.y[place], width, height)
        named = [text_width(cut(port)) for node_id in nodes for port in ports[node_id] if _is_named(ports[node_id])]
        gap = COLUMN_GAP + max(named, default=0.0)
        x += width + gap
    return Graph(boxes, layout.routes, ports, x - gap, layout.height)


def paint_graph(canvas: Canvas, graph: Graph, workflow: Mapping[str, Any], runs: Sequence[NodeRun]) -> None:
    skipped = {run.id for run in runs if run.status == "SKIPPED"}
    for connection, route in zip(workflow["connections"], graph.routes, strict=True):
        dead = not skipped.isdisjoint((connection["sourceNodeId"], connection["targetNodeId"]))
        _paint_line(canvas, graph, route, graph.ports[connection["sourceNodeId"]], _port(connection), dead)
    for run in runs:
        _paint_box(canvas, run, graph.boxes[run.id])


def _paint_line(
    canvas: Canvas, graph: Graph, route: Sequence[Place], ports: Sequence[str], port: str, dead: bool
) -> None:
    source, *passing, target = (graph.boxes[place] for place in route)
    x, y = source.right, source.y + (ports.index(port) - (len(ports) - 1) / 2) * PORT_GAP
    path = [f"M{number(x)} {number(y)}"]
    if _is_named(ports):
        canvas.text("muted", x + 8, y - 4, cut(port))
        x += 10 + text_width(cut(port))
        path.append(f"H{number(x)}")
    for box in passing:
        path.append(f"{_curve(x, y, box.x, box.y)} H{number(box.right)}")
        x, y = box.right, box.y
    path.append(_curve(x, y, target.x - 6, target.y))
    canvas.add("path", "edge dead" if dead else "edge", d=" ".join(path))
    canvas.add("path", "tip", d=f"M{number(target.x - 1)} {number(target.y)} l-7 -4 v8 z")


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    """Leaves and arrives level."""
    middle = number((x + to_x) / 2)
    return f"C{middle} {number(y)} {middle} {number(to_y)} {number(to_x)} {number(to_y)}"


def _paint_box(canvas: Canvas, run: NodeRun, box: Box) -> None:
    top, idle = box.y - box.height / 2, run.status in IDLE
    tip = ": ".join(filter(None, (run.label, words(run.status), run.error)))
    style = "box dead" if idle else "box"
    canvas.add("rect", style, x=box.x, y=top, width=box.width, height=box.height, rx=8, tip=tip)
    canvas.add("rect", run.status, x=box.x, y=top + 10, width=4, height=box.height - 20, rx=2)
    x = box.x + BOX_PADDING
    canvas.text("muted" if idle else "ink", x, box.y - 11, cut(run.label), LABEL, font_weight="600")
    canvas.text("muted", x, box.y + 5, cut(run.type))
    canvas.text("muted" if idle else run.status, x, box.y + 21, _state(run))


def _content_width(run: NodeRun) -> float:
    return max(text_width(cut(run.label), LABEL, bold=True), text_width(cut(run.type)), text_width(_state(run)))


def _state(run: NodeRun) -> str:
    """The time that the node took; its status in words where that says more."""
    return run.took if run.status == "SUCCESS" and run.spans else words(run.status)


def _port(connection: Mapping[str, Any]) -> str:
    return str(connection.get("sourcePort", "output"))


def _is_named(ports: Sequence[str]) -> bool:
    """Whether the lines of a box say by which port they leave: not where there is only the usual one."""
    return list(ports) != ["output"]
