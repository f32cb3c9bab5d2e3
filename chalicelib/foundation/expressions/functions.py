"""The functions that expressions call.

All of the library's, less ``$eval``, which would bring in source that nobody has looked at. Those below replace the
library's own, because it was wrong there or had no bound: one call of ``$pad`` or ``$replace`` may otherwise build
gigabytes, and ``$distinct`` or ``$spread`` take quadratic time inside of one step. The rest is used as it is. Every
call is a step of the meter, and what it returns is charged.

An implementation takes the running evaluation, then the arguments; those that were not given are None, undefined.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import math
import re
from collections.abc import Callable, Hashable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jsonata.datetimeutils import DateTimeUtils
from jsonata.functions import Functions
from jsonata.jexception import JException
from jsonata.jsonata import Jsonata
from jsonata.signature import Signature
from jsonata.utils import Utils

from .limits import CELL_BYTES, ENTRY_BYTES, LimitPassed
from .patterns import Pattern, described, groups_of, running
from .values import EXACT, NULL, identity, is_number, normal, plain, text, truth

if TYPE_CHECKING:
    from .evaluator import Evaluator

Implementation = Callable[..., Any]

REFUSED = frozenset({"eval"})
PICTURE_CHARS = 256  #: longest picture of a number or a date
PARSED_CHARS = 1_000  #: longest text that is read by a picture
_NUMBER = re.compile(r"\s*-?(0|[1-9][0-9]*)(\.[0-9]+)?([Ee][-+]?[0-9]+)?\s*")
_BASED_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+")

OURS: dict[str, Implementation] = {}


def function(name: str) -> Callable[[Implementation], Implementation]:
    """Registers what ``$name`` does; its signature is the library's."""

    def register(implementation: Implementation) -> Implementation:
        OURS[name] = implementation
        return implementation

    return register


class _Signature(Signature):  # type: ignore[misc]
    """The library's, except that null is a value of its own there and not a missing one."""

    def __init__(self, of: Signature) -> None:
        self.__dict__.update(vars(of))

    def get_symbol(self, value: Any) -> str:
        return "l" if value is NULL else str(super().get_symbol(value))


class Builtin(Jsonata.JFunction):  # type: ignore[misc]
    """A function of the language, as the evaluator calls it. Shared by all evaluations, and never changed."""

    def __init__(self, native: Any, ours: Implementation | None) -> None:
        super().__init__(None, None)
        self.function_name = native.function_name
        self.signature = _Signature(native.signature)
        self._implementation: Implementation = ours or (lambda _run, *args: native.method(*args))
        variadic = any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(native.method).parameters.values())
        self._arity = 0 if variadic else native.nargs
        self._most_args = 10 if variadic else native.nargs  #: in a partial application

    def get_number_of_args(self) -> int:
        return int(self._most_args)

    @property
    def context_could_be_root(self) -> bool:
        """Whether a missing first argument is taken from the context, and may be an object."""
        first = self.signature._params[0] if self.signature._params else None
        return first is not None and first.context and bool(set(first.type) & set("xo"))

    @property
    def args_without_context(self) -> int:
        """With so many arguments, none is taken from the context."""
        params = self.signature._params
        if params and params[0].type == "x":  # takes whatever comes first
            return 1 + int(self.signature.get_min_number_of_args())
        return len(params)

    def call(self, _input: Any, args: list[Any]) -> Any:
        run = running()
        assert run is not None, "functions are called within an evaluation"
        run.meter.step()
        result = self._implementation(run, *args, *(None,) * (self._arity - len(args)))
        if isinstance(result, str):
            run.meter.build(len(result))
        elif isinstance(result, list | dict):
            run.meter.build(CELL_BYTES * len(result))
        elif is_number(result):
            return normal(result)
        return result


def builtins() -> dict[str, Builtin]:
    library = Jsonata.static_frame.bindings
    return {name: Builtin(native, OURS.get(name)) for name, native in library.items() if name not in REFUSED}


# Text


@function("string")
def _string(run: Evaluator, value: Any, prettify: Any) -> str | None:
    if value is None:
        return None
    return text(value, run.meter, indent=2 if truth(prettify, run.meter) else None)


@function("lowercase")
def _lowercase(_run: Evaluator, string: str | None) -> str | None:
    return None if string is None else string.lower()


