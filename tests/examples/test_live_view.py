"""The run in the terminal: redrawn where there is one, line by line where there is none."""

from __future__ import annotations

import io
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from examples.live_view import LOOKS, LiveView
from examples.runs import STATUSES
from tests.examples.runs_at_hand import START, document, skipped, task, weather_tasks, weather_workflow


def clock() -> datetime:
    return START + timedelta(seconds=2)


def test_every_change_is_one_line_without_a_terminal() -> None:
    """Each node is told when it changes, once; what is pending is not told."""
    console = Console(file=io.StringIO(), force_terminal=False, width=40)
    failed = task("read", 0.5, 1.0, "FAILED", attempts=3, error={"name": "NoSuchKey", "message": "no [such] object"})
    with LiveView(weather_workflow(), console, clock) as view:
        for tasks in ([task("start", 0, 0.1)], [task("start", 0, 0.1), task("read", 0.5, None, "RUNNING")]):
            view.update(document(*tasks, status="RUNNING"))
            view.update(document(*tasks, status="RUNNING"))
        view.update(document(task("start", 0, 0.1), failed, skipped("parse", 1), status="FAILED"))

    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "✓ Start (manual-trigger): success in 0.10 s",
        "▶ Read CSV (s3-read): running",
        "✗ Read CSV (s3-read): failed in 0.50 s, 3 attempts: NoSuchKey: no [such] object",
        "○ Parse CSV (csv-parse): skipped",
    ]


@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_shows_the_whole_graph(width: int) -> None:
    """Eleven rows with label, type, state and time, nothing cut off, in 80 columns and in more."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=width, height=30)
    with LiveView(weather_workflow(), console, clock) as view:
        view.update(document(*weather_tasks()))
    rows = out.getvalue()

    assert "exec_1  success  3.00 s" in rows
    for node in weather_workflow()["nodes"]:
        assert f"{node['label']} " in rows
        assert f" {node['nodeId']} " in rows
    assert "success  0.22 s         2  " in rows
    assert "…" not in rows
    assert rows.count("█") > 11


def test_every_status_has_a_look() -> None:
    """None of the statuses that the API may answer is unknown to the view."""
    assert set(LOOKS) == set(STATUSES)
