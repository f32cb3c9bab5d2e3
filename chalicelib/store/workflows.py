"""Workflows: the item itself, its entries in the feeds from which lists are read, and those in the index of triggers.

An entry is slim, and changes in the transaction that changes its workflow; so do the counts of a feed. A list therefore
costs one Query per feed however many workflows there are, and nothing leads to a workflow that its graph does not say.

A transaction has room for a hundred writes. The few workflows that stand in more feeds than that (many tags times many
users) note in their item how far their feeds are written, ``unlisted``: ``{before, done}``, where they stood before the
change and how many of the writes are done. What is claimed comes first, so that a claim is made with the change or not
at all. The rest is written at once, and, should the process die in between, by
whoever reads the workflow next: nobody gets to see it, let alone to change it, before its feeds are true.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.foundation.errors import Conflict, PreconditionFailed, TooLarge
from chalicelib.foundation.json_types import dumps
from chalicelib.graph.listing import Listing, ListQuery, WorkflowSummary
from chalicelib.graph.model import Graph, Workflow, WorkflowStatus
from chalicelib.graph.triggers import trigger_entries
from chalicelib.store import keys
from chalicelib.store.blobs import Blobs
from chalicelib.store.due import Due, due_items, postpone
from chalicelib.store.table import ABSENT, TRANSACTION_ITEMS, ConditionFailed, Item, Table, Write, delete, put, update
from chalicelib.store.triggers import TriggerChange, entry_from_list, entry_to_list, trigger_changes, trigger_write

#: How many entries of a feed a search reads at most.
SEARCHED_ENTRIES = 10_000

#: Of nodes, connections and config as JSON: what is stored has to fit into an answer again.
MAX_DEFINITION_BYTES = 5 * 1024 * 1024
_INLINE_BYTES = 200 * 1024  # of a compressed definition: an item holds 400 KB

_AS_READ = "revision = :revision AND attribute_not_exists(unlisted)"
_AS_FAR = "revision = :revision AND unlisted.done = :done"


class WorkflowRepository:
    def __init__(self, table: Table, blobs: Blobs, writes_at_once: int = TRANSACTION_ITEMS) -> None:
        self._table = table
        self._blobs = blobs
        self._writes_at_once = writes_at_once

    def get(self, organization_id: str, workflow_id: str) -> Workflow | None:
        item = self._listed(keys.workflow(organization_id, workflow_id))
        return self._from_item(item) if item else None

    def create(self, workflow: Workflow, also: Sequence[Write] = ()) -> None:
        """Writes a new workflow, with ``also`` in the same transaction.

        Raises ``Conflict`` where its id is taken, or an address of a trigger, ``TooLarge`` for what no answer could
        hold.
        """
        home = put({**keys.home(workflow.id), "organizationId": workflow.organization_id})
        try:
            self._commit(None, workflow, self._to_item(workflow), [*also, home])
        except ConditionFailed as error:
            raise Conflict(f"There is a workflow {workflow.id!r} already.") from error

    def replace(self, before: Workflow, after: Workflow, also: Sequence[Write] = ()) -> Workflow:
        """Writes ``after`` in place of ``before``, with ``also``, and returns it with its new revision.

        Raises ``PreconditionFailed`` where the workflow is not ``before`` any more, ``ConditionFailed`` where one of
        ``also`` was refused, ``Conflict`` and ``TooLarge`` as ``create`` does.
        """
        after = replace(after, revision=before.revision + 1)
        self._change(before, after, self._to_item(after), also)
        return after

    def delete(self, workflow: Workflow, clear_at: str, also: Sequence[Write] = ()) -> None:
        """What else there is of it stays until ``clear_at``.

        Raises ``PreconditionFailed`` where the workflow is not the given one any more.
        """
        item = self._to_item(workflow) | {"gone": True, "revision": workflow.revision + 1}
        own = keys.remains(workflow.organization_id, workflow.id)
        remains = {**own, "dueList": keys.DUE_REMAINS, "dueAt": clear_at}
        remains |= {"organizationId": workflow.organization_id, "workflowId": workflow.id}
        self._change(workflow, None, item, [*also, put(remains), delete(keys.home(workflow.id))])

    def organization_of(self, workflow_id: str) -> str | None:
        """Whose a workflow is, for who knows nothing but its id; None where there is none."""
        item = self._table.get(keys.home(workflow_id))
        return item["organizationId"] if item else None

    def due_remains(self, now: str, limit: int) -> list[Due]:
        """What deleted workflows have left and is to go."""
        return due_items(self._table, keys.DUE_REMAINS, now, limit)

    def clear(self, due: Due, next_try: str) -> None:
        """Deletes what a deleted workflow has left; what is more than a few calls do, the next try does."""
        item = postpone(self._table, due, next_try)
        if item is None or self.get(item["organizationId"], item["workflowId"]) is not None:
            return
        found = self._table.query(due.key["pk"], attributes=("pk", "sk"))
        left = [keys.Key(pk=each["pk"], sk=each["sk"]) for each in found]
        self._table.delete_all(key for key in left if key != due.key)
        if self._blobs.delete_some(f"{_folder(item['organizationId'], item['workflowId'])}/"):
            self._table.write(delete(due.key))

    def get_many(self, organization_id: str, workflow_ids: Sequence[str]) -> list[Workflow]:
        """Those that exist, in the given order."""
        items = self._table.get_many([keys.workflow(organization_id, workflow_id) for workflow_id in workflow_ids])
        found = {item["workflowId"]: self._from_item(item) for item in items if "gone" not in item}
        return [found[workflow_id] for workflow_id in workflow_ids if workflow_id in found]

    def count_by_status(self, organization_id: str) -> dict[WorkflowStatus, int]:
        """How many workflows an organisation has, by status: one read, however many those are."""
        wanted = {status: keys.listing_count(organization_id, keys.feed(keys.ALL), status) for status in WorkflowStatus}
        counts = {item["sk"]: item["n"] for item in self._table.get_many(list(wanted.values()))}
        return {status: counts.get(key["sk"], 0) for status, key in wanted.items()}

    def list_all(self, organization_id: str, query: ListQuery) -> Listing:
        """Every workflow of an organisation."""
        if query.search:
            return self._search(organization_id, [keys.ALL], query)
        counts, entries = self._read_feed(organization_id, keys.feed(keys.ALL, query.tag), query)
        return Listing(counts.n, tuple(map(_summary, entries[query.offset : query.offset + query.limit])))

    def list_visible(self, organization_id: str, user_id: str, query: ListQuery) -> Listing:
        """What ``user_id`` owns, has been given, or may see because it is public."""
        if query.search:
            return self._search(organization_id, [keys.user_feed(user_id), keys.PUBLIC], query)
        own = keys.feed(keys.user_feed(user_id), query.tag)
        mine, entries = self._read_feed(organization_id, own, query)
        # What comes first of both feeds together is among what comes first of each, also where one stands in both.
        public, others = self._read_feed(organization_id, keys.feed(keys.PUBLIC, query.tag), query)
        merged = {entry["workflowId"]: entry for entry in (*entries, *others)}
        by = keys.LISTING_ORDERS[query.sort, query.status is not None].attribute
        ordered = sorted(merged.values(), key=lambda entry: str(entry[by]), reverse=query.descending)
        page = ordered[query.offset : query.offset + query.limit]
        return Listing(mine.n + public.n - mine.public, tuple(map(_summary, page)))

    def visible_ids(self, organization_id: str, user_id: str) -> frozenset[str]:
        """The workflows that a user may see, as far as ``SEARCHED_ENTRIES`` of each feed go."""
        query = ListQuery(limit=SEARCHED_ENTRIES)
        feeds = (keys.user_feed(user_id), keys.PUBLIC)
        return frozenset(
            entry["workflowId"]
            for feed in feeds
            for entry in self._entries(organization_id, keys.feed(feed), query, SEARCHED_ENTRIES)
        )

    def _search(self, organization_id: str, feeds: Sequence[str], query: ListQuery) -> Listing:
        """Names and descriptions have no index: what the caller may see is read, as far as ``SEARCHED_ENTRIES`` go."""
        wanted = (query.search or "").casefold()
        order = keys.LISTING_ORDERS[query.sort, query.status is not None]
        found: dict[str, Item] = {}
        for feed in feeds:
            for entry in self._entries(organization_id, keys.feed(feed, query.tag), query, SEARCHED_ENTRIES):
                if wanted in entry["name"].casefold() or wanted in entry["description"].casefold():
                    found[entry["workflowId"]] = entry
        ordered = sorted(found.values(), key=lambda entry: str(entry[order.attribute]), reverse=query.descending)
        page = ordered[query.offset : query.offset + query.limit]
        return Listing(len(ordered), tuple(map(_summary, page)))

    def _read_feed(self, organization_id: str, feed: str, query: ListQuery) -> tuple[_Counts, list[Item]]:
        """The counts of a feed, and its first entries, to the end of the page."""
        items = self._items(organization_id, feed, query, query.offset + query.limit)
        entries = [item for item in items if "workflowId" in item]
        wanted = keys.listing_count(organization_id, feed, query.status)
        if query.sort == "createdAt" and query.descending:
            return _Counts.of(next((item for item in items if item["sk"] == wanted["sk"]), None)), entries
        return _Counts.of(self._table.get(wanted)), entries

    def _entries(self, organization_id: str, feed: str, query: ListQuery, limit: int) -> list[Item]:
        return [item for item in self._items(organization_id, feed, query, limit) if "workflowId" in item]

    def _items(self, organization_id: str, feed: str, query: ListQuery, limit: int) -> list[Item]:
        """The first entries of a feed in the order of ``query``, and what counts lie on the way."""
        order = keys.LISTING_ORDERS[query.sort, query.status is not None]
        found = self._table.query(
            keys.listing(organization_id, feed),
            index=order.index,
            consistent=True,
            prefix=(order.attribute, f"{query.status}#") if query.status else None,
            newest_first=query.descending,
            limit=limit + keys.COUNTS,
        )
        return list(found)

    def _change(self, before: Workflow, after: Workflow | None, item: Item, also: Sequence[Write]) -> None:
        try:
            self._commit(before, after, item, also)
        except ConditionFailed as error:
            if error.index:
                raise  # one of `also`: its owner knows what it means
            raise PreconditionFailed("The workflow was changed or deleted meanwhile; read it again.") from error

    def _commit(self, before: Workflow | None, after: Workflow | None, item: Item, also: Sequence[Write]) -> None:
        """Writes an item and its feeds: in one transaction, or with a note of how far it came, and then the rest."""
        workflow = after or before
        assert workflow is not None
        key = keys.workflow(workflow.organization_id, workflow.id)
        condition, values = (_AS_READ, {"revision": before.revision}) if before else (ABSENT, {})
        changes = [*trigger_changes(trigger_entries(before), trigger_entries(after)), *listing_changes(before, after)]
        now = changes[: self._writes_at_once - 1 - len(also)]
        if len(now) < len(changes):
            unlisted = {"before": before and _standing(before), "done": len(now)}
            own = put(item | {"unlisted": unlisted}, condition, **values)
        elif after is None:
            own = delete(key, condition, **values)
        else:
            own = put(item, condition, **values)
        try:
            self._table.transact([own, *also, *(_write(workflow, change) for change in now)])
        except ConditionFailed as error:
            if error.index <= len(also):
                raise
            kind, name = now[error.index - 1 - len(also)][1:3]
            raise Conflict(f"The {kind} {name!r} belongs to another workflow.") from error
        if len(now) < len(changes):
            self._listed(key)

    def _listed(self, key: keys.Key) -> Item | None:
        """The item of a workflow, when its feeds are all written."""
        while (item := self._table.get(key)) is not None and "unlisted" in item:
            with suppress(ConditionFailed):  # somebody else has just written this part
                self._list_more(key, item)
        return item

    def _list_more(self, key: keys.Key, item: Item) -> None:
        """Writes as much of what is left as one transaction takes. Raises ``ConditionFailed`` where that is done."""
        workflow = self._from_item(item)
        standing, done = item["unlisted"]["before"], item["unlisted"]["done"]
        before = _in_standing(workflow, standing) if standing else None
        after = None if "gone" in item else workflow
        entries = [entry_from_list(raw) for raw in standing["triggers"]] if standing else []
        changes = [*trigger_changes(entries, trigger_entries(after)), *listing_changes(before, after)]
        now = changes[done : done + self._writes_at_once - 1]
        values: Item = {"revision": item["revision"], "done": done}
        if done + len(now) < len(changes):
            own = update(key, "SET unlisted.done = :next", _AS_FAR, **values, next=done + len(now))
        elif "gone" in item:
            own = delete(key, _AS_FAR, **values)
        else:
            own = update(key, "REMOVE unlisted", _AS_FAR, **values)
        self._table.transact([own, *(_write(workflow, change) for change in now)])

    def _to_item(self, workflow: Workflow) -> Item:
        text = dumps({**workflow.graph.to_json(), "config": workflow.config}).encode()
        if len(text) > MAX_DEFINITION_BYTES:
            raise TooLarge("The workflow would be larger than 5 MB.")
        definition = zlib.compress(text)
        inline = len(definition) <= _INLINE_BYTES
        prefix = _folder(workflow.organization_id, workflow.id)
        return {
            **keys.workflow(workflow.organization_id, workflow.id),
            **_summary_attributes(workflow),
            "revision": workflow.revision,
            "settings": dumps(workflow.settings),
            "sharedWith": list(workflow.shared_with),
            "sharedAt": dict(workflow.shared_at),
            "scopes": list(workflow.scopes),
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
            shared_at=item["sharedAt"],
            scopes=tuple(item["scopes"]),
            is_public=item["isPublic"],
            is_template=item["isTemplate"],
            created_at=item["createdAt"],
            updated_at=item["updatedAt"],
        )


def _folder(organization_id: str, workflow_id: str) -> str:
    return f"definitions/{organization_id}/{workflow_id}"


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


@dataclass(frozen=True, slots=True)
class _Counts:
    """How many entries a feed has, and, of a user's, how many of them are public."""

    n: int = 0
    public: int = 0

    @classmethod
    def of(cls, item: Item | None) -> _Counts:
        return cls(item["n"], item["public"]) if item else cls()


