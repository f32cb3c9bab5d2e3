"""Values on their way to a record and back.

Small ones stand in it as JSON text, large ones lie in S3. Who asks for one cannot tell.
"""

from __future__ import annotations

from chalicelib.foundation.json_types import Json, dumps, loads
from chalicelib.graph.executions import Payload
from chalicelib.store.blobs import Blobs

INLINE_BYTES = 32 * 1024  # of JSON text


class Payloads:
    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs

    def put(self, organization_id: str, value: Json) -> Payload:
        text = dumps(value)
        body = text.encode()
        if len(body) <= INLINE_BYTES:
            return Payload(text=text, size=len(body))
        return Payload(key=self.blobs.put(payload_prefix(organization_id), body), size=len(body))

    def text(self, payload: Payload | None) -> str | None:
        """The JSON text of a value, as it was put."""
        if payload is None:
            return None
        return payload.text if payload.key is None else self.blobs.get(payload.key).decode()

    def get(self, payload: Payload | None) -> Json:
        text = self.text(payload)
        return None if text is None else loads(text)

    def link(self, organization_id: str, payload: Payload, valid_s: int) -> str:
        """A URL to a value. One that stands in its record is put into S3 for it."""
        key = payload.key or self.blobs.put(payload_prefix(organization_id), (payload.text or "null").encode())
        return self.blobs.link(key, valid_s)


def payload_prefix(organization_id: str) -> str:
    """Under which the blobs of an organisation's payloads lie."""
    return f"payloads/{organization_id}"
