"""The facade of Step Functions, over botocore's client with prepared answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber

from chalicelib.cloud.state_machines import MachineExecution, StateMachines
from chalicelib.foundation.errors import Downstream, DownstreamTimeout

ROLE = "arn:aws:iam::123456789012:role/machines"
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:m"
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:m:e"


class Scene:
    def __init__(self) -> None:
        client = boto3.client(
            "stepfunctions", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.stubber = Stubber(client)
        self.slept: list[float] = []
        self.machines = StateMachines(client, region="us-east-1", role=ROLE, stage="test", sleep=self.slept.append)

    def start(self, *, wait: bool = False) -> bool:
        return self.machines.start("m", "e", "{}", wait=wait)

    def starts(self) -> None:
        answer = {"executionArn": EXECUTION, "startDate": 0}
        self.stubber.add_response("start_execution", answer, {"stateMachineArn": MACHINE, "name": "e", "input": "{}"})

    def refuses(self, operation: str, code: str, times: int = 1) -> None:
        for _ in range(times):
            self.stubber.add_client_error(operation, code)

    def refuses_to_stop(self) -> None:
        self.stubber.add_client_error("stop_execution", "ValidationException", "Execution is not running")

    def tells(self, status: str) -> None:
        answer = {"executionArn": EXECUTION, "stateMachineArn": "arn", "status": status, "startDate": 0}
        self.stubber.add_response("describe_execution", answer, {"executionArn": EXECUTION})


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    with scene.stubber:
        yield scene
    scene.stubber.assert_no_pending_responses()


def test_stopping_what_has_ended_is_no_failure(scene: Scene) -> None:
    """A run may end between the decision to cancel it and the call: nothing runs then, which is what was wanted."""
    scene.refuses_to_stop()
    scene.tells("SUCCEEDED")
    scene.machines.stop("m", "e", "cancelled")


def test_a_refusal_to_stop_what_runs_is_told(scene: Scene) -> None:
    """An execution that still runs after a refused stop is a failure of Step Functions, not a success."""
    scene.refuses_to_stop()
    scene.tells("RUNNING")
    with pytest.raises(Downstream):
        scene.machines.stop("m", "e", "cancelled")


def test_what_is_made_twice_is_there_once(scene: Scene) -> None:
    """A state machine's name is the hash of its definition, so one that is there already is the one that was meant."""
    made = {"name": "m", "definition": "{}", "roleArn": ROLE, "type": "STANDARD"}
    settings: dict[str, Any] = {"tracingConfiguration": {"enabled": False}}
    tags = [{"key": "millrace:stage", "value": "test"}]
    scene.stubber.add_response(
        "create_state_machine",
        {"stateMachineArn": MACHINE, "creationDate": 0},
        {**made, **settings, "tags": tags},
    )
    scene.machines.create("m", "{}")
    scene.refuses("create_state_machine", "StateMachineAlreadyExists")
    scene.machines.create("m", "{}")


def test_a_refused_definition_is_told(scene: Scene) -> None:
    """It is no fault of the caller's that what we compiled does not please Step Functions."""
    scene.refuses("create_state_machine", "InvalidDefinition")
    with pytest.raises(Downstream, match="InvalidDefinition"):
        scene.machines.create("m", "{}")


def test_a_start_is_one_start(scene: Scene) -> None:
    """Started again under the same name it is under way, which is what was wanted."""
    scene.starts()
    assert scene.start()
    scene.refuses("start_execution", "ExecutionAlreadyExists")
    assert scene.start()


def test_a_start_without_a_state_machine(scene: Scene) -> None:
    """The caller learns at once that it has to make one."""
    scene.refuses("start_execution", "StateMachineDoesNotExist")
    assert not scene.start()
    assert scene.slept == []


def test_a_new_state_machine_is_waited_for(scene: Scene) -> None:
    """One that was just made may not be known everywhere yet: the start is tried again for some seconds only."""
    scene.refuses("start_execution", "StateMachineDoesNotExist", times=3)
    scene.starts()
    assert scene.start(wait=True)
    assert scene.slept == [0.5] * 3
    scene.refuses("start_execution", "StateMachineDoesNotExist", times=10)
    assert not scene.start(wait=True)


def test_stopping_what_never_began(scene: Scene) -> None:
    """There is nothing to stop, and that is fine."""
    scene.refuses("stop_execution", "ExecutionDoesNotExist")
    scene.machines.stop("m", "e", "cancelled")


def test_how_an_execution_fares(scene: Scene) -> None:
    """Its status in Step Functions' words; None for one that was never started."""
    scene.tells("TIMED_OUT")
    assert scene.machines.describe("m", "e") == MachineExecution("TIMED_OUT", None, None)
    scene.refuses("describe_execution", "ExecutionDoesNotExist")
    assert scene.machines.describe("m", "e") is None


