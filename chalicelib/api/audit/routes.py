"""Who did what, when: an entry for every change, newest first."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint

from chalicelib.api.audit import answers
from chalicelib.api.endpoint import Answer, Call, Parameter, Router
from chalicelib.api.paging import QueryReader
from chalicelib.api.parameters import PAGE
from chalicelib.graph.audit import AuditEntry
from chalicelib.services.access import AUDIT_READ

blueprint = Blueprint(__name__)
route = Router(blueprint, "Audit").route

_SUBJECT = Parameter("subject", "Only what was done to this one thing, by its id.", {"type": "string"})


@route(
    "GET",
    "/api/v1/audit",
    "List what was done",
    scope=AUDIT_READ,
    answer=answers.AuditPage,
    parameters=(*PAGE, _SUBJECT),
    statuses=(400,),
)
def list_audit_entries(call: Call) -> Answer:
    reader = QueryReader(call.query)
    page = reader.page()
    reader.check()
    found = call.services.audit.recent(call.principal, reader.text("subject"), page.limit, page.offset)
    return Answer({"limit": page.limit, "offset": page.offset, "entries": list(map(_entry_json, found))})


def _entry_json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": entry.at,
        "userId": entry.user_id,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail,
    }
