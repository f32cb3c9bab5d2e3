"""The shapes of the audit's answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, defer_build=True)


class AuditEntryShape(_Shape):
    id: str
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    user_id: str
    action: str = Field(description="Noun and verb: `workflow.updated`.")
    subject: str = Field(description="The id of what was changed.")
    detail: dict[str, Any]


class AuditPage(_Shape):
    limit: int
    offset: int
    entries: list[AuditEntryShape]
