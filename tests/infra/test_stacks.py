"""Change sets on a CloudFormation that runs: nothing twice, and out of every state that a failure leaves."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from infra.local.home import Home
from infra.stacks import StackError, Stacks


@pytest.fixture
def stacks(mended: Home) -> Stacks:
    return Stacks(mended.client("cloudformation"), poll_s=0.05, longest_s=30)


@pytest.fixture
def name() -> str:
    return f"s-{uuid.uuid4().hex}"


def queue(name: str, seconds: int = 30, **more: Any) -> dict[str, Any]:
    properties = {"QueueName": name, "VisibilityTimeout": {"Ref": "Seconds"}}
    return {
        "Parameters": {"Seconds": {"Type": "Number", "Default": seconds}},
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": properties}, **more},
        "Outputs": {"Url": {"Value": {"Ref": "Queue"}}, "Seconds": {"Value": {"Ref": "Seconds"}}},
    }


IMPOSSIBLE = {"Type": "AWS::KMS::Alias", "Properties": {"AliasName": "not-an-alias", "TargetKeyId": "none"}}


def test_a_stack_is_created_and_then_left_alone(stacks: Stacks, name: str) -> None:
    """The same template a second time changes nothing, and the outputs are told both times."""
    first, second = stacks.deploy(name, queue(name)), stacks.deploy(name, queue(name))
    assert (first.changed, second.changed) == (True, False)
    assert first.outputs == second.outputs
    assert first.outputs["Url"].endswith(name)


def test_a_parameter_keeps_its_last_value(stacks: Stacks, name: str) -> None:
    """One that is not named again is not set back to its default."""
    stacks.deploy(name, queue(name), {"Seconds": "77"})
    again = stacks.deploy(name, queue(name))
    assert (again.changed, again.outputs["Seconds"]) == (False, "77")


def test_a_failure_tells_its_reason(stacks: Stacks, name: str) -> None:
    """The error names the resource that could not be made."""
    with pytest.raises(StackError, match="Wrong"):
        stacks.deploy(name, queue(name, Wrong=IMPOSSIBLE))


def test_a_failed_creation_is_made_anew(stacks: Stacks, name: str) -> None:
    """What a failed creation left is no obstacle to the next try."""
    with pytest.raises(StackError):
        stacks.deploy(name, queue(name, Wrong=IMPOSSIBLE))
    assert stacks.deploy(name, queue(name)).changed
    assert stacks.status(name) == "CREATE_COMPLETE"


def test_a_proposed_stack_is_no_obstacle(stacks: Stacks, name: str) -> None:
    """A deployment that was cut off between its change set and the execution of it is taken up again."""
    stacks._propose(name, queue(name), {}, creating=True)
    assert stacks.status(name) == "REVIEW_IN_PROGRESS"
    assert stacks.deploy(name, queue(name)).changed


def test_a_stack_that_is_not_there(stacks: Stacks, name: str) -> None:
    """It has no state and no outputs, and its removal is nothing."""
    stacks.delete(name)
    assert (stacks.status(name), stacks.outputs(name)) == (None, {})
