"""What one evaluation may cost, and the meter that it runs under.

Expressions are written by users and run in our process, so nothing about them may be unbounded. The meter counts three
things: time (that every step of the evaluation looks at), bytes built (everything that the evaluation
allocates, summed: a range, a joined text, a list of matches; charged *before* it is built where it can be large) and
bytes of the result. Depth is counted by the evaluator itself. A limit that is passed raises ``LimitPassed``, which
leaves this package as an ``ExpressionError``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from chalicelib.foundation.errors import Permanent

CELL_BYTES = 8  #: one place in a list
ENTRY_BYTES = 100  #: one key of an object, or one small value of its own
EXCERPT_CHARS = 200


@dataclass(frozen=True)
class Limits:
    """What one evaluation, or one render of a whole config value, may cost."""

    timeout_ms: int = 5_000  #: of processor time: a busy machine fails nothing that an idle one evaluates
    max_depth: int = 500  #: nested evaluations, and nested levels of a value that is written out
    max_built_bytes: int = 64 * 1024 * 1024  #: about what is allocated on the way, summed; freed memory counts too
    max_output_bytes: int = 20_000_000  #: about the size of the result as JSON text
    max_expression_chars: int = 10_000  #: length of the source


class ExpressionError(Permanent):
    """An expression is malformed, or cannot be evaluated on these values within its limits.

    ``position`` is the character offset at which it was noticed (just behind the token at fault), None where it is not
    known; ``source`` is the text around it, at most 200 characters.
    """

    def __init__(self, message: str, position: int | None = None, source: str = "") -> None:
        self.reason = message
        self.position = position
        start = max(0, (position or 0) - EXCERPT_CHARS // 2) if len(source) > EXCERPT_CHARS else 0
        self.source = source[start : start + EXCERPT_CHARS]
        where = "" if position is None else f", at character {position}"
        super().__init__("ExpressionError", f"{message}{where} in {self.source!r}" if source else f"{message}{where}")


class LimitPassed(Exception):
    """An evaluation costs more than its limits allow."""


class Meter:
    """Counts what one evaluation costs. Every method raises ``LimitPassed`` once a limit is passed."""

    __slots__ = ("_deadline", "_look_again", "built_bytes", "limits", "output_bytes", "steps")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.steps = 0
        self.built_bytes = 0
        self.output_bytes = 0
        left_s = limits.timeout_ms / 1_000
        self._look_again = time.monotonic() + left_s  # the time cannot be up before
        self._deadline = time.thread_time() + left_s

    def step(self) -> None:
        """One more step: an evaluated node, a called function, a value looked at."""
        self.steps += 1
        now = time.monotonic()
        if now > self._look_again:  # asking for the processor time takes ten times as long as for the time of day
            self._look_again = now + self.remaining_s()

    def remaining_s(self) -> float:
        """Seconds of processor time that are left, always more than zero."""
        remaining = self._deadline - time.thread_time()
        if remaining <= 0:
            raise LimitPassed(f"the evaluation takes longer than {self.limits.timeout_ms} ms")
        return remaining

    def build(self, size: int) -> None:
        """``size`` more bytes are about to be built."""
        self.built_bytes += size
        if self.built_bytes > self.limits.max_built_bytes:
            raise LimitPassed(f"the evaluation builds more than {self.limits.max_built_bytes} bytes")

    def output(self, size: int) -> None:
        """``size`` more bytes of result."""
        self.output_bytes += size
        if self.output_bytes > self.limits.max_output_bytes:
            raise LimitPassed(f"the result is larger than {self.limits.max_output_bytes} bytes")
