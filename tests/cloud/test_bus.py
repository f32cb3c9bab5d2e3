"""The facade of EventBridge, over botocore's client with prepared answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from chalicelib.cloud.bus import MAX_EVENT_BYTES, EventBus
from chalicelib.foundation.errors import Permanent, Retryable


@pytest.fixture
def stubber() -> Iterator[Stubber]:
    client = boto3.client("events", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def answer(stubber: Stubber, **entry: Any) -> None:
    sent = {"EventBusName": "bus", "Source": "millrace", "DetailType": "order.paid", "Detail": '{"n":1}'}
    stubber.add_response("put_events", {"FailedEntryCount": 0, "Entries": [entry]}, {"Entries": [sent]})


def test_an_event_goes_out(stubber: Stubber) -> None:
    """As JSON, under our name; the id that the bus gave it comes back."""
    answer(stubber, EventId="e1")
    assert EventBus(stubber.client, "bus").put("order.paid", {"n": 1}) == "e1"


@pytest.mark.parametrize(
    ("code", "expected", "name"),
    [
        ("ThrottlingException", Retryable, "EventBusUnavailable"),
        ("InternalFailure", Retryable, "EventBusUnavailable"),
        ("NotAuthorizedForSourceException", Permanent, "EventRefused"),
    ],
)
def test_an_entry_that_failed(stubber: Stubber, code: str, expected: type[Exception], name: str) -> None:
    """The call succeeds and its entry does not: what may pass is tried again."""
    answer(stubber, ErrorCode=code, ErrorMessage="m")
    with pytest.raises(expected, match=f"{name}: EventBridge: {code}: m"):
        EventBus(stubber.client, "bus").put("order.paid", {"n": 1})


def test_a_call_that_failed(stubber: Stubber) -> None:
    """It may pass."""
    stubber.add_client_error("put_events", "InternalException", "m", 500)
    with pytest.raises(Retryable, match="EventBusUnavailable"):
        EventBus(stubber.client, "bus").put("order.paid", {"n": 1})


def test_what_is_too_large_is_not_sent(stubber: Stubber) -> None:
    """EventBridge would refuse it for good; type and source count too."""
    for size in (MAX_EVENT_BYTES, MAX_EVENT_BYTES - 20):
        with pytest.raises(Permanent, match="EventTooLarge"):
            EventBus(stubber.client, "bus").put("order.paid", {"text": "x" * size})
