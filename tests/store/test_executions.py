"""Runs and steps in the store: made once, ended once, and lists that are right."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.foundation.clock import timestamp
from chalicelib.foundation.errors import Conflict
from chalicelib.graph.executions import (
    FINAL_STATUSES,
    Attempt,
    Execution,
    ExecutionStatus,
    Payload,
    RunEnd,
    StepError,
    StepRecord,
    StepStatus,
    Trigger,
)
from chalicelib.services.lifecycle import decided
from chalicelib.store.executions import EarlierStart, ExecutionPage, ExecutionRepository, IdempotentStart, RunSnapshot
from chalicelib.store.table import ConditionFailed
from tests.conftest import on_moto
from tests.fakes import MONDAY, Killed, watched

LATER = timestamp(MONDAY + timedelta(hours=1))
START = IdempotentStart("key-1", "hash-1")


def execution(number: int = 1, **fields: Any) -> Execution:
    return replace(
        Execution(
            id=f"exec_{number:04d}",
            organization_id="acme",
            workflow_id="wf_1",
            status=ExecutionStatus.QUEUED,
            plan="p",
            machine="m",
            trigger=Trigger("manual", "api", Payload(text="{}", size=2), "t"),
            tasks_total=3,
            created_at=timestamp(MONDAY + timedelta(seconds=number)),
            started_by="ann",
        ),
        **fields,
    )


def step(node: str = "a", path: str = "", status: StepStatus = StepStatus.RUNNING, **fields: Any) -> StepRecord:
    return StepRecord(node, path, status, "transform", node.upper(), started_at=timestamp(MONDAY), **fields)


def done(node: str = "a", output: str = "1", **fields: Any) -> StepRecord:
    payload = Payload(text=output, size=len(output))
    return step(node, status=StepStatus.SUCCEEDED, port="output", output=payload, **fields)


@pytest.mark.parametrize(
    "made",
    [
        execution(),
        execution(
            status=ExecutionStatus.FAILED,
            trigger=Trigger("manual", "api", Payload(key="payloads/x", size=99)),
            started_at=timestamp(MONDAY),
            finished_at=timestamp(MONDAY),
            tasks_executed=2,
            output=Payload(text='"é"', size=4),
            error={"name": "E", "message": "m", "nodeId": "a"},
        ),
    ],
)
def test_an_execution_comes_back_as_it_was(executions: ExecutionRepository, made: Execution) -> None:
    """Every field; the size of a payload counts bytes."""
    executions.create(made)
    assert executions.get("acme", made.id) == made
    assert executions.get("other", made.id) is None


def test_a_step_comes_back_as_it_was(executions: ExecutionRepository) -> None:
    """Every field, of a node of any name at any path."""
    record = StepRecord(
        node_id="a[0]#☃",
        path="[3][0]",
        status=StepStatus.FAILED,
        node_type="loop",
        label="L",
        port="error",
        output=Payload(key="k", size=40_000),
        items=Payload(text='["é"]', size=6),
        count=1,
        until=timestamp(MONDAY),
        error=StepError("E", "m"),
        attempts=(Attempt("t1"), Attempt("t2", "t3", StepError("E", "m"))),
        started_at=timestamp(MONDAY),
        finished_at=timestamp(MONDAY),
    )
    executions.create(execution())
    executions.write_step(execution(), record)
    assert executions.load_run("acme", "exec_0001").steps == {("a[0]#☃", "[3][0]"): record}
    assert executions.load_steps("acme", "exec_0001", [("a[0]#☃", "[3][0]"), ("b", "")]).steps.keys() == {
        ("a[0]#☃", "[3][0]")
    }


def test_an_id_is_given_once(executions: ExecutionRepository) -> None:
    """A second run of one id is refused, with and without an Idempotency-Key."""
    executions.create(execution())
    with pytest.raises(Conflict):
        executions.create(execution())
    with pytest.raises(Conflict):
        executions.create(execution(), START)
    assert executions.earlier_start("acme", "key-1", MONDAY) is None


def test_a_key_starts_one_run(executions: ExecutionRepository) -> None:
    """The second start under a key is told of the first, and writes nothing."""
    assert executions.create(execution(1), START) is None
    assert executions.create(execution(2), IdempotentStart("key-1", "hash-2")) == EarlierStart("exec_0001", "hash-1")
    assert executions.get("acme", "exec_0002") is None
    assert executions.earlier_start("acme", "key-1", MONDAY) == EarlierStart("exec_0001", "hash-1")
    assert executions.create(execution(3, organization_id="other"), START) is None


def test_a_key_is_free_after_a_day(executions: ExecutionRepository) -> None:
    """An old claim that DynamoDB has not deleted yet counts as none."""
    executions.create(execution(1), START)
    later = MONDAY + timedelta(hours=24, seconds=2)
    assert executions.earlier_start("acme", "key-1", later - timedelta(seconds=5)) is not None
    assert executions.earlier_start("acme", "key-1", later) is None
    assert executions.create(execution(2, created_at=timestamp(later)), START) is None
    assert executions.earlier_start("acme", "key-1", later) == EarlierStart("exec_0002", "hash-1")


def test_ten_starts_at_once_are_one(executions: ExecutionRepository) -> None:
    """Whoever comes first starts, and all others are told of that run."""
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda number: executions.create(execution(number), START), range(10)))
    (winner,) = [number for number, earlier in enumerate(found) if earlier is None]
    assert {earlier.execution_id for earlier in found if earlier} == {f"exec_{winner:04d}"}
    assert executions.list_of_organization("acme", None, 20, 0).total == 1


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES))
def test_a_run_ends_once(executions: ExecutionRepository, status: ExecutionStatus) -> None:
    """The first end stands, whatever comes after it."""
    made = execution()
    executions.create(made)
    assert executions.finish(made, RunEnd(status, timestamp(MONDAY), 2, Payload(text="1", size=1)))
    first = executions.get("acme", made.id)
    assert first is not None
    assert (first.status, first.tasks_executed, first.finished_at) == (status, 2, timestamp(MONDAY))
    for other in FINAL_STATUSES:
        assert not executions.finish(made, RunEnd(other, LATER, 0, error={"name": "E", "message": "m"}))
    executions.mark_running(made, LATER)
    assert executions.get("acme", made.id) == first


def test_a_run_that_is_not_there_does_not_end(executions: ExecutionRepository) -> None:
    """Ending or beginning an unknown run makes no run."""
    assert not executions.finish(execution(), RunEnd(ExecutionStatus.FAILED, LATER, 0))
    executions.mark_running(execution(), LATER)
    assert executions.get("acme", "exec_0001") is None


def test_a_queued_run_is_marked_running_once(executions: ExecutionRepository) -> None:
    """The first moment stands."""
    executions.create(execution())
    executions.mark_running(execution(), "first")
    executions.mark_running(execution(), "second")
    found = executions.get("acme", "exec_0001")
    assert found is not None
    assert (found.status, found.started_at) == (ExecutionStatus.RUNNING, "first")


def test_attempts_add_up(executions: ExecutionRepository) -> None:
    """Each beginning is one more attempt; the step keeps when the first was."""
    run = execution()
    first = executions.begin_step(run, step())
    begun = executions.begin_step(run, replace(first, started_at=LATER))
    assert [attempt.started_at for attempt in begun.attempts] == [timestamp(MONDAY), LATER]
    assert begun.started_at == timestamp(MONDAY)


def test_an_attempt_knows_the_earlier_ones(executions: ExecutionRepository) -> None:
    """Who does not know that another attempt was begun does not begin one beside it."""
    executions.begin_step(execution(), step())
    with pytest.raises(ConditionFailed):
        executions.begin_step(execution(), step())


@pytest.mark.parametrize("final", [StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED])
def test_a_final_record_stays(executions: ExecutionRepository, final: StepStatus) -> None:
    """Nothing begins or is written over a record that is final: whoever tries is given that record."""
    run = execution()
    first = step(status=final, port="output", output=Payload(text="1", size=1))
    assert executions.write_step(run, first) == first
    with pytest.raises(ConditionFailed):
        executions.begin_step(run, step())
    for other in (done(output="2"), step(status=StepStatus.WAITING), step(status=StepStatus.SKIPPED)):
        assert executions.write_step(run, other) == first
        assert executions.write_step(run, other, [step("b", status=StepStatus.SKIPPED)]) == first
    assert executions.load_run("acme", run.id).steps == {("a", ""): first}


@pytest.mark.parametrize("number", [0, 1, 24, 99, 100, 230])
def test_what_is_skipped_is_written_with_the_step(executions: ExecutionRepository, number: int) -> None:
    """Any number of them, more than a transaction takes too; and again without a change."""
    skipped = [step(f"s{index}", status=StepStatus.SKIPPED) for index in range(number)]
    for _ in range(2):
        executions.write_step(execution(), done(), skipped)
        executions.skip(execution(), skipped)
    steps = executions.load_run("acme", "exec_0001").steps
    assert len(steps) == number + 1
    assert len(list(executions.outlines("acme", "exec_0001"))) == number + 1


def test_undecided_steps_do_not_count(executions: ExecutionRepository) -> None:
    """A run's progress is its decided steps; items of loops are not among them."""
    run = execution()
    executions.begin_step(run, step("a"))
    executions.write_step(run, step("w", status=StepStatus.WAITING))
    executions.write_step(run, done("b"))
    executions.write_step(run, done("b2"))
    executions.write_step(run, replace(done("c"), path="[0]"))
    assert decided(executions.outlines("acme", run.id)) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_start_that_dies_is_whole_or_not_there(executions: ExecutionRepository, dynamodb: Any, moment: str) -> None:
    """The record and the claim of its Idempotency-Key are there both, or neither."""

    def die(number: int) -> None:
        raise Killed

    with watched(dynamodb) as calls:
        setattr(calls, moment, die)
        with pytest.raises(Killed):
            executions.create(execution(), START)
    there = executions.get("acme", "exec_0001") is not None
    assert there is (moment == "after")
    assert (executions.earlier_start("acme", "key-1", MONDAY) is not None) is there


