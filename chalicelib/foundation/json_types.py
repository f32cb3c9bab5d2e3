"""JSON, as types, and the one way in which it is written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

#: What a parsed JSON document may hold. Read-only on purpose: values are shared, never changed in place.
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Stored:
    """A JSON value that is not here: where its text lies, of how many bytes. It is passed on in its place."""

    key: str
    size: int


#: A value that may be, or hold, such as are stored.
Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Mapping[str, Value] | Stored | None"


def dumps(value: object) -> str:
    """Compact JSON text. Raises ``ValueError`` for what JSON cannot say (NaN, a circle)."""
    return _COMPACT.encode(value)


#: Made once: ``json.dumps`` and ``json.loads`` make one for every call that wants anything special.
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical(value: object) -> bytes:
    """The same bytes for equal values: what content hashes are taken over."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


#: How deep arrays and objects may nest: deeper ones are no data of anybody's, and exhaust the stack of whatever walks
#: them.
MAX_DEPTH = 100


def loads(text: str | bytes) -> Json:
    """The value of JSON text.

    Raises ``ValueError`` for anything else: text that is not JSON or not UTF-8, ``NaN``, numbers that no float holds,
    lone surrogates (no UTF-8 can carry them), and nesting beyond ``MAX_DEPTH``.
    """
    try:
        raw = text.decode() if isinstance(text, bytes) else text
        value = _STRICT.decode(raw)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    if raw.count("[") + raw.count("{") > MAX_DEPTH:  # of fewer brackets nothing deeper is made
        _check_depth(value)
    if "\\u" in raw and "\\ud" in raw.lower():
        _check_surrogates(value)
    return value  # type: ignore[no-any-return]


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def _bounded_int(digits: str) -> int | float:
    # Whole numbers beyond 64 bit are kept as what JavaScript, JSONata and most databases make of them.
    return int(digits) if len(digits) <= 18 else _finite_float(digits)


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite_float, parse_int=_bounded_int)


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for item in level if isinstance(item, (dict, list)) for child in _children(item)]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _children(item: dict[str, object] | list[object]) -> list[object]:
    return list(item.values()) if isinstance(item, dict) else item


def _check_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate (\\ud800 to \\udfff) is not text") from None
