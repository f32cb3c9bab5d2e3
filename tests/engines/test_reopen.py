"""What is set aside when a run is taken up again: whatever the graph, and wherever somebody dies over it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Plan
from chalicelib.engines.reopen import Change, Place, reopen
from chalicelib.graph.executions import Attempt, StepError, StepRecord, StepStatus
from chalicelib.graph.model import Graph
from chalicelib.nodes.registry import CATALOG
from tests.compiler.random_graphs import workflows

NOW = "2026-01-05T09:00:00.000Z"
Records = dict[Place, StepRecord]


@st.composite
def ended_runs(draw: st.DrawFn) -> tuple[Plan, Records, list[str]]:
    """A plan, any records that a run of it may have left (and some that none would), and steps to begin again from."""
    graph: Graph = draw(workflows())
    plan = compile_plan(graph, CATALOG)
    records = {}
    for node in plan.nodes.values():
        paths = [""] if not node.loops else ["[0]" * len(node.loops), "[1]" * len(node.loops)]
        for path in draw(st.sets(st.sampled_from(paths))):
            records[node.id, path] = draw(_records(node.id, path))
    steps = draw(st.lists(st.sampled_from(sorted(plan.nodes)), max_size=2))
    return plan, records, steps


@st.composite
def _records(draw: st.DrawFn, node: str, path: str) -> StepRecord:
    status = draw(st.sampled_from([StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED]))
    port = {StepStatus.SUCCEEDED: "output", StepStatus.FAILED: draw(st.sampled_from([None, "error"]))}.get(status)
    is_cut_off = status is StepStatus.CANCELLED and draw(st.booleans())
    attempts = () if status is StepStatus.SKIPPED else (Attempt("t", None if is_cut_off else "u"),)
    error = StepError("E", "m") if status is StepStatus.FAILED else None
    count = draw(st.sampled_from([None, 2]))
    return StepRecord(node, path, status, port=port, attempts=attempts, error=error, count=count)


def applied(records: Records, changes: list[Change]) -> Records:
    return {**records, **{(new.node_id, new.path): new for _, new in changes}}


@given(ended_runs(), st.data())
def test_who_dies_half_way_is_followed_by_anybody(run: tuple[Plan, Records, list[str]], data: st.DataObject) -> None:
    """Some of the changes and then all that are left come to the same as all at once; then there is nothing to do."""
    plan, records, steps = run
    changes = reopen(plan, records, 2, steps, NOW)
    whole = applied(records, changes)
    assert reopen(plan, whole, 2, steps, NOW) == []
    some = applied(records, changes[: data.draw(st.integers(0, len(changes)))])
    assert applied(some, reopen(plan, some, 2, steps, NOW)) == whole


@given(ended_runs())
def test_history_stays(run: tuple[Plan, Records, list[str]]) -> None:
    """Every record keeps its attempts, and what is set aside is undecided."""
    plan, records, steps = run
    for old, new in reopen(plan, records, 2, steps, NOW):
        assert (new.node_id, new.path, len(new.attempts)) == (old.node_id, old.path, len(old.attempts))
        assert not new.status.is_final


@given(ended_runs())
def test_what_succeeded_stays(run: tuple[Plan, Records, list[str]]) -> None:
    """Without a step to begin from, nothing that succeeded is touched, and nothing is left that would end the run."""
    plan, records, _ = run
    changes = reopen(plan, records, 2, [], NOW)
    assert all(old.status is not StepStatus.SUCCEEDED for old, _ in changes)
    left = applied(records, changes).values()
    assert not [step for step in left if step.status is StepStatus.CANCELLED]
    contained = {node.id for node in plan.nodes.values() if node.contained or node.loops}
    assert not [
        step
        for step in left
        if step.status is StepStatus.FAILED and step.port is None and step.node_id not in contained
    ]
