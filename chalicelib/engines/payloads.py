"""Values on their way to a record and back.

Small ones stand in the record as JSON text, large ones lie in S3. A large one that a node only passes on, whole or as a
part of something new, is never held: it is ``Stored``, so the same object in S3 is recorded again, and what is composed
of several is put together from their texts, by way of the disk. Whoever has to look into one loads it, within a limit:
as Python objects a value takes up to 25 times the memory of its text.

What if the process is killed ... before the record names an object, the object stays, named by nobody, until payloads
age out. Its key is its content, so the next attempt finds it there.

S3 keeps payloads for as long as their shelf says (``graph.retention``). One that comes from a run with another
retention is copied to the shelf of the run that records it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from chalicelib.foundation.errors import Downstream, Permanent
from chalicelib.foundation.json_types import Json, Stored, Value, dumps, loads
from chalicelib.foundation.spool import spooled
from chalicelib.graph.executions import Payload
from chalicelib.graph.retention import shelf
from chalicelib.store.blobs import Blobs

INLINE_BYTES = 32 * 1024  # of JSON text
KEPT_CHARS = 128 * 1024  # of JSON text, whose values are kept for a run in this process
LOADED_BYTES = 20_000_000  # of JSON text, that one step may load


class Payloads:
    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs

    def put(self, shelf: str, value: Value, inline_bytes: int = INLINE_BYTES) -> Payload:
        """``inline_bytes``: what a text has at most that stands in a record.

        Raises ``Permanent`` where stored values come to more than can be put together.
        """
        if isinstance(value, Stored):
            return Payload(key=self.blobs.copy(value.key, payload_prefix(shelf)), size=value.size)
        text = _text_if_here(value)
        if text is None:
            return self.put_text(shelf, self.pieces(value))
        size = len(text) if text.isascii() else len(text.encode())
        if size <= inline_bytes:
            return Payload(text=text, size=size)
        return Payload(key=self.blobs.put(payload_prefix(shelf), text.encode()), size=size)

    def put_text(self, shelf: str, text: Iterable[bytes]) -> Payload:
        """Stores the value that a JSON text spells, which comes in pieces. Raises ``Permanent`` as ``put`` does."""
        with spooled(text) as spool:
            if spool.size <= INLINE_BYTES:
                return Payload(text=spool.file.read().decode(), size=spool.size)
            key = self.blobs.put_spool(payload_prefix(shelf), spool)
            return Payload(key=key, size=spool.size)

    def value(self, payload: Payload | None) -> Value:
        """A small value, or where a large one lies."""
        if payload is None or payload.key is None:
            return self.get(payload)
        return Stored(payload.key, payload.size)

    def get(self, payload: Payload | None) -> Json:
        """A value, whatever its size. Raises ``Permanent`` for more than a step may load."""
        text = self.text(payload)
        return None if text is None else loads(text)

    def text(self, payload: Payload | None) -> str | None:
        """The JSON text of a value, as it was put. Raises ``Permanent`` as ``get`` does."""
        if payload is None:
            return None
        if payload.key is None:
            return payload.text
        if payload.size > LOADED_BYTES:
            raise too_large("A value", payload.size)
        return self.blobs.get(payload.key).decode()

    def stream(self, payload: Payload | None) -> Iterator[bytes]:
        """The JSON text of a value of any size, in pieces."""
        if payload is not None and payload.key is not None:
            yield from self.blobs.stream(payload.key)
        else:
            yield ((payload and payload.text) or "null").encode()

    def pieces(self, value: Value) -> Iterator[bytes]:
        """The JSON text of a value that may hold stored ones, in pieces."""
        if isinstance(value, Stored):
            yield from self.blobs.stream(value.key)
        elif (text := _text_if_here(value)) is not None:
            yield text.encode()
        elif isinstance(value, Mapping):
            for number, (name, item) in enumerate(value.items()):
                yield f"{',' if number else '{'}{dumps(name)}:".encode()
                yield from self.pieces(item)
            yield b"}"
        else:
            assert isinstance(value, Sequence)
            for number, item in enumerate(value):
                yield b"," if number else b"["
                yield from self.pieces(item)
            yield b"]"

    def link(self, organization_id: str, payload: Payload, valid_s: int) -> str:
        """A URL to a value. One that stands in its record is put into S3 for it, and not kept for long."""
        key = payload.key
        if key is None:
            key = self.blobs.put(payload_prefix(shelf(organization_id, days=1)), (payload.text or "null").encode())
        return self.blobs.link(key, valid_s)


class KeptPayloads(Payloads):
    """Those of one run in this process: a small value that several of its nodes read is parsed once.

    Values are never changed in place, so they may have it together.
    """

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs)
        self._values: dict[str, Json] = {}  # by their text
        self._room = KEPT_CHARS

    def get(self, payload: Payload | None) -> Json:
        text = None if payload is None or payload.key is not None else payload.text
        if text is None:
            return super().get(payload)
        if text in self._values:
            return self._values[text]
        value = loads(text)
        if len(text) <= self._room:
            self._room -= len(text)
            self._values[text] = value
        return value


def payload_prefix(shelf: str) -> str:
    """With what the keys of the blobs on a shelf begin."""
    return f"payloads/{shelf}"


def too_large(name: str, size: int) -> Permanent:
    return Permanent(
        "PayloadTooLarge",
        f"{name} has {size} bytes of JSON text; a step can look into {LOADED_BYTES} in all. It can pass on any number.",
    )


def _text_if_here(value: Value) -> str | None:
    """The JSON text of a value; None where some of it is stored."""
    try:
        return dumps(value)
    except TypeError:
        if isinstance(value, (Mapping, list, tuple)):
            return None
        raise


class _NothingElsewhere:
    """Stands where blobs and credentials would be asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise Downstream("Not here: this takes a thread.")


NOTHING_ELSEWHERE: Any = _NothingElsewhere()
