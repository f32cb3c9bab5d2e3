"""The large values of one step: passed on unread, or loaded within what a step may hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from chalicelib.compiler.plan import PlanNode
from chalicelib.engines.payloads import LOADED_BYTES, Payloads, too_large
from chalicelib.engines.secrets import Secrets
from chalicelib.foundation.json_types import Json, Stored, Value, loads
from chalicelib.nodes.spec import Outcome, Wait

_PLAIN = frozenset({str, int, float, bool, type(None)})  # types of values that hold no others


class StepValues:
    """See ``nodes.capabilities.Values``."""

    def __init__(self, payloads: Payloads, shelf: str, secrets: Secrets) -> None:
        self._payloads = payloads
        self._shelf = shelf
        self._secrets = secrets
        self._loaded: dict[Stored, Json] = {}

    def load(self, value: Value, name: str = "The value") -> Json:
        if type(value) in _PLAIN:
            return value  # type: ignore[return-value]
        if isinstance(value, Stored):
            if value not in self._loaded:
                if value.size + sum(stored.size for stored in self._loaded) > LOADED_BYTES:
                    raise too_large(name, value.size)
                self._loaded[value] = loads(self._payloads.blobs.get(value.key))
            return self._loaded[value]
        if isinstance(value, Mapping):
            return {key: self.load(item, f"{name}.{key}") for key, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [self.load(item, name) for item in value]
        return value

    def opened(self, value: Value) -> Value:
        """A value that is not itself stored; what it holds may be."""
        return self.load(value) if isinstance(value, Stored) else value

    def text(self, value: Value) -> Iterator[bytes]:
        return self._payloads.pieces(value)

    def keep(self, text: Iterable[bytes]) -> Value:
        if self._secrets.any_read:  # then the runner looks for them in the output
            return loads(b"".join(_limited(text)))
        return self._payloads.value(self._payloads.put_text(self._shelf, text))


def _limited(text: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in text:
        size += len(piece)
        if size > LOADED_BYTES:
            raise too_large("The output of a node with credentials", size)
        yield piece


R = TypeVar("R", bound=Outcome | Wait)


def passed_on(result: R, data: Value, node: PlanNode, values: StepValues) -> R:
    """The result with keys of the input beside its own; only objects have keys. Raises ``Permanent``: too large."""
    if not node.pass_through:
        return result
    output, kept = values.opened(result.output), values.opened(data)
    if not isinstance(output, Mapping) or not isinstance(kept, Mapping):
        return result
    added = {key: kept[source] for key, source in node.pass_through.items() if source in kept}
    return replace(result, output={**output, **added})
