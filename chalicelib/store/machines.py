"""State machines: of each when it was last used, so that upkeep can delete those that nobody needs.

An account holds ten thousand of them, and each new shape of a workflow makes one. To delete one that is not used costs
nothing: the next start that needs it makes it again. To delete one that is in use would end its runs, so who starts a
run and who deletes a machine meet at its item:

- Whoever starts a run notes the use first, on the condition that the machine is not being deleted.
- Whoever deletes it says so first, on the condition that its last use is still the one that made it superfluous.

DynamoDB puts the two in an order. Either the deletion finds a new use and is called off, or the start finds a deletion
and waits until it is over. A process that dies in the middle of a deletion leaves it to the next upkeep after
``_CLAIMED``.

A machine may have executions of others, its *parts*, and nobody but its runs knows when. So a use of it is one of
them, and as long as something runs on it they are kept for it: a part is due some days after the machine that has it.
That a part is there is noted (``made``) when it was made; whoever finds no such note makes it again, which changes
nothing where it is there.

Attributes: ``usedAt``, which is noted once a day; ``deleting``, since when; ``parts``, names; ``made``; ``dueList`` and
``dueAt``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.foundation.clock import Clock, parse_timestamp, timestamp
from chalicelib.foundation.errors import Downstream
from chalicelib.store import keys
from chalicelib.store.due import Due, due_items
from chalicelib.store.table import ABSENT, ConditionFailed, Table, delete, put, update

_NOTED_EVERY = timedelta(days=1)
_PARTS_LONGER = timedelta(days=2)  # so the machine that has them is looked at before them
_CLAIMED = timedelta(minutes=10)  # longer than a function lasts: who claimed it before is not at work any more
_TRIES = 10  # of a start that meets a deletion, which takes a moment
_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class UnusedMachine:
    """One that upkeep has found: nobody has used it for long, or its deletion was begun and not ended."""

    name: str
    due: Due


@dataclass(frozen=True, slots=True)
class Survey:
    """How far the list of all state machines has been looked through."""

    token: str | None  # of the next page
    at: str  # when to go on; timestamp


class MachineRepository:
    def __init__(
        self, table: Table, clock: Clock, kept: timedelta, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._table = table
        self._clock = clock
        self._kept = kept  #: for how long nobody has to have used a machine before it goes
        self._sleep = sleep
        self._noted: dict[str, datetime] = {}  # by name: what this process knows of the last use

    def note_use(self, name: str, parts: Sequence[str] = ()) -> list[str]:
        """Says that a machine and its parts are about to be used.

        Returns the parts that may not be there: whoever makes one says so (``made``). Raises ``Downstream`` where one
        of them is being deleted for too long.
        """
        missing = [part for part in parts if not self._note(part, _PARTS_LONGER)]
        self._note(name, timedelta(), parts)
        return missing

    def made(self, part: str) -> None:
        """Says that a part is there, whose use was noted."""
        self._table.write(update(keys.machine(part), "SET made = :made", made=True))
        self._noted[part] = self._clock.now()

    def _note(self, name: str, longer: timedelta, parts: Sequence[str] = ()) -> bool:
        """Whether it is known to be there. A part is kept in mind only then."""
        now = self._clock.now()
        if name in self._noted and now - self._noted[name] < _NOTED_EVERY:
            return True
        for attempt in range(_TRIES):
            if attempt:
                self._sleep(_WAIT_S)
            try:
                item = self._table.write(
                    update(
                        keys.machine(name),
                        "SET usedAt = :now, dueAt = :due, dueList = :list" + (", parts = :parts" if parts else ""),
                        "attribute_not_exists(deleting) AND (attribute_not_exists(usedAt) OR usedAt <= :earlier)",
                        now=timestamp(now),
                        earlier=timestamp(now - _NOTED_EVERY),
                        due=self._due(now + longer),
                        list=keys.DUE_MACHINES,
                        **({"parts": list(parts)} if parts else {}),
                    )
                )
            except ConditionFailed as error:
                if error.old is None or "deleting" in error.old:
                    continue
                item = error.old  # another process has noted it
            if not longer or "made" in item:
                self._noted[name] = parse_timestamp(item["usedAt"])
            return "made" in item
        raise Downstream(f"The state machine {name} is being deleted.")

    def unused(self, limit: int) -> list[UnusedMachine]:
        found = due_items(self._table, keys.DUE_MACHINES, timestamp(self._clock.now()), limit)
        return [UnusedMachine(keys.machine_name(due.key), due) for due in found]

    def claim(self, machine: UnusedMachine) -> bool:
        """Says that a machine is being deleted. False where it was used since, or somebody else deletes it."""
        now = self._clock.now()
        return self._change(
            machine, "SET deleting = :now, dueAt = :at", now=timestamp(now), at=timestamp(now + _CLAIMED)
        )

    def keep(self, machine: UnusedMachine) -> None:
        """Leaves a machine for another day, and its parts as well: something still runs on it."""
        self._change(machine, "SET dueAt = :at REMOVE deleting", at=timestamp(self._clock.now() + _NOTED_EVERY))
        item = self._table.get(machine.due.key) or {}
        for part in item.get("parts", ()):
            self._note(part, _PARTS_LONGER)

    def forget(self, machine: UnusedMachine) -> None:
        """Says that a machine is deleted."""
        self._table.write(delete(machine.due.key, "attribute_not_exists(pk) OR attribute_exists(deleting)"))

    def adopt(self, names: Sequence[str]) -> int:
        """Makes known those machines that are not, as if they were used now; returns how many."""
        wanted = [keys.machine(name) for name in names]
        known = {item["pk"] for item in self._table.get_many(wanted)}
        now = self._clock.now()
        strays = [key for key in wanted if key["pk"] not in known]
        for key in strays:
            item = {**key, "usedAt": timestamp(now), "dueAt": self._due(now), "dueList": keys.DUE_MACHINES}
            with suppress(ConditionFailed):  # it has just been used
                self._table.write(put(item, ABSENT))
        return len(strays)

    def survey(self) -> Survey:
        item = self._table.get(keys.SURVEY)
        return Survey(item.get("token"), item["at"]) if item else Survey(None, "")

    def surveyed(self, survey: Survey) -> None:
        self._table.write(put({**keys.SURVEY, "token": survey.token, "at": survey.at}))

    def _change(self, machine: UnusedMachine, expression: str, **values: str) -> bool:
        try:
            self._table.write(update(machine.due.key, expression, "dueAt = :since", since=machine.due.at, **values))
        except ConditionFailed:
            return False
        return True

    def _due(self, used: datetime) -> str:
        # The last use may be a day later than what is noted of it.
        return timestamp(used + self._kept + _NOTED_EVERY)
