"""Replies: what steps were told that waited for it.

A reply is one item beside the step records, made once: what is told first counts, and that nothing was told in time is
told here too. So a decision at the last moment and the end of the time for it never both come true.

Attributes: ``output``, a payload; or ``error``, ``{name, message}``; or neither, where the time was over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.compiler.asl.quotas import GATE_KEPT_S
from chalicelib.foundation.clock import parse_timestamp
from chalicelib.graph.executions import Payload, StepError
from chalicelib.store import keys
from chalicelib.store.table import ABSENT, ConditionFailed, Item, Table, Write, put


@dataclass(frozen=True, slots=True)
class WaitingAt:
    """Where a step waits to be told something."""

    organization_id: str
    execution_id: str
    gate: str
    path: str  # of the loop iteration


@dataclass(frozen=True, slots=True)
class StoredReply:
    """What a step was told: a value, or that what it waited for has failed; neither where the time was over."""

    output: Payload | None = None
    error: StepError | None = None


def reply_write(place: WaitingAt, reply: StoredReply, at: str) -> Write:
    """The write that makes a reply, on the condition that there is none."""
    kept = timedelta(seconds=GATE_KEPT_S)
    return put(
        {
            **keys.reply(place.organization_id, place.execution_id, place.gate, place.path),
            "output": reply.output.to_json() if reply.output else None,
            "error": reply.error.to_json() if reply.error else None,
            "expiresAt": int((parse_timestamp(at) + kept).timestamp()),
        },
        ABSENT,
    )


class ReplyRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def make(self, place: WaitingAt, reply: StoredReply, at: str, also: Sequence[Write] = ()) -> bool:
        """Makes a reply, with ``also`` in one transaction. False where there is one, or a condition does not hold."""
        write = reply_write(place, reply, at)
        try:
            self._table.transact([write, *also]) if also else self._table.write(write)
        except ConditionFailed:
            return False
        return True

    def get(self, place: WaitingAt) -> StoredReply | None:
        item = self._table.get(keys.reply(place.organization_id, place.execution_id, place.gate, place.path))
        return _reply(item) if item else None


def _reply(item: Item) -> StoredReply:
    return StoredReply(
        output=Payload.from_json(item["output"]) if "output" in item else None,
        error=StepError(**item["error"]) if "error" in item else None,
    )
