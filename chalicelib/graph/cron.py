"""Cron: the five fields in which people say when something is to happen, and what EventBridge Scheduler is told of it.

A field is ``*`` or a list of values, ranges and steps: ``5``, ``1-5``, ``*/15``, ``10-50/10``, ``5/15`` (from 5 on),
``mon-fri``. A range whose end lies before its start goes round (``22-2`` are the hours about midnight). Where both
fields for days are given and neither is ``*``, a day need match only one of them.

Scheduler's own expressions have a sixth field and cannot say "or" of days: one of the two has to be ``?``. So a cron
with both becomes two expressions. On a day that matches both, both fire, with the same scheduled time: whatever a
schedule starts has to follow from that time.

Times are those of a clock on the wall. Where it is put forward, the times that it leaves out are left out; what it
shows twice where it is put back happens once. That is how Scheduler does it (its user guide, "Schedule types",
"Daylight savings time").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

_PART = re.compile(r"(?P<start>\*|\w+)(?:-(?P<end>\w+))?(?:/(?P<step>\d{1,4}))?", re.ASCII)


class CronError(ValueError):
    """A text is no cron expression; the message lists every fault."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    size: int  # how many different values there are: Sunday is 0 and 7
    names: tuple[str, ...] = ()  # of the values from ``low`` on

    def parse(self, text: str) -> frozenset[int] | None:
        """The values of a field; None for any. Raises ``CronError``."""
        if text in ("*", "*/1"):
            return None
        return frozenset(value for part in text.split(",") for value in self._values(part))

    def _values(self, part: str) -> Iterable[int]:
        found = _PART.fullmatch(part)
        if found is None or (found["start"] == "*" and found["end"]):
            raise CronError(f"{self.name}: {part!r} is no value, range or step")
        step = int(found["step"] or 1)
        if not step:
            raise CronError(f"{self.name}: {part!r} has a step of 0")
        if found["start"] == "*":
            return range(self.low, self.low + self.size, step)
        start = self._value(found["start"])
        end = self._value(found["end"]) if found["end"] else self.high if found["step"] else start
        if end < start:
            end += self.size
        return (self.low + (value - self.low) % self.size for value in range(start, end + 1, step))

    def _value(self, text: str) -> int:
        if text.lower() in self.names:
            return self.low + self.names.index(text.lower())
        if not text.isdigit():
            raise CronError(f"{self.name}: {text!r} is no number" + (" and no name" if self.names else ""))
        if not self.low <= int(text) <= self.high:
            raise CronError(f"{self.name}: {text} is not from {self.low} to {self.high}")
        return int(text)


_FIELDS = (
    _Field("minute", 0, 59, 60),
    _Field("hour", 0, 23, 24),
    _Field("day of month", 1, 31, 31),
    _Field(
        "month", 1, 12, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
    ),
    _Field("day of week", 0, 7, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)  # fmt: skip
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Cron:
    """Values by field; None is any."""

    minutes: frozenset[int] | None
    hours: frozenset[int] | None
    days: frozenset[int] | None
    months: frozenset[int] | None
    weekdays: frozenset[int] | None  # Sunday is 0

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises ``CronError``."""
        fields = text.split()
        if len(fields) != len(_FIELDS):
            raise CronError(f"a cron expression has five fields (minute hour day month weekday), not {len(fields)}")
        values, faults = [], []
        for field, part in zip(_FIELDS, fields, strict=True):
            try:
                values.append(field.parse(part))
            except CronError as error:
                faults.append(str(error))
        if faults:
            raise CronError("; ".join(faults))
        cron = cls(*values)
        if not cron._has_a_day():
            raise CronError("there is no such day in those months: it would never fire")
        return cron

    def _has_a_day(self) -> bool:
        if self.days is None or self.weekdays is not None:
            return True
        months = self.months or range(1, 13)
        return any(day <= _LONGEST_MONTHS[month - 1] for day, month in product(self.days, months))

    def expressions(self) -> tuple[str, ...]:
        """What EventBridge Scheduler is told: one ``cron(...)``, or two.

        >>> Cron.parse("*/20 9-17 1 * mon-fri").expressions()
        ('cron(0,20,40 9-17 1 * ? *)', 'cron(0,20,40 9-17 ? * 2-6 *)')
        """
        time = f"{_text(self.minutes)} {_text(self.hours)}"
        month = _text(self.months)
        found = []
        if self.days is not None or self.weekdays is None:
            found.append(f"cron({time} {_text(self.days)} {month} ? *)")
        if self.weekdays is not None:  # of Scheduler's, Sunday is 1
            found.append(f"cron({time} ? {month} {_text(day + 1 for day in self.weekdays)} *)")
        return tuple(found)


def _text(values: Iterable[int] | None) -> str:
    """Values as a list of ranges: never longer than Scheduler takes, and clear of what a step means to whom."""
    if values is None:
        return "*"
    return ",".join(
        f"{first}" if first == last else f"{first},{last}" if first + 1 == last else f"{first}-{last}"
        for first, last in _runs(sorted(values))
    )


def _runs(values: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of the values that follow on each other."""
    first = 0
    for index, value in enumerate(values):
        if index + 1 == len(values) or values[index + 1] != value + 1:
            yield values[first], value
            first = index + 1
