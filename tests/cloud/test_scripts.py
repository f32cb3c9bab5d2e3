"""The facade of the script Lambda, over botocore's client with prepared answers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from chalicelib.cloud.scripts import MAX_EVENT_BYTES, LambdaScripts
from chalicelib.foundation.errors import NodeError, Permanent, Retryable
from chalicelib.sandbox.runner import handle

CODE = "def main(data): return data"


class Scene:
    def __init__(self) -> None:
        client = boto3.client("lambda", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        self.stubber = Stubber(client)
        self.scripts = LambdaScripts(client, "script")

    def answers(self, body: Any, code: str = CODE, data: Any = None, **more: Any) -> None:
        raw = json.dumps(body).encode()
        event = json.dumps({"code": code, "data": data, "timeoutSeconds": 5}, separators=(",", ":")).encode()
        response = {"StatusCode": 200, "Payload": StreamingBody(io.BytesIO(raw), len(raw)), **more}
        self.stubber.add_response("invoke", response, {"FunctionName": "script", "Payload": event})

    def failure(self, code: str = CODE, data: Any = None) -> NodeError:
        with pytest.raises(NodeError) as caught:
            self.scripts.run(code, data, 5)
        return caught.value


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    with scene.stubber:
        yield scene
    scene.stubber.assert_no_pending_responses()


def test_the_output_is_the_value(scene: Scene) -> None:
    """Code, data and time-out go out; what main returned comes back."""
    scene.answers({"ok": True, "output": {"n": 1}, "stdout": "noise"}, data={"n": 1})
    assert scene.scripts.run(CODE, {"n": 1}, 5) == {"n": 1}


def test_an_error_of_the_script_is_permanent(scene: Scene) -> None:
    """The user's own exception keeps its name and says its line; the same code would fail again."""
    code = "\ndef main(data):\n    raise ValueError('no')"
    scene.answers(handle({"code": code, "timeoutSeconds": 20}), code)
    failure = scene.failure(code)
    assert isinstance(failure, Permanent)
    assert (failure.name, failure.message) == ("ValueError", "no (line 3)")


def test_an_error_without_a_line(scene: Scene) -> None:
    """A time-out belongs to no line."""
    scene.answers({"ok": False, "error": {"name": "ScriptTimeout", "message": "too slow", "line": None}, "stdout": ""})
    failure = scene.failure()
    assert (failure.name, failure.message) == ("ScriptTimeout", "too slow")


@pytest.mark.parametrize("kind", ["SandboxFailed", "Runtime.ExitError", "Sandbox.Timedout"])
def test_a_broken_sandbox_is_worth_another_try(scene: Scene, kind: str) -> None:
    """Where the function itself fails, by an exception or by its death, the script is not to blame."""
    scene.answers({"errorType": kind, "errorMessage": "gone"}, FunctionError="Unhandled")
    failure = scene.failure()
    assert isinstance(failure, Retryable)
    assert failure.name == "SandboxFailed"
    assert kind in failure.message


def test_a_script_cannot_pretend_that_the_sandbox_broke(scene: Scene) -> None:
    """An exception of the user's that is called SandboxFailed is still the user's, and final."""
    code = "class SandboxFailed(Exception): pass\ndef main(data): raise SandboxFailed()"
    scene.answers(handle({"code": code, "timeoutSeconds": 20}), code)
    assert isinstance(scene.failure(code), Permanent)


@pytest.mark.parametrize("code", ["TooManyRequestsException", "ServiceException", "ResourceNotFoundException"])
def test_a_function_out_of_reach_is_worth_another_try(scene: Scene, code: str) -> None:
    """Throttling and the like pass."""
    scene.stubber.add_client_error("invoke", code)
    failure = scene.failure()
    assert isinstance(failure, Retryable)
    assert failure.name == "SandboxUnavailable"


def test_data_larger_than_a_call_takes(scene: Scene) -> None:
    """It is refused before it is sent, and would be again."""
    failure = scene.failure(data="x" * MAX_EVENT_BYTES)
    assert isinstance(failure, Permanent)
    assert failure.name == "ScriptInputTooLarge"
