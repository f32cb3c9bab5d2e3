"""The audit: who did what to which thing, when.

An entry is a part of the transaction that makes the change: there is none without the other.
"""

from __future__ import annotations

from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.ids import Ids, is_id
from chalicelib.foundation.json_types import Json
from chalicelib.graph.audit import AuditEntry
from chalicelib.services.access import Principal
from chalicelib.store.audit import AuditRepository, audit_write
from chalicelib.store.table import Write


class AuditService:
    def __init__(self, repository: AuditRepository, ids: Ids, clock: Clock) -> None:
        self._repository = repository
        self._ids = ids
        self._clock = clock

    def entry(self, principal: Principal, action: str, subject: str, **detail: Json) -> Write:
        """The write that tells of an action; it goes into the transaction of the change."""
        return audit_write(
            AuditEntry(
                id=self._ids.new("audit"),
                organization_id=principal.organization_id,
                user_id=principal.user_id,
                action=action,
                subject=subject,
                at=timestamp(self._clock.now()),
                detail=detail,
            )
        )

    def note(self, principal: Principal, action: str, subject: str, **detail: Json) -> None:
        """Writes an entry by itself: of something that was refused, and so changed nothing."""
        self._repository.add(self.entry(principal, action, subject, **detail))

    def recent(self, principal: Principal, subject: str | None, limit: int, offset: int) -> list[AuditEntry]:
        """What was done in the caller's organisation, or to one thing in it; newest first."""
        organization = principal.organization_id
        if subject is None:
            return self._repository.of_organization(organization, limit, offset)
        if not is_id(subject):
            return []
        return self._repository.of_subject(organization, subject, limit, offset)
