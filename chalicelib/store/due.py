"""What has to be looked at some time: items with the attributes ``dueList`` and ``dueAt``, in the index ``by-due``.

Only such items stand in it, so the index is as small as what is open, and to read it costs as much as what is due.
Whoever looks at an item first moves it on in time, on the condition that nobody else has: two who look at the same
moment do not both do the work, and what fails, or dies, is looked at again at the next time and keeps nothing up.
"""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.store import keys
from chalicelib.store.table import ConditionFailed, Item, Table, update


@dataclass(frozen=True, slots=True)
class Due:
    """An item that is due: which one, and since when."""

    key: keys.Key
    at: str  # timestamp
    created_at: str = ""  # timestamp, of a run
    deadline: str | None = None  # timestamp, of a run that has one
    is_leased: bool = False  # a run that a process has taken, be it alive or not


def due_items(table: Table, partition: str, now: str, limit: int) -> list[Due]:
    """The first items of a partition that are due, the earliest first."""
    found = table.query(partition, index=keys.BY_DUE, pk_name="dueList", at_most=("dueAt", now), limit=limit)
    return [
        Due(
            key=keys.Key(pk=item["pk"], sk=item["sk"]),
            at=item["dueAt"],
            created_at=item.get("createdAt", ""),
            deadline=item.get("deadline"),
            is_leased="leasedBy" in item,
        )
        for item in found
    ]


def postpone(table: Table, due: Due, at: str) -> Item | None:
    """Moves an item on to ``at`` and returns all of it; None where it is not due any more, or not since then."""
    try:
        return table.write(update(due.key, "SET dueAt = :at", "dueAt = :since", at=at, since=due.at))
    except ConditionFailed:
        return None
