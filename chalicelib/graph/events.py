"""Events, their types, and the patterns in which ``*`` stands for any run of characters, dots included."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chalicelib.foundation.json_types import Json

MAX_EVENT_TYPE_CHARS = 256
WILDCARD = "*"

EVENT_TYPE = rf"^[^\x00-\x1f\x7f*]{{1,{MAX_EVENT_TYPE_CHARS}}}$"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened in an organisation."""

    organization_id: str
    id: str  # what is told twice under one id is one event
    type: str
    data: Json
    source: str  # in the teller's own words


def is_event_type(text: str) -> bool:
    """Whether a text is a type that an event may have: no pattern, that is."""
    return re.fullmatch(EVENT_TYPE, text) is not None


def matches(pattern: str, event_type: str) -> bool:
    """Whether an event of this type is one that the pattern means.

    >>> matches("order.*", "order.paid.late"), matches("*.paid", "order.paid"), matches("order", "order.paid")
    (True, True, False)
    """
    first, *middle = pattern.split(WILDCARD)
    if not middle:
        return pattern == event_type
    last = middle.pop()
    if len(first) + len(last) > len(event_type) or not event_type.startswith(first) or not event_type.endswith(last):
        return False
    position, end = len(first), len(event_type) - len(last)
    for part in middle:
        found = event_type.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def ends_of(pattern: str) -> tuple[str, str]:
    """What stands before the first ``*`` of a pattern, and behind the last: every type that it means has both ends.

    >>> ends_of("order.*.paid"), ends_of("*"), ends_of("a*b*")
    (('order.', '.paid'), ('', ''), ('a', ''))
    """
    return pattern.partition(WILDCARD)[0], pattern.rpartition(WILDCARD)[2]