run_strategy = st.tuples(st.integers(0, 30), st.sampled_from(["wf_1", "wf_2"]), st.sampled_from(list(ExecutionStatus)))


@on_moto
@given(made=st.lists(run_strategy, max_size=8), limit=st.integers(1, 4))
def test_lists_of_any_runs(
    executions: ExecutionRepository,
    empty_table: Callable[[], None],
    made: list[tuple[int, str, ExecutionStatus]],
    limit: int,
) -> None:
    """Counts, pages, order and filters of both lists are those of a plain list."""
    empty_table()
    model = [
        execution(number, workflow_id=workflow, status=status, id=f"exec_{place:04d}")
        for place, (number, workflow, status) in enumerate(made)
    ]
    for item in model:
        executions.create(item)
    newest = sorted(model, key=lambda item: (item.created_at, item.id), reverse=True)
    for wanted in (None, ExecutionStatus.QUEUED, ExecutionStatus.FAILED):
        for offset in (0, 1, limit):
            page = slice(offset, offset + limit)
            matching = [item for item in newest if wanted in (None, item.status)]
            assert executions.list_of_organization("acme", wanted, limit, offset) == ExecutionPage(
                len(matching), tuple(matching[page])
            )
            of_one = [item for item in matching if item.workflow_id == "wf_1"]
            assert executions.list_of_workflow("acme", "wf_1", wanted, limit, offset) == ExecutionPage(
                len(of_one), tuple(of_one[page])
            )


def test_what_the_end_of_a_run_depends_on(executions: ExecutionRepository) -> None:
    """Items of loops that ended well are read without what they put out; all others whole."""
    run = execution()
    loop = step("l", items=Payload(text="[1, 2, 3]", size=9), count=3)
    well = done("x", path="[0]")
    under_way = step("x", path="[1]", output=Payload(text="2", size=1))
    executions.create(run)
    for record in (loop, well, under_way):
        executions.write_step(run, record)
    assert executions.load_end("acme", run.id) == RunSnapshot(
        run, {("l", ""): loop, ("x", "[0]"): replace(well, output=None), ("x", "[1]"): under_way}
    )
    assert executions.load_outside("acme", run.id) == RunSnapshot(run, {("l", ""): loop})
    assert list(executions.items_of_loops("acme", run.id, 1, 2)) == [("x", "[1]")]


def test_the_end_of_a_run_without_loops_is_one_read(executions: ExecutionRepository, dynamodb: Any) -> None:
    """What is outside of loops stands together with the run."""
    run = execution()
    executions.create(run)
    executions.write_step(run, step("a"))
    with watched(dynamodb) as calls:
        assert executions.load_end("acme", run.id).steps == {("a", ""): step("a")}
    assert calls.operations == ["Query"]
