"""What leads to a workflow from outside, and the keys by which webhooks are known."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

import pytest

from chalicelib.graph.model import Graph, Node, Workflow, WorkflowStatus
from chalicelib.graph.triggers import TriggerEntry, TriggerKind, trigger_entries, with_webhook_keys

KEY, OTHER_KEY = "k" * 43, "o" * 43


def workflow(*nodes: Node, status: WorkflowStatus = WorkflowStatus.ACTIVE) -> Workflow:
    return Workflow("wf_1", "acme", "ann", "w", "", "", status=status, graph=Graph(nodes))


def hook(identifier: str, key: Any = None) -> Node:
    return Node(identifier, "webhook-trigger", config={} if key is None else {"key": key})


def keyed(after: Iterable[Node], before: Iterable[Node] = (), foreign: Iterable[str] = ()) -> list[Any]:
    """The keys that the nodes of ``after`` come to have; new ones are ``n1``, ``n2``, ..."""
    numbers = count(1)
    graph = Graph(tuple(after))
    found = with_webhook_keys(graph, Graph(tuple(before)), lambda key: key in foreign, lambda: f"n{next(numbers)}")
    return [node.config.get("key") for node in found.nodes]


ALL = (
    Node("e", "event-trigger", config={"eventType": "order.*", "filter": "data.n > 1"}),
    hook("w", KEY),
    Node("m", "email-trigger", config={"address": " Orders@Example.test"}),
    Node("s", "schedule-trigger", config={"cron": "0 9 * * 1-5", "timezone": "Europe/Paris"}),
    Node("n", "manual-trigger"),
    Node("t", "transform", config={"eventType": "x", "key": KEY}),
)
CLAIMED = (
    TriggerEntry(TriggerKind.WEBHOOK, KEY, "w"),
    TriggerEntry(TriggerKind.ADDRESS, "orders@example.test", "m"),
)


def test_an_active_workflow_has_an_entry_for_each_trigger() -> None:
    """Each kind, by what it is found by; other nodes have none."""
    assert set(trigger_entries(workflow(*ALL))) == {
        TriggerEntry(TriggerKind.EVENT, "order.*", "e", "data.n > 1"),
        TriggerEntry(TriggerKind.SCHEDULE, "0 9 * * 1-5", "s", "Europe/Paris"),
        *CLAIMED,
    }


@pytest.mark.parametrize("status", [status for status in WorkflowStatus if status is not WorkflowStatus.ACTIVE])
def test_any_other_keeps_what_it_is_known_by(status: WorkflowStatus) -> None:
    """Keys and addresses stay its own; no event and no schedule leads to it."""
    assert trigger_entries(workflow(*ALL, status=status)) == CLAIMED
    assert trigger_entries(None) == ()


@pytest.mark.parametrize(
    "node",
    [
        Node("e", "event-trigger"),
        Node("e", "event-trigger", config={"eventType": ""}),
        Node("e", "event-trigger", config={"eventType": 7}),
        Node("e", "event-trigger", config={"eventType": "x" * 257}),
        Node("e", "event-trigger", config={"eventType": "a\nb"}),
        Node("e", "event-trigger", config={"eventType": "x", "filter": 7}),
        hook("w"),
        hook("w", "short"),
        hook("w", 7),
        Node("m", "email-trigger"),
        Node("m", "email-trigger", config={"address": "nobody"}),
        Node("s", "schedule-trigger", config={"cron": None}),
    ],
)
def test_what_leads_nowhere_has_no_entry(node: Node) -> None:
    """Drafts may hold anything."""
    assert trigger_entries(workflow(node)) == ()


def test_a_webhook_gets_a_key_and_keeps_it() -> None:
    """A new node gets one; a node that comes back without it, or with another's, has its own again."""
    assert keyed([hook("a"), hook("b")]) == ["n1", "n2"]
    assert keyed([hook("a")], before=[hook("a", KEY)]) == [KEY]
    assert keyed([hook("a", OTHER_KEY)], before=[hook("a", KEY)], foreign=[OTHER_KEY]) == [KEY]


def test_a_key_that_somebody_brings_is_taken() -> None:
    """One that nobody has: to move a workflow, or to change a key."""
    assert keyed([hook("a", KEY)]) == [KEY]
    assert keyed([hook("a", OTHER_KEY)], before=[hook("a", KEY)]) == [OTHER_KEY]


def test_a_copy_is_known_by_a_key_of_its_own() -> None:
    """Of another workflow's node, and of a node of the same one, whichever of the two comes first."""
    assert keyed([hook("a", KEY)], foreign=[KEY]) == ["n1"]
    assert keyed([hook("a", KEY), hook("b", KEY)]) == [KEY, "n1"]
    assert keyed([hook("b", KEY), hook("a", KEY)], before=[hook("a", KEY)]) == ["n1", KEY]


def test_a_node_may_be_called_something_else() -> None:
    """The key goes along with a node whose id has changed."""
    assert keyed([hook("b", KEY)], before=[hook("a", KEY)], foreign=[KEY]) == [KEY]


def test_what_is_no_key_stays_for_validation_to_tell() -> None:
    """Nothing that somebody wrote is silently replaced."""
    assert keyed([hook("a", "short"), hook("b", 7)]) == ["short", 7]
