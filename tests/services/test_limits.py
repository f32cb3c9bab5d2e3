"""``maxConcurrentRuns``: never more are under way, none is forgotten, and who waits is started in order."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.cloud.sdk import client
from chalicelib.foundation.settings import Settings
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.executions import ExecutionStatus
from chalicelib.graph.model import Workflow
from chalicelib.services.executions import Origin
from chalicelib.services.limits import ADMITTED_AT_ONCE, LOOK_EVERY
from chalicelib.store import keys
from chalicelib.store.lines import LineRepository
from chalicelib.store.table import Table
from tests.conftest import ACCOUNT, REGION, TABLE
from tests.fakes import Calls, CountingIds, FakeClock, Killed, World, graph, node, watched
from tests.runs import OWNER, Runs
from tests.services.test_concurrency import at_once
from tests.state_machines import StepFunctions

GRAPH = graph([node("a", expression="data")])
FAILS = graph([node("f", "fail", error="E", message="m")])
LOOK = LOOK_EVERY.total_seconds()

Line = Callable[[Workflow], tuple[int, list[str]]]


@pytest.fixture
def line(dynamodb: Any) -> Line:
    """How many runs of a workflow count, and the ids of those that wait, as the table has them, held against the
    records of all its runs.
    """

    def read(workflow: Workflow) -> tuple[int, list[str]]:
        own = keys.count_of_runs(workflow.organization_id, workflow.id)["pk"]
        plain = [{name: next(iter(value.values())) for name, value in item.items()} for item in _scan(dynamodb)]
        of_line = sorted((item for item in plain if item["pk"] == own), key=lambda item: str(item["sk"]))
        active = int(of_line[0].get("active", 0)) if of_line else 0
        waiting = [str(item["executionId"]) for item in of_line[1:]]
        of_runs = [item for item in plain if item["sk"] == keys.EXECUTION and item["workflowId"] == workflow.id]
        places = Counter(item.get("place") for item in of_runs)
        assert active == places["counted"]
        assert set(waiting) == {item["executionId"] for item in of_runs if item.get("place") == "waiting"}
        final = {"succeeded", "failed", "cancelled", "timed_out"}
        assert not [item for item in of_runs if item["status"] in final and "place" in item]
        return active, waiting

    return read


def _scan(dynamodb: Any) -> list[Mapping[str, Any]]:
    pages = dynamodb.get_paginator("scan").paginate(TableName=TABLE, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]


def start(runs: Runs, workflow: Workflow, priority: int = 0) -> str:
    """A run of ``workflow``, of a trigger."""
    origin = Origin(OWNER.user_id, execution_id=f"exec_{next(_NUMBERS):05}", priority=priority)
    return runs.services.executions.start_once(workflow, {}, origin)


_NUMBERS = itertools.count(1)


def started(runs: Runs, *execution_ids: str) -> list[str]:
    """Those of the runs that Step Functions knows."""
    known = {name.split("-")[0] for name in runs.step_functions.executions()}
    return [each for each in execution_ids if each in known]


def upkeep(runs: Runs) -> None:
    """One call, in which nothing fails."""
    assert not [failure for report in runs.services.upkeep.run() for failure in report.failures]


def test_no_more_than_the_limit(runs: Runs, line: Line) -> None:
    """Two of five are under way, the others wait as queued; each end starts the next, who came first first."""
    workflow = runs.workflow(GRAPH, maxConcurrentRuns=2)
    ids = [start(runs, workflow) for _ in range(5)]
    assert started(runs, *ids) == ids[:2]
    assert line(workflow) == (2, ids[2:])
    assert [str(runs.detail(each).execution.status) for each in ids] == ["running"] * 2 + ["queued"] * 3
    for done, next_one in zip(ids, ids[2:], strict=False):
        assert runs.end(done).status == "succeeded"
        assert started(runs, *ids)[-1] == next_one
    for each in ids[3:]:
        runs.end(each)
    assert line(workflow) == (0, [])


def test_a_higher_priority_is_first(runs: Runs, clock: FakeClock, line: Line) -> None:
    """Of those that wait the highest priority is started first, whole numbers below none as well; and within one who
    came first.
    """
    workflow = runs.workflow(GRAPH, maxConcurrentRuns=1)
    first = start(runs, workflow)
    waiting = []
    for priority in (0, 5, -3, 5, 1_000_000, 0):
        clock.advance(0.001)
        waiting.append(start(runs, workflow, priority))
    expected = [waiting[index] for index in (4, 1, 3, 0, 5, 2)]
    assert line(workflow) == (1, expected)
    order = [first]
    while len(order) < 7:
        runs.end(order[-1])
        order += [each for each in started(runs, *waiting) if each not in order]
    assert order[1:] == expected


@pytest.mark.parametrize("how", ["fails", "cancelled", "paused", "late"])
def test_every_end_makes_room(runs: Runs, clock: FakeClock, line: Line, how: str) -> None:
    """A run that fails, is cancelled or held, or takes too long, makes room as one that succeeds."""
    workflow = runs.workflow(FAILS if how == "fails" else GRAPH, maxConcurrentRuns=1, timeout=100)
    first, second = start(runs, workflow), start(runs, workflow)
    match how:
        case "fails":
            runs.end(first)
        case "late":
            clock.advance(101)
            upkeep(runs)
        case _:
            getattr(runs.services.control, {"cancelled": "cancel", "paused": "pause"}[how])(OWNER, first)
    assert line(workflow) == (1, [])
    assert started(runs, second) == [second]


def test_time_in_line_is_not_time_of_the_run(runs: Runs, clock: FakeClock, line: Line) -> None:
    """The time limit of a workflow counts from when its run is admitted."""
    workflow = runs.workflow(GRAPH, maxConcurrentRuns=1, timeout=100)
    first, second = start(runs, workflow), start(runs, workflow)
    clock.advance(90)
    runs.end(first)
    assert runs.detail(second).execution.status is ExecutionStatus.RUNNING
    clock.advance(90)
    assert runs.end(second).status == "succeeded"


def test_one_that_waits_can_be_cancelled(runs: Runs, line: Line) -> None:
    """It leaves the line; so does one that is held, and comes to its end when it is resumed."""
    workflow = runs.workflow(GRAPH, maxConcurrentRuns=1)
    first, second, third = (start(runs, workflow) for _ in range(3))
    assert runs.services.control.cancel(OWNER, second).execution.status is ExecutionStatus.CANCELLED
    runs.services.control.pause(OWNER, third)
    assert line(workflow) == (1, [])
    runs.services.control.resume(OWNER, third)
    assert line(workflow) == (1, [third])
    runs.end(first)
    assert runs.end(third).status == "succeeded"
    assert started(runs, second) == []


def test_taken_up_again_a_run_waits_again(runs: Runs, clock: FakeClock, line: Line) -> None:
    """A retry counts as a run: at the limit it stands in line, behind who came before."""
    workflow = runs.workflow(FAILS, maxConcurrentRuns=1)
    first = start(runs, workflow)
    runs.end(first)
    second, third = start(runs, workflow), start(runs, workflow)
    clock.advance(1)
    assert runs.services.control.retry(OWNER, first).execution.status is ExecutionStatus.QUEUED
    assert line(workflow) == (1, [third, first])
    for each in (second, third, first):
        assert runs.end(each).status == "failed"
    assert line(workflow) == (0, [])
    assert runs.detail(first).execution.round == 2


def test_the_default_of_the_deployment(settings: Settings, clock: FakeClock, world: World, line: Line) -> None:
    """It holds for workflows that say nothing; one that says something has its own."""
    given = replace(settings, max_concurrent_runs=1)
    own = services(given, clock=clock, ids=CountingIds(), capabilities=world.capabilities)
    runs = Runs(own, StepFunctions(ACCOUNT, REGION))
    silent, other = runs.workflow(GRAPH), runs.workflow(GRAPH, maxConcurrentRuns=2)
    for workflow in (silent, other):
        for _ in range(3):
            start(runs, workflow)
    assert (line(silent)[0], line(other)[0]) == (1, 2)


def test_a_limit_that_changes(runs: Runs, clock: FakeClock, line: Line) -> None:
    """A higher limit, or none, lets in who waits, with the next end or within a minute; a lower one ends nobody."""
    workflow = runs.workflow(GRAPH, maxConcurrentRuns=1)
    ids = [start(runs, workflow) for _ in range(9)]
    for limit, active in ((4, 4), (2, 4), (None, 9)):
        workflow = runs.services.workflows.find(OWNER, workflow.id)
        runs.services.workflows.update(OWNER, workflow, WorkflowChange(settings={"maxConcurrentRuns": limit}))
        clock.advance(LOOK)
        upkeep(runs)
        assert line(workflow)[0] == active
    for each in ids:
        runs.end(each)
    assert line(workflow) == (0, [])


def test_a_deleted_workflow(runs: Runs, line: Line) -> None:
    """What waits when its workflow is deleted is run, under the limit that there was."""
    workflow = runs.workflow(GRAPH, maxConcurrentRuns=1)
    ids = [start(runs, workflow) for _ in range(3)]
    runs.services.workflows.delete(OWNER, workflow)
    for index, done in enumerate(ids):
        assert line(workflow) == (1, ids[index + 1 :])
        assert runs.end(done).status == "succeeded"
    assert line(workflow) == (0, [])


def test_a_run_in_a_process_waits_as_well(runs: Runs, line: Line) -> None:
    """Recorded to be run by a process, it has a lease only once it is admitted."""
    workflow = runs.workflow(GRAPH, maxConcurrentRuns=1)
    first, second = (runs.services.executions.start(OWNER, workflow, inputs={}, launch=False) for _ in range(2))
    in_process = runs.services.in_process
    assert line(workflow) == (0, [first, second])
    waiting = runs.services.executions.load(OWNER, second)[0]
    assert asyncio.run(in_process.run(OWNER.organization_id, first))
    assert waiting.place is not None
    assert line(workflow) == (1, [])  # its end has started the next one
    assert runs.end(second).status == "succeeded"
    assert line(workflow) == (0, [])


# ------------------------------------------------------------------------------------------------- who dies, who races


@pytest.mark.parametrize("moment", ["before", "after"])
def test_nobody_is_lost_whoever_dies(
    settings: Settings, world: World, empty_table: Callable[[], None], line: Line, moment: str
) -> None:
    """Killed before and after each call that a start, an end and a retry make: upkeep brings every run that is recorded
    to its end, and never counts one too many.
    """
    number, happened = 0, True
    while happened:
        number += 1
        empty_table()
        clock = FakeClock()
        own = services(settings, clock=clock, ids=CountingIds(), capabilities=world.capabilities)
        runs = Runs(own, StepFunctions(ACCOUNT, REGION))
        workflow = runs.workflow(GRAPH, maxConcurrentRuns=1)
        first = start(runs, workflow)
        runs.walk(first)
        happened = _die_at(number, moment, partial(_acts, runs, workflow, first))
        ids = [each.id for each in own.executions.list(OWNER, workflow.id, None, 100, 0).executions]
        for _ in range(10):
            assert line(workflow)[0] <= 1
            for each in filter(runs.is_under_way, started(runs, *ids)):
                runs.walk(each)
                runs.tell_end(each)
            if not any(map(runs.is_under_way, ids)):
                break
            clock.advance(LOOK)
            upkeep(runs)
        assert line(workflow) == (0, [])
    assert number > 15


def _acts(runs: Runs, workflow: Workflow, first: str) -> None:
    second = start(runs, workflow)
    runs.tell_end(first)
    runs.services.control.cancel(OWNER, second)
    runs.services.control.retry(OWNER, second)


def _die_at(number: int, moment: str, act: Callable[[], None]) -> bool:
    """Whether there was such a call, at DynamoDB or Step Functions."""
    made = 0

    def count(_: int) -> None:
        nonlocal made
        made += 1
        if made == number:
            raise Killed

    with watched(client("dynamodb", REGION)) as table, watched(client("stepfunctions", REGION)) as machines:
        for calls in (table, machines):
            setattr(calls, moment, count)
        with suppress(Killed):
            act()
            return False
    return True


def test_twenty_at_once(settings: Settings, app_services: Services, runs: Runs, line: Line) -> None:
    """Twenty start at the same moment, then twenty end: three at most are under way whenever one looks, and all run."""
    workflow = runs.workflow(GRAPH, maxConcurrentRuns=3)
    seen: list[int] = []

    def begin(own: Services, _: int) -> str:
        execution_id = own.executions.start(OWNER, workflow, inputs={})
        seen.append(active(workflow))
        return execution_id

    def end(own: Services, index: int) -> None:
        under_way = list(filter(runs.is_under_way, started(runs, *ids)))
        if index < len(under_way):
            each = under_way[index]
            Runs(own, runs.step_functions).walk(each)
            Runs(own, runs.step_functions).tell_end(each)
        seen.append(active(workflow))

    ids = at_once(settings, 20, begin)
    assert line(workflow)[0] == 3
    assert len(line(workflow)[1]) == 17
    for _ in range(20):
        at_once(settings, 4, end)
        if not any(map(runs.is_under_way, ids)):
            break
    assert line(workflow) == (0, [])
    assert max(seen) == 3
    assert {str(runs.detail(each).execution.status) for each in ids} == {"succeeded"}


def active(workflow: Workflow) -> int:
    """How many count at this moment."""
    table = Table(client("dynamodb", REGION), TABLE)
    return LineRepository(table).read(workflow.organization_id, workflow.id, 1).active


# ------------------------------------------------------------------------------------------------------- what it costs


def test_without_a_limit_nothing_is_paid(runs: Runs, dynamodb_calls: Calls) -> None:
    """A run without a limit neither reads nor writes a line: its calls are those of any run."""
    execution_id = runs.start(GRAPH)
    runs.walk(execution_id)
    runs.tell_end(execution_id)
    assert not [name for name, params in dynamodb_calls.made if "#LINE#" in repr(params)]
    assert "TransactWriteItems" not in dynamodb_calls.operations[2:]


def test_a_line_that_waits_costs_upkeep_one_look(runs: Runs, clock: FakeClock, dynamodb_calls: Calls) -> None:
    """However many wait: a minute's upkeep reads the line, and looks after the run that is under way."""
    workflow = runs.workflow(GRAPH, maxConcurrentRuns=1)
    for _ in range(ADMITTED_AT_ONCE + 5):
        start(runs, workflow)
    upkeep(runs)
    clock.advance(LOOK)
    dynamodb_calls.clear()
    upkeep(runs)
    assert dynamodb_calls.writes <= 4