def test_a_state_that_waits_is_woken_with_json(scene: Scene) -> None:
    """What the state goes on with is JSON text; nothing is null."""
    scene.stubber.add_response("send_task_success", {}, {"taskToken": "t", "output": '{"a":1}'})
    scene.stubber.add_response("send_task_success", {}, {"taskToken": "t", "output": "null"})
    scene.stubber.add_response("send_task_failure", {}, {"taskToken": "t", "error": "E", "cause": "why"})
    scene.machines.wake("t", {"a": 1})
    scene.machines.wake("t")
    scene.machines.abort("t", "E", "why")


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_a_token_that_nobody_waits_for_wakes_nobody(scene: Scene, code: str) -> None:
    """It was used before, or its state has ended: that is no failure."""
    scene.refuses("send_task_success", code)
    scene.refuses("send_task_failure", code)
    scene.machines.wake("t")
    scene.machines.abort("t", "E", "why")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ReadTimeoutError(endpoint_url="http://x"), DownstreamTimeout),
        (EndpointConnectionError(endpoint_url="http://x"), Downstream),
        (ZeroDivisionError(), ZeroDivisionError),
    ],
)
def test_failures_on_the_way(error: Exception, expected: type[Exception]) -> None:
    """A slow service and a broken one are told apart; what is no failure of the service stays what it is."""

    class Broken:
        exceptions = boto3.client("stepfunctions", region_name="us-east-1").exceptions

        def __getattr__(self, operation: str) -> Any:
            raise error

    machines = StateMachines(Broken(), region="us-east-1", role=ROLE, stage="test")
    for call in (
        lambda: machines.create("m", "{}"),
        lambda: machines.start("m", "e", "{}"),
        lambda: machines.describe("m", "e"),
        lambda: machines.stop("m", "e", "cause"),
        lambda: machines.wake("t"),
        lambda: machines.abort("t", "E", "why"),
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the very type is compared
            call()
        assert type(caught.value) is expected


def test_a_state_machine_that_is_being_deleted(scene: Scene) -> None:
    """To start on it is as if it were not there; to make it again waits for a moment, and no longer."""
    scene.refuses("start_execution", "StateMachineDeleting")
    assert not scene.start()
    scene.refuses("create_state_machine", "StateMachineDeleting", times=2)
    scene.refuses("create_state_machine", "StateMachineAlreadyExists")
    scene.machines.create("m", "{}")
    assert scene.slept == [0.5] * 2
    scene.refuses("create_state_machine", "StateMachineDeleting", times=10)
    with pytest.raises(Downstream, match="still deleting"):
        scene.machines.create("m", "{}")


def test_whether_anything_runs(scene: Scene) -> None:
    """One execution is enough to know; nothing runs on what is not there."""
    asked = {"stateMachineArn": MACHINE, "statusFilter": "RUNNING", "maxResults": 1}
    run = {"executionArn": EXECUTION, "stateMachineArn": MACHINE, "name": "e", "status": "RUNNING", "startDate": 0}
    scene.stubber.add_response("list_executions", {"executions": [run]}, asked)
    assert scene.machines.is_running("m")
    scene.stubber.add_response("list_executions", {"executions": []}, asked)
    assert not scene.machines.is_running("m")
    scene.refuses("list_executions", "StateMachineDoesNotExist")
    assert not scene.machines.is_running("m")


def test_deleting_what_is_not_there(scene: Scene) -> None:
    """There is nothing to delete, and that is fine; any other refusal is told."""
    scene.stubber.add_response("delete_state_machine", {}, {"stateMachineArn": MACHINE})
    scene.machines.delete("m")
    scene.refuses("delete_state_machine", "StateMachineDoesNotExist")
    scene.machines.delete("m")
    scene.refuses("delete_state_machine", "AccessDeniedException")
    with pytest.raises(Downstream, match="AccessDenied"):
        scene.machines.delete("m")


def test_the_list_of_state_machines(scene: Scene) -> None:
    """A page has the names of this stage alone; a token that has expired ends the list."""
    names = ["millrace-test-a", "millrace-test2-b", "other"]
    page = [{"stateMachineArn": MACHINE, "name": name, "type": "STANDARD", "creationDate": 0} for name in names]
    scene.stubber.add_response("list_state_machines", {"stateMachines": page, "nextToken": "t"}, {"maxResults": 9})
    assert scene.machines.page(None, 9) == (["millrace-test-a"], "t")
    scene.stubber.add_response("list_state_machines", {"stateMachines": []}, {"maxResults": 9, "nextToken": "t"})
    assert scene.machines.page("t", 9) == ([], None)
    scene.refuses("list_state_machines", "InvalidToken")
    assert scene.machines.page("t", 9) == ([], None)
