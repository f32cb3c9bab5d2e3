"""How long what a run leaves behind is kept: for the ``retentionDays`` of its workflow, counted from its end.

When a run ends is not known while it writes its records, and to go through all of them at the end would double what
they cost. So a record is written with the time at which it may go: its own time, the retention, and ``MARGIN``. A run
that lasts longer than half the margin has what it left so far moved on by upkeep, again and again until it ends. So no
record goes before its run, and none stays longer than the margin after it.

Payloads in S3 go by their age, counted from when they were put last, and that by rules for what begins alike. So
they lie on *shelves*, one for each of a few spans. A payload that two runs have in common is put by both.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime, timedelta

from chalicelib.foundation.clock import parse_timestamp

DEFAULT_DAYS = 90
MAX_DAYS = 3650
MARGIN = timedelta(days=7)

AUDIT_DAYS = 400  # a year, and some time to ask for it
REMAINS_DAYS = 30  # for which the versions of a deleted workflow are kept: nobody reaches them but by hand

#: Days for which the payloads on a shelf are kept, the margin aside; ``infra/template.yaml`` has a rule for each.
SHELVES = (1, 7, 30, 90, 180, 365, 730, 1825, MAX_DAYS)


def shelf(organization_id: str, days: int = DEFAULT_DAYS) -> str:
    """Where payloads lie that are to be kept for ``days``: the name of the shelf, and whose they are.

    The default is for what some run is told: it takes that to its own shelf when it hears of it.
    """
    return f"{SHELVES[bisect_left(SHELVES, days)]}d/{organization_id}"


def end_of_retention(ended_at: str, days: int) -> int:
    """When a run that has ended may go; seconds since 1970."""
    return _seconds(parse_timestamp(ended_at) + timedelta(days=days))


def end_of_record(written_at: str, days: int) -> int:
    """When a record may go of a run that may be under way; seconds since 1970."""
    return _seconds(parse_timestamp(written_at) + timedelta(days=days) + MARGIN)


def has_to_be_moved_on(expires_at: int, days: int, now: datetime) -> bool:
    """Whether a run that is under way was not thought to last so long when its records were written."""
    return expires_at < _seconds(now + timedelta(days=days) + MARGIN / 2)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
