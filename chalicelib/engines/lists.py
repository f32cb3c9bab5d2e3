"""Lists that may be long: what a loop iterates over, and what comes of its items.

**Items.** Each iteration needs one item, and there may be ten thousand: were each to read the whole list, the work
would be its square. A list of more than a few kilobytes is one JSON text in S3, and the record of the loop holds an
index of it: at which byte every slice of some tens of kilobytes begins, ``{"key", "size", "firsts", "offsets"}``. An
iteration reads the one slice that its item is in; so does the next, and finds it in the Lambda's memory. Small lists
stand in the record as they are: every node of the body reads that record, so a few kilobytes are the limit.

**Results.** The list of results is put together from the texts of each, as they come: it is never held.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

from chalicelib.engines.payloads import Payloads, payload_prefix
from chalicelib.foundation.json_types import Json, dumps, loads
from chalicelib.graph.executions import Payload

INLINE_ITEMS_BYTES = 4 * 1024  # of JSON text: one read unit of DynamoDB
SLICE_BYTES = 64 * 1024  # at least, but for the last
MAX_SLICES = 256  # so the index stays as small as the list would have to be


class Lists:
    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads
        self._blobs = payloads.blobs

    def put_items(self, shelf: str, items: Iterable[Json]) -> Payload:
        """Stores a list for ``item`` to read from."""
        texts = [dumps(item).encode() for item in items]
        body = b"[" + b",".join(texts) + b"]"
        if len(body) <= INLINE_ITEMS_BYTES:
            return Payload(text=body.decode(), size=len(body))
        firsts, offsets = _slices(texts, max(SLICE_BYTES, len(body) // MAX_SLICES))
        key = self._blobs.put(payload_prefix(shelf), body)
        index = {"key": key, "size": len(body), "firsts": firsts, "offsets": offsets}
        return Payload(text=dumps(index), size=len(body))

    def item(self, payload: Payload, position: int) -> Json:
        """One item of a list that ``put_items`` has stored."""
        stored: Any = loads(payload.text or "")
        if isinstance(stored, list):
            inline: Json = stored[position]
            return inline
        firsts, offsets = stored["firsts"], stored["offsets"]
        number = bisect_right(firsts, position) - 1
        end = offsets[number + 1] if number + 1 < len(offsets) else stored["size"]
        # Behind a slice stands a comma, or the end of the list.
        text = self._blobs.get_part(stored["key"], offsets[number], end - 1)
        in_slice: Any = loads(b"[" + text + b"]")
        item: Json = in_slice[position - firsts[number]]
        return item

    def put_results(self, shelf: str, results: Iterable[Iterable[bytes]]) -> Payload:
        """Stores the list of the values that the texts spell, each of which comes in pieces.

        Raises ``Permanent`` where it is larger than can be put together.
        """
        return self._payloads.put_text(shelf, _joined(results))


def _joined(results: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    yield b"["
    for number, pieces in enumerate(results):
        if number:
            yield b","
        yield from pieces
    yield b"]"


def _slices(texts: list[bytes], least: int) -> tuple[list[int], list[int]]:
    """Of each slice the number of its first item, and the byte at which it begins."""
    firsts, offsets = [0], [1]
    offset = 1
    for number, text in enumerate(texts):
        if offset - offsets[-1] >= least:
            firsts.append(number)
            offsets.append(offset)
        offset += len(text) + 1
    return firsts, offsets
