"""What a workflow is: nodes, the connections between them, and what is said about the whole.

Values only, and frozen: an edit makes a new one. ``to_json`` and ``from_json`` are the one spelling in which a graph is
stored, hashed and shown; they trust their input, because the edges have checked the shape of every body before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from chalicelib.foundation.json_types import Json
from chalicelib.graph.retention import DEFAULT_DAYS

DEFAULT_SOURCE_PORT = "output"
DEFAULT_TARGET_PORT = "input"
ERROR_PORT = "error"


class OnError(StrEnum):
    """What becomes of a run when a node has failed for good."""

    FAIL = "fail"  # the run fails
    CONTINUE = "continue"  # the run goes on with `{error: {name, message}}` as the node's output
    PORT = "port"  # the run goes on from the port `error`, with that object


class WorkflowStatus(StrEnum):
    DRAFT = "draft"  # being worked on
    ACTIVE = "active"  # its triggers start runs
    PAUSED = "paused"  # its triggers start nothing for now
    ARCHIVED = "archived"  # kept, and not run any more


#: Which status may follow which. Into ``active`` leads one more condition: the graph has no errors.
WORKFLOW_TRANSITIONS: Mapping[WorkflowStatus, frozenset[WorkflowStatus]] = {
    WorkflowStatus.DRAFT: frozenset(WorkflowStatus),
    WorkflowStatus.ACTIVE: frozenset(WorkflowStatus),
    WorkflowStatus.PAUSED: frozenset(WorkflowStatus),
    WorkflowStatus.ARCHIVED: frozenset({WorkflowStatus.ARCHIVED, WorkflowStatus.DRAFT}),
}


@dataclass(frozen=True, slots=True)
class Retry:
    max_attempts: int = 1  # the first one included
    interval_s: int = 1
    backoff_rate: float = 2.0
    max_delay_s: int = 60

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            max_attempts=raw.get("maxAttempts", 1),
            interval_s=raw.get("intervalSeconds", 1),
            backoff_rate=raw.get("backoffRate", 2.0),
            max_delay_s=raw.get("maxDelaySeconds", 60),
        )


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph. ``type`` is what the API calls ``nodeId``: the name of a catalog entry."""

    id: str
    type: str
    label: str | None = None
    position: Mapping[str, float] | None = None
    config: Mapping[str, Json] = field(default_factory=dict)
    input_mappings: Mapping[str, str] = field(default_factory=dict)
    pass_through_values: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)  # `{retry?, timeoutSeconds?, onError?}`
    version: str | None = None  # of the catalog entry, where it is pinned

    @property
    def name(self) -> str:
        return self.label or self.id

    @property
    def retry(self) -> Retry | None:
        raw = self.settings.get("retry")
        return Retry.from_json(raw) if raw else None

    @property
    def timeout_s(self) -> int | None:
        return self.settings.get("timeoutSeconds")

    @property
    def on_error(self) -> OnError:
        return OnError(self.settings.get("onError", OnError.FAIL))

    def to_json(self) -> dict[str, Any]:
        optional = {
            "inputMappings": self.input_mappings,
            "passThroughValues": self.pass_through_values,
            "settings": self.settings,
            "version": self.version,
        }
        return {
            "id": self.id,
            "nodeId": self.type,
            "label": self.name,
            "position": self.position,
            "config": self.config,
            **{key: value for key, value in optional.items() if value},
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            id=raw["id"],
            type=raw["nodeId"],
            label=raw.get("label"),
            position=raw.get("position"),
            config=raw.get("config") or {},
            input_mappings=raw.get("inputMappings") or {},
            pass_through_values=raw.get("passThroughValues") or {},
            settings=raw.get("settings") or {},
            version=raw.get("version"),
        )


@dataclass(frozen=True, slots=True)
class Connection:
    id: str
    source: str  # id of a node
    target: str  # id of a node
    source_port: str = DEFAULT_SOURCE_PORT
    target_port: str = DEFAULT_TARGET_PORT

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "sourceNodeId": self.source,
            "sourcePort": self.source_port,
            "targetNodeId": self.target,
            "targetPort": self.target_port,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            id=raw["id"],
            source=raw["sourceNodeId"],
            target=raw["targetNodeId"],
            source_port=raw.get("sourcePort") or DEFAULT_SOURCE_PORT,
            target_port=raw.get("targetPort") or DEFAULT_TARGET_PORT,
        )


@dataclass(frozen=True, slots=True)
class Graph:
    nodes: tuple[Node, ...] = ()
    connections: tuple[Connection, ...] = ()

    def by_id(self) -> dict[str, Node]:
        return {node.id: node for node in self.nodes}

    def to_json(self) -> dict[str, Any]:
        return {
            "nodes": [node.to_json() for node in self.nodes],
            "connections": [connection.to_json() for connection in self.connections],
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            nodes=tuple(Node.from_json(node) for node in raw.get("nodes") or ()),
            connections=tuple(Connection.from_json(connection) for connection in raw.get("connections") or ()),
        )


@dataclass(frozen=True, slots=True)
class Workflow:
    id: str
    organization_id: str
    owner_id: str
    name: str
    created_at: str  # timestamp
    updated_at: str  # timestamp
    description: str = ""
    status: WorkflowStatus = WorkflowStatus.DRAFT
    version: int = 1  # counts snapshots
    revision: int = 1  # counts changes: what the ETag shows
    graph: Graph = field(default_factory=Graph)
    config: Mapping[str, Json] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)  # `{timeout?, retryOnFailure?, maxRetries?, ...}`
    tags: tuple[str, ...] = ()
    shared_with: tuple[str, ...] = ()  # user ids
    shared_at: Mapping[str, str] = field(default_factory=dict)  # by user id: timestamp
    scopes: tuple[str, ...] = ()  # what its nodes need, as last computed
    is_public: bool = False
    is_template: bool = False

    @property
    def retention_days(self) -> int:
        """For how long its runs are kept after their end."""
        return int(self.settings.get("retentionDays") or DEFAULT_DAYS)

    @property
    def default_retry(self) -> Retry:
        """What applies to a node that says nothing of its own."""
        if self.settings.get("retryOnFailure"):
            return Retry(max_attempts=1 + int(self.settings.get("maxRetries", 3)))
        return Retry()