@function("pad")
def _pad(run: Evaluator, string: str | None, width: float | None, char: str | None) -> str | None:
    if string is None or width is None:
        return string
    missing = abs(int(width)) - len(string)
    if missing <= 0:
        return string
    run.meter.build(missing)
    char = char or " "
    padding = (char * (missing // len(char) + 1))[:missing]
    return padding + string if width < 0 else string + padding


@function("join")
def _join(run: Evaluator, strings: list[str] | None, separator: str | None) -> str | None:
    if strings is None:
        return None
    run.meter.build(sum(map(len, strings)) + len(separator or "") * len(strings))
    return (separator or "").join(strings)


@function("contains")
def _contains(run: Evaluator, string: str | None, token: Any) -> bool | None:
    if string is None or token is None:
        return None if string is None else False
    if isinstance(token, str):
        return token in string
    return next(_pattern(token).matches(string, run), None) is not None


@function("match")
def _match(run: Evaluator, string: str | None, pattern: Any, limit: float | None) -> Any:
    if string is None:
        return None
    count = _limit(limit, "D3040")
    found = Utils.create_sequence()
    for match in _pattern(pattern).matches(string, run):
        if count is not None and len(found) >= count:
            break
        found.append({"match": match.group(), "index": match.start(), "groups": groups_of(match)})
    return found


@function("split")
def _split(run: Evaluator, string: str | None, separator: Any, limit: float | None) -> list[str] | None:
    if string is None:
        return None
    most = _limit(limit, "D3020", round_up=False)
    if isinstance(separator, str):
        pieces = min(string.count(separator) + 1, most if most is not None else len(string) + 1)
        run.meter.build(pieces * ENTRY_BYTES)
        return (string.split(separator, pieces) if separator else list(string[:pieces]))[:pieces]
    parts: list[str] = []
    start = 0
    for match in _pattern(separator).matches(string, run):
        if most is not None and len(parts) >= most:
            return parts
        parts.append(string[start : match.start()])
        start = match.end()
    return [*parts, string[start:]][:most]


@function("replace")
def _replace(run: Evaluator, string: str | None, pattern: Any, replacement: Any, limit: float | None) -> str | None:
    if string is None:
        return None
    most = _limit(limit, "D3011")
    if isinstance(pattern, str):
        return _replace_text(run, string, pattern, replacement, most)
    parts: list[str] = []
    start = 0
    for count, match in enumerate(_pattern(pattern).matches(string, run)):
        if most is not None and count >= most:
            break
        put = _expanded(replacement, match) if isinstance(replacement, str) else run.call(replacement, described(match))
        if not isinstance(put, str):
            raise JException("D3012", -1)
        run.meter.build(len(put))
        parts += (string[start : match.start()], put)
        start = match.end()
    return "".join([*parts, string[start:]])


def _replace_text(run: Evaluator, string: str, pattern: str, replacement: Any, most: int | None) -> str:
    if not pattern:
        raise JException("D3010", -1)
    if not isinstance(replacement, str):
        raise JException("D3012", -1)
    count = string.count(pattern)
    count = count if most is None else min(count, most)
    run.meter.build(count * len(replacement))
    return string.replace(pattern, replacement, count)


def _expanded(replacement: str, match: Any) -> str:
    """``$1`` to ``$n`` are groups (as many digits as groups can have), ``$0`` is the match, ``$$`` is a dollar."""
    groups = match.groups()

    def put(reference: re.Match[str]) -> str:
        digits = reference.group()[1:]
        if digits == "$":
            return "$"
        if digits[0] == "0":
            return str(match.group()) + digits[1:]
        most = len(str(len(groups))) if groups else 1
        size = next((n for n in range(min(most, len(digits)), 1, -1) if int(digits[:n]) <= len(groups)), 1)
        index = int(digits[:size])
        return str((groups[index - 1] or "") if index <= len(groups) else "") + digits[size:]

    return re.sub(r"\$(?:\$|[0-9]+)", put, replacement)


def _pattern(value: Any) -> Pattern:
    if not isinstance(value, Pattern):
        raise ValueError("a regular expression is expected here")
    return value


def _limit(limit: float | None, code: str, *, round_up: bool = True) -> int | None:
    if limit is None:
        return None
    if limit < 0:
        raise JException(code, -1, limit)
    return math.ceil(limit) if round_up else int(limit)


@function("base64encode")
def _base64encode(_run: Evaluator, string: str | None) -> str | None:
    return None if string is None else base64.b64encode(string.encode()).decode()


@function("base64decode")
def _base64decode(_run: Evaluator, string: str | None) -> str | None:
    try:
        return None if string is None else base64.b64decode(string, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("the argument of $base64decode is not the Base64 form of text") from error


# Numbers


@function("number")
def _number(_run: Evaluator, value: Any) -> float | None:
    if value is None or is_number(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, str) and _BASED_NUMBER.fullmatch(value) and len(value) < PARSED_CHARS:
        return int(value, 0)
    raise JException("D3030", -1, value)


@function("round")
def _round(_run: Evaluator, number: float | None, precision: float | None) -> float | None:
    digits = int(precision or 0)
    if number is None or digits > 15 or (isinstance(number, int) and digits >= 0):
        return number
    return 0 if digits < -308 else float(round(Decimal(repr(number)), digits))


@function("formatNumber")
def _format_number(_run: Evaluator, value: float | None, picture: Any, options: dict[str, Any] | None) -> str | None:
    if value is None:
        return None
    words = {"infinity", "NaN"}
    for key, option in (options or {}).items():
        if not isinstance(option, str) or (key not in words and len(option) != 1):
            raise ValueError(f"the option {key!r} of $formatNumber must be one character")
    formatted: str | None = Functions.format_number(value, _picture(picture), options)
    return formatted


@function("formatInteger")
def _format_integer(_run: Evaluator, value: float | None, picture: Any) -> str | None:
    if value is None:
        return None
    if abs(value) > EXACT:  # in words, the library takes exponential time for the digits that a float does not have
        raise LimitPassed("a number beyond 2**53 has no digits to format")
    formatted: str = Functions.format_integer(value, _picture(picture))
    return formatted


@function("parseInteger")
def _parse_integer(_run: Evaluator, value: str | None, picture: Any) -> int | None:
    parsed: int | None = None if value is None else Functions.parse_integer(_short(value), _picture(picture))
    return parsed


def _picture(picture: Any) -> str:
    if not isinstance(picture, str):
        raise ValueError("the picture must be text")
    if len(picture) > PICTURE_CHARS:
        raise LimitPassed(f"the picture is longer than {PICTURE_CHARS} characters")
    return picture


def _date_picture(picture: Any) -> str:
    """Digits in it may be a width, ``[D,1000000000]``; the library reads through blanks and underscores."""
    if re.search(r"\d{5}", re.sub(r"[\s_]", "", _picture(picture))):
        raise LimitPassed("the picture asks for a width of 10000 or more")
    return str(picture)


def _short(value: str) -> str:
    if len(value) > PARSED_CHARS:
        raise LimitPassed(f"text longer than {PARSED_CHARS} characters is not read by a picture")
    return value


# Time: one instant for the whole evaluation


@function("millis")
def _millis(run: Evaluator) -> int:
    return run.timestamp


@function("now")
def _now(run: Evaluator, picture: str | None, timezone: str | None) -> str | None:
    formatted: str | None = _from_millis(run, run.timestamp, picture, timezone)
    return formatted


@function("fromMillis")
def _from_millis(_run: Evaluator, millis: float | None, picture: str | None, timezone: str | None) -> str | None:
    if millis is None:
        return None
    formatted: str = DateTimeUtils.format_datetime(int(millis), picture and _date_picture(picture), timezone)
    return formatted


@function("toMillis")
def _to_millis(_run: Evaluator, timestamp: str | None, picture: str | None) -> int | None:
    if timestamp is None:
        return None
    parsed: int | None = Functions.datetime_to_millis(_short(timestamp), picture and _date_picture(picture))
    return parsed


# Booleans


@function("boolean")
def _boolean(run: Evaluator, value: Any) -> bool | None:
    return None if value is None else truth(value, run.meter)


@function("not")
def _not(run: Evaluator, value: Any) -> bool | None:
    return None if value is None else not truth(value, run.meter)


# Arrays


@function("append")
def _append(run: Evaluator, first: Any, second: Any) -> Any:
    if first is None or second is None:
        return second if first is None else first
    return run.appended([first, second])


@function("zip")
def _zip(run: Evaluator, *arrays: list[Any] | None) -> list[Any]:
    if any(array is None for array in arrays):
        return []
    lists = [array for array in arrays if array is not None]
    run.meter.build(min(map(len, lists)) * (ENTRY_BYTES + CELL_BYTES * len(lists)))
    return [list(items) for items in zip(*lists, strict=False)]


@function("distinct")
def _distinct(run: Evaluator, array: Any) -> Any:
    if not isinstance(array, list) or len(array) <= 1:
        return array
    first: dict[Hashable, Any] = {}
    for item in array:
        first.setdefault(identity(item, run.meter), item)
    return Utils.create_sequence_from_iter(first.values()) if Utils.is_sequence(array) else list(first.values())


class _Ordered:
    """A sort key: one item is less than another if the comparator says that the other comes behind it."""

    __slots__ = ("compare", "item")

    def __init__(self, item: Any, compare: Callable[[Any, Any], bool]) -> None:
        self.item, self.compare = item, compare

    def __lt__(self, other: _Ordered) -> bool:
        return self.compare(other.item, self.item)


@function("sort")
def _sort(run: Evaluator, array: list[Any] | None, comparator: Any) -> list[Any] | None:
    if array is None or len(array) <= 1:
        return array
    if comparator is None:
        if not (all(isinstance(item, str) for item in array) or all(map(is_number, array))):
            raise JException("D3070", -1)
        return sorted(array)
    return sorted(array, key=lambda item: _Ordered(item, lambda a, b: truth(run.call(comparator, a, b), run.meter)))


@function("map")
def _map(run: Evaluator, array: list[Any] | None, function: Any) -> Any:
    if array is None:
        return None
    results = (run.call(function, item, index, array) for index, item in enumerate(array))
    return Utils.create_sequence_from_iter(result for result in results if result is not None)


@function("filter")
def _filter(run: Evaluator, array: list[Any] | None, function: Any) -> Any:
    if array is None:
        return None
    kept = (item for i, item in enumerate(array) if truth(run.call(function, item, i, array), run.meter))
    return Utils.create_sequence_from_iter(kept)


@function("single")
def _single(run: Evaluator, array: list[Any] | None, function: Any) -> Any:
    if array is None:
        return None
    found = array if function is None else _filter(run, array, function)
    if len(found) != 1:
        raise JException("D3138" if found else "D3139", -1)
    return found[0]


# Objects


@function("lookup")
def _lookup(run: Evaluator, value: Any, key: str | None) -> Any:
    return run.lookup(value, key)


@function("keys")
def _keys(run: Evaluator, value: Any) -> Any:
    return Utils.create_sequence_from_iter(dict.fromkeys(key for item in _objects(run, value) for key in item))


@function("spread")
def _spread(run: Evaluator, value: Any) -> Any:
    if not isinstance(value, dict | list):
        return value
    spread = Utils.create_sequence()
    for item in run.flattened(value if isinstance(value, list) else [value]):
        if isinstance(item, dict):
            run.meter.build(len(item) * ENTRY_BYTES)
            spread.extend({key: entry} for key, entry in item.items())
        else:
            spread.append(item)
    return list(spread) if isinstance(value, list) and value else spread


@function("merge")
def _merge(run: Evaluator, objects: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    if objects is None:
        return None
    merged: dict[str, Any] = {}
    for item in objects:
        run.meter.step()
        merged.update(item)
    run.meter.build(len(merged) * ENTRY_BYTES)
    return merged


@function("each")
def _each(run: Evaluator, value: dict[str, Any] | None, function: Any) -> Any:
    if value is None:
        return None
    results = (run.call(function, run.taken(entry), key, value) for key, entry in value.items())
    return Utils.create_sequence_from_iter(result for result in results if result is not None)


@function("sift")
def _sift(run: Evaluator, value: dict[str, Any] | None, function: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    kept = {
        key: entry for key, entry in value.items() if truth(run.call(function, run.taken(entry), key, value), run.meter)
    }
    return kept or None


@function("clone")
def _clone(run: Evaluator, value: Any) -> Any:
    return None if value is None else run.taken(plain(value, run.meter, run.meter.build, function=""))


def _objects(run: Evaluator, value: Any) -> list[dict[str, Any]]:
    items = run.flattened(value) if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]
