"""Time, passed in: nothing below the composition root asks the machine for it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present, aware of its time zone (UTC)."""

    def sleep(self, seconds: float) -> None:
        """Returns when so many seconds have passed."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC to the millisecond, as every record and answer shows it: text order is time order."""
    if moment.tzinfo is None:
        raise ValueError("a timestamp needs a time zone")
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def parse_timestamp(text: str) -> datetime:
    """The moment that an ISO 8601 text names.

    Raises ``ValueError`` for any other text and for one without a time zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)
