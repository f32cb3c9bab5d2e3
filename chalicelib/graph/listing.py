"""Lists of workflows: what is asked for, and what is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chalicelib.graph.model import WorkflowStatus


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which workflows, in which order, and which page of them."""

    limit: int
    offset: int = 0
    status: WorkflowStatus | None = None
    tag: str | None = None
    sort: Literal["createdAt", "updatedAt", "name"] = "createdAt"
    descending: bool = True
    search: str | None = None  # in name or description, without regard to case


@dataclass(frozen=True, slots=True)
class WorkflowSummary:
    """What a list shows of a workflow."""

    id: str
    name: str
    description: str
    status: str
    version: int
    tags: tuple[str, ...]
    organization_id: str
    owner_id: str
    is_public: bool
    is_template: bool
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Listing:
    total: int  # of all that match
    workflows: tuple[WorkflowSummary, ...]  # the page
