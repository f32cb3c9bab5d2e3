"""``{{ }}`` in config values.

A string that is wholly ``{{ expr }}`` becomes the value of ``expr``. In a longer string each ``{{ expr }}`` is
replaced by its text: text as it is, null and undefined as nothing, anything else as compact JSON (numbers as
``values.text`` writes them: 3.0 as ``3``). Keys of objects are not templates. ``{{ "{{" }}`` writes two braces.

The end of an expression is found by reading it: ``}}`` inside of a string, a comment or a regular expression is not
the end, nor is the one that closes two objects, ``{{ {"a": {"b": 1}} }}``.

``${NAME}`` is a credential, resolved elsewhere and later. Values come from outside, and must not be able to name one:
whoever resolves credentials does it by ``literal``, which sees what the author of the workflow wrote and never what an
expression gave.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias, cast

from chalicelib.foundation.errors import Fault
from chalicelib.foundation.json_types import Json, Stored, Value

from .compiled import LIMITS, Expression, Names, compile_expression
from .direct import brief_text
from .limits import ExpressionError, Limits, Meter
from .references import NOTHING, References
from .values import text

MAX_CONFIG_DEPTH = 100  #: levels of objects and lists in a config value

Literal: TypeAlias = Callable[[str], str]
#: The stored value that an expression names, if it names one.
Passed: TypeAlias = Callable[[Expression], Stored | None]
#: A string of a config, read: literal text and expressions, in order.
Parts: TypeAlias = "tuple[str | Expression, ...]"

_OPEN, _CLOSE = "{{", "}}"
#: Up to the next character that could matter: a quote, a brace, a slash.
_BORING = re.compile(r"[^\"'`{}/]+")
_REST_OF = {
    '"': re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL),
    "'": re.compile(r"[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL),
    "`": re.compile(r"[^`]*`"),
    "/*": re.compile(r".*?\*/", re.DOTALL),
}
_OPERAND_END = re.compile(r"[\w$\"'`)\]}*%]")  #: a slash behind it divides
_OPERATOR_WORD = re.compile(r"(?<![\w$.])(?:and|or|in)$")


class Template:
    """A config value, read once: any number of renders.

    Raises ``ExpressionError`` for the first malformed expression.
    """

    def __init__(self, value: Json) -> None:
        self._value = _compiled(value, 0)
        parts = list(_parts_of(self._value))
        self.expressions = [part for part in parts if isinstance(part, Expression)]
        #: The texts between expressions, and those without any.
        self.literals = [part for part in parts if isinstance(part, str)]

    def render(self, names: Names, limits: Limits = LIMITS, literal: Literal | None = None) -> Json:
        """The value with every expression replaced. ``limits`` hold for all together that are not ``direct``.

        ``literal`` maps the text between expressions. Raises ``ExpressionError``.
        """
        # Where nothing is passed on, nothing is stored.
        return cast("Json", _rendered(self._value, _Rendering(limits, names, literal or str, _nothing)))

    def render_passing(
        self, names: Names, passed: Passed, limits: Limits = LIMITS, literal: Literal | None = None
    ) -> Value:
        """The same, but a string that is nothing but a name of what is ``passed`` becomes that, unread."""
        return _rendered(self._value, _Rendering(limits, names, literal or str, passed))


def _nothing(_expression: Expression) -> None:
    """No stored value is passed on."""


def render(value: Json, names: Names, limits: Limits = LIMITS, literal: Literal | None = None) -> Json:
    """``Template(value).render(...)``."""
    return Template(value).render(names, limits, literal)


def template_faults(value: Json, path: str = "") -> list[Fault]:
    """Every malformed expression in ``value``, each with its place, ``config.fields.a[2]``."""
    return [fault for place, item in _strings(value, path, 0) for fault in _faults(item, place)]


def template_references(value: Json) -> References:
    """What the well-formed expressions in ``value`` read."""
    found = NOTHING
    for _, item in _strings(value, "", 0):
        if isinstance(item, str):
            for expression in _well_formed(item):
                found |= expression.references
    return found


def _faults(item: str | ExpressionError, path: str) -> Iterator[Fault]:
    if isinstance(item, ExpressionError):
        yield Fault(path, item.message)
        return
    try:
        for start, end in _expressions(item):
            try:
                _compile(item, start, end)
            except ExpressionError as error:
                yield Fault(path, error.message)
    except ExpressionError as error:
        yield Fault(path, error.message)


def _well_formed(item: str) -> Iterator[Expression]:
    try:
        for start, end in _expressions(item):
            try:
                yield _compile(item, start, end)
            except ExpressionError:
                continue
    except ExpressionError:
        return


def _strings(value: Json, path: str, depth: int) -> Iterator[tuple[str, str | ExpressionError]]:
    """Every string in the value with its place; an error in the place of what is nested too deeply."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping | list | tuple) and depth >= MAX_CONFIG_DEPTH:
        yield path, _too_deep()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(item, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _strings(item, f"{path}[{index}]", depth + 1)


class _Parts(tuple[str | Expression, ...]):
    """A string that is more than one expression: text and expressions, in order."""


def _compiled(value: Json, depth: int) -> object:
    """The same shape, with an ``Expression`` or ``_Parts`` in the place of strings."""
    if isinstance(value, str):
        return _compiled_text(value)
    if isinstance(value, Mapping | list | tuple) and depth >= MAX_CONFIG_DEPTH:
        raise _too_deep()
    if isinstance(value, Mapping):
        return {key: _compiled(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_compiled(item, depth + 1) for item in value]
    return value


def _compiled_text(text: str) -> Expression | _Parts | str:
    if not text:
        return ""
    parts = _Parts(_parts(text))
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Expression) else parts


def _parts_of(compiled: object) -> Iterator[str | Expression]:
    """All parts of the strings in what ``_compiled`` has made."""
    if isinstance(compiled, Expression):
        yield compiled
    elif isinstance(compiled, _Parts):
        yield from compiled
    elif isinstance(compiled, dict | list):
        for item in compiled.values() if isinstance(compiled, dict) else compiled:
            yield from _parts_of(item)


class _Rendering:
    """One render: what all parts of it share."""

    __slots__ = ("_meter", "limits", "literal", "names", "passed")

    def __init__(self, limits: Limits, names: Names, literal: Literal, passed: Passed) -> None:
        self.limits = limits
        self.names = names
        self.literal = literal
        self.passed = passed
        self._meter: Meter | None = None

    def meter(self) -> Meter:
        """The one meter of all expressions that need one."""
        if self._meter is None:
            self._meter = Meter(self.limits)
        return self._meter


def _rendered(value: object, by: _Rendering) -> Value:
    if isinstance(value, Expression):
        return by.passed(value) or value.evaluate_under(by.limits, by.meter, by.names)
    if isinstance(value, _Parts):
        return "".join([by.literal(part) if isinstance(part, str) else _text(part, by) for part in value])
    if isinstance(value, dict):
        return {key: _rendered(item, by) for key, item in value.items()}
    if isinstance(value, list):
        return [_rendered(item, by) for item in value]
    return value  # type: ignore[return-value]  # a scalar


def _text(expression: Expression, by: _Rendering) -> str:
    value = expression.evaluate_under(by.limits, by.meter, by.names)
    if value is None:
        return ""
    written = brief_text(value)
    return text(value, by.meter()) if written is None else written


def _parts(source: str) -> Iterator[str | Expression]:
    reached = 0
    for start, end in _expressions(source):
        if start - len(_OPEN) > reached:
            yield source[reached : start - len(_OPEN)]
        yield _compile(source, start, end)
        reached = end + len(_CLOSE)
    if reached < len(source):
        yield source[reached:]


def _compile(source: str, start: int, end: int) -> Expression:
    """Positions of faults are those in the whole string."""
    try:
        return compile_expression(source[start:end])
    except ExpressionError as error:
        position = None if error.position is None else start + error.position
        raise ExpressionError(error.reason, position, source) from error


def _expressions(source: str) -> Iterator[tuple[int, int]]:
    """Start and end of what stands between each ``{{`` and its ``}}``, in one pass.

    Raises ``ExpressionError`` without an end.
    """
    start = source.find(_OPEN)
    while start >= 0:
        start += len(_OPEN)
        end = _end(source, start)
        yield start, end
        start = source.find(_OPEN, end + len(_CLOSE))


def _end(source: str, start: int) -> int:
    depth, at = 0, start
    while at < len(source):
        if boring := _BORING.match(source, at):
            at = boring.end()
            continue
        char = source[at]
        if char == "{":
            depth += 1
        elif char == "}" and depth:
            depth -= 1
        elif char == "}" and source.startswith(_CLOSE, at):
            return at
        elif char in "\"'`":
            at = _past(_REST_OF[char], source, at + 1, start)
            continue
        elif source.startswith("/*", at):
            at = _past(_REST_OF["/*"], source, at + 2, start)
            continue
        elif char == "/" and not _divides(source, start, at):
            at = _past_regex(source, at + 1, start)
            continue
        at += 1
    raise _unclosed(source, start)


def _past(rest: re.Pattern[str], source: str, at: int, start: int) -> int:
    found = rest.match(source, at)
    if found is None:
        raise _unclosed(source, start)
    return found.end()


def _divides(source: str, start: int, at: int) -> bool:
    """Whether a slash divides, by what stands before it; else a regular expression begins."""
    before = source[max(start, at - 100) : at].rstrip()
    return bool(before) and bool(_OPERAND_END.match(before[-1])) and not _OPERATOR_WORD.search(before)


def _past_regex(source: str, at: int, start: int) -> int:
    """As the tokenizer of the language reads it: to a slash that is neither escaped nor in brackets."""
    depth, escaped = 0, False
    while at < len(source):
        char = source[at]
        if char == "/" and depth == 0 and not escaped:
            return at + 1
        if source[at - 1] != "\\":
            depth += (char in "([{") - (char in ")]}")
        escaped = char == "\\" and not escaped
        at += 1
    raise _unclosed(source, start)


def _unclosed(source: str, start: int) -> ExpressionError:
    return ExpressionError("{{ without its }}", start - len(_OPEN), source)


def _too_deep() -> ExpressionError:
    return ExpressionError(f"the value is nested deeper than {MAX_CONFIG_DEPTH} levels")


def to_text(value: Json) -> str:
    """``value`` as a template writes it into a longer string."""
    return "" if value is None else text(value, Meter(LIMITS))
