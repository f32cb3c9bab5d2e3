"""EventBridge: the bus of the stage, as far as nodes put events on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.foundation.json_types import Json, dumps

#: Who says so on the bus: what a rule may ask for, and what the role of the node runner is held to.
SOURCE = "millrace"

MAX_EVENT_BYTES = 256 * 1024  # that EventBridge takes, the names of source and type among them

_REFUSED = frozenset({"NotAuthorizedForSourceException", "InvalidArgument", "MalformedDetail", "AccessDeniedException"})


class EventBus:
    def __init__(self, client: Any, bus: str) -> None:
        self._client = client
        self._bus = bus

    def put(self, event_type: str, detail: Mapping[str, Json]) -> str:
        """Puts one event on the bus and returns the id that it was given. To put it again makes another one.

        Raises ``Permanent`` (``EventTooLarge``, ``EventRefused``) and ``Retryable`` (``EventBusUnavailable``).
        """
        from botocore.exceptions import BotoCoreError, ClientError

        text = dumps(detail)
        size = sum(len(part.encode()) for part in (text, event_type, SOURCE))
        if size > MAX_EVENT_BYTES:
            raise Permanent("EventTooLarge", f"The event has {size} bytes; EventBridge takes {MAX_EVENT_BYTES}.")
        entry = {"EventBusName": self._bus, "Source": SOURCE, "DetailType": event_type, "Detail": text}
        try:
            (result,) = self._client.put_events(Entries=[entry])["Entries"]
        except (BotoCoreError, ClientError) as error:
            raise Retryable("EventBusUnavailable", f"EventBridge: {error}"[:500]) from error
        if "EventId" in result:
            return str(result["EventId"])
        told = f"EventBridge: {result.get('ErrorCode')}: {result.get('ErrorMessage')}"[:500]
        if result.get("ErrorCode") in _REFUSED:
            raise Permanent("EventRefused", told)
        raise Retryable("EventBusUnavailable", told)
