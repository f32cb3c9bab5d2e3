"""The wire truth of the credentials API. No answer has a field for a value."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Value = Annotated[str, StringConstraints(min_length=1, max_length=16_384)]
Description = Annotated[str, StringConstraints(max_length=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel, defer_build=True)


class CreateCredentialBody(_Body):
    name: str = Field(description="By which configs name it, as `${NAME}`: 1 to 64 letters, digits and _.")
    value: Value = Field(description="The secret. It is shown to nobody.")
    description: Description | None = Field(None, description="What it is for.")


class ChangeCredentialBody(_Body):
    value: Value | None = Field(None, description="The new secret; the old one stays where it is absent.")
    description: Description | None = Field(None, description="What it is for.")


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, defer_build=True)


class CredentialShape(_Shape):
    id: str = Field(description="The name again: it is what paths take.")
    name: str
    description: str
    created_at: str
    updated_at: str
    updated_by: str


class CredentialList(_Shape):
    count: int
    credentials: list[CredentialShape]
