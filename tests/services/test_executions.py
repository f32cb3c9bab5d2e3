"""Runs, from their start to their end, when somebody in between dies, is late or comes twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from chalice.test import Client

from app import app
from chalicelib.bootstrap import Services, lambda_services, services
from chalicelib.cloud.sdk import client
from chalicelib.cloud.state_machines import StateMachines
from chalicelib.compiler.asl.emit import Definition
from chalicelib.engines.stepfunctions import StepFunctionsEngine
from chalicelib.foundation.errors import Conflict, Downstream, IdempotencyMismatch, NotFound
from chalicelib.foundation.settings import Settings
from chalicelib.graph.executions import ExecutionStatus, StepStatus
from chalicelib.services.lifecycle import STALE_AFTER
from tests.fakes import FakeClock, Killed, World, graph, node, watched
from tests.runs import OWNER, Runs
from tests.state_machines import StepFunctions

GRAPH = graph([node("a", expression="data.n"), node("b")], "a -> b")
STALE = STALE_AFTER.total_seconds() + 1


def status(runs: Runs, execution_id: str) -> ExecutionStatus:
    return runs.detail(execution_id).execution.status


def _die(number: int) -> None:
    raise Killed


def known(runs: Runs) -> list[str]:
    """Ids of all recorded runs."""
    return [run.id for run in runs.services.executions.list(OWNER, None, None, 100, 0).executions]


@pytest.fixture
def steps_client(step_functions: StepFunctions, settings: Settings) -> Any:
    return client("stepfunctions", settings.region)


def test_a_fresh_run_is_left_alone(runs: Runs, steps_client: Any, clock: FakeClock) -> None:
    """Within a quarter of a minute of the last sign of life a read asks nobody."""
    execution_id = runs.start(GRAPH, {"n": 1})
    with watched(steps_client) as calls:
        clock.advance(STALE - 2)
        status(runs, execution_id)
        runs.visit(execution_id, "a")
        clock.advance(STALE - 2)
        status(runs, execution_id)
        assert calls.operations == []
        clock.advance(3)
        assert status(runs, execution_id) is ExecutionStatus.RUNNING
        assert calls.operations == ["DescribeExecution"]


def test_tasks_of_one_moment_are_told_in_their_order(runs: Runs) -> None:
    """What began in the same millisecond stands behind what leads to it, whatever it is called and however it runs."""
    alone = {"retry": {"maxAttempts": 2}}  # a state of its own, and an attempt that is noted
    nodes = [node("z"), node("y", "condition", expression="true"), node("x"), node("w", settings=alone), node("a")]
    execution_id = runs.start(graph([*nodes[1:], nodes[0]], "z -> y", "y:true -> x -> w", "y:false -> a"))
    runs.end(execution_id)
    detail = runs.detail(execution_id)
    assert len({step.started_at or step.finished_at for step in detail.steps}) == 1, "time stands still here"
    assert [step.node_id for step in detail.steps] == ["z", "y", "x", "a", "w"]


def test_a_failure_that_was_never_told(runs: Runs, clock: FakeClock) -> None:
    """The same, with the error."""
    execution_id = runs.start(graph([node("f", "fail", error="E", message="m")]))
    runs.walk(execution_id)
    clock.advance(STALE)
    assert runs.detail(execution_id).execution.error == {"name": "E", "message": "m", "nodeId": "f"}


def test_a_waiting_run_is_not_stale_before_its_time(runs: Runs, steps_client: Any, clock: FakeClock) -> None:
    """A wait of an hour gives no sign of life, and needs none."""
    execution_id = runs.start(graph([node("w", "wait", seconds=3600)]))
    runs.visit(execution_id, "w")
    clock.advance(1800)
    with watched(steps_client) as calls:
        runs.detail(execution_id)
    assert calls.operations == []


def test_what_is_lost_with_its_machine(runs: Runs, world: World) -> None:
    """A step that was under way when the machine failed is failed with the machine's error, and so is the run."""
    execution_id = runs.start(graph([node("h", "http-request", method="GET", url="http://x")]))
    world.http.fail_with(Killed())
    with pytest.raises(Killed):
        runs.visit(execution_id, "h")
    moto = runs.step_functions.executions()[execution_id]
    moto.status, moto.error, moto.cause = "FAILED", "Runtime.ExitError", "gone"
    runs.tell_end(execution_id)
    detail = runs.detail(execution_id)
    assert detail.execution.error == {"name": "Runtime.ExitError", "message": "gone", "nodeId": "h"}
    (step,) = detail.steps
    assert step.status is StepStatus.FAILED


