"""Workflows: made, read, changed, deleted, and judged.

A method that changes a workflow takes it as it was read, so that access is decided once (``find``), and what was
decided on is what is changed: every write is on the condition that nobody else came first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Conflict, Forbidden, NotFound, PreconditionFailed
from chalicelib.foundation.ids import Ids, is_id
from chalicelib.foundation.json_types import Json
from chalicelib.graph.listing import Listing, ListQuery
from chalicelib.graph.model import Connection, Graph, Node, Workflow, WorkflowStatus
from chalicelib.graph.validate import Problem, errors, validate
from chalicelib.nodes.registry import Registry
from chalicelib.services.access import ADMIN, Principal
from chalicelib.store.workflows import WorkflowRepository

T = TypeVar("T")


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


@dataclass(frozen=True)
class Judgement:
    """What is wrong with a workflow, and what is odd."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    @property
    def valid(self) -> bool:
        return not self.errors


class WorkflowService:
    def __init__(self, repository: WorkflowRepository, catalog: Registry, ids: Ids, clock: Clock) -> None:
        self._repository = repository
        self._catalog = catalog
        self._ids = ids
        self._clock = clock

    def find(self, principal: Principal, workflow_id: str) -> Workflow:
        """Raises ``NotFound`` for what is absent, and for what the caller may not see."""
        workflow = self._repository.get(principal.organization_id, workflow_id) if is_id(workflow_id) else None
        if workflow is None or not principal.may_see(workflow):
            raise NotFound("workflow", workflow_id)
        return workflow

    def create(self, principal: Principal, change: WorkflowChange) -> Workflow:
        """Raises ``Conflict`` for one that is to be active at once and has errors."""
        now = timestamp(self._clock.now())
        blank = Workflow(
            id=self._ids.new("wf"),
            organization_id=principal.organization_id,
            owner_id=principal.user_id,
            name="",
            created_at=now,
            updated_at=now,
        )
        workflow = _changed(blank, change)
        if change.status is not None:
            workflow = replace(workflow, status=change.status)
        self._check_active(workflow)
        self._repository.create(workflow)
        return workflow

    def list(self, principal: Principal, query: ListQuery) -> Listing:
        """What the caller may see."""
        organization = principal.organization_id
        if principal.has(ADMIN):
            return self._repository.list_all(organization, query)
        return self._repository.list_visible(organization, principal.user_id, query)

    def update(
        self, principal: Principal, workflow: Workflow, change: WorkflowChange, if_match: str | None = None
    ) -> Workflow:
        """Replaces what ``change`` names.

        Raises ``Forbidden`` for who may only read it, ``PreconditionFailed`` where it is not the one that ``if_match``
        names or has been changed meanwhile, and ``Conflict`` where an active workflow would come to have errors.
        """
        _require_edit(principal, workflow)
        check_if_match(workflow, if_match)
        after = self._touched(_changed(workflow, change))
        self._check_active(after)
        return self._repository.replace(workflow, after)

    def set_status(
        self, principal: Principal, workflow: Workflow, status: WorkflowStatus, if_match: str | None = None
    ) -> Workflow:
        """Raises as ``update`` does, and ``Conflict`` for a transition that there is not."""
        _require_edit(principal, workflow)
        check_if_match(workflow, if_match)
        if workflow.status is WorkflowStatus.ARCHIVED and status not in (WorkflowStatus.ARCHIVED, WorkflowStatus.DRAFT):
            raise Conflict(f"The workflow is archived: its status can only become draft, not {status}.")
        after = self._touched(replace(workflow, status=status))
        self._check_active(after)
        return self._repository.replace(workflow, after)

    def delete(self, principal: Principal, workflow: Workflow, if_match: str | None = None) -> None:
        """Raises ``Forbidden`` for who does not own it."""
        if not principal.owns(workflow):
            raise Forbidden(ADMIN)
        check_if_match(workflow, if_match)
        self._repository.delete(workflow)

    def judge(self, graph: Graph) -> Judgement:
        """All errors and warnings of a graph. Writes nothing."""
        problems = validate(graph, self._catalog)
        return Judgement(
            errors=tuple(problem for problem in problems if problem.is_error),
            warnings=tuple(problem for problem in problems if not problem.is_error),
        )

    def _touched(self, workflow: Workflow) -> Workflow:
        return replace(workflow, updated_at=timestamp(self._clock.now()))

    def _check_active(self, workflow: Workflow) -> None:
        if workflow.status is not WorkflowStatus.ACTIVE:
            return
        if found := errors(workflow.graph, self._catalog):
            raise Conflict("A workflow with errors cannot be active.", [problem.to_json() for problem in found])


def check_if_match(workflow: Workflow, if_match: str | None) -> None:
    """Holds the header If-Match against the ETag, the quoted revision. Raises ``PreconditionFailed``."""
    if if_match is None or if_match.strip() == "*":
        return
    wanted = {tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")}
    if str(workflow.revision) not in wanted:
        raise PreconditionFailed(f"The workflow is at revision {workflow.revision} by now.")


def _require_edit(principal: Principal, workflow: Workflow) -> None:
    if not principal.may_edit(workflow):
        raise Forbidden(ADMIN)


def _changed(workflow: Workflow, change: WorkflowChange) -> Workflow:
    graph = workflow.graph
    settings = {**workflow.settings, **(change.settings or {})}
    return replace(
        workflow,
        name=_given(change.name, workflow.name),
        description=_given(change.description, workflow.description),
        tags=_given(change.tags, workflow.tags),
        config=_given(change.config, workflow.config),
        is_public=_given(change.is_public, workflow.is_public),
        is_template=_given(change.is_template, workflow.is_template),
        settings={key: value for key, value in settings.items() if value is not None},
        graph=Graph(_given(change.nodes, graph.nodes), _given(change.connections, graph.connections)),
    )


def _given(named: T | None, present: T) -> T:
    return present if named is None else named