#: One write to a feed: ``["put" | "delete", feed]``, or ``["count", feed, status, n, public]`` with what is to be
#: added; the status is empty for the count of all.
ListingChange = list[Any]


def listing_changes(before: Workflow | None, after: Workflow | None) -> list[ListingChange]:
    """What brings the feeds from one state of a workflow to the next: entries written and deleted, counts moved.

    The same list for the same two, whoever asks: a part of it may be left to somebody else.
    """
    old = set(keys.feeds_of(before)) if before else set()
    new = set(keys.feeds_of(after)) if after else set()
    changes: list[ListingChange] = [["put", feed] for feed in sorted(new)]
    changes += [["delete", feed] for feed in sorted(old - new)]
    counts: Counter[tuple[str, str, str]] = Counter()
    for workflow, feeds, sign in ((before, old, -1), (after, new, 1)):
        for feed in feeds if workflow else ():
            assert workflow is not None
            for status in ("", str(workflow.status)):
                counts[feed, status, "n"] += sign
                counts[feed, status, "public"] += sign * (workflow.is_public and feed.startswith("user#"))
    for feed, status in sorted({(feed, status) for feed, status, _ in counts}):
        total, public = counts[feed, status, "n"], counts[feed, status, "public"]
        if total or public:
            changes.append(["count", feed, status, total, public])
    return changes


