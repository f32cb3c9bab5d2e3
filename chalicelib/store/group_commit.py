"""Group commit: writes that are wanted at the same moment, by several runs, go to DynamoDB in one transaction.

Nobody waits for company: what the event loop has ready goes in its next turn, and what comes while as many requests as
may be are under way goes together. So a quiet process commits each by itself, and a busy one makes a call for many.
Whoever has asked is answered when its writes are acknowledged, and not before.

That others stood in the same transaction changes nothing: where it is refused because of one of them, each is written
by itself, and hears of its own conditions. Two that touch the same item never stand together, and are never under way
at once: the later one waits, and who came behind it does not overtake it.

Whoever does not wait any longer takes nothing back: its writes are done all the same.

What if the process is killed ... while a transaction is under way, all of it takes effect or none; nobody was answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from chalicelib.foundation.errors import Downstream
from chalicelib.store.table import TRANSACTION_ITEMS, ConditionFailed, Refused, Write

GROUP_BYTES = 3_500_000  # DynamoDB takes 4 MB in one transaction
IN_FLIGHT = 2  # requests under way at once
#: What a write takes at most beside the texts in it that are counted.
_WRITE_BYTES = 2_000

_Keys: TypeAlias = list[tuple[str, str]]


class Commits(Protocol):
    calls: int  #: transactions and single writes that were made
    commits: int  #: of those who asked

    def commit(self, writes: Sequence[Write], /) -> Awaitable[None]:
        """Does all writes or none; to be called in the event loop.

        What is awaited raises as ``Table.transact`` does, with indexes into ``writes``.
        """

    async def close(self) -> None:
        """Returns when what was asked for is written."""


class Sender(Protocol):
    """What a group is sent by: ``store.wire.Wire``."""

    async def send(self, writes: Sequence[Write], /) -> None:
        """Does all writes or none. Raises as ``Table.transact`` does."""

    async def close(self) -> None: ...


class _Asked(NamedTuple):
    """The writes of one who waits."""

    writes: Sequence[Write]
    told: asyncio.Future[None]

    @property
    def keys(self) -> _Keys:
        return [(write.key["pk"], write.key["sk"]) for write in self.writes]

    @property
    def size(self) -> int:
        """Bytes, rather too many than too few."""
        return sum(
            _WRITE_BYTES + (_size(write.item) + _size(write.values) if write.text is None else _size(write.text))
            for write in self.writes
        )


class GroupCommit:
    """The writes of all runs of one process. Of use within one event loop; to be closed."""

    def __init__(self, sender: Sender, in_flight: int = IN_FLIGHT) -> None:
        self._sender = sender
        self._free = in_flight
        self._waiting: deque[_Asked] = deque()
        self._touched: set[tuple[str, str]] = set()  # keys of what is under way
        self._starts = False  # whether the event loop is to call ``_start``
        self._sending: set[asyncio.Task[None]] = set()
        self._closed = False
        self.calls = 0
        self.commits = 0

    def commit(self, writes: Sequence[Write]) -> asyncio.Future[None]:
        """See ``Commits``. Raises ``Downstream`` once it is closed."""
        if self._closed:
            raise Downstream("The process ends.")
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(writes, told))
        self._start_soon()
        return told

    async def close(self) -> None:
        """Returns when what was asked for is written. Where it is cancelled, connections are closed all the same."""
        self._closed = True
        try:
            while self._waiting or self._sending:
                self._start()
                await asyncio.wait(self._sending)
        finally:
            await self._sender.close()

    def _start_soon(self) -> None:
        """Starts when everybody else has had a turn whom the event loop has ready: they may want to commit too."""
        if self._free and self._waiting and not self._starts:
            self._starts = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._starts = False
        while self._free and (group := self._next()):
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._send(group))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _next(self) -> list[_Asked]:
        """Those who have waited longest, as many as fit into one transaction, and the first in any case. Nobody where
        the first has to wait for an item.
        """
        group: list[_Asked] = []
        waiting, touched = self._waiting, self._touched
        room, size = TRANSACTION_ITEMS, GROUP_BYTES
        while waiting:
            asked = waiting[0]
            keys = asked.keys
            room -= len(keys)
            size -= asked.size
            if (group and (room < 0 or size < 0)) or not touched.isdisjoint(keys):
                break
            group.append(asked)
            touched.update(keys)
            waiting.popleft()
        return group

    async def _send(self, group: Sequence[_Asked]) -> None:
        try:
            await self._commit(group)
        except asyncio.CancelledError:  # the event loop ends
            for asked in group:
                asked.told.cancel()
            raise
        finally:
            for asked in group:
                self._touched.difference_update(asked.keys)
            self._free += 1
            self._start_soon()

    async def _commit(self, group: Sequence[_Asked]) -> None:
        """Raises nothing but ``CancelledError``."""
        if len(group) > 1:
            try:
                self.calls += 1
                await self._sender.send([write for asked in group for write in asked.writes])
            except (ConditionFailed, Refused):
                pass  # because of one of them: each for itself
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                _fail(group, error)
                return
            else:
                self._done(group)
                return
        for asked in group:
            try:
                self.calls += 1
                await self._sender.send(asked.writes)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                _fail([asked], error)
            else:
                self._done([asked])

    def _done(self, group: Sequence[_Asked]) -> None:
        self.commits += len(group)
        for asked in group:
            if not asked.told.done():  # it does not wait any longer
                asked.told.set_result(None)


def _fail(group: Iterable[_Asked], error: BaseException) -> None:
    for asked in group:
        if not asked.told.done():
            asked.told.set_exception(error)


def _size(values: Any) -> int:
    """About the bytes of the texts in a value."""
    if isinstance(values, str):
        return 4 * len(values) if not values.isascii() else len(values)
    if isinstance(values, dict):
        return sum(map(_size, values.values()))
    if isinstance(values, (list, tuple)):
        return sum(map(_size, values))
    return 8
