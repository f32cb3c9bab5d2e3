"""Cron expressions: read as croniter reads them, and said in Scheduler's words without a change of meaning."""

from __future__ import annotations

import calendar
import heapq
import itertools
import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chalicelib.graph.cron import Cron, CronError

BEGINNING = datetime(2023, 12, 31, 23, 59)  # before a leap year
END = BEGINNING + timedelta(days=3 * 366)
MOST_TIMES = 200

_MONTHS = [name.upper() for name in calendar.month_abbr if name]
_WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


def scheduler_times(expression: str) -> Iterator[datetime]:
    """When Scheduler fires, by the table of its user guide: minutes, hours, day of month, month, day of week, year;
    exactly one of the days is ``?``, and Sunday is 1."""
    fields = re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) \*\)", expression)
    assert fields, expression
    assert len(expression) <= 256, "Scheduler takes no longer one"
    minutes, hours, days, months, weekdays = fields.groups()
    assert (days == "?") != (weekdays == "?")
    times = [
        timedelta(hours=hour, minutes=minute)
        for hour, minute in itertools.product(range(24), range(60))
        if _matches(hours, hour, 0, 23) and _matches(minutes, minute, 0, 59)
    ]
    for number in range((END - BEGINNING).days + 1):
        day = BEGINNING.replace(hour=0, minute=0) + timedelta(days=number)
        of_week = day.isoweekday() % 7 + 1
        matches = _matches(weekdays, of_week, 1, 7) if days == "?" else _matches(days, day.day, 1, 31)
        if matches and _matches(months, day.month, 1, 12):
            yield from (day + time for time in times if day + time > BEGINNING)


def _matches(field: str, value: int, low: int, high: int) -> bool:
    if field == "*":
        return True
    for part in field.split(","):
        first, _, last = part.partition("-")
        assert low <= int(first) <= int(last or first) <= high, field
        if int(first) <= value <= int(last or first):
            return True
    return False


def field(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    size = 7 if high == 7 else high - low + 1
    # croniter takes `5-5`, and a range that goes all the way round, for `*`.
    ends = st.tuples(value, value).filter(lambda pair: (pair[0] - pair[1]) % size > 1)
    step = st.integers(2, high + 5)
    parts = [
        value.map(str),
        ends.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(ends.filter(lambda pair: pair[0] < pair[1]), step).map(lambda p: f"{p[0][0]}-{p[0][1]}/{p[1]}"),
        step.map(lambda number: f"*/{number}"),
    ]
    if names:
        name = st.sampled_from(names + [name.lower() for name in names])
        parts += [name, ends.map(lambda pair: f"{names[(pair[0] - low) % size]}-{names[(pair[1] - low) % size]}")]
    listed = st.lists(st.one_of(parts), min_size=1, max_size=4).map(",".join)
    return st.one_of(st.just("*"), listed)


CRONS = st.tuples(
    field(0, 59), field(0, 23), field(1, 31), field(1, 12, _MONTHS), field(0, 7, _WEEKDAYS)
).map(" ".join)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(CRONS)
def test_schedules_fire_together_when_the_cron_does(text: str) -> None:
    """The times of all expressions of a cron, taken together, are those that croniter finds, over three years."""
    if never_fires(text):
        with pytest.raises(Exception, match="failed to find next date"):
            croniter(text, BEGINNING).get_next(datetime)
        return
    cron = Cron.parse(text)
    # Days that name them all are any day to croniter, but not in every spelling.
    assume(len(cron.weekdays or ()) < 7 and len(cron.days or ()) < 31)
    ours = merged(cron)
    theirs = itertools.takewhile(lambda time: time <= END, croniter(text, BEGINNING).all_next(datetime))
    assert list(itertools.islice(ours, MOST_TIMES)) == list(itertools.islice(theirs, MOST_TIMES))


def never_fires(text: str) -> bool:
    try:
        Cron.parse(text)
    except CronError as error:
        return "never fire" in str(error)
    return False


def merged(cron: Cron) -> Iterator[datetime]:
    for time, _ in itertools.groupby(heapq.merge(*map(scheduler_times, cron.expressions()))):
        if time <= END:
            yield time


@pytest.mark.parametrize(
    ("text", "expressions"),
    [
        ("* * * * *", ["cron(* * * * ? *)"]),
        ("*/1 0 */1 * mon", ["cron(* 0 ? * 2 *)"]),
        ("0 9 * * mon-fri", ["cron(0 9 ? * 2-6 *)"]),
        ("0 0 13 * FRI", ["cron(0 0 13 * ? *)", "cron(0 0 ? * 6 *)"]),  # either day is enough
        ("0 0 * * 0,7", ["cron(0 0 ? * 1 *)"]),  # Sunday twice
        ("0 22-2 * * sat-sun", ["cron(0 0-2,22,23 ? * 1,7 *)"]),
        ("5/20 0 29 feb *", ["cron(5,25,45 0 29 2 ? *)"]),
        ("5-5 0 1 1 *", ["cron(5 0 1 1 ? *)"]),
    ],
)
def test_expressions(text: str, expressions: list[str]) -> None:
    """What Scheduler is told of well-known crons."""
    assert list(Cron.parse(text).expressions()) == expressions


def test_longest_expression_is_short_enough() -> None:
    """Scheduler takes 256 characters: pairs with a gap behind each are the longest that a field can be."""
    fields = [
        ",".join(str(value) for value in range(low, high + 1) if (value - low) % 3 < 2)
        for low, high in ((0, 59), (0, 23), (1, 31), (1, 12))
    ]
    [expression] = Cron.parse(" ".join([*fields, "*"])).expressions()
    assert 200 < len(expression) <= 256


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["five fields", "not 0"]),
        ("* * * * * *", ["five fields", "not 6"]),
        ("@daily", ["five fields"]),
        ("60 24 32 13 8", ["minute: 60", "hour: 24", "day of month: 32", "month: 13", "day of week: 8"]),
        ("*/0 * 0 * *", ["step of 0", "day of month: 0"]),
        ("1, * ? L mon#2", ["minute: ''", "'?' is no value", "month: 'L' is no number and no name", "'mon#2'"]),
        ("*-5 5- -5 5/ 1//2", ["minute: '*-5'", "hour: '5-'", "'-5'", "'5/'", "'1//2'"]),
        ("jan monday * mon tuesday", ["minute: 'jan' is no number", "hour: 'monday'", "month: 'mon'", "'tuesday'"]),
        ("0 0 31 feb,apr *", ["never fire"]),
        ("٣ * * * *", ["minute"]),  # digits of another script
    ],
)
def test_every_fault_is_told(text: str, messages: list[str]) -> None:
    """All that is wrong is in one message, with the field in which it is."""
    with pytest.raises(CronError) as caught:
        Cron.parse(text)
    for message in messages:
        assert message in str(caught.value)
