"""Signatures of requests to DynamoDB, by Signature Version 4 ("Create a signed AWS API request" in the IAM User Guide).

The SDK's own signer goes through a request of any kind, header by header, and takes several times as long as all else
that a request of ours takes. Ours are all alike: a POST to the root, with headers that are known before. What is signed
is the same, as a test says that holds both against each other.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Protocol

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "dynamodb"
_TYPE = "application/x-amz-json-1.0"


class Keys(Protocol):
    """What somebody signs with; botocore's frozen credentials."""

    access_key: str
    secret_key: str
    token: str | None  # of credentials that end


class Signer:
    """``host`` with its port, where that is not the scheme's; ``now`` tells seconds since 1970."""

    def __init__(self, region: str, host: str, now: Callable[[], float] = time.time) -> None:
        self._region = region
        self._host = host
        self._now = now
        self._key: tuple[tuple[str, str], bytes] = ("", ""), b""  # of a secret and a day

    def headers(self, operation: str, body: bytes, keys: Keys) -> dict[str, str]:
        """The headers of a request with this body for an operation of DynamoDB."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
        target = f"DynamoDB_20120810.{operation}"
        signed = {"content-type": _TYPE, "host": self._host, "x-amz-date": moment}
        if keys.token:
            signed["x-amz-security-token"] = keys.token
        signed["x-amz-target"] = target
        names = ";".join(signed)  # in the order of the alphabet
        lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
        request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{moment[:8]}/{self._region}/{_SERVICE}/aws4_request"
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key_of(keys.secret_key, moment[:8]), text.encode(), "sha256").hex()
        credential = f"{keys.access_key}/{scope}"
        authorization = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return {**signed, "authorization": authorization}

    def _key_of(self, secret: str, day: str) -> bytes:
        of, key = self._key
        if of != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, _SERVICE, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = (secret, day), key
        return key
