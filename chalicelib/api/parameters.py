"""Parameters of queries and headers that several routes understand: their description, and how they are read."""

from __future__ import annotations

from chalicelib.api.endpoint import Call, Parameter
from chalicelib.api.paging import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET
from chalicelib.foundation.errors import InvalidInput

MAX_KEY_CHARS = 255

LIMIT = Parameter(
    "limit",
    "How many to return.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
OFFSET = Parameter(
    "offset", "How many to skip.", {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0}
)
PAGE = (LIMIT, OFFSET)

IF_MATCH = Parameter(
    "If-Match", "The ETag of the workflow as it was read; 412 where it is another by now.", {"type": "string"}, "header"
)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "Names the request, so that it can be repeated: within 24 hours the same request gets the first answer again.",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS},
    "header",
)


def if_match(call: Call) -> str | None:
    return call.header("if-match")


def idempotency_key(call: Call) -> str | None:
    """Raises ``InvalidInput`` for a key that is empty, too long or not printable."""
    key = call.header("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY_CHARS or not key.isprintable():
        raise InvalidInput.at("Idempotency-Key", f"1 to {MAX_KEY_CHARS} printable characters")
    return key
