"""The shapes of executions on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
ExecutionWord = Literal["QUEUED", "RUNNING", "WAITING", "PAUSED", "SUCCESS", "FAILED", "CANCELLED", "TIMED_OUT"]
TaskWord = Literal["PENDING", "RUNNING", "WAITING", "SUCCESS", "FAILED", "SKIPPED", "CANCELLED"]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, defer_build=True)


class ErrorShape(Shape):
    name: str
    message: str
    node_id: str | None = None


class TriggerSummary(Shape):
    type: str
    source: str


class TriggerShape(TriggerSummary):
    payload: Any
    payload_url: str | None = None


class ExecutionSummary(Shape):
    id: str
    workflow_id: str
    flow_id: str
    status: ExecutionWord
    tasks_total: int
    tasks_executed: int | None
    started_at: Timestamp | None
    finished_at: Timestamp | None
    duration_ms: int | None
    trigger: TriggerSummary
    error: ErrorShape | None


class ExecutionShape(ExecutionSummary):
    trigger: TriggerShape
    output: Any
    cost: dict[str, Any] | None
    output_url: str | None = None


class AttemptShape(Shape):
    round: int = Field(description="Which of the times that the run was taken up, from 1.")
    started_at: Timestamp
    finished_at: Timestamp | None = Field(description="null while it is under way, and where it was cut off.")
    error: ErrorShape | None


class TaskShape(Shape):
    task_id: str
    task_name: str
    task_type: str
    status: TaskWord
    attempts: int
    attempt_history: list[AttemptShape]
    pinned: bool | None = Field(default=None, description="Whether its output was given and it did not run.")
    outputs: str | None = Field(description="The output as JSON text.")
    outputs_url: str | None = None
    error: ErrorShape | None
    approval_id: str | None = Field(description="Of what a person is asked.")
    child_execution_id: str | None = Field(description="Of the run that it waits for.")
    started_at: Timestamp | None
    finished_at: Timestamp | None


class ExecutionDetailShape(Shape):
    execution: ExecutionShape
    tasks: list[TaskShape]
    next_offset: int | None = None


class ExecutionPage(Shape):
    count: int
    limit: int
    offset: int
    executions: list[ExecutionSummary]
