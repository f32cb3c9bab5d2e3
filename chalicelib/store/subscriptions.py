"""Which steps wait for events of which type.

A subscription stands in the partition of its type, so those of one type are one query. A type with ``*`` in it is a
pattern: the patterns of an organisation stand in one list, each once however many wait for it, and are held against the
type of an event; only the partitions of those that match are read. A pattern outlives the last that waits for it by a
year and a month: then it ages out.

Attributes of both: ``expiresAt``; of a subscription also ``executionId``, ``gate``, ``path``, ``pattern``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.compiler.asl.quotas import GATE_KEPT_S
from chalicelib.foundation.clock import parse_timestamp
from chalicelib.graph.events import WILDCARD, matches
from chalicelib.store import keys
from chalicelib.store.replies import WaitingAt
from chalicelib.store.table import Table, Write, delete, put


@dataclass(frozen=True, slots=True)
class Subscription:
    pattern: str
    place: WaitingAt


def subscription_writes(subscription: Subscription, at: str) -> list[Write]:
    """The writes that make a subscription. Harmless to repeat."""
    expires_at = int((parse_timestamp(at) + timedelta(seconds=GATE_KEPT_S)).timestamp())
    place = subscription.place
    item = {
        **_key(subscription),
        "executionId": place.execution_id,
        "gate": place.gate,
        "path": place.path,
        "pattern": subscription.pattern,
        "expiresAt": expires_at,
    }
    writes = [put(item)]
    if WILDCARD in subscription.pattern:
        pattern = keys.event_pattern(place.organization_id, subscription.pattern)
        writes.append(put({**pattern, "expiresAt": expires_at}))
    return writes


def unsubscribe_write(subscription: Subscription) -> Write:
    return delete(_key(subscription))


class SubscriptionRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def matching(self, organization_id: str, event_type: str) -> Iterator[Subscription]:
        """All that wait for an event of this type."""
        known = self._table.query(keys.event_pattern(organization_id, "")["pk"], attributes=("sk",))
        patterns = [item["sk"] for item in known if item["sk"] != event_type and matches(item["sk"], event_type)]
        for pattern in (event_type, *patterns):
            for item in self._table.query(keys.subscription(organization_id, pattern, "", "", "")["pk"]):
                place = WaitingAt(organization_id, item["executionId"], item["gate"], item["path"])
                yield Subscription(item["pattern"], place)

    def remove(self, subscription: Subscription) -> None:
        """Harmless to repeat."""
        self._table.write(unsubscribe_write(subscription))


def _key(subscription: Subscription) -> keys.Key:
    place = subscription.place
    return keys.subscription(place.organization_id, subscription.pattern, place.execution_id, place.gate, place.path)