def test_a_run_that_took_too_long(runs: Runs) -> None:
    """``TIMED_OUT`` of the machine is that of the run; what was under way is cancelled."""
    execution_id = runs.start(graph([node("w", "wait", seconds=60)]), timeout=30)
    assert runs.step_functions.definition(execution_id)["TimeoutSeconds"] == 30
    runs.visit(execution_id, "w")
    runs.step_functions.executions()[execution_id].status = "TIMED_OUT"
    runs.tell_end(execution_id)
    assert status(runs, execution_id) is ExecutionStatus.TIMED_OUT
    assert runs.steps(execution_id)["w"].status is StepStatus.CANCELLED


def test_a_run_past_its_deadline_is_ended_by_a_read(runs: Runs, clock: FakeClock) -> None:
    """Where Step Functions is late, whoever reads the run ends it, and its machine with it."""
    execution_id = runs.start(graph([node("a"), node("w", "wait", seconds=60)], "a -> w"), timeout=30)
    runs.visit(execution_id, "a")
    runs.visit(execution_id, "w")
    clock.advance(29)
    assert status(runs, execution_id) is ExecutionStatus.WAITING
    clock.advance(1)
    assert status(runs, execution_id) is ExecutionStatus.TIMED_OUT
    assert runs.step_functions.executions()[execution_id].status == "ABORTED"
    runs.tell_end(execution_id)
    assert status(runs, execution_id) is ExecutionStatus.TIMED_OUT


def test_an_end_in_time_that_is_heard_of_later(runs: Runs, clock: FakeClock) -> None:
    """A run whose machine ended before the deadline has not timed out, however late somebody looks."""
    execution_id = runs.start(GRAPH, {"n": 1}, timeout=30)
    runs.walk(execution_id)
    clock.advance(3600)
    assert status(runs, execution_id) is ExecutionStatus.SUCCEEDED


def test_no_node_begins_past_the_deadline(runs: Runs, clock: FakeClock) -> None:
    """The runner refuses what comes too late, also where the node's settings let a run go on after an error."""
    execution_id = runs.start(graph([node("a", settings={"onError": "continue"}), node("b")], "a -> b"), timeout=30)
    clock.advance(30)
    runs.walk(execution_id)
    runs.tell_end(execution_id)
    detail = runs.detail(execution_id)
    assert (detail.execution.status, detail.steps) == (ExecutionStatus.TIMED_OUT, ())


def test_cancel(runs: Runs) -> None:
    """The record comes first, the machine is stopped, what was under way is cancelled."""
    execution_id = runs.start(graph([node("a"), node("w", "wait", seconds=60)], "a -> w"))
    runs.visit(execution_id, "a")
    runs.visit(execution_id, "w")
    detail = runs.services.control.cancel(OWNER, execution_id)
    assert detail.execution.status is ExecutionStatus.CANCELLED
    assert [(step.node_id, step.status) for step in detail.steps] == [
        ("a", StepStatus.SUCCEEDED),
        ("w", StepStatus.CANCELLED),
    ]
    assert runs.step_functions.executions()[execution_id].status == "ABORTED"
    runs.tell_end(execution_id)
    assert runs.detail(execution_id) == detail


@pytest.mark.parametrize("fields", [{"status": "FAILED"}, {"status": "SUCCEEDED"}])
def test_a_run_that_has_ended_is_not_cancelled(runs: Runs, fields: dict[str, str]) -> None:
    """409 that says how it ended."""
    execution_id = runs.start(GRAPH)
    runs.step_functions.executions()[execution_id].status = fields["status"]
    runs.tell_end(execution_id)
    with pytest.raises(Conflict, match=fields["status"].lower()):
        runs.services.control.cancel(OWNER, execution_id)


def test_a_cancel_that_cannot_stop_the_machine(runs: Runs, steps_client: Any, world: World) -> None:
    """Where Step Functions does not answer, the record says cancelled all the same, and no node runs any more."""
    execution_id = runs.start(graph([node("h", "http-request", method="GET", url="http://x")]))
    with watched(steps_client) as calls:
        calls.before = _die
        with pytest.raises(Killed):
            runs.services.control.cancel(OWNER, execution_id)
    runs.walk(execution_id)
    assert world.http.requests == []
    assert status(runs, execution_id) is ExecutionStatus.CANCELLED


def test_unknown_runs(runs: Runs) -> None:
    """Absent, of another organisation, or no id at all: not found."""
    execution_id = runs.start(GRAPH)
    for text in ("exec_none", "", "../x", "a b"):
        with pytest.raises(NotFound):
            runs.services.executions.find(OWNER, text)
    stranger = replace(OWNER, organization_id="other")
    for call in (runs.services.executions.find, runs.services.control.cancel):
        with pytest.raises(NotFound):
            call(stranger, execution_id)


