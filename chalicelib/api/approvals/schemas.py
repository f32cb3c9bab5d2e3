"""The wire truth of the approvals API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
StatusWord = Literal["PENDING", "APPROVED", "REJECTED", "EXPIRED", "CANCELLED"]


class DecisionBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel, defer_build=True)

    comment: Annotated[str, StringConstraints(max_length=4000)] | None = Field(None, description="Goes into the run.")


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, defer_build=True)


class ApprovalShape(_Shape):
    id: str
    status: StatusWord
    message: str
    workflow_id: str
    execution_id: str
    task_id: str
    created_at: Timestamp
    expires_at: Timestamp | None
    decided_at: Timestamp | None
    decided_by: str | None
    comment: str | None


class ApprovalPageShape(_Shape):
    count: int
    limit: int
    offset: int
    approvals: list[ApprovalShape]
