"""The bodies of requests about executions."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel


class RestartBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel, defer_build=True)

    from_step: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="The id of a node: it and all that is downstream of it are decided anew."
    )
