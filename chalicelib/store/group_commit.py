"""Group commit: writes that are wanted at the same moment, by several runs, go to DynamoDB in one transaction.

Nobody waits for company: what is there goes as soon as a thread is free, and what comes while all of them are at it
goes together. So a quiet process commits each by itself, and a busy one makes a call for many. Whoever has asked is
answered when its writes are acknowledged, and not before.

That others stood in the same transaction changes nothing: where it is refused because of one of them, each is written
by itself, and hears of its own conditions. Two that touch the same item never stand together; the later one waits.

What if the process is killed ... while a transaction is under way, all of it takes effect or none; nobody was answered.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from chalicelib.foundation.errors import Downstream
from chalicelib.store.table import TRANSACTION_ITEMS, ConditionFailed, Refused, Table, Write

GROUP_BYTES = 3_500_000  # DynamoDB takes 4 MB in one transaction
THREADS = 2  # transactions under way at once: while one waits for its answer, another is put together
#: What a write takes at most beside the texts in it that are counted.
_WRITE_BYTES = 2_000


class Commits(Protocol):
    calls: int  #: transactions and single writes that were made
    commits: int  #: of those who asked

    def submit(self, writes: Sequence[Write], /) -> Future[None]:
        """Does all writes or none. The future raises as ``Table.transact`` does, with indexes into ``writes``."""


@dataclass
class _Asked:
    """The writes of one who waits."""

    writes: Sequence[Write]
    future: Future[None] = field(default_factory=Future)

    @property
    def keys(self) -> set[tuple[str, str]]:
        return {(write.key["pk"], write.key["sk"]) for write in self.writes}

    @property
    def size(self) -> int:
        return sum(_WRITE_BYTES + _size(write.item) + _size(write.values) for write in self.writes)


class GroupCommit:
    """The writes of all runs of one process. To be closed."""

    def __init__(self, table: Table, threads: int = THREADS) -> None:
        self._table = table
        self._waiting: deque[_Asked] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.calls = 0
        self.commits = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"commit-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, writes: Sequence[Write]) -> Future[None]:
        """See ``Commits``. Raises ``Downstream`` once it is closed."""
        asked = _Asked(writes)
        with self._changed:
            if self._closed:
                raise Downstream("The process ends.")
            self._waiting.append(asked)
            self._changed.notify()
        return asked.future

    def close(self) -> None:
        """Returns when what was asked for is written."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                group = self._next()
            self._commit(group)

    def _next(self) -> list[_Asked]:
        """As many as fit into one transaction, the first one in any case; the others stay, in their order."""
        group: list[_Asked] = []
        left: deque[_Asked] = deque()
        touched: set[tuple[str, str]] = set()
        room, size = TRANSACTION_ITEMS, GROUP_BYTES
        while self._waiting:
            asked = self._waiting.popleft()
            keys, own = asked.keys, asked.size
            if group and (len(asked.writes) > room or own > size or keys & touched):
                left.append(asked)
                touched |= keys  # nobody overtakes who waits for the same item
                continue
            group.append(asked)
            touched |= keys
            room -= len(asked.writes)
            size -= own
            if room <= 0:
                break
        left.extend(self._waiting)
        self._waiting = left
        return group

    def _commit(self, group: Sequence[_Asked]) -> None:
        if len(group) > 1:
            try:
                self.calls += 1
                self._table.transact([write for asked in group for write in asked.writes])
            except (ConditionFailed, Refused):
                pass  # because of one of them: each for itself
            except BaseException as error:
                for asked in group:
                    asked.future.set_exception(error)
                return
            else:
                self._done(group)
                return
        for asked in group:
            try:
                self.calls += 1
                if len(asked.writes) > 1:
                    self._table.transact(asked.writes)
                else:
                    self._table.write(asked.writes[0])
            except BaseException as error:
                asked.future.set_exception(error)
            else:
                self._done([asked])

    def _done(self, group: Sequence[_Asked]) -> None:
        self.commits += len(group)
        for asked in group:
            asked.future.set_result(None)


def _size(values: Any) -> int:
    """About the bytes of the texts in a value."""
    if isinstance(values, str):
        return 4 * len(values) if not values.isascii() else len(values)
    if isinstance(values, dict):
        return sum(map(_size, values.values()))
    if isinstance(values, (list, tuple)):
        return sum(map(_size, values))
    return 8
