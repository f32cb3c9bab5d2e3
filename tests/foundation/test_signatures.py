"""Signatures of Standard Webhooks, against the vectors that its libraries are tested with."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.foundation.errors import Unauthenticated
from chalicelib.foundation.signatures import TOLERANCE_S, SignedMessage, is_signed_by, signed_message

# https://github.com/standard-webhooks/standard-webhooks, `test_sign_function` of its libraries
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": SIGNATURE,
}
NOW = datetime.fromtimestamp(1614265330, tz=UTC)


def message(signatures: str = SIGNATURE) -> SignedMessage:
    return signed_message({**HEADERS, "webhook-signature": signatures}, NOW)


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")])
def test_the_published_vector(secret: str) -> None:
    """With the prefix of the secret, and without."""
    assert is_signed_by(secret, message(), BODY)
    assert not is_signed_by(secret, message(), BODY + b" ")


def test_one_signature_of_several_is_enough() -> None:
    """While a secret is exchanged, a message carries both; other versions are passed over."""
    other = "v1," + base64.b64encode(b"x" * 32).decode()
    assert is_signed_by(SECRET, message(f"v1a,abc {other} {SIGNATURE}"), BODY)
    assert not is_signed_by(SECRET, message(other), BODY)


@pytest.mark.parametrize(
    "signatures", ["v1", "v1,", "v1,***", "v1,ab", "g0hM9S", SIGNATURE.replace("v1", "v2"), ",", "é"]
)
def test_what_is_no_signature_is_a_bad_one(signatures: str) -> None:
    """Whatever a stranger writes there."""
    assert not is_signed_by(SECRET, message(signatures), BODY)


def test_a_body_of_any_bytes() -> None:
    """It need not be text."""
    body = bytes(range(256))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    content = f"{HEADERS['webhook-id']}.{HEADERS['webhook-timestamp']}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    assert is_signed_by(SECRET, message(f"v1,{signature}"), body)


@pytest.mark.parametrize("secret", ["", "whsec_", "not base64!"])
def test_what_is_no_secret(secret: str) -> None:
    """Nothing is signed by an empty one."""
    with pytest.raises(ValueError, match=r"."):
        is_signed_by(secret, message(), BODY)


@pytest.mark.parametrize("seconds", [-TOLERANCE_S - 1, TOLERANCE_S + 1])
def test_a_message_of_another_time(seconds: int) -> None:
    """Five minutes old, or from the future; up to that it may be."""
    with pytest.raises(Unauthenticated, match="300 s from now"):
        signed_message(HEADERS, NOW + timedelta(seconds=seconds))
    assert signed_message(HEADERS, NOW + timedelta(seconds=seconds / 302 * 300))


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("value", [None, "", "x" * 257, "1e3", "-5", "٣"])
def test_headers_that_are_not_as_they_have_to_be(name: str, value: str | None) -> None:
    """Each is needed; an id and a signature may be any text, a time is digits."""
    headers = {**HEADERS, name: value or ""}
    if value is None:
        del headers[name]
    if name != "webhook-timestamp" and value and (len(value) < 257 or name == "webhook-signature"):
        assert signed_message(headers, NOW)
        return
    with pytest.raises(Unauthenticated):
        signed_message(headers, NOW)
