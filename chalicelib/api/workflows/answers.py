"""The shapes of the workflows API's answers.

They describe and test what ``mapping`` makes; nothing is built from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.alias_generators import to_camel

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
StatusWord = Literal["draft", "active", "paused", "archived"]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True, defer_build=True)


class Created(Shape):
    workflow_id: str


class Started(Shape):
    execution_id: str


class Triggered(Started):
    trigger_type: Annotated[str, Field(alias="trigger_type")]


class NodeErrorShape(Shape):
    name: str
    message: str


class TrialShape(Shape):
    node_id: str
    status: Literal["SUCCESS", "WAITING", "FAILED"]
    port: str | None = Field(description="The port that it took; of a loop the one of its body.")
    output: Any = Field(description="Of a loop its items, of a wait what it will put out.")
    output_url: str | None = None
    until: Timestamp | None = Field(description="Of a wait.")
    error: NodeErrorShape | None


class Position(Shape):
    x: float
    y: float


class NodeShape(Shape):
    id: str
    node_id: str
    label: str
    position: Position | None
    config: dict[str, Any]
    input_mappings: dict[str, str] | None = None
    pass_through_values: dict[str, str] | None = None
    settings: dict[str, Any] | None = None
    version: str | None = None


class ConnectionShape(Shape):
    id: str
    source_node_id: str
    source_port: str
    target_node_id: str
    target_port: str


class WorkflowSummaryShape(Shape):
    id: str
    name: str
    description: str
    status: StatusWord
    version: int
    tags: list[str]
    organization_id: str
    owner_id: str
    is_public: bool
    is_template: bool
    created_at: Timestamp
    updated_at: Timestamp


class WorkflowShape(WorkflowSummaryShape):
    nodes: list[NodeShape]
    connections: list[ConnectionShape]
    config: dict[str, Any]
    settings: dict[str, Any]
    shared_with: list[str]
    scopes: list[str]


class WorkflowPage(Shape):
    count: int
    limit: int
    offset: int
    workflows: list[WorkflowSummaryShape]


class ProblemShape(Shape):
    type: str
    message: str
    node_id: str | None = None
    path: str | None = None


class ValidationShape(Shape):
    workflow_id: str
    valid: bool
    errors: list[ProblemShape]
    warnings: list[ProblemShape]
    node_count: int
    connection_count: int
    estimate: dict[str, Any] | None


class PlanShape(Shape):
    workflow_id: str
    nodes: int
    run: dict[str, Any]
    at_most: dict[str, Any]
    late_joins: int
    executions: list[dict[str, Any]]
    root: dict[str, Any] | None
    text: str


class VersionShape(Shape):
    version: int
    version_tag: str | None
    description: str
    created_by: str
    created_at: Timestamp


class VersionList(Shape):
    workflow_id: str
    current_version: int
    versions: list[VersionShape]


class VersionCreated(Shape):
    workflow_id: str
    version: int
    version_tag: str


class ShareShape(Shape):
    user_id: str
    shared_at: Timestamp


class ShareList(Shape):
    workflow_id: str
    shared_with: list[ShareShape]


class Shared(Shape):
    message: str
    workflow_id: str
    user_id: str


class TemplateShape(Shape):
    id: str
    name: str
    description: str
    tags: list[str]
    nodes: list[NodeShape]
    connections: list[ConnectionShape]
    created_at: Timestamp


class TemplateList(Shape):
    count: int
    templates: list[TemplateShape]


class Stats(Shape):
    total: int
    active: int
    paused: int
    draft: int
    archived: int


class NodeSummary(Shape):
    id: str
    type: str
    label: str
    category: str
    position: Position | None
    has_config: bool
    inbound_connections: int
    outbound_connections: int


class NodeList(Shape):
    workflow_id: str
    count: int
    nodes: list[NodeSummary]


class CatalogNode(Shape):
    id: str
    type: str
    category: str
    label: str
    node_version: str | None
    position: Position | None
    data: dict[str, Any]
    config: dict[str, Any]


class NodeAnswer(Shape):
    node_id: str
    workflow_id: str
    node: CatalogNode


class NodeRemoved(Shape):
    removed: Literal[True]
    node_id: str
    removed_connections: int
    workflow_id: str


class InputMappings(Shape):
    node_id: str
    workflow_id: str
    input_mappings: dict[str, str]


class PassThroughValues(Shape):
    node_id: str
    workflow_id: str
    pass_through_values: dict[str, str]


class EditedConnection(Shape):
    id: str
    source: str
    target: str
    source_port: str
    target_port: str


class ConnectionAnswer(Shape):
    connection_id: str
    workflow_id: str
    connection: EditedConnection


class ConnectionRemoved(Shape):
    removed: Literal[True]
    connection_id: str
    workflow_id: str


class LayoutAnswer(Shape):
    workflow_id: str
    changed: bool
    nodes_repositioned: int


class ScopesAnswer(Shape):
    workflow_id: str
    scopes: list[str]


class EventResult(Shape):
    workflow_id: str
    workflow_name: str
    execution_id: str | None = Field(None, description="Of the run that was started.")
    error: str | None = Field(None, description="Why none was.")


class EventAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    event_type: str
    workflows_triggered: int
    workflows_failed: int
    results: list[EventResult]


DeploymentWord = Literal["not-deployed", "deploying", "running", "stopped", "failed"]
ReasonWord = Literal["user", "idle", "on-demand", "outside-window", "failed"]


class Deployed(Shape):
    message: str
    workflow_id: str
    status: StatusWord


class Stopped(Shape):
    workflow_id: str
    deployment_status: DeploymentWord


class StartedPods(Stopped):
    replicas: int


class PolicyAnswer(Shape):
    workflow_id: str
    lifecycle_policy: dict[str, Any]


class LifecycleAnswer(PolicyAnswer):
    deployment_status: DeploymentWord
    stopped_reason: ReasonWord | None


class TriggerAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    status: str = Field(description="started, or of a sync run how it stands: succeeded, failed, running, ...")
    execution_id: str
    workflow_id: str
    output: Any = Field(description="Of a sync run that has ended; an empty object where there is none.")
    output_url: str | None = Field(None, description="Where the output is too large to be told.")
    error: dict[str, Any] | None = Field(None, description="Of a sync run that failed.")


class Endpoints(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    proxy_url: str
    method: Literal["POST"]


class Pods(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    pod_name: str
    namespace: str


class DiscoveredWorkflow(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    id: str
    name: str
    description: str
    trigger_type: str
    mode: Literal["production"]
    endpoints: Endpoints
    deployment: Pods


class Discovered(RootModel[list[DiscoveredWorkflow]]):
    """What an app finds of its own."""