def _standing(workflow: Workflow) -> Item:
    """What of a workflow decides in which feeds it stands, and what leads to it."""
    return {
        "triggers": [entry_to_list(entry) for entry in trigger_entries(workflow)],
        "status": str(workflow.status),
        "tags": list(workflow.tags),
        "sharedWith": list(workflow.shared_with),
        "isPublic": workflow.is_public,
        "isTemplate": workflow.is_template,
    }


def _in_standing(workflow: Workflow, standing: Item) -> Workflow:
    return replace(
        workflow,
        status=WorkflowStatus(standing["status"]),
        tags=tuple(standing["tags"]),
        shared_with=tuple(standing["sharedWith"]),
        is_public=standing["isPublic"],
        is_template=standing["isTemplate"],
    )


def _write(workflow: Workflow, change: ListingChange | TriggerChange) -> Write:
    organization = workflow.organization_id
    match change:
        case ["enter" | "leave" | "ends", *_]:
            return trigger_write(workflow, change)
        case ["put", feed]:
            key = keys.listing_entry(organization, feed, workflow.created_at, workflow.id)
            return put({**key, **_summary_attributes(workflow), **keys.listing_sort_keys(workflow)})
        case ["delete", feed]:
            return delete(keys.listing_entry(organization, feed, workflow.created_at, workflow.id))
        case ["count", feed, "", total, public]:
            return update(keys.listing_count(organization, feed), "ADD n :n, #public :public", n=total, public=public)
        case ["count", feed, status, total, public]:
            return update(
                keys.listing_count(organization, feed, status),
                "SET statusKey = :key ADD n :n, #public :public",
                key=keys.status_count_sort_key(status),
                n=total,
                public=public,
            )
    raise ValueError(f"no change of a listing: {change!r}")
