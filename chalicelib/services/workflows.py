"""Workflows: made, read, changed, deleted, and judged.

A method that changes a workflow takes it as it was read, so that access is decided once (``find``), and what was
decided on is what is changed: every write is on the condition that nobody else came first.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from chalicelib.compiler.describe import Description, describe
from chalicelib.compiler.estimate import Estimate, estimate
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Conflict, Forbidden, InvalidInput, NotFound, PreconditionFailed
from chalicelib.foundation.ids import Ids, is_id
from chalicelib.foundation.json_types import Json
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.listing import Listing, ListQuery
from chalicelib.graph.model import WORKFLOW_TRANSITIONS, Graph, Workflow, WorkflowStatus
from chalicelib.graph.retention import REMAINS_DAYS
from chalicelib.graph.triggers import MAX_TRIGGERS, outside_triggers, with_webhook_keys, without_webhook_keys
from chalicelib.graph.validate import Problem, errors, validate
from chalicelib.graph.versions import WorkflowVersion
from chalicelib.nodes.registry import Registry
from chalicelib.services.access import ADMIN, Principal
from chalicelib.services.audit import AuditService
from chalicelib.services.calls import circles
from chalicelib.services.schedules import ScheduleService
from chalicelib.store.apps import app_writes
from chalicelib.store.deployments import undeployed_check
from chalicelib.store.table import ConditionFailed, Write
from chalicelib.store.triggers import TriggerRepository
from chalicelib.store.versions import VersionRepository
from chalicelib.store.workflows import WorkflowRepository

MAX_NAME_CHARS = 256
COPY_SUFFIX = " (copy)"

_EDIT_TRIES = 50  # at a workflow that others change at the same moment
_DELETE_TRIES = 5  # at one that somebody deploys meanwhile
_EDIT_BACKOFF_S = 0.02  # doubled with each try, up to a second

T = TypeVar("T")


@dataclass(frozen=True)
class Judgement:
    """What is wrong with a workflow, and what is odd."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    estimate: Estimate | None  # of one run; None for a graph that does not run

    @property
    def valid(self) -> bool:
        return not self.errors


