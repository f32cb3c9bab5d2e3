"""State machines that nobody needs are deleted, and none that somebody needs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.cloud.sdk import client
from chalicelib.cloud.state_machines import StateMachines
from chalicelib.engines.stepfunctions import StepFunctionsEngine
from chalicelib.foundation.errors import Downstream
from chalicelib.foundation.settings import Settings
from chalicelib.services import upkeep
from chalicelib.services.upkeep import PartReport
from chalicelib.store.gates import GateRepository
from chalicelib.store.machines import MachineRepository
from chalicelib.store.table import Table
from tests.conftest import TABLE
from tests.fakes import Calls, CountingIds, FakeClock, Killed, World, graph, node, watched
from tests.runs import OWNER, Runs
from tests.state_machines import StepFunctions

GRAPH = graph([node("a", expression="data.n"), node("b")], "a -> b")
DAY = 24 * 3600
LONG = 8 * DAY + 1  # what is used is noted once a day, and kept for a week


@pytest.fixture
def steps_client(step_functions: StepFunctions, settings: Settings) -> Any:
    return client("stepfunctions", settings.region)


@pytest.fixture
def runs(
    settings: Settings, clock: FakeClock, world: World, step_functions: StepFunctions, dynamodb: Any, steps_client: Any
) -> Runs:
    """Runs whose waits take no time."""

    def no_time(_: float) -> None:
        pass

    uses = MachineRepository(Table(dynamodb, TABLE), clock, timedelta(days=settings.machine_days), sleep=no_time)
    machines = StateMachines(
        steps_client, region=settings.region, role=settings.state_machine_role, stage=settings.stage, sleep=no_time
    )
    gates = GateRepository(Table(dynamodb, TABLE), clock)
    engine = StepFunctionsEngine(
        machines, gates, uses, stage=settings.stage, node_function=settings.node_function, table=settings.table
    )
    ids = CountingIds()
    found = Services(settings, clock=clock, ids=ids, capabilities=world.capabilities, engine=engine)
    return Runs(found, step_functions)


@pytest.fixture
def machines(steps_client: Any) -> Callable[[], list[str]]:
    """The names of all that are there."""

    def names() -> list[str]:
        pages = steps_client.get_paginator("list_state_machines").paginate()
        return sorted(machine["name"] for page in pages for machine in page["stateMachines"])

    return names


def do_upkeep(runs: Runs) -> dict[str, PartReport]:
    """One call, in which nothing fails."""
    reports = runs.services.upkeep.run()
    assert not [failure for report in reports for failure in report.failures]
    return {report.part: report for report in reports}


def is_started(runs: Runs, execution_id: str) -> bool:
    return execution_id in runs.step_functions.executions()


def test_what_nobody_uses_is_deleted(runs: Runs, clock: FakeClock, machines: Any, dynamodb_calls: Calls) -> None:
    """A week and a day after its last use a machine goes, and nothing of it stays behind."""
    runs.run(GRAPH, {"n": 1})
    assert len(machines()) == 1
    clock.advance(LONG - 2)
    do_upkeep(runs)
    assert len(machines()) == 1
    clock.advance(2)
    assert do_upkeep(runs)["machines"].done == 1
    assert machines() == []
    dynamodb_calls.clear()
    assert do_upkeep(runs)["machines"].done == 0
    assert set(dynamodb_calls.operations) <= {"Query", "GetItem"}


def test_what_is_used_again_is_made_again(runs: Runs, clock: FakeClock, machines: Any) -> None:
    """Whoever starts a run does not notice that its machine was deleted meanwhile."""
    first = runs.workflow(GRAPH)
    for _ in range(2):
        execution_id = runs.services.executions.start(OWNER, first, inputs={"n": 5})
        runs.walk(execution_id)
        runs.tell_end(execution_id)
        assert runs.output(runs.detail(execution_id).execution) == 5
        clock.advance(LONG)
        do_upkeep(runs)
        assert machines() == []


def test_what_is_used_stays(runs: Runs, clock: FakeClock, machines: Any) -> None:
    """A machine that is used once a week is never deleted."""
    for _ in range(5):
        runs.run(GRAPH, {"n": 1})
        clock.advance(7 * DAY)
        do_upkeep(runs)
        assert len(machines()) == 1


def test_what_runs_stays(runs: Runs, clock: FakeClock, machines: Any) -> None:
    """A machine on which something waits for weeks is there as long as that waits, and goes afterwards."""
    execution_id = runs.start(graph([node("w", "wait", seconds=30 * DAY)]))
    runs.visit(execution_id, "w")
    for _ in range(20):
        clock.advance(1.5 * DAY)
        do_upkeep(runs)
        assert len(machines()) == 1
    runs.walk(execution_id)
    runs.tell_end(execution_id)
    clock.advance(1.5 * DAY)
    do_upkeep(runs)
    assert machines() == []


def test_a_use_is_noted_once_a_day(runs: Runs, clock: FakeClock, dynamodb_calls: Calls) -> None:
    """Starts of one shape cost one more write in a day, not one each."""

    def writes() -> int:
        dynamodb_calls.clear()
        runs.start(GRAPH, {"n": 1})
        return dynamodb_calls.writes

    first = writes()
    assert [writes() for _ in range(3)] == [first - 1] * 3
    clock.advance(DAY)
    assert [writes() for _ in range(2)] == [first, first - 1]


def test_a_start_in_the_middle_of_a_deletion(
    runs: Runs, clock: FakeClock, dynamodb: Any, steps_client: Any, machines: Any
) -> None:
    """At whichever call of the deletion somebody starts a run of that shape: it runs, at once or at upkeep's next
    look, and its machine is not deleted under it.
    """
    workflow = runs.workflow(GRAPH)
    outcomes = set[str]()
    for number in range(1, 40):
        runs.run(GRAPH, {"n": 1})
        clock.advance(LONG)
        came: list[str] = []

        def start(came: list[str] = came) -> None:
            try:
                came.append(runs.services.executions.start(OWNER, workflow, inputs={"n": 7}))
                outcomes.add("at once")
            except Downstream:
                newest = runs.services.executions.list(OWNER, workflow.id, None, 1, 0).executions
                came.append(newest[0].id)
                outcomes.add("later")

        with watched(dynamodb) as table, watched(steps_client) as steps:
            table.before = steps.before = _at_call(number, table, steps, start)
            do_upkeep(runs)
        if not came:
            break
        (execution_id,) = came
        clock.advance(601)
        do_upkeep(runs)
        assert is_started(runs, execution_id)
        assert len(machines()) == 1
        runs.walk(execution_id)
        runs.tell_end(execution_id)
        assert runs.output(runs.detail(execution_id).execution) == 7
    assert outcomes == {"at once", "later"}
    assert number > 12


def _at_call(wanted: int, table: Calls, steps: Calls, act: Callable[[], None]) -> Callable[[int], None]:
    """Acts before the call with this number, of both clients together; once."""
    done: list[bool] = []

    def come_in(_: int) -> None:
        if len(table.made) + len(steps.made) == wanted and not done:
            done.append(True)
            act()

    return come_in


def test_a_deletion_that_dies(runs: Runs, clock: FakeClock, dynamodb: Any, steps_client: Any, machines: Any) -> None:
    """Killed at any of its calls, it is finished by a later upkeep, and the next run makes the machine again."""
    for number in range(1, 40):
        runs.run(GRAPH, {"n": 1})
        clock.advance(LONG)
        with watched(dynamodb) as table, watched(steps_client) as steps:
            table.before = steps.before = _at_call(number, table, steps, _die)
            try:
                do_upkeep(runs)
            except Killed:
                clock.advance(601)
            else:
                break
        do_upkeep(runs)
        assert machines() == []
    assert number > 12


def _die() -> None:
    raise Killed


def test_machines_that_are_not_known(runs: Runs, clock: FakeClock, steps_client: Any, machines: Any) -> None:
    """What stands in Step Functions alone, of a table that was restored for instance, is found within a day and goes
    if nobody uses it; other stages and other people's are left.
    """
    role = "arn:aws:iam::123456789012:role/x"
    names = [f"millrace-test-{number:03}" for number in range(upkeep.SURVEY_PAGE + 5)]
    for name in (*names, "millrace-test2-abc", "somebody-elses"):
        steps_client.create_state_machine(name=name, definition='{"StartAt": "a"}', roleArn=role)
    for _ in range(3):
        do_upkeep(runs)
        clock.advance(60)
    assert len(machines()) == len(names) + 2
    clock.advance(LONG)
    for _ in range(1 + len(names) // upkeep.MACHINES_AT_ONCE):
        do_upkeep(runs)
    assert machines() == ["millrace-test2-abc", "somebody-elses"]


def test_the_list_is_read_once_a_day(runs: Runs, clock: FakeClock, steps_client: Any) -> None:
    """A page in a call, until the list is at its end; then not before the next day."""
    with watched(steps_client) as asked:
        for _ in range(10):
            do_upkeep(runs)
            clock.advance(60)
        assert asked.operations == ["ListStateMachines"]
        clock.advance(DAY)
        do_upkeep(runs)
    assert asked.operations == ["ListStateMachines"] * 2


# --- Machines of parts ------------------------------------------------------------------------------------------------

LOOP = graph([node("l", "loop", items="[1, 2]"), node("w", "wait", seconds=30 * DAY)], "l:item -> w")


def test_parts_stay_while_what_has_them_runs(runs: Runs, clock: FakeClock, machines: Any) -> None:
    """Nothing runs on the machine of a loop's items, and it may be needed any day: it goes when the run is over."""
    execution_id = runs.start(LOOP)
    for _ in range(20):
        clock.advance(1.5 * DAY)
        do_upkeep(runs)
        assert len(machines()) == 2
    runs.walk(execution_id)
    runs.tell_end(execution_id)
    for _ in range(10):
        clock.advance(1.5 * DAY)
        do_upkeep(runs)
    assert machines() == []


