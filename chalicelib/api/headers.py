"""Headers that several APIs understand."""

from __future__ import annotations

from chalicelib.api.endpoint import Call
from chalicelib.foundation.errors import InvalidInput

MAX_KEY_CHARS = 255


def idempotency_key(call: Call) -> str | None:
    """The header Idempotency-Key, by which a client may repeat a request that starts something.

    Raises ``InvalidInput``.
    """
    key = call.header("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY_CHARS or not key.isprintable():
        raise InvalidInput.at("Idempotency-Key", f"1 to {MAX_KEY_CHARS} printable characters")
    return key
