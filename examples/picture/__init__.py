"""A run as a picture: the graph, layered left to right, and under it when each node was at work.

``draw`` is a pure function from what was sent to the API, and what it answered, to SVG text. The same run always
gives the same bytes, so that pictures can be compared and kept in a repository. ``layout`` places, ``graph`` and
``chart`` paint their half, ``svg`` writes elements and estimates the widths of texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from examples.picture.chart import chart_height, paint_chart
from examples.picture.graph import arrange_graph, paint_graph
from examples.picture.svg import LABEL, TITLE, Canvas, cut, text_width
from examples.runs import STATUSES, NodeRun, duration, moment, node_runs, words

# Pixels.
MARGIN = 28
MIN_WIDTH = 760
HEADER = 66
GAP = 60  # between graph and chart, with room for the labels of the time axis
LEGEND = 40


def draw(workflow: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """SVG text.

    ``workflow`` is the body of ``POST /api/v1/workflows``, ``document`` the answer of ``GET /api/v1/executions/{id}``.
    A run that has not ended is drawn as far as it has come.
    """
    runs = node_runs(workflow, document)
    graph = arrange_graph(workflow, runs)
    width = max(MIN_WIDTH, graph.width + 2 * MARGIN)
    chart_top = MARGIN + HEADER + graph.height + GAP
    height = chart_top + chart_height(runs) + LEGEND + MARGIN

    name, execution = workflow["name"], document["execution"]
    canvas = Canvas.page(width, height, f"{name}: {words(execution['status'])}")
    _paint_header(canvas.group(MARGIN, MARGIN), name, execution, len(runs), width - 2 * MARGIN)
    paint_graph(canvas.group((width - graph.width) / 2, MARGIN + HEADER), graph, workflow, runs)
    paint_chart(canvas.group(MARGIN, chart_top), runs, execution, width - 2 * MARGIN)
    _paint_legend(canvas.group(MARGIN, height - MARGIN), runs)
    return str(canvas)


def _paint_header(canvas: Canvas, name: str, execution: Mapping[str, Any], nodes: int, width: float) -> None:
    facts = [words(execution["status"])]
    if (milliseconds := execution.get("durationMs")) is not None:
        facts.append(duration(milliseconds / 1000))
    facts.append(f"{nodes} nodes")
    if started := moment(execution.get("startedAt")):
        facts.append(f"{started:%Y-%m-%d %H:%M:%S} UTC")
    facts.append(execution["id"])
    fits = int(width / text_width("n", TITLE, bold=True))
    canvas.text("ink", 0, 14, cut(name, fits), TITLE, font_weight="600")
    canvas.add("circle", execution["status"], cx=5, cy=34, r=5)
    canvas.text("muted", 18, 38, cut(" · ".join(facts), int((width - 18) / text_width("n", LABEL))), LABEL)


def _paint_legend(canvas: Canvas, runs: Sequence[NodeRun]) -> None:
    x = 0.0
    for status in sorted({run.status for run in runs}, key=STATUSES.index):
        canvas.add("rect", status, x=x, y=-9, width=10, height=10, rx=2)
        canvas.text("muted", x + 16, 0, words(status))
        x += 16 + text_width(words(status)) + 20