def test_ten_starts_with_one_key(runs: Runs, settings: Settings, clock: FakeClock) -> None:
    """Ten Lambdas that are given the same request at one time start one run, and all name it."""
    workflow = runs.workflow(GRAPH)
    lambdas = [services(settings, clock=clock) for _ in range(10)]

    def start(lambda_: Services) -> str:
        return lambda_.executions.start(OWNER, workflow, inputs={"n": 1}, idempotency_key="k")

    with ThreadPoolExecutor(10) as pool:
        found = set(pool.map(start, lambdas))
    assert len(found) == 1
    assert known(runs) == list(runs.step_functions.executions()) == list(found)


def test_a_repeated_start_is_remembered_for_a_day(runs: Runs, clock: FakeClock) -> None:
    """Within 24 hours the same key names the same run, and another request is refused; then the key is free."""
    workflow = runs.workflow(GRAPH)
    start: Callable[..., str] = runs.services.executions.start
    first = start(OWNER, workflow, inputs={"n": 1}, idempotency_key="k")
    clock.advance(24 * 3600 - 5)
    assert start(OWNER, workflow, inputs={"n": 1}, idempotency_key="k") == first
    with pytest.raises(IdempotencyMismatch):
        start(OWNER, workflow, inputs={"n": 2}, idempotency_key="k")
    clock.advance(10)
    assert start(OWNER, workflow, inputs={"n": 2}, idempotency_key="k") != first


def test_runs_of_one_shape_share_a_machine(runs: Runs) -> None:
    """A state machine is named by its definition: configs are not in it."""
    first = runs.start(graph([node("a", expression="1"), node("b")], "a", "b"))
    second = runs.start(graph([node("a", expression="2"), node("b")], "a", "b"))
    other = runs.start(graph([node("a"), node("c")], "a", "c"))
    machines = {name: run.state_machine_arn for name, run in runs.step_functions.executions().items()}
    assert machines[first] == machines[second] != machines[other]


def test_no_payload_reaches_the_state_machine(runs: Runs) -> None:
    """Neither the definition nor the input of an execution holds anything of a workflow's data."""
    execution_id = runs.start(graph([node("a", expression="'secret-config'")]), {"x": "secret-input"})
    texts = [
        json.dumps(runs.step_functions.definition(execution_id)),
        json.dumps(runs.step_functions.input(execution_id)),
    ]
    assert not any("secret" in text for text in texts)


@pytest.fixture
def run_status(app_services: Services, environment: dict[str, str]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """The Lambda that is told of the end of executions."""
    lambda_services.cache_clear()
    caller = Client(app).lambda_

    def deliver(event: dict[str, Any]) -> None:
        caller.invoke("run_status", event)

    yield deliver
    lambda_services.cache_clear()


def test_the_event_may_come_twice(runs: Runs, run_status: Callable[[dict[str, Any]], None]) -> None:
    """The second changes nothing."""
    execution_id = runs.start(GRAPH, {"n": 3})
    runs.walk(execution_id)
    event = runs.step_functions.status_event(execution_id)
    run_status(event)
    first = runs.detail(execution_id)
    assert (first.execution.status, runs.output(first.execution)) == (ExecutionStatus.SUCCEEDED, 3)
    run_status(event)
    assert runs.detail(execution_id) == first


def test_the_event_of_an_unknown_run(runs: Runs, run_status: Callable[[dict[str, Any]], None]) -> None:
    """A run that is not recorded (its table was restored, say) is no reason to fail for ever."""
    execution_id = runs.start(GRAPH)
    event = runs.step_functions.status_event(execution_id)
    event["detail"]["input"] = json.dumps({"run": {"organization": "acme", "execution": "exec_gone", "plan": "p"}})
    event["detail"]["status"] = "SUCCEEDED"
    run_status(event)
    assert known(runs) == [execution_id]


def test_a_machine_that_is_never_known_is_told(runs: Runs, steps_client: Any) -> None:
    """Where Step Functions forgets what was just made, the start is a failure downstream, within bounds."""
    naps: list[float] = []
    machines = StateMachines(
        _Forgetful(steps_client), region="r", role="arn:aws:iam::1:role/x", stage="t", sleep=naps.append
    )
    services = runs.services
    engine = StepFunctionsEngine(
        machines, services._gates, services._machine_uses, stage="t", node_function="arn", table="table"
    )
    execution = runs.detail(runs.start(GRAPH)).execution
    with pytest.raises(Downstream):
        engine.start(execution, Definition("machine", "{}", {}))
    assert 0 < sum(naps) < 20


class _Forgetful:
    """Step Functions that takes every state machine and knows none."""

    def __init__(self, real: Any) -> None:
        self.exceptions = real.exceptions

    def create_state_machine(self, **_: Any) -> None:
        pass

    def start_execution(self, **_: Any) -> None:
        raise self.exceptions.StateMachineDoesNotExist({"Error": {}}, "StartExecution")
