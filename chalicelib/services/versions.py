"""Versions: snapshots that a workflow counts, tags and can go back to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Conflict
from chalicelib.graph.model import Workflow
from chalicelib.graph.versions import WorkflowVersion
from chalicelib.services.access import Principal
from chalicelib.services.workflows import WorkflowService
from chalicelib.store.table import ConditionFailed, Write
from chalicelib.store.versions import VersionRepository


class VersionService:
    def __init__(self, workflows: WorkflowService, repository: VersionRepository, clock: Clock) -> None:
        self._workflows = workflows
        self._repository = repository
        self._clock = clock

    def list(self, workflow: Workflow) -> list[WorkflowVersion]:
        """Every version, oldest first."""
        return self._repository.list(workflow)

    def create(
        self, principal: Principal, workflow: Workflow, tag: str, description: str, if_match: str | None
    ) -> WorkflowVersion:
        """A snapshot of the workflow as it is. Raises ``Conflict`` where another version has the tag."""
        made: list[WorkflowVersion] = []

        def counted(present: Workflow) -> Workflow:
            return replace(present, version=present.version + 1)

        def records(after: Workflow) -> Sequence[Write]:
            version = WorkflowVersion(
                version=after.version,
                digest=self._repository.keep(after),
                tag=tag,
                description=description,
                created_by=principal.user_id,
                created_at=timestamp(self._clock.now()),
            )
            made[:] = [version]
            return self._repository.writes(after, version)

        try:
            self._workflows.edit(principal, workflow, counted, "version.created", if_match, records, {"tag": tag})
        except ConditionFailed as error:
            raise Conflict(f"There is a version tagged {tag!r} already.") from error
        return made[0]
