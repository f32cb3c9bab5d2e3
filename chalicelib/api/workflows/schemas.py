"""The wire truth of the workflows API: what bodies look like.

Unknown fields are ignored, everything else is checked, all at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from chalicelib.compiler.asl.quotas import MAX_EXECUTION_S
from chalicelib.graph.deployments import MAX_REPLICAS
from chalicelib.graph.events import EVENT_TYPE
from chalicelib.graph.executions import MAX_PRIORITY
from chalicelib.graph.lifecycle import (
    DEFAULT_IDLE_MINUTES,
    MAX_IDLE_MINUTES,
    MAX_WINDOWS,
    MAX_ZONE_CHARS,
    MIN_IDLE_MINUTES,
    Policy,
    PolicyType,
    policy_faults,
    policy_from_json,
)
from chalicelib.graph.model import OnError, WorkflowStatus
from chalicelib.graph.retention import MAX_DAYS

MAX_NODES = 20_000
MAX_CONNECTIONS = 100_000

_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
TEXT = r"^[^\x00-\x1f\x7f]+$"  # no control characters
NodeId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=TEXT)]
Port = NodeId
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Description = Annotated[str, StringConstraints(max_length=4096)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=TEXT)]
Tags = Annotated[list[Tag], Field(max_length=50)]


class Body(BaseModel):
    """JSON types are what they are: a text is no number. Enums are named by their words."""

    model_config = ConfigDict(
        strict=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, defer_build=True
    )


class RetryBody(Body):
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 1
    interval_seconds: Annotated[int, Field(ge=1, le=86_400)] = 1
    backoff_rate: Annotated[float, Field(ge=1, le=100)] = 2.0
    max_delay_seconds: Annotated[int, Field(ge=1, le=86_400)] = 60


class NodeSettingsBody(Body):
    retry: RetryBody | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=MAX_EXECUTION_S)] | None = None
    on_error: Annotated[OnError, Field(strict=False)] | None = None


class PositionBody(Body):
    x: Annotated[float, Field(allow_inf_nan=False)]
    y: Annotated[float, Field(allow_inf_nan=False)]


class NodeBody(Body):
    id: NodeId
    node_id: NodeId
    label: Name | None = None
    position: PositionBody | None = None
    config: dict[str, Any] | None = None
    input_mappings: dict[str, str] | None = None
    pass_through_values: dict[str, str] | None = None
    settings: NodeSettingsBody | None = None
    version: Name | None = None


class ConnectionBody(Body):
    id: NodeId | None = None
    source_node_id: NodeId
    target_node_id: NodeId
    source_port: Port | None = None
    target_port: Port | None = None


class WorkflowSettingsBody(Body):
    timeout: Annotated[int, Field(ge=1, le=MAX_EXECUTION_S)] | None = None  # seconds
    retry_on_failure: bool | None = None
    max_retries: Annotated[int, Field(ge=0, le=20)] | None = None
    max_concurrent_runs: Annotated[int, Field(ge=1)] | None = None
    error_workflow_id: Name | None = None
    app_id: Name | None = None
    retention_days: Annotated[int, Field(ge=1, le=MAX_DAYS)] | None = None  # from the end of a run


Nodes = Annotated[list[NodeBody], Field(max_length=MAX_NODES)]
Connections = Annotated[list[ConnectionBody], Field(max_length=MAX_CONNECTIONS)]


class GraphBody(Body):
    nodes: Nodes | None = None
    connections: Connections | None = None

    @model_validator(mode="after")
    def _ids_are_distinct(self) -> Self:
        nodes = [(("nodes", index, "id"), node.id) for index, node in enumerate(self.nodes or ())]
        connections = [
            (("connections", index, "id"), item.id) for index, item in enumerate(self.connections or ()) if item.id
        ]
        if found := [*_repeated(nodes), *_repeated(connections)]:
            raise ValidationError.from_exception_data(type(self).__name__, found)
        return self


class DefinitionBody(GraphBody):
    """A graph in place of the workflow's own."""


class UpdateWorkflowBody(GraphBody):
    name: Name | None = None
    description: Description | None = None
    tags: Tags | None = None
    settings: WorkflowSettingsBody | None = None
    config: dict[str, Any] | None = None
    is_public: bool | None = None
    is_template: bool | None = None
    version: Annotated[int, Field(ge=1)] | None = None  # a snapshot to go back to


class CreateWorkflowBody(UpdateWorkflowBody):
    name: Name
    status: Annotated[WorkflowStatus, Field(strict=False)] | None = None


class StatusBody(Body):
    status: Annotated[WorkflowStatus, Field(strict=False)]


class AddNodeBody(Body):
    node_id: NodeId = Field(validation_alias=AliasChoices("nodeId", "nodeType"))
    label: Name | None = None
    version: Name | None = None
    position: PositionBody | None = None
    config: dict[str, Any] | None = None


