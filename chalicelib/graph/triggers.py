"""What leads to a workflow from outside: the addresses under which its trigger nodes are found.

An event finds the workflows that listen for its type, a request to a webhook the one that has its key, a mail the one
that has its address. So that finding costs what is found, and not what there is, each of these is an entry of an index
(``store/triggers.py``), written with the workflow: the entries follow from a workflow's status and graph alone, here.

Keys and addresses stay claimed whatever the status is, so that nobody else can have what a paused workflow is known by;
types of events and schedules concern active workflows only. What a config has that could lead nowhere (no type, an
address that is none) has no entry: drafts hold such things.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from chalicelib.foundation.json_types import Json
from chalicelib.graph.events import MAX_EVENT_TYPE_CHARS
from chalicelib.graph.model import Graph, Node, Workflow, WorkflowStatus

EVENT_TRIGGER = "event-trigger"
WEBHOOK_TRIGGER = "webhook-trigger"
EMAIL_TRIGGER = "email-trigger"
SCHEDULE_TRIGGER = "schedule-trigger"

#: Of one workflow: each may be an entry, and all that are claimed go into the transaction that changes it.
MAX_TRIGGERS = 40

#: Of a key: what the trigger makes is 256 random bits; what somebody brings along has to be as hard to guess.
KEY_PATTERN = r"[A-Za-z0-9_-]{32,128}"

MAX_ADDRESS_CHARS = 254  # RFC 5321
MAX_FILTER_CHARS = 4096  # it stands in the entry: what it leaves out is then not even read
MAX_CRON_CHARS = 256
MAX_TIMEZONE_CHARS = 50  # of Scheduler
UTC = "UTC"  # where a schedule names no other zone
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TriggerKind(StrEnum):
    EVENT = "event"  # name: a type, or a pattern; detail: the filter
    WEBHOOK = "webhook"  # name: the key
    ADDRESS = "address"  # name: the address, in lower case
    SCHEDULE = "schedule"  # name: the cron expression; detail: the time zone


#: Of these there is one in all the world, whoever has it.
CLAIMED = frozenset({TriggerKind.WEBHOOK, TriggerKind.ADDRESS})


@dataclass(frozen=True, slots=True)
class TriggerEntry:
    """One address of a workflow, and the node that it leads to."""

    kind: TriggerKind
    name: str
    node_id: str
    detail: str = ""


def trigger_entries(workflow: Workflow | None) -> tuple[TriggerEntry, ...]:
    """What leads to a workflow, in the order of its nodes; nothing leads to one that is not there."""
    if workflow is None:
        return ()
    found = (_entry(node) for node in workflow.graph.nodes)
    return tuple(
        entry
        for entry in found
        if entry is not None and (entry.kind in CLAIMED or workflow.status is WorkflowStatus.ACTIVE)
    )


def outside_triggers(graph: Graph) -> list[Node]:
    """The trigger nodes that may have an entry."""
    return [node for node in graph.nodes if node.type in _READERS]


def with_webhook_keys(
    graph: Graph, before: Graph, is_foreign: Callable[[str], bool], new_key: Callable[[], str]
) -> Graph:
    """The graph with a key in each webhook trigger, ``before`` being the one that it takes the place of.

    A node keeps its key as long as it is there. One that comes with a key keeps that, unless another node or, as
    ``is_foreign`` tells, another workflow has it: a copy is known by a key of its own. What is no key stays as it is,
    for validation to tell.
    """
    own = {node.id: key for node in before.nodes if (key := _webhook_key(node))}
    known = set(own.values())
    kept_for = {own[node.id]: node.id for node in graph.nodes if node.type == WEBHOOK_TRIGGER and node.id in own}
    taken: set[str] = set()

    def may_have(node: Node, key: str) -> bool:
        return key not in taken and kept_for.get(key, node.id) == node.id and (key in known or not is_foreign(key))

    def keyed(node: Node) -> Node:
        given = node.config.get("key") if node.type == WEBHOOK_TRIGGER else None
        if node.type != WEBHOOK_TRIGGER or (given is not None and not is_webhook_key(given)):
            return node
        wanted = (str(given or ""), own.get(node.id, ""))
        key = next((key for key in wanted if key and may_have(node, key)), None) or new_key()
        taken.add(key)
        return node if key == given else replace(node, config={**node.config, "key": key})

    nodes = tuple(map(keyed, graph.nodes))
    return graph if nodes == graph.nodes else replace(graph, nodes=nodes)


def without_webhook_keys(graph: Graph) -> Graph:
    """The graph as somebody else may have it."""

    def keyless(node: Node) -> Node:
        if node.type != WEBHOOK_TRIGGER:
            return node
        return replace(node, config={name: value for name, value in node.config.items() if name != "key"})

    return replace(graph, nodes=tuple(map(keyless, graph.nodes)))


def is_webhook_key(value: Json) -> bool:
    return isinstance(value, str) and re.fullmatch(KEY_PATTERN, value) is not None


def _webhook_key(node: Node) -> str:
    key = node.config.get("key")
    return str(key) if node.type == WEBHOOK_TRIGGER and is_webhook_key(key) else ""


def _entry(node: Node) -> TriggerEntry | None:
    reader = _READERS.get(node.type)
    found = reader(node.config) if reader else None
    if found is None:
        return None
    kind, name, detail = found
    return TriggerEntry(kind, name, node.id, detail)


_Found = tuple[TriggerKind, str, str] | None


def _event(config: Mapping[str, Json]) -> _Found:
    name, condition = _text(config, "eventType", MAX_EVENT_TYPE_CHARS), config.get("filter") or ""
    if not name or not isinstance(condition, str) or len(condition) > MAX_FILTER_CHARS:
        return None
    return TriggerKind.EVENT, name, condition


def _webhook(config: Mapping[str, Json]) -> _Found:
    key = config.get("key")
    return (TriggerKind.WEBHOOK, str(key), "") if is_webhook_key(key) else None


def _address(config: Mapping[str, Json]) -> _Found:
    address = normal_address(_text(config, "address", MAX_ADDRESS_CHARS))
    return (TriggerKind.ADDRESS, address, "") if "@" in address else None


def _schedule(config: Mapping[str, Json]) -> _Found:
    cron = _text(config, "cron", MAX_CRON_CHARS)
    return (TriggerKind.SCHEDULE, cron, _text(config, "timezone", MAX_TIMEZONE_CHARS) or UTC) if cron else None


def refusal(workflow: Workflow, trigger: str, what: str) -> str | None:
    """Why ``what`` does not start a workflow by its nodes of the type ``trigger``; None where it does."""
    if workflow.status is not WorkflowStatus.ACTIVE:
        return f"The workflow is {workflow.status}: {what} starts an active one only."
    if not any(node.type == trigger for node in workflow.graph.nodes):
        return f"The workflow has no {trigger} node: {what} starts nothing in it."
    return None


def normal_address(address: str) -> str:
    """An address as it is claimed and looked up: nobody tells addresses apart by case."""
    return address.strip().lower()


def _text(config: Mapping[str, Json], name: str, max_chars: int) -> str:
    value = config.get(name)
    return value if isinstance(value, str) and len(value) <= max_chars and not _CONTROL.search(value) else ""


_READERS: Mapping[str, Callable[[Mapping[str, Json]], _Found]] = {
    EVENT_TRIGGER: _event,
    WEBHOOK_TRIGGER: _webhook,
    EMAIL_TRIGGER: _address,
    SCHEDULE_TRIGGER: _schedule,
}
