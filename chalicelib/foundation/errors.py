"""Every error that one part of Millrace tells another.

::

    MillraceError
    ├── InvalidInput          the request is malformed; lists every fault
    ├── Unauthenticated       no API key, or one that nobody knows
    ├── Forbidden             a known key without the scope
    ├── NotFound              absent, or not visible to the caller: never told apart
    ├── Conflict              the present state does not allow it; says which state
    ├── PreconditionFailed    somebody else changed it first
    ├── TooLarge              more than a request may carry
    ├── IdempotencyMismatch   a key used before with another request
    ├── LimitReached          too many; says when to try again
    ├── Downstream            a service that we call is broken
    │   ├── DownstreamTimeout ... or slow
    │   └── Unavailable       ... or takes nothing at the moment, and has begun nothing
    └── NodeError             a node of a workflow failed
        ├── Retryable         the same attempt may succeed later
        │   └── Busy          ... when an earlier one is over
        └── Permanent         it never will

The edges turn them into their envelope; ``store`` and ``cloud`` turn the SDK's errors into them. ``code`` is stable:
programs may rely on it. A handler in ``nodes`` raises one of the last two; what any other exception means is said
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request."""

    path: str  #: where in the body, as ``nodes[3].config.url``; empty for the whole of it
    message: str


class MillraceError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (self.__doc__ or "").strip().splitlines()[0]
        super().__init__(self.detail)


class InvalidInput(MillraceError):
    """The request is not valid."""

    code = "invalid-input"

    def __init__(self, faults: Iterable[Fault], detail: str | None = None) -> None:
        self.faults = tuple(faults)
        super().__init__(detail)

    @classmethod
    def at(cls, path: str, message: str) -> InvalidInput:
        return cls([Fault(path, message)])

    def __str__(self) -> str:
        return "; ".join(f"{fault.path}: {fault.message}" if fault.path else fault.message for fault in self.faults)


class Unauthenticated(MillraceError):
    """A valid API key is needed in the header X-API-Key."""

    code = "unauthenticated"


class Forbidden(MillraceError):
    """The API key lacks a scope."""

    code = "forbidden"

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(f"The API key lacks the scope {scope}.")


class NotFound(MillraceError):
    """There is no such thing, or it is not visible to the caller."""

    code = "not-found"

    def __init__(self, noun: str, identifier: str) -> None:
        self.noun, self.identifier = noun, identifier
        super().__init__(f"There is no {noun} {identifier!r} that this key can see.")


class Conflict(MillraceError):
    """The present state does not allow it."""

    code = "conflict"

    def __init__(self, detail: str, errors: Iterable[Mapping[str, Any]] = ()) -> None:
        self.errors = tuple(dict(error) for error in errors)  #: what stands in the way, as validate tells it
        super().__init__(detail)


class PreconditionFailed(MillraceError):
    """It was changed since it was read."""

    code = "precondition-failed"


class TooLarge(MillraceError):
    """The request is larger than 5 MB."""

    code = "too-large"


class IdempotencyMismatch(MillraceError):
    """The Idempotency-Key was used before with another request."""

    code = "idempotency-mismatch"


class LimitReached(MillraceError):
    """A limit is reached."""

    code = "limit-reached"

    def __init__(self, detail: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class Downstream(MillraceError):
    """A service that Millrace depends on failed."""

    code = "downstream"


class DownstreamTimeout(Downstream):
    """A service that Millrace depends on did not answer in time."""

    code = "downstream-timeout"


class Unavailable(Downstream):
    """Nobody takes the request at the moment; nothing was begun, so it may be sent again."""

    code = "unavailable"


class NodeError(MillraceError):
    """A node failed. ``name`` is what its record and the ``error`` port show."""

    code = "node-error"

    def __init__(self, name: str, message: str) -> None:
        self.name, self.message = name, message
        super().__init__(f"{name}: {message}")


class Retryable(NodeError):
    """The node failed; the same may succeed later."""


class Busy(Retryable):
    """An earlier attempt at the node may still be at work."""


class Permanent(NodeError):
    """The node failed, and would fail again."""
