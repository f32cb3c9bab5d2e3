"""Simple expressions as closures: what most expressions are, without an evaluation.

There is one meaning of an expression, and the ``Evaluator`` has it. What is here only takes a shorter way to the same
value, where there can be no doubt about it: the tree is small and made of names, literals, operators, objects, arrays,
conditions and brackets, and every value on the way is short text, a finite number, a bool or null, or made of such by
the expression itself. Of anything else (nothing under a name, a list or an object of the document, a type that does not
fit, a division by zero, a number that is out of range) a closure returns ``ELSEWHERE``, or raises. Then the Evaluator
begins again, for the value or for the error with its position: an expression changes nothing, so nothing is left of the
first attempt.

No meter counts here, because nothing here can grow: at most ``MAX_NODES`` nodes are evaluated, a source has at most
``MAX_SOURCE_CHARS``, and a text of the document at most ``MAX_CHARS``. ``ROOMY`` are limits that an evaluation of the
same would not pass; under tighter ones there is none but the evaluation.

Inside of the closures None is null. Undefined has no word: only the Evaluator says it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from .evaluator import ARITHMETIC
from .limits import Limits
from .syntax import Node
from .values import ELSEWHERE, NULL, named, normal

#: The value on a document of names: plain JSON that shares no list and no object with it. ``ELSEWHERE``, or any
#: exception, where only an evaluation can tell.
Direct: TypeAlias = Callable[[dict[str, Any]], Any]

MAX_NODES = 60  #: that are evaluated; a path of names is one
MAX_SOURCE_CHARS = 1_000  #: which bounds the literals and the keys
MAX_CHARS = 256  #: of a text of the document
ROOMY = Limits(timeout_ms=100, max_depth=2 * MAX_NODES, max_built_bytes=2_000_000, max_output_bytes=50_000)

_LARGEST_INT = 10**18  #: as JSON text is read, longer ones are floats
_NUMBERS = frozenset({int, float})
_ORDERED = _NUMBERS | {str}
_SCALARS = _ORDERED | {bool, type(None)}
_JUDGED = _SCALARS | {dict}  #: true or false as they are in Python; an array is what its items are
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: What may be set of a node. Anything more (a predicate, a group, ``[]``) changes what it means.
_KNOWN = frozenset(
    {"type", "value", "position", "names", "steps", "keys", "lhs_object", "expressions", "expression", "lhs", "rhs"}
    | {"condition", "then", "_else"}
)


class _NotSimple(Exception):
    """A tree that only an evaluation understands."""


def leaves_room(limits: Limits) -> bool:
    """Whether an evaluation of what is simple could never pass the limits."""
    return (
        limits.timeout_ms >= ROOMY.timeout_ms
        and limits.max_depth >= ROOMY.max_depth
        and limits.max_built_bytes >= ROOMY.max_built_bytes
        and limits.max_output_bytes >= ROOMY.max_output_bytes
    )


def direct(tree: Node, source: str) -> Direct | None:
    """The closure of an expression; None where it is not as simple as that."""
    if len(source) > MAX_SOURCE_CHARS:
        return None
    if tree.names is not None:
        return _lone_path(tree.names)
    try:
        return _Maker().closure(tree)
    except _NotSimple:
        return None


class _Maker:
    """Makes the closures of one tree, and counts its nodes."""

    def __init__(self) -> None:
        self._nodes = 0

    def closure(self, node: Node) -> Direct:
        """Raises ``_NotSimple`` for what has none."""
        self._nodes += 1
        if self._nodes > MAX_NODES or vars(node).keys() - _KNOWN:
            raise _NotSimple
        match node.type:
            case "path" if node.names is not None:
                return _path(node.names)
            case "string" | "number" | "value":
                return _literal(node.value)
            case "block" if len(node.expressions) == 1:
                return self.closure(node.expressions[0])
            case "condition":
                return self._condition(node)
            case "unary":
                return self._unary(node)
            case "binary":
                return self._binary(node)
        raise _NotSimple

    def _condition(self, node: Node) -> Direct:
        otherwise = _elsewhere if node._else is None else self.closure(node._else)
        return _condition(self.closure(node.condition), self.closure(node.then), otherwise)

    def _unary(self, node: Node) -> Direct:
        match node.value:
            case "-":
                return _negative(self.closure(node.expression))
            case "{" if node.keys is not None:
                return _object(node.keys, [self.closure(value) for _, value in node.lhs_object])
            case "[":
                return _array([self.closure(item) for item in node.expressions], list(map(_is_array, node.expressions)))
        raise _NotSimple

    def _binary(self, node: Node) -> Direct:
        make = _BINARY.get(node.value)
        if make is None:
            raise _NotSimple
        return make(node.value, self.closure(node.lhs), self.closure(node.rhs))


def _is_array(node: Node) -> bool:
    return bool(node.type == "unary" and node.value == "[")


def _elsewhere(_document: dict[str, Any]) -> Any:
    """The value of a condition that is not met and has no other branch: undefined."""
    return ELSEWHERE


# Values


def _scalar(value: Any) -> Any:
    """What ``named`` found, with None for ``NULL``; ``ELSEWHERE`` if it could be long, or has to be looked into."""
    kind = type(value)
    if kind is str:
        return value if len(value) <= MAX_CHARS and (value.isascii() or _is_whole(value)) else ELSEWHERE
    if kind is int:
        return value if -_LARGEST_INT < value < _LARGEST_INT else ELSEWHERE
    if kind is float:
        return value if math.isfinite(value) else ELSEWHERE
    if kind is bool:
        return value
    return None if value is NULL else ELSEWHERE


def _is_whole(text: str) -> bool:
    """Whether there are no surrogates in a text: a pair would have to be joined, and half of one is an error."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def brief_text(value: Any) -> str | None:
    """Text, a whole number or a bool as ``values.text`` writes it; None for anything else."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    return None


# Closures


def _lone_path(names: tuple[str, ...]) -> Direct:
    """Of a path that is the whole expression: what there is not is None, as every result that is undefined."""

    def value(document: dict[str, Any]) -> Any:
        found = named(names, document)
        return None if found is None else _scalar(found)

    return value


def _path(names: tuple[str, ...]) -> Direct:
    return lambda document: _scalar(named(names, document))


def _literal(value: Any) -> Direct:
    if type(value) not in _SCALARS or (type(value) is str and not _is_whole(value)):
        raise _NotSimple
    return lambda _: value


def _condition(condition: Direct, then: Direct, otherwise: Direct) -> Direct:
    def chosen(document: dict[str, Any]) -> Any:
        value = condition(document)
        if type(value) not in _JUDGED:
            return ELSEWHERE
        return then(document) if value else otherwise(document)

    return chosen


def _object(keys: tuple[str, ...], values: list[Direct]) -> Direct:
    if not all(map(_is_whole, keys)):
        raise _NotSimple
    fields = list(zip(keys, values, strict=True))

    def made(document: dict[str, Any]) -> Any:
        result = {}
        for key, value in fields:
            result[key] = found = value(document)
            if found is ELSEWHERE:
                return ELSEWHERE
        return result

    return made


def _array(items: list[Direct], are_arrays: list[bool]) -> Direct:
    """An item that is written as an array stays one; any other that turns out to be one would be taken apart."""
    written = list(zip(items, are_arrays, strict=True))

    def made(document: dict[str, Any]) -> Any:
        result = []
        for item, is_array in written:
            found = item(document)
            if found is ELSEWHERE or (type(found) is list and not is_array):
                return ELSEWHERE
            result.append(found)
        return result

    return made


def _negative(operand: Direct) -> Direct:
    def negative(document: dict[str, Any]) -> Any:
        value = operand(document)
        return normal(-float(value)) if type(value) in _NUMBERS else ELSEWHERE

    return negative


def _arithmetic(sign: str, left: Direct, right: Direct) -> Direct:
    operate = ARITHMETIC[sign]

    def result(document: dict[str, Any]) -> Any:
        a, b = left(document), right(document)
        if type(a) in _NUMBERS and type(b) in _NUMBERS:
            return normal(operate(float(a), float(b)))
        return ELSEWHERE

    return result


def _comparison(sign: str, left: Direct, right: Direct) -> Direct:
    compare = _COMPARED[sign]

    def holds(document: dict[str, Any]) -> Any:
        a, b = left(document), right(document)
        if type(a) is type(b):
            return compare(a, b) if type(a) in _ORDERED else ELSEWHERE
        if type(a) in _NUMBERS and type(b) in _NUMBERS:  # an evaluation does not compare the digits that no float has
            return compare(float(a), float(b))
        return ELSEWHERE

    return holds


def _equality(sign: str, left: Direct, right: Direct) -> Direct:
    is_asked = sign == "="

    def holds(document: dict[str, Any]) -> Any:
        a, b = left(document), right(document)
        if type(a) in _SCALARS and type(b) in _SCALARS:
            return (a == b and (type(a) is bool) == (type(b) is bool)) is is_asked  # to Python, 1 equals True
        return ELSEWHERE

    return holds


def _joined(_sign: str, left: Direct, right: Direct) -> Direct:
    def joined(document: dict[str, Any]) -> Any:
        a, b = brief_text(left(document)), brief_text(right(document))
        return ELSEWHERE if a is None or b is None else a + b

    return joined


def _logic(sign: str, left: Direct, right: Direct) -> Direct:
    decides = sign == "or"

    def holds(document: dict[str, Any]) -> Any:
        value = left(document)
        if type(value) in _JUDGED and bool(value) is not decides:
            value = right(document)
        return bool(value) if type(value) in _JUDGED else ELSEWHERE

    return holds


_BINARY: dict[str, Callable[[str, Direct, Direct], Direct]] = {
    **dict.fromkeys(ARITHMETIC, _arithmetic),
    **dict.fromkeys(_COMPARED, _comparison),
    **dict.fromkeys(("=", "!="), _equality),
    **dict.fromkeys(("and", "or"), _logic),
    "&": _joined,
}
