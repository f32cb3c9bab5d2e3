"""The lower half of the picture: a lane for each node, a bar for each stretch of time in which it was at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from examples.picture.svg import LABEL, Canvas, cut, text_width
from examples.runs import NodeRun, duration, moment, words

# Pixels.
LANE_HEIGHT = 24
BAR_HEIGHT = 12
MIN_BAR = 2.0  # what took no time at all is still to be seen
LABEL_GAP = 20
REMARK_GAP = 8

MAX_TICKS = 8


def chart_height(runs: Sequence[NodeRun]) -> float:
    return float(LANE_HEIGHT * len(runs))


def paint_chart(canvas: Canvas, runs: Sequence[NodeRun], execution: Mapping[str, Any], width: float) -> None:
    """The labels of the time axis stand above the origin."""
    start, end = _extent(runs, execution)
    total = max((end - start).total_seconds(), 0.001)
    left = max(text_width(cut(run.label), LABEL) for run in runs) + LABEL_GAP
    right = width - max(text_width(_remark(run)) for run in runs) - REMARK_GAP

    def position(seconds: float) -> float:
        return left + seconds / total * (right - left)

    _paint_axis(canvas, total, position(0), position(total), chart_height(runs))
    for index, run in enumerate(runs):
        middle = LANE_HEIGHT * (index + 0.5)
        canvas.text("ink", left - LABEL_GAP, middle + 4, cut(run.label), LABEL, text_anchor="end")
        last = left
        for span in run.spans:
            begun = (span.started - start).total_seconds()
            x, until = position(begun), position(((span.finished or end) - start).total_seconds())
            size = {"x": x, "y": middle - BAR_HEIGHT / 2, "width": max(MIN_BAR, until - x), "height": BAR_HEIGHT}
            canvas.add("rect", span.status, **size, rx=2, tip=f"{run.label}: {duration(begun)} after the start")
            last = max(last, x + size["width"])
        canvas.text("muted", last + REMARK_GAP, middle + 4, _remark(run))


def _paint_axis(canvas: Canvas, total: float, left: float, right: float, height: float) -> None:
    step = round_step(total)
    for tick in range(int(total / step + 1e-9) + 1):
        x = left + tick * step / total * (right - left)
        canvas.add("line", "grid", x1=x, x2=x, y1=0, y2=height)
        canvas.text("muted", x, -8, f"{tick * step:.10g} s", text_anchor="middle")
    canvas.add("line", "rule", x1=left, x2=right, y1=0, y2=0)


def round_step(total: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50 ... milliseconds that makes at most ``MAX_TICKS`` of the time."""
    power = 0
    while True:
        for factor in (0.001, 0.002, 0.005):
            if total <= (step := factor * 10.0**power) * MAX_TICKS:
                return step
        power += 1


def _extent(runs: Sequence[NodeRun], execution: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """The first and the last moment that is known."""
    moments = [moment(execution.get("startedAt")), moment(execution.get("finishedAt"))]
    moments += [when for run in runs for span in run.spans for when in (span.started, span.finished)]
    known = [when for when in moments if when] or [datetime.min]
    return min(known), max(known)


def _remark(run: NodeRun) -> str:
    """What stands behind a bar."""
    return ", ".join(filter(None, (run.took, "" if run.status == "SUCCESS" else words(run.status))))
