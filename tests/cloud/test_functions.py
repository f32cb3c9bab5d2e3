"""The facade of a Lambda function that is waited for, over botocore's client with prepared answers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from chalicelib.cloud.functions import MAX_EVENT_BYTES, LambdaFunction
from chalicelib.foundation.errors import Downstream, DownstreamTimeout, TooLarge


@pytest.fixture
def stubber() -> Iterator[Stubber]:
    client = boto3.client("lambda", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def answer(stubber: Stubber, body: Any, **more: Any) -> None:
    raw = json.dumps(body).encode()
    response = {"StatusCode": 200, "Payload": StreamingBody(io.BytesIO(raw), len(raw)), **more}
    stubber.add_response("invoke", response, {"FunctionName": "node", "Payload": b'{"n":1}'})


def test_the_answer(stubber: Stubber) -> None:
    """The event goes out as JSON, the answer comes back."""
    answer(stubber, {"ok": True})
    assert LambdaFunction(stubber.client, "node").call({"n": 1}) == {"ok": True}


def test_a_function_that_failed(stubber: Stubber) -> None:
    """Its error's name is told, and nothing of its message."""
    answer(stubber, {"errorType": "Runtime.ExitError", "errorMessage": "secret"}, FunctionError="Unhandled")
    with pytest.raises(Downstream, match=r"Runtime\.ExitError") as caught:
        LambdaFunction(stubber.client, "node").call({"n": 1})
    assert "secret" not in str(caught.value)


def test_a_call_that_is_refused(stubber: Stubber) -> None:
    """A service that fails is downstream."""
    stubber.add_client_error("invoke", "TooManyRequestsException")
    with pytest.raises(Downstream):
        LambdaFunction(stubber.client, "node").call({})


def test_an_event_that_is_too_large(stubber: Stubber) -> None:
    """It is not sent."""
    with pytest.raises(TooLarge):
        LambdaFunction(stubber.client, "node").call({"x": "x" * MAX_EVENT_BYTES})


def test_an_answer_that_does_not_come() -> None:
    """After the client's time-out it is a time-out of ours."""

    class Slow:
        def invoke(self, **_: Any) -> None:
            raise ReadTimeoutError(endpoint_url="http://lambda")

    with pytest.raises(DownstreamTimeout):
        LambdaFunction(Slow(), "node").call({})
