"""The index of triggers against the plainest thing that could be right: a loop over all workflows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.foundation.errors import Conflict
from chalicelib.graph.events import matches
from chalicelib.graph.model import Graph, Node, Workflow, WorkflowStatus
from chalicelib.graph.triggers import TriggerKind, trigger_entries
from chalicelib.store.blobs import Blobs
from chalicelib.store.table import Table
from chalicelib.store.triggers import TriggerRepository, trigger_changes, trigger_write
from chalicelib.store.workflows import WorkflowRepository
from tests.conftest import on_moto
from tests.fakes import Calls, Killed, watched

LATER = "2027-01-01T00:00:00.000Z"
TYPES = ("a", "ab", "abc", "order.paid", "order.paid.late", "ördér", "b")
PATTERNS = (*TYPES, "*", "a*", "*c", "a*c", "a*b*c", "**", "order.*", "*.paid", "order.*.late", "ö*r")
KEYS = tuple(letter * 43 for letter in "kl")


@pytest.fixture
def triggers(table: Table) -> TriggerRepository:
    return TriggerRepository(table)


def listener(identifier: str, *patterns: str, **fields: Any) -> Workflow:
    nodes = [Node(f"t{i}", "event-trigger", config={"eventType": pattern}) for i, pattern in enumerate(patterns)]
    return made(identifier, nodes, **fields)


def made(identifier: str, nodes: Iterable[Node], **fields: Any) -> Workflow:
    defaults: dict[str, Any] = {"organization_id": "acme", "status": WorkflowStatus.ACTIVE}
    return Workflow(
        identifier, **{**defaults, **fields}, owner_id="ann", name="w", created_at="2026", updated_at="2026",
        graph=Graph(tuple(nodes)),
    )  # fmt: skip


def found(triggers: TriggerRepository, event_type: str, organization: str = "acme") -> list[tuple[str, str]]:
    return sorted((item.workflow_id, item.node_id) for item in triggers.for_event(organization, event_type))


def test_an_event_finds_who_listens_for_its_type(workflows: WorkflowRepository, triggers: TriggerRepository) -> None:
    """Exactly or by a pattern, each of several triggers, in its own organisation."""
    workflows.create(listener("wf_1", "order.paid", "order.*"))
    workflows.create(listener("wf_2", "order.lost"))
    workflows.create(listener("wf_3", "order.paid", organization_id="other"))
    workflows.create(listener("wf_4", "order.paid", status=WorkflowStatus.PAUSED))
    assert found(triggers, "order.paid") == [("wf_1", "t0"), ("wf_1", "t1")]
    assert found(triggers, "order.paid", "other") == [("wf_3", "t0")]
    assert found(triggers, "order") == []


def test_a_filter_comes_along(workflows: WorkflowRepository, triggers: TriggerRepository) -> None:
    """What the filter says now, and none where there is none any more."""
    node = Node("t", "event-trigger", config={"eventType": "x", "filter": "data.n > 1"})
    before = made("wf_1", [node])
    workflows.create(before)
    assert [item.detail for item in triggers.for_event("acme", "x")] == ["data.n > 1"]
    workflows.replace(before, replace(before, graph=Graph((replace(node, config={"eventType": "x"}),))))
    assert [item.detail for item in triggers.for_event("acme", "x")] == [""]


histories = st.lists(
    st.tuples(
        st.sampled_from(["wf_1", "wf_2", "wf_3"]),
        st.none()
        | st.tuples(
            st.lists(st.sampled_from(PATTERNS), max_size=3),
            st.lists(st.sampled_from(KEYS), max_size=2),
            st.sampled_from([WorkflowStatus.ACTIVE, WorkflowStatus.ACTIVE, WorkflowStatus.PAUSED]),
            st.integers(0, 6),  # users that it is shared with
        ),
        st.integers(0, 4),  # the call at which the process dies; 0: it lives
        st.booleans(),  # dies before the call, or after it
    ),
    min_size=1,
    max_size=8,
)


@on_moto
@given(history=histories)
def test_the_index_after_any_history(
    table: Table,
    blobs: Blobs,
    triggers: TriggerRepository,
    dynamodb: Any,
    empty_table: Callable[[], None],
    history: list[Any],
) -> None:
    """What workflows listen for and which keys they have, also where processes died between two transactions."""
    empty_table()
    workflows = WorkflowRepository(table, blobs, writes_at_once=8)
    for identifier, state, death, before_call in history:
        before = workflows.get("acme", identifier)
        after = None
        if state is not None:
            patterns, hooks, status, users = state
            after = listener(identifier, *patterns, status=status)
            nodes = [Node(f"h{i}", "webhook-trigger", config={"key": key}) for i, key in enumerate(hooks)]
            after = replace(after, graph=Graph((*after.graph.nodes, *nodes)))
            after = replace(after, shared_with=tuple(f"u{user}" for user in range(users)))
        with watched(dynamodb) as calls, suppress(Killed, Conflict):
            setattr(calls, "before" if before_call else "after", dies_at(death))
            if before is None and after is not None:
                workflows.create(after)
            elif before is not None and after is not None:
                workflows.replace(before, replace(after, revision=before.revision))
            elif before is not None:
                workflows.delete(before, LATER)
        workflows.get("acme", identifier)  # whoever reads it next finishes what is left
    there = list(filter(None, (workflows.get("acme", identifier) for identifier in ("wf_1", "wf_2", "wf_3"))))
    entries = [(item.id, entry) for item in there for entry in trigger_entries(item)]
    for event_type in TYPES:
        assert found(triggers, event_type) == sorted(
            (identifier, entry.node_id)
            for identifier, entry in entries
            if entry.kind is TriggerKind.EVENT and matches(entry.name, event_type)
        )
    for key in KEYS:
        owner = triggers.for_webhook(key)
        assert {owner.workflow_id for owner in [owner] if owner} == {i for i, entry in entries if entry.name == key}


def dies_at(number: int) -> Callable[[int], None]:
    def die(call: int) -> None:
        if call == number:
            raise Killed

    return die


def mailbox(identifier: str, address: str = "orders@example.test", **fields: Any) -> Workflow:
    return made(identifier, [Node("m", "email-trigger", config={"address": address})], **fields)


def test_an_address_is_given_once(workflows: WorkflowRepository, triggers: TriggerRepository) -> None:
    """To whoever comes first, in any organisation; who comes second is refused as a whole, and told why."""
    first = mailbox("wf_1")
    workflows.create(first)
    second = mailbox("wf_2", "Orders@example.test", organization_id="other")
    with pytest.raises(Conflict, match=r"address 'orders@example\.test' belongs to another workflow"):
        workflows.create(second)
    assert workflows.get("other", "wf_2") is None
    plain = made("wf_3", [])
    workflows.create(plain)
    with pytest.raises(Conflict, match="belongs to another"):
        workflows.replace(plain, replace(plain, graph=second.graph))
    assert workflows.get("acme", "wf_3") == plain
    owner = triggers.for_address("orders@example.test")
    assert owner is not None
    assert (owner.organization_id, owner.workflow_id, owner.node_id) == ("acme", "wf_1", "m")


def test_an_address_is_free_when_its_workflow_is_gone(
    workflows: WorkflowRepository, triggers: TriggerRepository
) -> None:
    """Not while it is archived; when it is deleted, or has another address."""
    first = mailbox("wf_1")
    workflows.create(first)
    first = workflows.replace(first, replace(first, status=WorkflowStatus.ARCHIVED))
    with pytest.raises(Conflict):
        workflows.create(mailbox("wf_2"))
    first = workflows.replace(first, mailbox("wf_1", "else@example.test"))
    second = mailbox("wf_2")
    workflows.create(second)
    workflows.delete(second, LATER)
    workflows.create(mailbox("wf_3"))
    owner = triggers.for_address("orders@example.test")
    assert owner is not None
    assert owner.workflow_id == "wf_3"


def test_an_address_moves_from_node_to_node(workflows: WorkflowRepository, triggers: TriggerRepository) -> None:
    """Within a workflow, also where two nodes have it: the first does."""
    before = mailbox("wf_1")
    workflows.create(before)
    nodes = tuple(Node(name, "email-trigger", config={"address": "orders@example.test"}) for name in ("n", "o"))
    workflows.replace(before, replace(before, graph=Graph(nodes)))
    owner = triggers.for_address("orders@example.test")
    assert owner is not None
    assert owner.node_id == "n"


@pytest.mark.parametrize("all_have_patterns", [False, True])
def test_an_event_reads_what_it_finds(
    table: Table, triggers: TriggerRepository, dynamodb_calls: Calls, all_have_patterns: bool
) -> None:
    """Three of 5,000 active workflows listen for it, by type and by pattern: four items are read, and a Query for each
    pair of lengths that the ends of patterns have.
    """
    many = [listener(f"wf_{n}", f"kind{n:04d}.*" if all_have_patterns else f"kind{n:04d}") for n in range(4997)]
    many += [listener("wf_a", "order.paid"), listener("wf_b", "order.*"), listener("wf_c", "*.paid")]
    ends: dict[str, int] = {}
    entries = []
    for workflow in many:
        for change in trigger_changes((), trigger_entries(workflow)):
            if change[0] == "ends":
                for lengths, n in change[1].items():
                    ends[lengths] = ends.get(lengths, 0) + n
            else:
                entries.append(trigger_write(workflow, change).item or {})
    table.write_all(entries)
    table.write(trigger_write(many[0], ["ends", ends]))
    dynamodb_calls.clear()
    assert [item[0] for item in found(triggers, "order.paid")] == ["wf_a", "wf_b", "wf_c"]
    assert dynamodb_calls.items_read == 4
    assert dynamodb_calls.operations == ["GetItem", "Query", *["Query"] * (3 if all_have_patterns else 2)]
