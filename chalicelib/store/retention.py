"""Moves on what runs have left so far that last longer than was thought; see ``graph.retention``."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime

from chalicelib.foundation.clock import timestamp
from chalicelib.graph.executions import Execution
from chalicelib.graph.retention import end_of_record, has_to_be_moved_on
from chalicelib.store import keys
from chalicelib.store.blobs import Blobs
from chalicelib.store.table import ConditionFailed, Item, Table, update

MOVED_AT_ONCE = 1000  # items, in one call


class RetentionRepository:
    def __init__(self, table: Table, blobs: Blobs) -> None:
        self._table = table
        self._blobs = blobs

    def move_on(self, execution: Execution, now: datetime) -> None:
        """Lets what a run has left so far stay for another while, if it would go too early.

        A bounded part of it at a time. The execution comes last: as long as it is as it was, there is more to do.
        """
        if execution.expires_at is None or not self._is_early(execution, execution.expires_at, now):
            return
        left = MOVED_AT_ONCE
        own: Item = {}
        for partition in keys.partitions_of_run(execution.organization_id, execution.id):
            for item in self._table.query(partition):
                if item["sk"] == keys.EXECUTION:
                    own = item
                elif "expiresAt" in item and self._is_early(execution, item["expiresAt"], now):
                    if not left:
                        return
                    left -= 1
                    self._move(execution, item, now, "expiresAt < :until")
        if own:
            self._move(execution, own, now, "expiresAt < :until AND attribute_exists(dueAt)")  # it has not ended

    def _is_early(self, execution: Execution, expires_at: int, now: datetime) -> bool:
        return has_to_be_moved_on(expires_at, execution.retention_days, now)

    def _move(self, execution: Execution, item: Item, now: datetime, condition: str) -> None:
        """Payloads come first: should this die in between, the item is as it was, and found again."""
        # Whatever an item is: what looks like the name of one of the organisation's payloads may be one.
        names = re.findall(rf"payloads/\d+d/{re.escape(execution.organization_id)}/[0-9a-f]{{64}}", repr(item))
        for name in dict.fromkeys(names):
            self._blobs.make_young(name)
        until = end_of_record(timestamp(now), execution.retention_days)
        key = keys.Key(pk=item["pk"], sk=item["sk"])
        with suppress(ConditionFailed):
            self._table.write(update(key, "SET expiresAt = :until", condition, until=until))
