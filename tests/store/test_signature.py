"""Signatures of requests: the same as the SDK's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.store.signature import Signer

WORDS = st.text("abcXYZ019+/=", min_size=1, max_size=40)


def theirs(moment: datetime, region: str, host: str, operation: str, body: bytes, keys: Any) -> dict[str, str]:
    """The headers that the SDK sends with such a request."""
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{operation}"}
    request = AWSRequest("POST", f"https://{host}/", {**headers, "Host": host}, body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda *_, **__: moment)
        SigV4Auth(keys, "dynamodb", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@given(
    moment=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)),
    region=st.sampled_from(["us-east-1", "eu-central-1"]),
    host=st.sampled_from(["dynamodb.us-east-1.amazonaws.com", "127.0.0.1:4566"]),
    operation=st.sampled_from(["PutItem", "TransactWriteItems"]),
    body=st.binary(max_size=100),
    keys=st.builds(ReadOnlyCredentials, WORDS, WORDS, st.none() | WORDS),
)
def test_it_is_that_of_the_sdk(
    moment: datetime, region: str, host: str, operation: str, body: bytes, keys: ReadOnlyCredentials
) -> None:
    """Header by header."""
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    own = Signer(region, host, moment.timestamp).headers(operation, body, keys)
    assert own == theirs(moment.replace(tzinfo=None), region, host, operation, body, keys)


def test_a_new_day_and_a_new_secret_have_new_keys() -> None:
    """What is kept of the last request is used for those alone to which it belongs."""
    now = datetime(2026, 11, 28, 23, 59, 59, tzinfo=UTC)
    host = "127.0.0.1:4566"
    moments = [now, now, datetime(2026, 11, 29, tzinfo=UTC), now]
    signer = Signer("us-east-1", host, lambda: moments[0].timestamp())
    for secret in ("one", "two", "two", "one"):
        keys = ReadOnlyCredentials("AKIA", secret, None)
        own = signer.headers("PutItem", b"{}", keys)
        assert own == theirs(moments.pop(0).replace(tzinfo=None), "us-east-1", host, "PutItem", b"{}", keys)
