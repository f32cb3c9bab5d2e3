"""What a run looks like from outside: nodes in graph order, loop items folded into their node."""

from __future__ import annotations

from datetime import timedelta

import pytest

from examples.runs import describe_error, duration, layers, node_runs
from tests.examples.runs_at_hand import START, document, small_workflow, task, weather_workflow


def test_layers_follow_the_graph() -> None:
    """A node stands one layer after the last of its predecessors; the order within a layer is the workflow's."""
    assert layers(weather_workflow()) == [
        ["start"],
        ["read"],
        ["parse"],
        ["usable", "years"],
        ["months"],
        ["summary"],
        ["hot"],
        ["report", "mild"],
        ["save"],
    ]


def test_every_node_is_told_before_the_api_knows_it() -> None:
    """Nodes without a task yet are pending."""
    runs = node_runs(weather_workflow(), document(task("start", 0, 0.1), status="RUNNING"))
    assert [run.id for run in runs][:3] == ["start", "read", "parse"]
    assert [run.status for run in runs] == ["SUCCESS"] + ["PENDING"] * 10


def test_items_of_a_loop_are_spans_of_their_node() -> None:
    """Three tasks of the body are one node that ran three times, as bad as its worst item."""
    failed = task("sum[1]", 0.4, 0.9, "FAILED", error={"name": "ExpressionError", "message": "no price"})
    tasks = [task("sum[0]", 0.2, 0.5), failed, task("sum[2]", 1, None, "RUNNING")]
    run = next(run for run in node_runs(small_workflow("loop.json"), document(*tasks)) if run.id == "sum")

    assert (run.status, run.attempts, run.error) == ("FAILED", 3, "ExpressionError: no price")
    assert [span.status for span in run.spans] == ["SUCCESS", "FAILED", "RUNNING"]
    assert run.seconds(now=START + timedelta(seconds=2)) == pytest.approx(1.8)
    assert run.took == ""  # not before all have ended


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    """Three figures, whatever the size."""
    assert duration(seconds) == text


def test_errors_are_one_line() -> None:
    """Both of an error's parts where there are two; text as it is."""
    assert describe_error({"name": "NoSuchKey", "message": "no such object"}) == "NoSuchKey: no such object"
    assert describe_error({"message": "lost"}) == "lost"
    assert describe_error("lost") == "lost"
