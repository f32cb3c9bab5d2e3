"""The facade of Step Functions, over botocore's client with prepared answers."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from botocore.stub import Stubber

from chalicelib.cloud.state_machines import StateMachines
from chalicelib.foundation.errors import Downstream

ROLE = "arn:aws:iam::123456789012:role/machines"
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:m:e"


class Scene:
    def __init__(self) -> None:
        client = boto3.client(
            "stepfunctions", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.stubber = Stubber(client)
        self.machines = StateMachines(client, region="us-east-1", role=ROLE, stage="test")

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
