"""Upkeep: nobody reads, and yet each run ends right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import Client

from app import app
from chalicelib.bootstrap import Services, lambda_services
from chalicelib.cloud.sdk import client
from chalicelib.foundation.clock import timestamp
from chalicelib.foundation.settings import Settings
from chalicelib.graph.executions import ExecutionStatus
from chalicelib.services.lifecycle import FIRST_LOOK
from chalicelib.store import keys
from chalicelib.store.executions import ExecutionRepository
from chalicelib.store.table import Table
from tests.conftest import TABLE
from tests.fakes import Calls, FakeClock, Killed, graph, node, watched
from tests.runs import OWNER, Runs
from tests.state_machines import EVENTS, StepFunctions

GRAPH = graph([node("a", expression="data.n"), node("b")], "a -> b")
WAITS = graph([node("w", "wait", seconds=1_000_000)])
FIRST = FIRST_LOOK.total_seconds()


@pytest.fixture
def steps_client(step_functions: StepFunctions, settings: Settings) -> Any:
    return client("stepfunctions", settings.region)


@pytest.fixture
def record(dynamodb: Any) -> Callable[[str], dict[str, Any]]:
    """The item of a run, as nobody but a test reads it: nothing looks after the run on the way."""

    def read(execution_id: str) -> dict[str, Any]:
        key = {name: {"S": value} for name, value in keys.execution(OWNER.organization_id, execution_id).items()}
        found: dict[str, Any] = dynamodb.get_item(TableName=TABLE, Key=key)["Item"]
        return found

    return read


def upkeep(runs: Runs) -> None:
    """One call, in which nothing fails."""
    assert not [failure for report in runs.services.upkeep.run() for failure in report.failures]


def started_and_died(runs: Runs, sdk_client: Any, operation: str, moment: str) -> str:
    """The id of a run whose starter died at a call."""
    with watched(sdk_client) as calls:

        def die(number: int) -> None:
            if calls.operations[-1] == operation:
                raise Killed

        setattr(calls, moment, die)
        with pytest.raises(Killed):
            runs.start(GRAPH, {"n": 1})
    (execution,) = runs.services.executions.list(OWNER, None, None, 100, 0).executions
    return execution.id


@pytest.mark.parametrize("operation", ["StartExecution", "CreateStateMachine"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_start_that_died(
    runs: Runs, steps_client: Any, clock: FakeClock, record: Any, operation: str, moment: str
) -> None:
    """A run that was recorded and not started is started by upkeep, and ends as any."""
    execution_id = started_and_died(runs, steps_client, operation, moment)
    clock.advance(FIRST - 1)
    upkeep(runs)
    assert record(execution_id)["status"]["S"] == "queued"
    clock.advance(1)
    upkeep(runs)
    assert record(execution_id)["status"]["S"] == "running"
    runs.walk(execution_id)
    runs.tell_end(execution_id)
    assert record(execution_id)["output"]["M"]["text"]["S"] == "1"


def test_an_end_that_was_never_told(runs: Runs, clock: FakeClock, record: Any) -> None:
    """A run whose event was lost is ended by upkeep, with its output, and is not looked after any more."""
    execution_id = runs.start(GRAPH, {"n": 7})
    runs.walk(execution_id)
    clock.advance(FIRST)
    upkeep(runs)
    found = record(execution_id)
    assert (found["status"]["S"], found["output"]["M"]["text"]["S"]) == ("succeeded", "7")
    assert "dueList" not in found


def test_a_failure_that_was_never_told(runs: Runs, clock: FakeClock, record: Any) -> None:
    """The same, with the error."""
    execution_id = runs.start(graph([node("f", "fail", error="E", message="m")]))
    runs.walk(execution_id)
    clock.advance(FIRST)
    upkeep(runs)
    found = record(execution_id)
    assert (found["status"]["S"], found["error"]["M"]["nodeId"]["S"]) == ("failed", "f")


def test_a_run_past_its_deadline(runs: Runs, clock: FakeClock, record: Any) -> None:
    """Where Step Functions is late, upkeep ends the run when its time is over, and its machine with it."""
    execution_id = runs.start(WAITS, timeout=100)
    runs.visit(execution_id, "w")
    clock.advance(99)
    upkeep(runs)
    assert record(execution_id)["status"]["S"] == "running"
    clock.advance(1)
    upkeep(runs)
    assert record(execution_id)["status"]["S"] == "timed_out"
    assert runs.step_functions.executions()[execution_id].status == "ABORTED"


def test_a_run_that_has_ended_is_left_alone(runs: Runs, clock: FakeClock, dynamodb_calls: Calls) -> None:
    """It stands in the index no more: upkeep reads a few empty partitions, and that is all that it does."""
    runs.run(GRAPH, {"n": 1})
    upkeep(runs)  # which does what it does once a day
    clock.advance(FIRST)
    dynamodb_calls.clear()
    upkeep(runs)
    assert set(dynamodb_calls.operations) == {"Query", "GetItem"}
    assert dynamodb_calls.items_read == 1


def test_a_look_is_one_write_and_one_question(
    runs: Runs, clock: FakeClock, dynamodb_calls: Calls, steps_client: Any
) -> None:
    """A run that fares well costs one write, which brings its record along, and one call to Step Functions."""
    runs.start(WAITS)
    upkeep(runs)  # which does what it does once a day
    clock.advance(FIRST)
    with watched(steps_client) as asked:
        dynamodb_calls.clear()
        upkeep(runs)
        assert asked.operations == ["DescribeExecution"]
    # The second one finds that the run is marked as running already.
    assert [name for name in dynamodb_calls.operations if name.startswith("Update")] == ["UpdateItem"] * 2
    assert dynamodb_calls.writes == 2


def test_the_older_a_run_the_less_it_is_looked_after(runs: Runs, clock: FakeClock, steps_client: Any) -> None:
    """In its first hour a run is asked for a few times, later once an hour."""
    runs.start(WAITS)
    with watched(steps_client) as asked:
        for _ in range(20):
            clock.advance(3 * 60)
            upkeep(runs)
        first_hour = asked.operations.count("DescribeExecution")
        for _ in range(10 * 2):
            clock.advance(30 * 60)
            upkeep(runs)
    assert 5 < first_hour < 12
    assert asked.operations.count("DescribeExecution") - first_hour in range(9, 13)


def test_a_look_that_dies_is_taken_again(runs: Runs, clock: FakeClock, dynamodb: Any, record: Any) -> None:
    """Killed at any of its calls to the table, upkeep ends the run at a later look."""
    for number in range(1, 60):
        execution_id = runs.start(GRAPH, {"n": 7})
        runs.walk(execution_id)
        clock.advance(FIRST)
        with watched(dynamodb) as calls:
            calls.before = _dies_at(number)
            try:
                upkeep(runs)
            except Killed:
                clock.advance(FIRST)
            else:
                break
        upkeep(runs)
        assert record(execution_id)["status"]["S"] == "succeeded"
    assert number > 9  # eight partitions, then what a look does


def _dies_at(wanted: int) -> Callable[[int], None]:
    def die(number: int) -> None:
        if number == wanted:
            raise Killed

    return die


@pytest.mark.parametrize("number", [1, 8, 9, 10])
def test_two_that_look_at_once(runs: Runs, clock: FakeClock, dynamodb: Any, steps_client: Any, number: int) -> None:
    """Whoever comes first looks, and the other leaves the run alone, at whichever call it comes in between."""
    runs.start(WAITS)
    upkeep(runs)  # which does what it does once a day
    clock.advance(FIRST)
    with watched(steps_client) as asked, watched(dynamodb) as calls:
        calls.before = _once_at(number, lambda: upkeep(runs))
        upkeep(runs)
    assert asked.operations == ["DescribeExecution"]


def _once_at(wanted: int, act: Callable[[], None]) -> Callable[[int], None]:
    done: list[int] = []

    def come_in(number: int) -> None:
        if number == wanted and not done:
            done.append(number)
            act()

    return come_in


def test_a_run_that_a_process_holds(runs: Runs, clock: FakeClock, steps_client: Any, dynamodb: Any) -> None:
    """Nobody else begins it while its lease lasts; when it has lapsed, a state machine takes the run up."""
    execution_id = started_and_died(runs, steps_client, "StartExecution", "before")
    repository = ExecutionRepository(Table(dynamodb, TABLE))
    execution = runs.detail(execution_id).execution
    for _ in range(60):
        until = clock.now() + timedelta(seconds=90)
        assert repository.lease(execution, "pod", timestamp(clock.now()), timestamp(until))
        clock.advance(60)
        upkeep(runs)
    assert execution_id not in runs.step_functions.executions()
    clock.advance(60)
    upkeep(runs)
    assert execution_id in runs.step_functions.executions()


def test_one_run_that_cannot_be_looked_after(runs: Runs, clock: FakeClock, s3: Any, settings: Settings) -> None:
    """It is told of, and the others are looked after all the same."""
    lost, fine = runs.start(WAITS), runs.start(GRAPH, {"n": 1})
    runs.step_functions.executions()[lost].status = "FAILED"
    runs.walk(fine)
    plan = runs.detail(lost).execution.plan
    s3.delete_object(Bucket=settings.bucket, Key=f"plans/{plan}.json.z")
    clock.advance(FIRST)
    fresh = Services(settings, clock=clock)  # that has no plan in its memory
    (report,) = [report for report in fresh.upkeep.run() if report.part == "runs"]
    assert (report.done, len(report.failures)) == (1, 1)
    assert runs.services.executions.find(OWNER, fine).execution.status is ExecutionStatus.SUCCEEDED


@pytest.fixture
def scheduled(app_services: Services, environment: dict[str, str]) -> Iterator[Callable[[], None]]:
    """The Lambda that the schedule calls."""
    lambda_services.cache_clear()
    caller = Client(app).lambda_

    def call() -> None:
        caller.invoke("upkeep", json.loads((EVENTS / "scheduled_event.json").read_text()))

    yield call
    lambda_services.cache_clear()


def test_the_schedule(runs: Runs, clock: FakeClock, scheduled: Callable[[], None], record: Any) -> None:
    """The function does what is due by the time of day: runs of the clock that tests set are long overdue."""
    execution_id = runs.start(GRAPH, {"n": 7})
    runs.walk(execution_id)
    scheduled()
    assert record(execution_id)["status"]["S"] == "succeeded"
