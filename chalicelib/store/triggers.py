"""The index of triggers: what leads to workflows from outside, as ``graph.triggers`` makes it of each.

Entries are written in the transactions that change a workflow (``store.workflows``), so they are as true as the
workflow is. What somebody is known by in all the world, a key or an address, is claimed: the write of who comes second
fails.

A type of events is a partition. A pattern stands in that of its *ends*, ``order.*.paid`` and ``order.*.*.paid`` both in
``order.*.paid``: of every type that a pattern means the ends can be cut, if one knows how long they are. So one item
counts how many patterns of an organisation have ends of which lengths (its attributes are called ``6+5``), and an event
asks one partition for each pair of lengths: what it reads is what it means, or at least begins and ends as that does.

Attributes of an entry: ``organizationId``, ``workflowId``, ``nodeId``, ``name``; of an event's also
``detail`` (see ``TriggerEntry``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.graph.events import WILDCARD, ends_of, matches
from chalicelib.graph.model import Workflow
from chalicelib.graph.triggers import CLAIMED, TriggerEntry, TriggerKind
from chalicelib.store import keys
from chalicelib.store.table import ABSENT, Item, Table, Write, delete, put

#: One write to the index: ``["enter" | "leave", *entry]``, or ``["ends", {lengths: n}]`` with what is to be added.
TriggerChange = list[Any]

_OWN = f"{ABSENT} OR (organizationId = :organization AND workflowId = :workflow)"


@dataclass(frozen=True, slots=True)
class FoundTrigger:
    """A node of a workflow that an event, a request or a mail leads to."""

    organization_id: str
    workflow_id: str
    node_id: str
    detail: str


def trigger_changes(before: Sequence[TriggerEntry], after: Sequence[TriggerEntry]) -> list[TriggerChange]:
    """What brings the index from one state of a workflow to the next: what is claimed comes first."""
    old, new = _placed(before), _placed(after)
    entered = [entry for place, entry in new.items() if old.get(place) != entry]
    entered.sort(key=lambda entry: (entry.kind not in CLAIMED, entry.kind, entry.name, entry.node_id))
    left = [old[place] for place in sorted(old.keys() - new.keys())]
    ends = Counter(_lengths(new.values()))
    ends.subtract(_lengths(old.values()))
    changed = {lengths: n for lengths, n in sorted(ends.items()) if n}
    return [
        *(["enter", *entry_to_list(entry)] for entry in entered),
        *(["leave", *entry_to_list(entry)] for entry in left),
        *([["ends", changed]] if changed else []),
    ]


def trigger_write(workflow: Workflow, change: TriggerChange) -> Write:
    organization = workflow.organization_id
    match change:
        case ["enter", *raw]:
            entry = entry_from_list(raw)
            item = {
                **_key(workflow, entry),
                "organizationId": organization,
                "workflowId": workflow.id,
                "nodeId": entry.node_id,
                "name": entry.name,
                "detail": entry.detail or None,
            }
            if entry.kind in CLAIMED:
                return put(item, _OWN, organization=organization, workflow=workflow.id)
            return put(item)
        case ["leave", *raw]:
            return delete(_key(workflow, entry_from_list(raw)))
        case ["ends", lengths]:
            names = {f"#e{index}": name for index, name in enumerate(lengths)}
            added = ", ".join(f"#e{index} :e{index}" for index in range(len(lengths)))
            values = {f"e{index}": n for index, n in enumerate(lengths.values())}
            return Write("Update", keys.pattern_ends(organization), update=f"ADD {added}", values=values, names=names)
    raise ValueError(f"no change of the index: {change!r}")


def entry_to_list(entry: TriggerEntry) -> list[str]:
    return [str(entry.kind), entry.name, entry.node_id, entry.detail]


def entry_from_list(raw: Sequence[str]) -> TriggerEntry:
    kind, name, node_id, detail = raw
    return TriggerEntry(TriggerKind(kind), name, node_id, detail)


class TriggerRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def for_event(self, organization_id: str, event_type: str) -> Iterator[FoundTrigger]:
        """The event triggers of active workflows that mean a type."""
        for partition in (event_type, *self._patterns(organization_id, event_type)):
            for item in self._table.query(keys.event_trigger(organization_id, partition, "", "")["pk"]):
                if matches(item["name"], event_type):
                    yield _found(item)

    def for_webhook(self, key: str) -> FoundTrigger | None:
        return self._claimed(keys.webhook(key))

    def for_address(self, address: str) -> FoundTrigger | None:
        """``address`` as ``graph.triggers.normal_address`` gives it."""
        return self._claimed(keys.address(address))

    def _patterns(self, organization_id: str, event_type: str) -> Iterator[str]:
        """The partitions where patterns may stand that mean a type."""
        counts = self._table.get(keys.pattern_ends(organization_id)) or {}
        for lengths, n in counts.items():
            first, plus, last = lengths.partition("+")
            if plus and n > 0 and int(first) + int(last) <= len(event_type):
                yield event_type[: int(first)] + WILDCARD + event_type[len(event_type) - int(last) :]

    def _claimed(self, key: keys.Key) -> FoundTrigger | None:
        item = self._table.get(key)
        return _found(item) if item else None


def _found(item: Item) -> FoundTrigger:
    return FoundTrigger(item["organizationId"], item["workflowId"], item["nodeId"], item.get("detail", ""))


def _placed(entries: Sequence[TriggerEntry]) -> dict[tuple[str, str, str], TriggerEntry]:
    """Entries by the item that they are; where two nodes have one key, the first has it."""
    found: dict[tuple[str, str, str], TriggerEntry] = {}
    for entry in entries:
        if entry.kind is not TriggerKind.SCHEDULE:  # nothing is looked up by it: Scheduler calls by the workflow's id
            found.setdefault((entry.kind, entry.name, "" if entry.kind in CLAIMED else entry.node_id), entry)
    return found


def _lengths(entries: Any) -> Iterator[str]:
    for entry in entries:
        if entry.kind is TriggerKind.EVENT and WILDCARD in entry.name:
            first, last = ends_of(entry.name)
            yield f"{len(first)}+{len(last)}"


def _key(workflow: Workflow, entry: TriggerEntry) -> keys.Key:
    match entry.kind:
        case TriggerKind.EVENT:
            partition = WILDCARD.join(ends_of(entry.name)) if WILDCARD in entry.name else entry.name
            return keys.event_trigger(workflow.organization_id, partition, workflow.id, entry.node_id)
        case TriggerKind.WEBHOOK:
            return keys.webhook(entry.name)
        case TriggerKind.ADDRESS:
            return keys.address(entry.name)
    raise ValueError(f"no entry of the index: {entry!r}")
