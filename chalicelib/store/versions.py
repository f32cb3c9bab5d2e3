"""Versions: a snapshot in S3 under the hash of its content, an item that tells of it, one that keeps its tag unique."""

from __future__ import annotations

import json
import zlib

from chalicelib.foundation.json_types import canonical
from chalicelib.graph.model import Workflow
from chalicelib.graph.versions import Restored, WorkflowVersion, snapshot
from chalicelib.store import keys
from chalicelib.store.blobs import Blobs
from chalicelib.store.table import ABSENT, Item, Table, Write, put


class VersionRepository:
    def __init__(self, table: Table, blobs: Blobs) -> None:
        self._table = table
        self._blobs = blobs

    def keep(self, workflow: Workflow) -> str:
        """Stores the content of a workflow and returns the digest by which a version names it."""
        body = zlib.compress(canonical(snapshot(workflow)))
        return self._blobs.put(_folder(workflow), body).rpartition("/")[2]

    def writes(self, workflow: Workflow, version: WorkflowVersion) -> list[Write]:
        """What records a version, for the transaction that counts it; the second fails where the tag is taken."""
        organization, workflow_id = workflow.organization_id, workflow.id
        item = {
            **keys.version(organization, workflow_id, version.version),
            "version": version.version,
            "digest": version.digest,
            "tag": version.tag,
            "description": version.description,
            "createdBy": version.created_by,
            "createdAt": version.created_at,
        }
        record = put(item, ABSENT)
        if version.tag is None:
            return [record]
        tag = {**keys.version_tag(organization, workflow_id, version.tag), "version": version.version}
        return [record, put(tag, ABSENT)]

    def list(self, workflow: Workflow) -> list[WorkflowVersion]:
        """Every version, oldest first."""
        pk = keys.workflow(workflow.organization_id, workflow.id)["pk"]
        return [_version(item) for item in self._table.query(pk, prefix=("sk", keys.VERSION_PREFIX))]

    def restore(self, workflow: Workflow, number: int) -> Restored | None:
        item = self._table.get(keys.version(workflow.organization_id, workflow.id, number))
        if item is None:
            return None
        body = self._blobs.get(f"{_folder(workflow)}/{item['digest']}")
        return Restored.of(json.loads(zlib.decompress(body)))


def _folder(workflow: Workflow) -> str:
    return f"definitions/{workflow.organization_id}/{workflow.id}/versions"


def _version(item: Item) -> WorkflowVersion:
    return WorkflowVersion(
        version=item["version"],
        digest=item["digest"],
        tag=item.get("tag"),
        description=item["description"],
        created_by=item["createdBy"],
        created_at=item["createdAt"],
    )
