"""Compiled expressions, from a cache that all threads share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from jsonata.jexception import JException

from chalicelib.foundation.json_types import Json

from .direct import Direct, direct, leaves_room
from .evaluator import Evaluator
from .limits import ExpressionError, LimitPassed, Limits, Meter
from .messages import MESSAGE_CHARS, explain
from .references import References, references_of
from .syntax import Node, parse
from .values import ELSEWHERE, NotJson, as_json, named

#: The names that an expression is evaluated on: as they are, or brought for what it reads.
Names: TypeAlias = "Mapping[str, Json] | Callable[[References], Mapping[str, Json]]"

LIMITS = Limits()
_SHORT_CHARS = 1_000  #: sources up to here are kept in the large cache: a tree takes some 100 bytes per character


class Expression:
    """One compiled expression. Immutable; several threads may evaluate it at once."""

    def __init__(self, source: str, tree: Node) -> None:
        self.source = source
        self._tree = tree
        #: ``("nodes", "fetch", "body")`` for ``nodes.fetch.body``; None where it does more than name a value.
        self.path = tree.names

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    @cached_property
    def references(self) -> References:
        """What it reads; see ``References``."""
        return references_of(self._tree)

    @cached_property
    def direct(self) -> Direct | None:
        """The shorter way to its value, where it has one; see the module ``direct``."""
        return direct(self._tree, self.source)

    def evaluate(self, names: Names, limits: Limits = LIMITS) -> Json:
        """The value on the document ``names``, as plain JSON that shares nothing with it; undefined is None.

        Raises ``ExpressionError`` for everything that goes wrong: a type that does not fit, ``$error()``, a limit that
        is passed, a function as the result, NaN or infinity.
        """
        return self.evaluate_under(limits, lambda: Meter(limits), names)

    def evaluate_under(self, limits: Limits, meter: Callable[[], Meter], names: Names) -> Json:
        """The same, on a meter that several expressions share; it is asked for only where one is needed."""
        document = names(self.references) if callable(names) else names
        short = self.direct
        if short is not None and type(document) is dict and (limits is LIMITS or leaves_room(limits)):
            try:
                value: Any = short(document)
            except Exception:  # of any kind: the evaluation meets it again, and tells of it as it should be told
                value = ELSEWHERE
            if value is not ELSEWHERE:
                return value  # type: ignore[no-any-return]
        return self._evaluated(meter(), document if isinstance(document, dict) else dict(document))

    def _evaluated(self, meter: Meter, document: dict[str, Json]) -> Json:
        value = ELSEWHERE if self.path is None else named(self.path, document)
        run = None
        try:
            if value is ELSEWHERE:
                run = Evaluator(meter)
                value = run.run(self._tree, document)
            return as_json(value, meter)
        except Exception as error:
            raise ExpressionError(_reason(error), run and run.fault_position, self.source) from error


def compile_expression(source: str, limits: Limits = LIMITS) -> Expression:
    """Raises ``ExpressionError``, with a position, for malformed source; and for source that is too long."""
    if len(source) > limits.max_expression_chars:
        raise ExpressionError(f"the expression is longer than {limits.max_expression_chars} characters", None, source)
    return _compile_short(source) if len(source) <= _SHORT_CHARS else _compile_long(source)


@lru_cache(maxsize=1024)
def _compile_short(source: str) -> Expression:
    return Expression(source, parse(source))


@lru_cache(maxsize=16)
def _compile_long(source: str) -> Expression:
    return Expression(source, parse(source))


def _reason(error: Exception) -> str:
    match error:
        case JException():
            return explain(error)
        case LimitPassed() | NotJson():
            return str(error)
        case ArithmeticError():
            return "a number is out of range, or the result is not a finite number"
        case ValueError():
            return _first_line(error)
        case TimeoutError():
            return "a regular expression takes too long"
        case RecursionError():
            return "evaluation is nested too deeply"
        case MemoryError():
            return "the evaluation needs too much memory"
        case ExpressionError():
            return error.reason
        case _:  # the library is not careful with types
            return f"it cannot be evaluated on these values: {_first_line(error)}"


def _first_line(error: Any) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:MESSAGE_CHARS]
