"""Events: told to the steps that wait for one of their type.

An event is not kept: what begins to wait later does not hear of it.
"""

from __future__ import annotations

from chalicelib.engines.payloads import Payloads
from chalicelib.foundation.json_types import Json
from chalicelib.graph.retention import shelf
from chalicelib.services.telling import Telling
from chalicelib.store.replies import StoredReply
from chalicelib.store.subscriptions import SubscriptionRepository


class EventService:
    def __init__(self, subscriptions: SubscriptionRepository, payloads: Payloads, telling: Telling) -> None:
        self._subscriptions = subscriptions
        self._payloads = payloads
        self._telling = telling

    def deliver(self, organization_id: str, event_type: str, data: Json) -> int:
        """Tells an event to all that wait for it, and returns how many.

        Harmless to repeat: a subscription goes when its step was woken, and a step hears of one event only.
        """
        told = 0
        payload = None
        for subscription in self._subscriptions.matching(organization_id, event_type):
            payload = payload or self._payloads.put(shelf(organization_id), data)
            self._telling.tell(subscription.place, StoredReply(output=payload))
            self._subscriptions.remove(subscription)
            told += 1
        return told
