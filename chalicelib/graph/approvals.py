"""What a person is asked while a run waits for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"  # nobody decided in time
    CANCELLED = "cancelled"  # the run ended first


@dataclass(frozen=True, slots=True)
class Approval:
    id: str
    organization_id: str
    workflow_id: str
    execution_id: str
    node_id: str
    path: str  # of the loop iteration
    gate: str  # where the node waits
    started_by: str  # user id: of the run
    message: str
    created_at: str
    expires_at: str | None = None  # when it is too late to decide
    status: ApprovalStatus = ApprovalStatus.PENDING
    decided_by: str | None = None  # user id
    decided_at: str | None = None
    comment: str | None = None
