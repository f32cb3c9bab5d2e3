"""JSON, as types, and the one way in which it is written."""

from __future__ import annotations

import json
import json.encoder
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

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
    """Compact JSON text.

    Raises ``ValueError`` for what JSON cannot say (NaN, a circle), ``TypeError`` for what is no JSON,
    ``RecursionError`` for what is nested too deeply.
    """
    if isinstance(value, str):
        return _quoted(value)
    try:
        return "".join(_encode(value, 0))
    except Exception:
        _WITHIN.clear()
    return _COMPACT.encode(value)  # raises the same again, or was not meant


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_quoted: Callable[[str], str] = json.encoder.encode_basestring
#: The objects that are being written, by which a circle is known. All calls share them: should one ever run within
#: another, or beside it, and meet the same object, it takes that for a circle, and ``_COMPACT`` knows better.
_WITHIN: dict[int, object] = {}


def _encoder() -> Callable[[object, int], Iterable[str]]:
    """What ``JSONEncoder.encode`` makes for each call, which takes longer than it takes to write a small value.

    The text comes in pieces; the number is the level of indentation, which nothing is written with.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # an interpreter without the part in C
        return lambda value, _: _COMPACT.iterencode(value)
    made: Callable[[object, int], Iterable[str]]
    made = make(_WITHIN, _COMPACT.default, _quoted, None, ":", ",", False, False, False)
    return made


_encode = _encoder()


def escaped(text: str) -> str:
    """A text as it stands between the quotes of a string of JSON."""
    return _quoted(text)[1:-1]


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
        value = _decoded(raw)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    if len(raw) > MAX_DEPTH and raw.count("[") + raw.count("{") > MAX_DEPTH:  # of fewer nothing deeper is made
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


_scan: Callable[[str, int], tuple[Any, int]] = _STRICT.scan_once  # type: ignore[attr-defined]


def _decoded(text: str) -> Any:
    """The value, as ``JSONDecoder.decode`` finds it, which looks for space around it with two regular expressions."""
    try:
        value, end = _scan(text, 0)
    except StopIteration:  # space before it, or no value
        return _STRICT.decode(text)
    if end != len(text) and text[end:].strip(" \t\n\r"):
        return _STRICT.decode(text)  # raises, and says where
    return value


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
