"""The values that expressions work on, and every walk over them.

JSONata knows null and *undefined*; Python's None is the only word that the library has for a JSON null in its input,
and it is also its word for undefined. So a null that has been taken out of the input is ``NULL``, None is undefined,
and inside of containers of the input None still means null: that keeps the input as it is, without a copy. ``plain``
turns a result back into JSON.

Each walk counts its steps. A small expression can build a value that shares its parts (``$x := [$x, $x]``, forty
times) and is enormous once it is walked through.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from jsonata.utils import Utils

from chalicelib.foundation.json_types import Json

from .limits import LimitPassed, Meter

NULL = Utils.NULL_VALUE
EXACT = 2**53  #: beyond it a float that has no fraction says little about the digits of an integer


_SCALARS = frozenset({str, int, float, bool, type(None), type(NULL)})
_PLAIN = _SCALARS | {dict, list}
ELSEWHERE = object()  #: told of a value that only an evaluation finds


class NotJson(Exception):
    """A value that JSON cannot say."""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def named(names: tuple[str, ...], value: Any) -> Any:
    """What ``a.b.c`` is of a value, as an evaluation tells it: null is ``NULL``, what there is not is None.

    ``ELSEWHERE`` where an array stands on the way, or what is no plain JSON.
    """
    for name in names:
        if type(value) is not dict:
            return None if type(value) in _SCALARS else ELSEWHERE
        if name not in value:
            return None
        value = value[name]
    if value is None:
        return NULL
    return value if type(value) in _PLAIN else ELSEWHERE


def normal(number: float) -> float:
    """3 for 3.0: computed numbers carry no fraction that they do not have.

    Raises ``OverflowError`` for infinity and NaN.
    """
    if isinstance(number, int):
        return number
    if not math.isfinite(number):
        raise OverflowError("the result is not a finite number")
    return int(number) if number.is_integer() and abs(number) < EXACT else number


def plain(
    value: Any,
    meter: Meter,
    count: Callable[[int], None],
    *,
    function: str | None = None,
    rendered: bool = False,
    depth: int = 0,
) -> Any:
    """A copy of ``value`` as plain JSON; undefined becomes None.

    ``count`` is told the size of each part. Functions become ``function``, or raise ``NotJson``. ``rendered`` rounds
    numbers as they are shown. Raises ``NotJson`` for what JSON cannot say, ``LimitPassed``.
    """
    meter.step()
    kind = type(value)
    if kind is str:
        count(len(value) + 2)
        return value if value.isascii() else _whole_characters(value)
    if value is None or value is NULL or kind is bool:
        count(4)
        return None if value is NULL else value
    if kind is int:
        count(8 + value.bit_length() // 3)
        return value
    if isinstance(value, float):
        count(8)
        if not math.isfinite(value):
            raise NotJson("the result is not a finite number")
        return _shown(value) if rendered else value
    if depth >= meter.limits.max_depth:
        raise LimitPassed(f"the value is nested deeper than {meter.limits.max_depth} levels")
    count(2)
    if isinstance(value, Mapping):
        copy = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise NotJson(f"a key of an object is not text but {type(key).__name__}")
            count(len(key) + 3)
            name = key if key.isascii() else _whole_characters(key)
            copy[name] = plain(item, meter, count, function=function, rendered=rendered, depth=depth + 1)
        return copy
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [plain(item, meter, count, function=function, rendered=rendered, depth=depth + 1) for item in value]
    if isinstance(value, str):
        return _whole_characters(str(value))
    if Utils.is_function(value) or getattr(value, "_jsonata_lambda", False):
        if function is None:
            raise NotJson("the result is, or holds, a function")
        return function
    raise NotJson(f"the result holds {type(value).__name__}, which is not JSON")


def _whole_characters(text: str) -> str:
    """Joins surrogate pairs, which escapes in a literal leave apart. Half a pair has no encoding and is refused."""
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise NotJson("the result holds half of a surrogate pair, which is no character") from error


def _shown(number: float) -> float:
    """A number as it is shown: to 15 digits, so that 0.1 + 0.2 shows as 0.3."""
    shown = float(f"{number:.15g}")
    return int(shown) if shown.is_integer() and abs(shown) < 1e21 else shown


def text(value: Any, meter: Meter, *, indent: int | None = None) -> str:
    """``value`` as JSONata's ``$string`` and our templates write it.

    Text stays as it is; anything else is JSON text, compact unless ``indent`` says otherwise. Numbers have at most 15
    digits and no empty fraction (``3`` for 3.0, ``0.3`` for 0.1 + 0.2), and no exponent between 1e-7 and 1e21.
    Functions are empty text.
    """
    if isinstance(value, str):
        return value
    written = plain(value, meter, meter.build, function="", rendered=True)
    if isinstance(written, float) and 1e-7 <= abs(written) < 1e21:
        return format(Decimal(repr(written)), "f")
    if written == "":
        return ""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(written, ensure_ascii=False, indent=indent, separators=separators)


def truth(value: Any, meter: Meter) -> bool:
    """JSONata's idea of true: not empty, zero, null, undefined or a function; of an array, whether any item is."""
    if isinstance(value, list):
        meter.step()
        return any(truth(item, meter) for item in value)
    return bool(value) and isinstance(value, str | int | float | dict)


def equal(left: Any, right: Any, meter: Meter) -> bool:
    """Deep equality. 1 equals 1.0, but not true."""
    if left is right:
        return True
    if isinstance(left, list) and isinstance(right, list):
        meter.step()
        return len(left) == len(right) and all(equal(a, b, meter) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        meter.step()
        return left.keys() == right.keys() and all(equal(left[key], right[key], meter) for key in left)
    if left in (None, NULL) or right in (None, NULL):
        return left in (None, NULL) and right in (None, NULL)
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def identity(value: Any, meter: Meter) -> Hashable:
    """A key that is equal for values that are ``equal``."""
    if isinstance(value, list):
        meter.step()
        return ("list", *(identity(item, meter) for item in value))
    if isinstance(value, dict):
        meter.step()
        return ("object", frozenset((key, identity(item, meter)) for key, item in value.items()))
    if isinstance(value, bool):
        return ("bool", value)
    return None if value is NULL else value


def as_json(value: Any, meter: Meter) -> Json:
    """The result of an evaluation as plain JSON that shares nothing with its input."""
    result: Json = plain(value, meter, meter.output)
    return result
