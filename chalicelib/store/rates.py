"""How often a webhook is called: a count for each minute, which goes soon after.

One conditional write counts a request or refuses it, so that two at the same time are two.
"""

from __future__ import annotations

from datetime import datetime

from chalicelib.store import keys
from chalicelib.store.table import ConditionFailed, Table, update

WINDOW_S = 60
_KEPT_S = 3600


class RateRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def count(self, webhook_key: str, limit: int, now: datetime) -> int | None:
        """Counts a request; where there were ``limit`` in this minute, says instead in how many seconds it is over."""
        second = int(now.timestamp())
        window = second - second % WINDOW_S
        key = keys.webhook_rate(webhook_key, window)
        values = {"one": 1, "limit": limit, "expiresAt": window + _KEPT_S}
        expression = "ADD n :one SET expiresAt = :expiresAt"
        try:
            self._table.write(update(key, expression, "attribute_not_exists(n) OR n < :limit", **values))
        except ConditionFailed:
            return window + WINDOW_S - second
        return None
