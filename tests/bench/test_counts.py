"""The counts of ``make bench`` stay within their limits. No test has an opinion of its times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench import graphs, request_counts, run_counts
from bench.aws import aws_in_process
from bench.report import Figures
from bench.run_counts import RunCount


def by_name(tables: Sequence[Figures]) -> dict[str, dict[str, Any]]:
    (table,) = tables
    assert list(table.broken) == []
    return {str(row[0]): dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_what_runs_take() -> None:
    """A node, or a chain, is one transition and one read; a Parallel and a Choice are one transition each."""
    found = by_name(run_counts.measure(lambda doing: None))
    assert {name: (row["nodes"], row["transitions"], row["limit"]) for name, row in found.items()} == {
        "chain of 20": (20, 1, 10),
        "chain of 20 states": (20, 20, 20),
        "fan-out of 10, and a join": (12, 13, 13),
        "demo": (11, 10, 11),  # two nodes share a visit; the branch that is not taken is never entered
    }
    assert {row["reads of a visit"] for row in found.values()} == {1}
    # An attempt is noted only where somebody may see it: what calls others, as the demo does.
    assert {name: row["writes of a visit"] for name, row in found.items()} == {
        "chain of 20": 1,
        "chain of 20 states": 1,
        "fan-out of 10, and a join": 1,
        "demo": 2,
    }
    # Of those at the start one notes that the machine is used.
    assert {(row["calls at start"], row["at end"]) for row in found.values()} == {(3, 2)}


def test_what_requests_take() -> None:
    """Reading a workflow or a run is one call to DynamoDB, and one more for a key that was not seen before."""
    found = by_name(request_counts.measure(lambda doing: None))
    calls = {name: (row["DynamoDB reads"], row["writes"]) for name, row in found.items()}
    assert calls["GET /workflows/{workflow}"] == calls["GET /executions/{execution}"] == (1, 0)
    assert calls[request_counts.AUTHENTICATION] == (1, 1)  # it is read and its use noted by one call
    assert calls["GET /workflows, as a user"] == (2, 0)  # the user's own feed, and that of what is public
    assert calls["POST /workflows/{workflow}/execute"] == (1, 2)


def test_what_is_over_a_limit_is_told() -> None:
    """A transition, a read or a write too many is named, and so are the run and the node."""
    with aws_in_process():
        count = RunCount("short", graphs.chain(2), {})
    assert list(count.broken()) == []
    count.walk.visited.append("one.more")
    count.visits["n0"] = (2, 3)
    assert list(count.broken()) == [
        "short: 2 transitions, 1 at most",
        "short: node n0 takes 2 reads and 3 writes",
    ]
