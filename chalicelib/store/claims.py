"""Requests that clients may repeat: what an Idempotency-Key was first used for, for 24 hours.

A claim names what the request is to bring about, before it does: who repeats it, perhaps because the first one died on
the way, brings about the same, or hears the answer if there was one. A request that starts one run by itself needs none
of this: the record of the run is written in one transaction with its key (``store.executions``).

Attributes, beside those that the store of executions writes: ``executionId`` (here the id of whatever is brought
about), ``requestHash``, ``expiresAt``, ``answer`` (a payload).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from chalicelib.graph.executions import Payload
from chalicelib.store import keys
from chalicelib.store.executions import IDEMPOTENCY_TTL
from chalicelib.store.table import ABSENT, ConditionFailed, Table, put, update


@dataclass(frozen=True, slots=True)
class Claim:
    organization_id: str
    key: str
    request_hash: str
    subject: str  # id of what the request brings about
    answer: Payload | None = None  # that was given, if one was


class ClaimRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def claim(self, wanted: Claim, now: datetime) -> Claim:
        """The claim of a key that holds: ``wanted``, or an earlier one."""
        item = {
            **keys.idempotency(wanted.organization_id, wanted.key),
            "executionId": wanted.subject,
            "requestHash": wanted.request_hash,
            "expiresAt": int((now + IDEMPOTENCY_TTL).timestamp()),
        }
        try:
            self._table.write(put(item, f"{ABSENT} OR expiresAt < :now", now=int(now.timestamp())))
        except ConditionFailed as error:
            old = error.old or {}
            answer = Payload.from_json(old["answer"]) if "answer" in old else None
            return Claim(wanted.organization_id, wanted.key, old["requestHash"], old["executionId"], answer)
        return wanted

    def answered(self, claim: Claim, answer: Payload) -> None:
        """Keeps the answer that a request was given."""
        key = keys.idempotency(claim.organization_id, claim.key)
        self._table.write(update(key, "SET answer = :answer", answer=answer.to_json()))
