"""The facade of Bedrock, over botocore's client with prepared answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber

from chalicelib.cloud.bedrock import BedrockModels
from chalicelib.foundation.errors import NodeError, Permanent, Retryable

REQUEST = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def new_client() -> Any:
    return boto3.client(
        "bedrock-runtime", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


@pytest.fixture
def stubber() -> Iterator[Stubber]:
    with Stubber(new_client()) as stubber:
        yield stubber
    stubber.assert_no_pending_responses()


def failure(client: Any, request: dict[str, Any] = REQUEST) -> NodeError:
    with pytest.raises(NodeError) as caught:
        BedrockModels(lambda: client).converse(request)
    return caught.value


def test_the_answer_is_what_bedrock_says(stubber: Stubber) -> None:
    """Request and answer are in the words of its API."""
    message = {"role": "assistant", "content": [{"text": "hello"}]}
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    answer = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}
    stubber.add_response("converse", answer, REQUEST)
    told = BedrockModels(lambda: stubber.client).converse(REQUEST)
    assert {name: told[name] for name in answer} == answer


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        ("AccessDeniedException", Permanent, "ModelAccessDenied"),
        ("ResourceNotFoundException", Permanent, "ModelNotFound"),
        ("ValidationException", Permanent, "ModelRequestInvalid"),
        ("ThrottlingException", Retryable, "ModelUnavailable"),
        ("ModelNotReadyException", Retryable, "ModelUnavailable"),
        ("ServiceUnavailableException", Retryable, "ModelUnavailable"),
        ("SomethingNew", Retryable, "ModelUnavailable"),
    ],
)
def test_errors(stubber: Stubber, code: str, kind: type[NodeError], name: str) -> None:
    """What would fail again is permanent; what may pass is worth another try."""
    stubber.add_client_error("converse", code, "because")
    found = failure(stubber.client)
    assert (type(found), found.name) == (kind, name)
    assert "because" in found.message


def test_a_request_that_the_sdk_refuses() -> None:
    """It would refuse it again; nothing is sent."""
    assert failure(new_client(), {"modelId": 1}).name == "ModelRequestInvalid"


def test_a_model_that_takes_too_long() -> None:
    """It is worth another try."""

    class Slow:
        def converse(self, **_: Any) -> Any:
            raise ReadTimeoutError(endpoint_url="https://bedrock")

    found = failure(Slow())
    assert (type(found), found.name) == (Retryable, "ModelUnavailable")
