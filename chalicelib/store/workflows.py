"""Workflows: the item itself, and its entries in the feeds from which lists are read.

An entry is slim, and changes in the transaction that changes its workflow; so does the count of a feed. A list
therefore costs one Query per feed however many workflows there are.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from chalicelib.foundation.errors import Conflict, PreconditionFailed
from chalicelib.foundation.json_types import dumps
from chalicelib.graph.model import Graph, Workflow, WorkflowStatus, WorkflowSummary
from chalicelib.store import keys
from chalicelib.store.blobs import Blobs
from chalicelib.store.table import ABSENT, ConditionFailed, Item, Table, Write, delete, put, update

_INLINE_BYTES = 200 * 1024  # of a compressed definition: an item holds 400 KB


@dataclass(frozen=True, slots=True)
class Listing:
    total: int  # of all that match
    workflows: tuple[WorkflowSummary, ...]  # the page


class WorkflowRepository:
    def __init__(self, table: Table, blobs: Blobs) -> None:
        self._table = table
        self._blobs = blobs

    def get(self, organization_id: str, workflow_id: str) -> Workflow | None:
        item = self._table.get(keys.workflow(organization_id, workflow_id))
        return self._from_item(item) if item else None

    def create(self, workflow: Workflow) -> None:
        """Raises ``Conflict`` where the id is taken."""
        try:
            self._table.transact([put(self._to_item(workflow), ABSENT), *_feed_writes(None, workflow)])
        except ConditionFailed as error:
            raise Conflict(f"There is a workflow {workflow.id!r} already.") from error

    def replace(self, before: Workflow, after: Workflow) -> Workflow:
        """Writes ``after`` in place of ``before`` and returns it with its new revision.

        Raises ``PreconditionFailed`` where the workflow is not ``before`` any more.
        """
        after = replace(after, revision=before.revision + 1)
        unchanged = put(self._to_item(after), "revision = :revision", revision=before.revision)
        self._commit([unchanged, *_feed_writes(before, after)])
        return after

    def delete(self, workflow: Workflow) -> None:
        """Raises ``PreconditionFailed`` where the workflow is not the given one any more."""
        key = keys.workflow(workflow.organization_id, workflow.id)
        unchanged = delete(key, "revision = :revision", revision=workflow.revision)
        self._commit([unchanged, *_feed_writes(workflow, None)])

    def list_all(self, organization_id: str, status: WorkflowStatus | None, limit: int, offset: int) -> Listing:
        """Every workflow of an organisation, newest first."""
        total, entries = self._read_feed(organization_id, keys.feed(keys.ALL, status), limit + offset)
        return Listing(total["n"], tuple(_summary(entry) for entry in islice(entries, offset, offset + limit)))

    def list_visible(
        self, organization_id: str, user_id: str, status: WorkflowStatus | None, limit: int, offset: int
    ) -> Listing:
        """What ``user_id`` owns, has been given, or may see because it is public; newest first."""
        last = limit + offset
        mine, own = self._read_feed(organization_id, keys.feed(keys.user_feed(user_id), status), last)
        # Of the public ones, those of the user's own stand in both feeds: as many more are read as there are of those.
        public, others = self._read_feed(organization_id, keys.feed(keys.PUBLIC, status), last + mine["public"])
        merged = {entry["workflowId"]: entry for entry in (*own, *others)}
        page = sorted(merged.values(), key=lambda entry: str(entry["sk"]), reverse=True)[offset:last]
        return Listing(mine["n"] + public["n"] - mine["public"], tuple(map(_summary, page)))

    def _read_feed(self, organization_id: str, feed: str, limit: int) -> tuple[dict[str, int], Iterator[Item]]:
        """The counts of a feed and its newest entries. The count sorts before all entries, so one Query brings both."""
        items = self._table.query(keys.listing(organization_id, feed), newest_first=True, limit=limit + 1)
        first = next(items, None)
        return {"n": first["n"], "public": first["public"]} if first else {"n": 0, "public": 0}, items

    def _commit(self, writes: list[Write]) -> None:
        try:
            self._table.transact(writes)
        except ConditionFailed as error:
            raise PreconditionFailed("The workflow was changed or deleted meanwhile; read it again.") from error

    def _to_item(self, workflow: Workflow) -> Item:
        definition = zlib.compress(dumps({**workflow.graph.to_json(), "config": workflow.config}).encode())
        inline = len(definition) <= _INLINE_BYTES
        prefix = f"definitions/{workflow.organization_id}/{workflow.id}"
        return {
            **keys.workflow(workflow.organization_id, workflow.id),
            **_summary_attributes(workflow),
            "revision": workflow.revision,
            "settings": dumps(workflow.settings),
            "sharedWith": list(workflow.shared_with),
            "definition": definition if inline else None,
            "definitionKey": None if inline else self._blobs.put(prefix, definition),
        }

    def _from_item(self, item: Item) -> Workflow:
        packed = item["definition"] if "definition" in item else self._blobs.get(item["definitionKey"])
        definition: dict[str, Any] = json.loads(zlib.decompress(packed))
        return Workflow(
            id=item["workflowId"],
            organization_id=item["organizationId"],
            owner_id=item["ownerId"],
            name=item["name"],
            description=item["description"],
            status=WorkflowStatus(item["status"]),
            version=item["version"],
            revision=item["revision"],
            graph=Graph.from_json(definition),
            config=definition["config"],
            settings=json.loads(item["settings"]),
            tags=tuple(item["tags"]),
            shared_with=tuple(item["sharedWith"]),
            is_public=item["isPublic"],
            is_template=item["isTemplate"],
            created_at=item["createdAt"],
            updated_at=item["updatedAt"],
        )


def _summary_attributes(workflow: Workflow) -> Item:
    return {
        "workflowId": workflow.id,
        "organizationId": workflow.organization_id,
        "ownerId": workflow.owner_id,
        "name": workflow.name,
        "description": workflow.description,
        "status": str(workflow.status),
        "version": workflow.version,
        "tags": list(workflow.tags),
        "isPublic": workflow.is_public,
        "isTemplate": workflow.is_template,
        "createdAt": workflow.created_at,
        "updatedAt": workflow.updated_at,
    }


def _summary(entry: Item) -> WorkflowSummary:
    return WorkflowSummary(
        id=entry["workflowId"],
        name=entry["name"],
        description=entry["description"],
        status=entry["status"],
        version=entry["version"],
        tags=tuple(entry["tags"]),
        organization_id=entry["organizationId"],
        owner_id=entry["ownerId"],
        is_public=entry["isPublic"],
        is_template=entry["isTemplate"],
        created_at=entry["createdAt"],
        updated_at=entry["updatedAt"],
    )


def _feed_writes(before: Workflow | None, after: Workflow | None) -> Iterator[Write]:
    """What brings the feeds from one state of a workflow to the next: entries written and deleted, counts moved."""
    old = set(keys.feeds_of(before)) if before else set()
    new = set(keys.feeds_of(after)) if after else set()
    some = after or before
    assert some is not None
    organization, identity = some.organization_id, (some.created_at, some.id)
    for feed in sorted(new):
        assert after is not None
        yield put({**keys.listing_entry(organization, feed, *identity), **_summary_attributes(after)})
    for feed in sorted(old - new):
        yield delete(keys.listing_entry(organization, feed, *identity))
    for feed in sorted(old | new):
        is_users = feed.startswith("user#")
        total = (feed in new) - (feed in old)
        public = _is_public_in(feed, after, new) - _is_public_in(feed, before, old) if is_users else 0
        if total or public:
            yield update(keys.listing_count(organization, feed), "ADD n :n, #public :public", n=total, public=public)


def _is_public_in(feed: str, workflow: Workflow | None, feeds: set[str]) -> bool:
    return workflow is not None and workflow.is_public and feed in feeds
