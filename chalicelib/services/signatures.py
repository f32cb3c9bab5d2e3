"""Signatures whose secret is a credential: held against the message where credentials may be opened.

The API, which takes requests, cannot open a credential. So it hands the message to the node runner (``ask``), whose
Lambda can, and is told whether the signature is good (``answer``): the secret stays there.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.engines.secrets import CredentialValues, Secrets
from chalicelib.foundation.errors import Conflict, Permanent
from chalicelib.foundation.signatures import SignedMessage, is_signed_by

PHASE = "verify"  # of an event of the node runner

Call = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class SignatureService:
    def __init__(self, credentials: CredentialValues) -> None:
        self._credentials = credentials

    def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """``{"good": bool}``, or ``{"error"}`` for a secret that is none."""
        message = SignedMessage(event["id"], event["timestamp"], event["signatures"])
        try:
            secret = Secrets(self._credentials, event["organization"]).resolve(event["secret"])
            return {"good": is_signed_by(secret, message, zlib.decompress(base64.b64decode(event["body"])))}
        except Permanent as error:
            return {"error": error.message}
        except ValueError:
            return {"error": "The credential is no secret: base64, or whsec_ and base64."}


def ask(call: Call, organization_id: str, secret: str, message: SignedMessage, body: bytes) -> bool:
    """Whether the node runner finds the signature good. Raises ``Conflict`` where it has no secret to ask with."""
    answer = call(
        {
            "phase": PHASE,
            "organization": organization_id,
            "secret": secret,
            "id": message.id,
            "timestamp": message.timestamp,
            "signatures": message.signatures,
            # Lambda takes 6 MB: a text of 5 MB fits, compressed, though it is spelled in base64.
            "body": base64.b64encode(zlib.compress(body, 1)).decode(),
        }
    )
    if "error" in answer:
        raise Conflict(f"The webhook's secret cannot be used: {answer['error']}")
    return bool(answer["good"])
