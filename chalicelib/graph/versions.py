"""Versions: snapshots of a workflow that never change again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.graph.model import Graph, Workflow


@dataclass(frozen=True, slots=True)
class WorkflowVersion:
    """An immutable snapshot of a workflow, by its number."""

    version: int
    digest: str  # of the content, SHA-256 as hex
    tag: str | None
    description: str
    created_by: str
    created_at: str


def snapshot(workflow: Workflow) -> dict[str, Any]:
    """What a version keeps of a workflow, as JSON: all that decides how it runs."""
    return {**workflow.graph.to_json(), "config": workflow.config, "settings": workflow.settings}


@dataclass(frozen=True, slots=True)
class Restored:
    """What a version gives back."""

    graph: Graph
    config: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Restored:
        """The inverse of ``snapshot``."""
        return cls(Graph.from_json(raw), raw["config"], raw["settings"])
