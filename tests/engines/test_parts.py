"""Runs that one execution cannot hold: the state machines of their parts, and what is told of their ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.bootstrap import services
from chalicelib.cloud.sdk import client
from chalicelib.compiler.asl.fragments import fill
from chalicelib.compiler.asl.layout import Budget
from chalicelib.engines.stepfunctions import MachineRun
from chalicelib.events.run_status import PATTERN
from chalicelib.foundation.settings import Settings
from chalicelib.graph.executions import ExecutionStatus, StepError
from tests.conftest import ACCOUNT, REGION
from tests.fakes import CountingIds, FakeClock, Killed, World, graph, node, watched
from tests.runs import OWNER, Runs
from tests.state_machines import StepFunctions


@pytest.fixture
def steps_client(step_functions: StepFunctions, settings: Settings) -> Any:
    return client("stepfunctions", settings.region)


@pytest.fixture
def runs(settings: Settings, clock: FakeClock, world: World, step_functions: StepFunctions, steps_client: Any) -> Runs:
    """On an engine that plans for few events in one execution."""
    budget = Budget(events=100, inline_events=50)
    ids = CountingIds()
    wired = services(settings, clock=clock, ids=ids, capabilities=world.capabilities, budget=budget)
    return Runs(wired, step_functions)


LOOP = graph(
    [node("l", "loop", items="[1..40]"), node("b"), node("d", expression="$sum(data)")], "l:item -> b", "l:done -> d"
)
ALONE = {"retry": {"maxAttempts": 2}}  # a state of its own
LARGE = graph([node(f"n{number}", settings=ALONE) for number in range(30)], " -> ".join(f"n{n}" for n in range(30)))


def test_many_items_have_an_execution_of_their_own(runs: Runs) -> None:
    """Their records and the results are as those of a few."""
    run = runs.run(LOOP)
    assert len(run.walk.started) == 1 + 3
    assert run.status == "succeeded"
    assert run.output == sum(range(1, 41))
    assert {task for task in run.steps if task.startswith("b")} == {f"b[{index}]" for index in range(40)}


def test_machines_of_parts_are_made_first(runs: Runs, steps_client: Any) -> None:
    """So whoever finds the machine of a run finds all that it has executions of."""
    with watched(steps_client) as calls:
        runs.start(LARGE)
        runs.start(LARGE)
    made = [given["name"] for name, given in calls.made if name == "CreateStateMachine"]
    assert len(made) == 2
    assert made[0] in [given["definition"] for name, given in calls.made if name == "CreateStateMachine"][1]
    assert calls.operations.count("StartExecution") == 1 + 1 + 1  # unknown; made; there


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_start_that_dies_is_made_up_for(number: int, runs: Runs, steps_client: Any, clock: FakeClock) -> None:
    """Between any two calls of it: the next reader starts the run, with all that belongs to it."""

    def kill(call: int) -> None:
        if call == number:
            raise Killed

    with watched(steps_client) as calls:
        calls.before = kill
        with pytest.raises(Killed):
            runs.start(LARGE)
    (execution,) = runs.services.executions.list(OWNER, None, None, 10, 0).executions
    clock.advance(60)
    runs.detail(execution.id)
    assert execution.id in runs.step_functions.executions()
    machines = {machine["name"] for machine in steps_client.list_state_machines()["stateMachines"]}
    assert len(machines) == 2


def test_a_large_run_comes_to_its_end(runs: Runs) -> None:
    """Its nodes run in two executions, and nobody can tell."""
    run = runs.run(LARGE, {"x": 1})
    assert len(run.walk.started) == 1
    assert (run.status, len(run.steps), run.execution.tasks_executed) == ("succeeded", 30, 30)
    assert run.output == {"x": 1}


def _told(error: str, cause: str, times: int) -> tuple[str, str]:
    """What Step Functions makes of a failure, from one execution to the one that has it."""
    for number in range(times):
        arn = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:machine:part-{number}"
        cause = json.dumps({"ExecutionArn": arn, "Status": "FAILED", "Error": error, "Cause": cause})
        error = "States.TaskFailed"
    return error, cause


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_error_of_a_part_is_that_of_the_run(depth: int) -> None:
    """Whatever failed first, in however many executions it lies."""
    error, cause = _told("Boom", "no more", depth)
    assert MachineRun.of("FAILED", error, cause) == MachineRun(ExecutionStatus.FAILED, StepError("Boom", "no more"))


@pytest.mark.parametrize("cause", ["no JSON", "[1]", '{"errorMessage": "x"}', "{}"])
def test_other_causes_stay_as_they_are(cause: str) -> None:
    """What is no word of an execution is not read as one."""
    told = MachineRun.of("FAILED", "States.TaskFailed", cause)
    assert told.error == StepError("States.TaskFailed", cause)


def test_the_end_of_a_part_is_not_the_end_of_a_run() -> None:
    """Step Functions tells of both; by the name of the execution the rule tells them apart."""
    detail: Any = PATTERN["detail"]
    (rule,) = detail["name"]
    prefix = rule["anything-but"]["prefix"]
    name = fill("child", Machine="", Which="''", Input="", Retry=[])["Arguments"]["Name"]
    assert name.startswith("{% '" + prefix + "' &")
    assert not "exec_1".startswith(prefix)
