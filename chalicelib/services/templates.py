"""Templates: the built-in gallery, which is the files of ``examples/``, and the workflows that users mark as such."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from chalicelib.graph.listing import ListQuery
from chalicelib.graph.model import Graph, Workflow
from chalicelib.services.access import Principal
from chalicelib.services.workflows import WorkflowService
from chalicelib.store.keys import TEMPLATES

BUILT_IN_PREFIX = "wf_tmpl_"
BUILT_IN_SINCE = "2026-11-22T00:00:00.000Z"
NOBODY = "millrace"  # owns what is built in
MAX_TEMPLATES = 200  # of users', in one answer


class TemplateService:
    def __init__(self, workflows: WorkflowService) -> None:
        self._workflows = workflows

    def list(self, principal: Principal) -> list[Workflow]:
        """The built-in ones, then those of users that the caller may see, newest first."""
        own = self._workflows.list_whole(principal, ListQuery(limit=MAX_TEMPLATES, tag=TEMPLATES))
        return [*built_in_templates().values(), *own]

    def built_in(self, workflow_id: str) -> Workflow | None:
        return built_in_templates().get(workflow_id)


@cache
def built_in_templates() -> dict[str, Workflow]:
    """The gallery by id. In a Lambda's zip it lies beside the packages, as in a checkout."""
    folder = Path(__file__).resolve().parents[2] / "examples"
    return {workflow.id: workflow for workflow in map(_template, sorted(folder.glob("*.json")))}


def _template(file: Path) -> Workflow:
    body = json.loads(file.read_text())["workflow"]
    connections = [{"id": f"conn-{number}", **item} for number, item in enumerate(body["connections"], start=1)]
    return Workflow(
        id=BUILT_IN_PREFIX + file.stem.replace("-", "_"),
        organization_id="",
        owner_id=NOBODY,
        name=body["name"],
        description=body["description"],
        tags=tuple(body["tags"]),
        graph=Graph.from_json({"nodes": body["nodes"], "connections": connections}),
        settings=body.get("settings", {}),
        is_template=True,
        created_at=BUILT_IN_SINCE,
        updated_at=BUILT_IN_SINCE,
    )
