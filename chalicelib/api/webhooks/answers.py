"""What a webhook answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from chalicelib.api.executions.answers import ErrorShape


class WebhookAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True, defer_build=True)

    execution_id: str
    status: str | None = Field(None, description="With `sync`: how the run stands, with 200 how it has ended.")
    output: Any = Field(None, description="With `sync`, of a run that has succeeded.")
    output_url: str | None = Field(None, description="Where an output lies that no answer holds, for an hour.")
    error: ErrorShape | None = None