@pytest.mark.parametrize("gone", ["one", "both"])
def test_what_was_deleted_is_made_again_with_its_parts(
    gone: str, runs: Runs, clock: FakeClock, machines: Any, steps_client: Any
) -> None:
    """Whichever of the two is gone: a start leaves both there, and the run comes to its end."""
    workflow = runs.workflow(LOOP)
    with watched(steps_client) as calls:
        first = runs.services.executions.start(OWNER, workflow, inputs={})
    made = [given["name"] for name, given in calls.made if name == "CreateStateMachine"]
    runs.walk(first)
    runs.tell_end(first)
    clock.advance(LONG)
    do_upkeep(runs)  # the run's machine goes two days before its part
    assert machines() == [made[0]]
    if gone == "one":
        runs.services.executions.start(OWNER, workflow, inputs={})
        assert set(machines()) == set(made)
        return
    clock.advance(3 * DAY)
    do_upkeep(runs)
    assert machines() == []
    again = runs.services.executions.start(OWNER, workflow, inputs={})
    assert set(machines()) == set(made)
    runs.walk(again)
    runs.tell_end(again)
    assert runs.detail(again).execution.status == "succeeded"


@pytest.mark.parametrize("moment", range(1, 4))
def test_a_start_that_dies_leaves_no_part_unmade(
    moment: int, runs: Runs, clock: FakeClock, machines: Any, steps_client: Any
) -> None:
    """Though the use of a part is noted before it is made: only a note that it was made is trusted."""

    def kill(number: int) -> None:
        if number == moment:
            raise Killed

    with watched(steps_client) as calls:
        calls.before = kill
        with pytest.raises(Killed):
            runs.start(LOOP)
    clock.advance(60)
    do_upkeep(runs)
    assert len(machines()) == 2