class WorkflowService:
    def __init__(
        self,
        repository: WorkflowRepository,
        versions: VersionRepository,
        triggers: TriggerRepository,
        schedules: ScheduleService,
        audit: AuditService,
        catalog: Registry,
        ids: Ids,
        clock: Clock,
        undeploy: Callable[[Principal, Workflow], Workflow],
    ) -> None:
        """``undeploy`` takes a workflow out of the cluster, and returns it as it is then."""
        self._undeploy = undeploy
        self._repository = repository
        self._versions = versions
        self._triggers = triggers
        self._schedules = schedules
        self._audit = audit
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
        """Raises ``Conflict`` for one that is to be active at once and has errors, and as ``edit`` does."""
        workflow = _changed(self._blank(principal), change)
        if change.status is not None:
            workflow = replace(workflow, status=change.status)
        return self._add(principal, workflow, "workflow.created")

    def duplicate(self, principal: Principal, source: Workflow) -> Workflow:
        """A copy that belongs to the caller: a draft of its own, with nothing of the original's past or its readers."""
        blank = self._blank(principal)
        copy = replace(
            blank,
            name=f"{source.name[: MAX_NAME_CHARS - len(COPY_SUFFIX)]}{COPY_SUFFIX}",
            description=source.description,
            graph=without_webhook_keys(source.graph),
            config=source.config,
            settings=source.settings,
            tags=source.tags,
            scopes=source.scopes,
        )
        return self._add(principal, copy, "workflow.duplicated", source=source.id)

    def list(self, principal: Principal, query: ListQuery) -> Listing:
        """What the caller may see."""
        organization = principal.organization_id
        if principal.has(ADMIN):
            return self._repository.list_all(organization, query)
        return self._repository.list_visible(organization, principal.user_id, query)

    def list_whole(self, principal: Principal, query: ListQuery) -> Sequence[Workflow]:
        """What the caller may see, with the graphs."""
        found = self.list(principal, query)
        return self._repository.get_many(principal.organization_id, [summary.id for summary in found.workflows])

    def stats(self, principal: Principal) -> dict[WorkflowStatus, int]:
        """How many workflows the caller's organisation has, by status."""
        return self._repository.count_by_status(principal.organization_id)

    def update(
        self, principal: Principal, workflow: Workflow, change: WorkflowChange, if_match: str | None = None
    ) -> Workflow:
        """Replaces what ``change`` names. Raises as ``edit`` does, and ``InvalidInput`` for an unknown version."""
        restored = None
        if change.version is not None and change.version != workflow.version:
            restored = self._versions.restore(workflow, change.version)
            if restored is None:
                raise InvalidInput.at("version", f"There is no version {change.version} of this workflow.")

        def updated(present: Workflow) -> Workflow:
            if restored is not None:
                present = replace(present, graph=restored.graph, config=restored.config, settings=restored.settings)
            return _changed(present, change)

        return self.edit(principal, workflow, updated, "workflow.updated", if_match, detail={"fields": change.named})

    def set_status(
        self, principal: Principal, workflow: Workflow, status: WorkflowStatus, if_match: str | None = None
    ) -> Workflow:
        """Raises as ``edit`` does, and ``Conflict`` for a transition that there is not."""

        def changed(present: Workflow) -> Workflow:
            if status not in WORKFLOW_TRANSITIONS[present.status]:
                raise Conflict(f"The workflow is {present.status}: its status cannot become {status}.")
            return replace(present, status=status)

        return self.edit(
            principal, workflow, changed, "workflow.status-changed", if_match, detail={"status": str(status)}
        )

    def edit(
        self,
        principal: Principal,
        workflow: Workflow,
        change: Callable[[Workflow], Workflow],
        action: str,
        if_match: str | None = None,
        also: Callable[[Workflow], Sequence[Write]] = lambda _: (),
        detail: Mapping[str, Json] | None = None,
    ) -> Workflow:
        """Applies ``change`` to a workflow, and to what others made of it meanwhile if they come first.

        A change that gives back the very workflow that it was given is none: nothing is written. ``also`` are more
        writes of the same transaction, made from the changed workflow.

        Raises ``Forbidden`` for who may only read it; ``PreconditionFailed`` where it is not the one that ``if_match``
        names, or changes too fast; ``Conflict`` where an active workflow would come to have errors, or another workflow
        has an address that this one would have; ``InvalidInput`` for too many triggers.
        """

        def edited(present: Workflow) -> Workflow:
            if not principal.may_edit(present):
                raise Forbidden(ADMIN)
            check_if_match(present, if_match)
            after = change(present)
            if after is present:
                return present
            after = replace(after, updated_at=timestamp(self._clock.now()))
            after = self._with_keys(after, present.graph)
            self._check_active(after)
            entry = self._audit.entry(principal, action, present.id, **(detail or {}))
            note = self._schedules.note(present, after)
            more = [*app_writes(present, after), *also(after)]
            after = self._repository.replace(present, after, [entry, *more, *note])
            self._follow(after, note)
            return after

        return self._retried(principal, workflow, edited, if_match)

    def delete(self, principal: Principal, workflow: Workflow, if_match: str | None = None) -> None:
        """Deletes a workflow; one that is deployed is undeployed first.

        Raises ``Forbidden`` for who does not own it, ``PreconditionFailed`` as ``edit`` does.
        """

        def deleted(present: Workflow) -> None:
            require_owner(principal, present)
            check_if_match(present, if_match)
            entry = self._audit.entry(principal, "workflow.deleted", present.id, name=present.name)
            clear_at = timestamp(self._clock.now() + timedelta(days=REMAINS_DAYS))
            note = self._schedules.note(present, None)
            check = undeployed_check(present.organization_id, present.id)
            self._repository.delete(present, clear_at, [check, entry, *app_writes(present, None), *note])
            self._follow(present, note)

        for _ in range(_DELETE_TRIES):
            try:
                return self._retried(principal, workflow, deleted, if_match)
            except ConditionFailed:  # it is deployed
                workflow, if_match = self._undeploy(principal, workflow), None
        raise PreconditionFailed("The workflow is deployed again and again.")

    def _retried(
        self, principal: Principal, workflow: Workflow, write: Callable[[Workflow], T], if_match: str | None
    ) -> T:
        """Does ``write`` on a workflow, and where somebody else came first, on what they have made of it.

        Raises ``PreconditionFailed`` where it is to be the one that ``if_match`` names, or changes too fast.
        """
        for attempt in range(_EDIT_TRIES):
            try:
                return write(workflow)
            except PreconditionFailed:
                if if_match is not None or attempt == _EDIT_TRIES - 1:
                    raise
            time.sleep(random.uniform(0, min(1.0, _EDIT_BACKOFF_S * 2**attempt)))  # noqa: S311
            workflow = self.find(principal, workflow.id)
        raise AssertionError("unreachable")

    def judge(self, workflow: Workflow) -> Judgement:
        """All errors and warnings of a workflow, and what a run of it comes to. Writes nothing."""
        problems = [*self._circles(workflow), *validate(workflow.graph, self._catalog)]
        found = tuple(problem for problem in problems if problem.is_error)
        warnings = tuple(problem for problem in problems if not problem.is_error)
        return Judgement(found, warnings, None if found else self._estimate(workflow))

    def describe(self, workflow: Workflow) -> Description:
        """The plan of a run of the graph as it stands. Raises ``Conflict`` for one with errors, and lists them."""
        if found := errors(workflow.graph, self._catalog):
            raise Conflict("The workflow has errors and has no plan.", [problem.to_json() for problem in found])
        return describe(
            compile_plan(
                workflow.graph,
                self._catalog,
                default_retry=workflow.default_retry,
                timeout_s=workflow.settings.get("timeout"),
            )
        )

    def _estimate(self, workflow: Workflow) -> Estimate | None:
        try:
            return estimate(compile_plan(workflow.graph, self._catalog))
        except Conflict:
            return None  # too deep or too large to be compiled: execute says which

    def _blank(self, principal: Principal) -> Workflow:
        now = timestamp(self._clock.now())
        return Workflow(
            id=self._ids.new("wf"),
            organization_id=principal.organization_id,
            owner_id=principal.user_id,
            name="",
            created_at=now,
            updated_at=now,
        )

    def _add(self, principal: Principal, workflow: Workflow, action: str, **detail: Json) -> Workflow:
        """Writes a new workflow with its first version."""
        workflow = self._with_keys(workflow, Graph())
        self._check_active(workflow)
        first = WorkflowVersion(
            version=workflow.version,
            digest=self._versions.keep(workflow),
            tag=None,
            description="Initial version",
            created_by=principal.user_id,
            created_at=workflow.created_at,
        )
        entry = self._audit.entry(principal, action, workflow.id, name=workflow.name, **detail)
        note = self._schedules.note(None, workflow)
        more = [*self._versions.writes(workflow, first), *app_writes(None, workflow)]
        self._repository.create(workflow, [entry, *more, *note])
        self._follow(workflow, note)
        return workflow

    def _follow(self, workflow: Workflow, note: Sequence[Write]) -> None:
        if note:
            self._schedules.follow(workflow)

    def _with_keys(self, workflow: Workflow, before: Graph) -> Workflow:
        """A workflow with a key in each webhook trigger. Raises ``InvalidInput`` for too many triggers."""

        def is_foreign(key: str) -> bool:
            found = self._triggers.for_webhook(key)
            return found is not None and found.workflow_id != workflow.id

        if len(outside_triggers(workflow.graph)) > MAX_TRIGGERS:
            raise InvalidInput.at("nodes", f"At most {MAX_TRIGGERS} trigger nodes lead to a workflow from outside.")
        graph = with_webhook_keys(workflow.graph, before, is_foreign, lambda: secrets.token_urlsafe(32))
        return workflow if graph is workflow.graph else replace(workflow, graph=graph)

    def _check_active(self, workflow: Workflow) -> None:
        if workflow.status is not WorkflowStatus.ACTIVE:
            return
        if found := [*self._circles(workflow), *errors(workflow.graph, self._catalog)]:
            raise Conflict("A workflow with errors cannot be active.", [problem.to_json() for problem in found])

    def _circles(self, workflow: Workflow) -> Sequence[Problem]:
        def load(workflow_id: str) -> Graph | None:
            found = self._repository.get(workflow.organization_id, workflow_id) if is_id(workflow_id) else None
            return found.graph if found else None

        return circles(workflow.id, workflow.graph, load)


def check_if_match(workflow: Workflow, if_match: str | None) -> None:
    """Holds the header If-Match against the ETag, the quoted revision. Raises ``PreconditionFailed``."""
    if if_match is None or if_match.strip() == "*":
        return
    wanted = {tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")}
    if str(workflow.revision) not in wanted:
        raise PreconditionFailed(f"The workflow is at revision {workflow.revision} by now.")


def require_owner(principal: Principal, workflow: Workflow) -> None:
    """Raises ``Forbidden`` for who does not own the workflow."""
    if not principal.owns(workflow):
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
