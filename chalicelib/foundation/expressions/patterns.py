"""Regular expressions that end in time.

The library compiles ``/.../`` with ``re``, which nothing can stop once it backtracks. ``regex`` takes a time-out per
call, and the meter knows how much time is left. A literal becomes a ``Pattern``: a function of JSONata, as the
language has it, that our ``$match``, ``$replace``, ``$split`` and ``$contains`` also iterate over directly.

Expressions also shape regular expressions of the library's own: the signature of a lambda and the picture of a date
are turned into one. Those modules get a stand-in for ``re`` here, once, with the same deadline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import regex  # type: ignore[import-untyped]
from jsonata import datetimeutils, signature
from jsonata.jexception import JException
from jsonata.jsonata import Jsonata
from jsonata.regex_engine import RegexFlags

from .values import NULL

if TYPE_CHECKING:
    from .evaluator import Evaluator


_MATCH_BYTES = 400  #: what ``$match`` tells of one


def running() -> Evaluator | None:
    """The evaluation that this thread is in."""
    return getattr(Jsonata.CURRENT, "jsonata", None)


class Pattern(Jsonata.JFunction):  # type: ignore[misc]
    """A regular expression. Immutable, so the threads that evaluate one expression share it."""

    def __init__(self, source: str, flags: RegexFlags) -> None:
        super().__init__(None, "<s:o>")
        try:
            self.compiled = regex.compile(
                source, regex.IGNORECASE * flags.case_insensitive | regex.MULTILINE * flags.multiline
            )
        except regex.error as error:
            raise ValueError(f"the regular expression is malformed: {error}") from error

    def matches(self, text: str, run: Evaluator) -> Iterator[Any]:
        """Match objects in order.

        Raises ``JException`` for one without a character: no position follows it, says JSONata.
        """
        for match in self.compiled.finditer(text, timeout=run.meter.remaining_s()):
            run.meter.step()
            run.meter.build(_MATCH_BYTES + match.end() - match.start())
            if match.end() == match.start():
                raise JException("D1004", -1)
            yield match

    def call(self, _input: Any, args: list[Any]) -> dict[str, Any] | None:
        """The first match, as a function of JSONata returns it, with ``next`` for the others."""
        run = running()
        assert run is not None, "functions are called within an evaluation"
        if not args or not isinstance(args[0], str):
            return None
        return _chained(self.matches(args[0], run))


def _chained(matches: Iterator[Any]) -> dict[str, Any] | None:
    match = next(matches, None)
    return None if match is None else {**described(match), "next": Jsonata.JLambda(lambda: _chained(matches))}


def described(match: Any) -> dict[str, Any]:
    """A match as expressions see it."""
    return {"match": match.group(), "start": match.start(), "end": match.end(), "groups": groups_of(match)}


def groups_of(match: Any) -> list[Any]:
    return [NULL if group is None else group for group in match.groups()]


class _TimedPattern:
    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def fullmatch(self, text: str) -> Any:
        return self._compiled.fullmatch(text, timeout=_time_left())

    def search(self, text: str) -> Any:
        return self._compiled.search(text, timeout=_time_left())


def _time_left() -> float | None:
    meter = getattr(running(), "meter", None)  # an expression of somebody else has none
    return None if meter is None else float(meter.remaining_s())


def _compile(source: str, flags: int = 0) -> _TimedPattern:
    return _TimedPattern(regex.compile(source, flags))


_TIMED_RE = SimpleNamespace(
    IGNORECASE=regex.IGNORECASE,
    compile=_compile,
    fullmatch=re.fullmatch,  # on one character
    split=re.split,  # by fixed patterns
    sub=lambda _pattern, _replacement, literal: re.escape(literal),  # meant to escape, but leaves the text as it is
)
signature.re = _TIMED_RE
datetimeutils.re = _TIMED_RE
