"""Requests that clients may repeat: what an Idempotency-Key was first used for, for 24 hours.

A claim names what the request is to bring about, before it does: who repeats it, perhaps because the first one died on
the way, brings about the same, or hears the answer if there was one. A request that starts one run by itself writes its
claim in one transaction with the record of the run (``store.executions``).

Attributes: ``executionId`` (or the id of whatever else is brought about), ``requestHash``, ``expiresAt``, ``answer`` (a
payload).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.foundation.errors import IdempotencyMismatch
from chalicelib.foundation.json_types import canonical
from chalicelib.graph.executions import Payload
from chalicelib.store import keys
from chalicelib.store.table import ABSENT, ConditionFailed, Table, Write, put, update

IDEMPOTENCY_TTL = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Claim:
    organization_id: str
    key: str
    request_hash: str
    subject: str  # id of what the request brings about
    answer: Payload | None = None  # that was given, if one was


def request_hash(request: object, body: bytes = b"") -> str:
    """The same for equal requests; ``request`` is JSON."""
    return hashlib.sha256(canonical(request) + body).hexdigest()


def claim_write(claim: Claim, now: datetime) -> Write:
    """Claims a key, unless it is claimed."""
    item = {
        **keys.idempotency(claim.organization_id, claim.key),
        "executionId": claim.subject,
        "requestHash": claim.request_hash,
        "expiresAt": int((now + IDEMPOTENCY_TTL).timestamp()),
    }
    # DynamoDB deletes what has expired within days, not at once: an old claim counts as none.
    return put(item, f"{ABSENT} OR expiresAt < :now", now=int(now.timestamp()))


class ClaimRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def claim(self, wanted: Claim, now: datetime) -> Claim:
        """The claim of a key that holds: ``wanted``, or an earlier one.

        Raises ``IdempotencyMismatch`` where that was for another request.
        """
        try:
            self._table.write(claim_write(wanted, now))
        except ConditionFailed as error:
            old = error.old or {}
            if old["requestHash"] != wanted.request_hash:
                raise IdempotencyMismatch from error
            answer = Payload.from_json(old["answer"]) if "answer" in old else None
            return Claim(wanted.organization_id, wanted.key, old["requestHash"], old["executionId"], answer)
        return wanted

    def answered(self, claim: Claim, answer: Payload) -> None:
        """Keeps the answer that a request was given."""
        key = keys.idempotency(claim.organization_id, claim.key)
        self._table.write(update(key, "SET answer = :answer", answer=answer.to_json()))
