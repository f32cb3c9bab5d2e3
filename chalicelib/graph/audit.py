"""Who did what, when: an entry for every change, written in the transaction that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.foundation.json_types import Json


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: str
    organization_id: str
    user_id: str
    action: str  # noun and verb: ``workflow.updated``
    subject: str  # id of what was changed
    at: str  # timestamp
    detail: Mapping[str, Json] = field(default_factory=dict)  # small, and never a payload or a secret
