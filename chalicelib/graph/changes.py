"""What a request asks to be made or changed, as the core takes it: a node, a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pydantic.alias_generators import to_camel

from chalicelib.foundation.json_types import Json
from chalicelib.graph.model import Connection, Node, WorkflowStatus


@dataclass(frozen=True)
class NewNode:
    """A node as a request asks for it; what it leaves open comes from the catalog."""

    type: str
    label: str | None = None
    version: str | None = None
    position: Mapping[str, float] | None = None
    config: Mapping[str, Json] | None = None


@dataclass(frozen=True)
class WorkflowChange:
    """What a request names of a workflow; None is what it does not name."""

    name: str | None = None
    description: str | None = None
    nodes: tuple[Node, ...] | None = None
    connections: tuple[Connection, ...] | None = None
    tags: tuple[str, ...] | None = None
    settings: Mapping[str, Any] | None = None  # merged by key
    config: Mapping[str, Json] | None = None
    is_public: bool | None = None
    is_template: bool | None = None
    status: WorkflowStatus | None = None  # of a new workflow only
    version: int | None = None  # a snapshot to go back to, before the rest is applied; the present one changes nothing

    @property
    def named(self) -> list[Json]:
        """The fields that are named, in camelCase."""
        return [to_camel(item.name) for item in fields(self) if getattr(self, item.name) is not None]
