"""JSON, as types, and the one way in which it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

#: What a parsed JSON document may hold. Read-only on purpose: values are shared, never changed in place.
Json: TypeAlias = "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]"


def dumps(value: object) -> str:
    """Compact JSON text. Raises ``ValueError`` for what JSON cannot say (NaN, a circle)."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical(value: object) -> bytes:
    """The same bytes for equal values: what content hashes are taken over."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
