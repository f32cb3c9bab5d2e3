"""Audit entries: written as a part of the transaction that they tell of, read newest first."""

from __future__ import annotations

from itertools import islice

from chalicelib.foundation.json_types import dumps, loads
from chalicelib.graph.audit import AuditEntry
from chalicelib.graph.retention import AUDIT_DAYS, end_of_retention
from chalicelib.store import keys
from chalicelib.store.table import ABSENT, Item, Table, Write, put


def audit_write(entry: AuditEntry) -> Write:
    return put(
        {
            **keys.audit(entry.organization_id, entry.subject, entry.at, entry.id),
            "orgList": keys.audit_of_organization(entry.organization_id),
            "listKey": f"{entry.at}#{entry.id}",
            "auditId": entry.id,
            "organizationId": entry.organization_id,
            "userId": entry.user_id,
            "action": entry.action,
            "subject": entry.subject,
            "at": entry.at,
            "detail": dumps(entry.detail),
            "expiresAt": end_of_retention(entry.at, AUDIT_DAYS),
        },
        ABSENT,
    )


class AuditRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, entry: Write) -> None:
        """Writes what ``audit_write`` has made, by itself."""
        self._table.write(entry)

    def of_subject(self, organization_id: str, subject: str, limit: int, offset: int) -> list[AuditEntry]:
        """What was done to one thing, newest first."""
        pk = keys.audit(organization_id, subject, "", "")["pk"]
        found = self._table.query(pk, newest_first=True, limit=limit + offset)
        return [_entry(item) for item in islice(found, offset, None)]

    def of_organization(self, organization_id: str, limit: int, offset: int) -> list[AuditEntry]:
        """What was done in an organisation, newest first."""
        pk = keys.audit_of_organization(organization_id)
        found = self._table.query(
            pk, index=keys.BY_ORGANIZATION, pk_name="orgList", newest_first=True, limit=limit + offset
        )
        page = [{"pk": item["pk"], "sk": item["sk"]} for item in islice(found, offset, None)]
        entries = map(_entry, self._table.get_many([keys.Key(pk=key["pk"], sk=key["sk"]) for key in page]))
        return sorted(entries, key=lambda entry: (entry.at, entry.id), reverse=True)


def _entry(item: Item) -> AuditEntry:
    detail = loads(item["detail"])
    assert isinstance(detail, dict)
    return AuditEntry(
        id=item["auditId"],
        organization_id=item["organizationId"],
        user_id=item["userId"],
        action=item["action"],
        subject=item["subject"],
        at=item["at"],
        detail=detail,
    )
