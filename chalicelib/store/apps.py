"""Which workflows belong to a marketplace app, by their setting ``appId``: entries that change with the workflow."""

from __future__ import annotations

from chalicelib.graph.model import Workflow
from chalicelib.store import keys
from chalicelib.store.table import Table, Write, delete, put

MAX_WORKFLOWS = 1_000  # of one app, that are told of


def app_writes(before: Workflow | None, after: Workflow | None) -> list[Write]:
    """What goes into the transaction of a change; nothing where a workflow stays with its app."""
    old, new = _app(before), _app(after)
    if old == new:
        return []
    workflow = after or before
    assert workflow is not None
    writes = []
    if old is not None:
        writes.append(delete(keys.app_entry(workflow.organization_id, old, workflow.id)))
    if new is not None:
        key = keys.app_entry(workflow.organization_id, new, workflow.id)
        writes.append(put({**key, "workflowId": workflow.id}))
    return writes


class AppRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def workflow_ids(self, organization_id: str, app_id: str) -> list[str]:
        pk = keys.app_entry(organization_id, app_id, "")["pk"]
        return [item["workflowId"] for item in self._table.query(pk, limit=MAX_WORKFLOWS)]


def _app(workflow: Workflow | None) -> str | None:
    return workflow.settings.get("appId") if workflow else None
