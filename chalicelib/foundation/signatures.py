"""Signatures of requests by the scheme of Standard Webhooks (https://www.standardwebhooks.com).

A message has an id, a time and a body, and is signed as ``<id>.<time>.<body>`` by HMAC-SHA256 with a secret that both
sides know. Three headers carry it: ``webhook-id``, ``webhook-timestamp`` (seconds since 1970), and
``webhook-signature``, a list of ``v1,<base64>`` apart by spaces, so that a secret can be exchanged without a gap.

The reference library takes texts for bodies and the time from the machine, and fails on headers that are malformed;
what is needed of it is this short. It is tested with that library's own vectors.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from chalicelib.foundation.errors import Unauthenticated

TOLERANCE_S = 5 * 60  # between the clocks of the two sides, and for which a message may be on its way
MAX_ID_CHARS = 256
SECRET_PREFIX = "whsec_"  # noqa: S105 (with what secrets begin, and none itself)

_VERSION = "v1"
_MAX_SIGNATURES = 16


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """What the headers of a message say."""

    id: str
    timestamp: str
    signatures: str


def signed_message(headers: Mapping[str, str], now: datetime) -> SignedMessage:
    """Reads the headers, whose names are in lower case. Raises ``Unauthenticated`` where they are not as they have to
    be, or the message is too old or from the future.
    """
    message_id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    signatures = headers.get("webhook-signature", "")
    if not (0 < len(message_id) <= MAX_ID_CHARS and re.fullmatch(r"[0-9]{1,12}", at) and signatures):
        raise Unauthenticated("The request has to be signed: webhook-id, webhook-timestamp and webhook-signature.")
    if abs(now.timestamp() - int(at)) > TOLERANCE_S:
        raise Unauthenticated(f"webhook-timestamp is more than {TOLERANCE_S} s from now.")
    return SignedMessage(message_id, at, signatures)


def is_signed_by(secret: str, message: SignedMessage, body: bytes) -> bool:
    """Whether one of the signatures is by ``secret``. Raises ``ValueError`` for what can be no secret."""
    text = secret.removeprefix(SECRET_PREFIX)
    key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if not key:
        raise ValueError("the secret is empty")
    content = f"{message.id}.{message.timestamp}.".encode() + body
    expected = hmac.digest(key, content, hashlib.sha256)
    given = [entry.partition(",") for entry in message.signatures.split(" ")[:_MAX_SIGNATURES]]
    return any(
        hmac.compare_digest(_decoded(signature), expected) for version, _, signature in given if version == _VERSION
    )


def _decoded(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""