class ChangeNodeBody(Body):
    """What a node's config is merged with, beside a label; or, without the field ``config``, that config itself."""

    config: dict[str, Any] | None = None
    label: Name | None = None
    position: PositionBody | None = None
    settings: NodeSettingsBody | None = None

    @model_validator(mode="before")
    @classmethod
    def _wrap(cls, body: Any) -> Any:
        if not isinstance(body, dict) or "config" in body:
            return body
        unwrapped = {key: value for key, value in body.items() if key != "label"}
        return {**({"label": body["label"]} if "label" in body else {}), "config": unwrapped}


class InputMappingsBody(Body):
    mappings: dict[str, str]


class PassThroughValuesBody(Body):
    values: dict[str, str]


class AddConnectionBody(Body):
    source_node_id: NodeId
    target_node_id: NodeId
    source_port: Port | None = None
    target_port: Port | None = None


class CreateVersionBody(Body):
    version_tag: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=TEXT)]
    description: Description | None = None


class ShareBody(Body):
    user_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")]


class ExecuteBody(Body):
    definition: DefinitionBody | None = None
    trigger_inputs: dict[str, Any] | None = None
    start_node: NodeId | None = None
    pinned: dict[NodeId, Any] | None = None


class EmailBody(Body):
    sender: str | None = Field(None, alias="from")
    to: str | None = None
    cc: str | None = None
    subject: str | None = None
    body_text: str | None = Field(None, validation_alias=AliasChoices("body_text", "text"))
    body_html: str | None = Field(None, validation_alias=AliasChoices("body_html", "html"))
    attachments: list[Any] | None = None
    email_headers: dict[str, Any] | None = Field(None, alias="email_headers")


class TriggerBody(Body):
    trigger_type: Name | None = Field(None, alias="trigger_type", description="A label of the source; api by default.")
    inputs: dict[str, Any] | None = None
    sync: bool | None = Field(None, description="Whether to wait for the end of the run; false by default.")


class StartBody(Body):
    replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] | None = Field(None, description="1 by default.")


class WindowBody(Body):
    """Open from startTime to before endTime, that of the next day where it is not after startTime."""

    days: Annotated[list[Annotated[int, Field(ge=0, le=6)]], Field(min_length=1, max_length=7)]  # 0 is Sunday
    start_time: Annotated[str, Field(pattern=_TIME)]
    end_time: Annotated[str, Field(pattern=_TIME)]


class ScheduleBody(Body):
    timezone: Annotated[str, Field(max_length=MAX_ZONE_CHARS, description="A name of the IANA database.")]
    windows: Annotated[list[WindowBody], Field(min_length=1, max_length=MAX_WINDOWS)]


class LifecycleBody(Body):
    """What it has to be in all detail, ``graph.lifecycle`` says; what another type would have is not looked at."""

    type: Annotated[PolicyType, Field(strict=False)]
    idle_timeout_minutes: Annotated[int, Field(ge=MIN_IDLE_MINUTES, le=MAX_IDLE_MINUTES)] | None = Field(
        None, description=f"Of idle-shutdown; {DEFAULT_IDLE_MINUTES} by default."
    )
    schedule: ScheduleBody | None = Field(None, description="Required of scheduled-window.")
    _policy: Policy = PrivateAttr()

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, body: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if found := list(policy_faults(body)):
            errors = [
                InitErrorDetails(
                    type=PydanticCustomError("policy", "{message}", {"message": fault.message}),
                    loc=_location(fault.path),
                    input=body,
                )
                for fault in found
            ]
            raise ValidationError.from_exception_data(cls.__name__, errors)
        policy = policy_from_json(body)
        made = validate(policy.to_json())
        made._policy = policy
        return made

    @property
    def policy(self) -> Policy:
        return self._policy


class EventBody(Body):
    event_type: Annotated[str, StringConstraints(pattern=EVENT_TYPE)] = Field(alias="event_type")
    event_data: dict[str, Any] | None = Field(None, alias="event_data")
    source: Name | None = None


class EnqueueBody(Body):
    """A message: what ``message`` or ``data`` hold, or else the body itself."""

    message: dict[str, Any] | None = None
    data: dict[str, Any] | None = Field(None, description="The same as message.")
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] | None = Field(None, description="0 by default.")
    source: Name | None = Field(None, description="rest_api by default.")
    _whole: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_whole(cls, body: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        made = validate(body)
        made._whole = body
        return made

    @property
    def payload(self) -> dict[str, Any]:
        return next((given for given in (self.message, self.data) if given is not None), self._whole)


class TestNodeBody(Body):
    __test__ = False  # for pytest: it is no test

    input: Any = Field(None, description="The node's input, as the connections would bring it.")
    config: dict[str, Any] | None = None


def _location(path: str) -> tuple[str | int, ...]:
    """``a.b[1].c`` as pydantic has it."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"[.\[\]]+", path) if part)


def _repeated(ids: Iterable[tuple[tuple[str | int, ...], str]]) -> Iterable[InitErrorDetails]:
    listed = list(ids)
    times = Counter(identifier for _, identifier in listed)
    for location, identifier in listed:
        if times[identifier] > 1:
            error = PydanticCustomError(
                "duplicate_id", "The id {id} stands {times} times", {"id": repr(identifier), "times": times[identifier]}
            )
            yield InitErrorDetails(type=error, loc=location, input=identifier)
