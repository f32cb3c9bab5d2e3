"""The wire truth of the keys API."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Text = Annotated[str, StringConstraints(max_length=256)]


class CreateKeyBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel, defer_build=True)

    user_id: Text | None = Field(None, description="Whose key it is; the caller's own where it is absent.")
    scopes: Annotated[list[Text], Field(max_length=50)]
    name: Text | None = Field(None, description="What it is for.")


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, defer_build=True)


class KeyShape(_Shape):
    id: str
    name: str
    prefix: str
    user_id: str
    scopes: list[str]
    created_at: str
    last_used_at: str | None


class NewKeyShape(KeyShape):
    key: str = Field(description="The key itself. It is shown here and never again.")


class KeyList(_Shape):
    count: int
    keys: list[KeyShape]
