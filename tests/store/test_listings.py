"""Lists of workflows against the plainest thing that could be right: a dict, a filter, a sort and a slice.

The feeds from which lists are read change in steps where a workflow stands in many; here a step takes eight writes
instead of a hundred, so that even small histories have steps to die between.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.foundation.errors import PreconditionFailed
from chalicelib.graph.listing import Listing, ListQuery, WorkflowSummary
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.store import keys
from chalicelib.store.blobs import Blobs
from chalicelib.store.table import Item, Table
from chalicelib.store.workflows import WorkflowRepository, listing_changes
from tests.conftest import TABLE, on_moto
from tests.fakes import Killed, watched

USERS = ("ann", "bob", "cy")
TAGS = ("etl", "Etl", "a|b", "user#ann")
WRITES_AT_ONCE = 8


@pytest.fixture
def in_steps(table: Table, blobs: Blobs) -> WorkflowRepository:
    return WorkflowRepository(table, blobs, writes_at_once=WRITES_AT_ONCE)


def workflow(number: int = 1, **fields: Any) -> Workflow:
    moment = f"2026-01-05T09:{number // 60:02d}:{number % 60:02d}.000Z"
    defaults = {"organization_id": "acme", "owner_id": "ann", "name": f"w{number}"}
    return Workflow(**{"id": f"wf_{number:04d}", "created_at": moment, "updated_at": moment, **defaults, **fields})


def everybody(number: int) -> tuple[str, ...]:
    return tuple(f"u{index:03d}" for index in range(number))


# --- the model: what a list is --------------------------------------------------------------------------------------


def expected(model: Iterable[Workflow], user: str | None, query: ListQuery) -> Listing:
    """What ``user`` (None: an administrator) is to be shown of the workflows that there are."""
    found = [item for item in model if user is None or item.is_public or user in (item.owner_id, *item.shared_with)]
    if query.status is not None:
        found = [item for item in found if item.status == query.status]
    if query.tag is not None:
        found = [item for item in found if query.tag in item.tags]
    if query.search:
        text = query.search.casefold()
        found = [item for item in found if text in item.name.casefold() or text in item.description.casefold()]
    order: Callable[[Workflow], tuple[str, str]] = {
        "createdAt": lambda item: (item.created_at, item.id),
        "updatedAt": lambda item: (item.updated_at, item.id),
        "name": lambda item: (item.name.casefold(), item.id),
    }[query.sort]
    found.sort(key=order, reverse=query.descending)
    return Listing(len(found), tuple(map(summary, found[query.offset : query.offset + query.limit])))


def summary(item: Workflow) -> WorkflowSummary:
    return WorkflowSummary(
        **{name: getattr(item, name) for name in WorkflowSummary.__dataclass_fields__ if name != "status"},
        status=str(item.status),
    )


def shown(workflows: WorkflowRepository, user: str | None, query: ListQuery) -> Listing:
    if user is None:
        return workflows.list_all("acme", query)
    return workflows.list_visible("acme", user, query)


def assert_lists(workflows: WorkflowRepository, model: Iterable[Workflow], users: Iterable[str] = USERS) -> None:
    """Every feed, with its counts: what there is of it, and that there is no more."""
    model = list(model)
    for user in (None, *users, "nobody"):
        for tag in (None, *sorted({tag for item in model for tag in item.tags}), "none"):
            query = ListQuery(limit=200, tag=tag)
            assert shown(workflows, user, query) == expected(model, user, query)
        for status in WorkflowStatus:
            query = ListQuery(limit=200, status=status)
            assert shown(workflows, user, query) == expected(model, user, query)
    stats = Counter(item.status for item in model)
    assert workflows.count_by_status("acme") == {status: stats[status] for status in WorkflowStatus}


# --- histories ------------------------------------------------------------------------------------------------------

fields = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["w", "W", "Alpha", "alpha beta", "ALPHA", "ß", "SS"]),
        "description": st.sampled_from(["", "Beta", "x"]),
        "status": st.sampled_from(list(WorkflowStatus)),
        "tags": st.lists(st.sampled_from(TAGS), unique=True, max_size=2).map(tuple),
        "shared_with": st.lists(st.sampled_from(USERS), unique=True, max_size=2).map(tuple),
        "is_public": st.booleans(),
        "is_template": st.booleans(),
    }
)
changes = st.tuples(
    st.sampled_from(["create", "create", "replace", "replace", "replace", "delete"]),
    st.integers(0, 9),  # which of the workflows there are
    st.sampled_from(USERS),  # owner
    fields,
    st.integers(0, 6),  # the call at which the process dies; 0: it lives
    st.booleans(),  # dies before the call, or after it
)
queries = st.builds(
    ListQuery,
    limit=st.integers(1, 3),
    offset=st.integers(0, 3),
    status=st.none() | st.sampled_from(list(WorkflowStatus)),
    tag=st.none() | st.sampled_from([*TAGS, keys.TEMPLATES, "none"]),
    sort=st.sampled_from(["createdAt", "updatedAt", "name"]),
    descending=st.booleans(),
    search=st.none() | st.sampled_from(["ALPHA", "beta", "w", "ss", "none"]),
)


@on_moto
@given(history=st.lists(changes, min_size=1, max_size=6), asked=st.lists(queries, min_size=15, max_size=15))
def test_lists_after_any_history(
    in_steps: WorkflowRepository,
    dynamodb: Any,
    empty_table: Callable[[], None],
    history: list[Any],
    asked: list[ListQuery],
) -> None:
    """Counts, pages, orders, tags, search and visibility are those of a dict; also where processes died on the way."""
    empty_table()
    model: dict[str, Workflow] = {}
    for number, (action, which, owner, given_fields, death, before) in enumerate(history):
        moment = f"2026-01-05T10:00:{number:02d}.000Z"
        after: Workflow | None
        if action == "create" or not model:
            # Some share the moment of their creation: the id then decides the order.
            chosen, after = None, workflow(number // 2, id=f"wf_{number:04d}", owner_id=owner, **given_fields)
        else:
            chosen = model[sorted(model)[which % len(model)]]
            after = None if action == "delete" else replace(chosen, updated_at=moment, **given_fields)
        with watched(dynamodb) as calls, suppress(Killed):
            setattr(calls, "before" if before else "after", dies_at(death))
            change(in_steps, chosen, after)
        identifier = (chosen or after).id  # type: ignore[union-attr]
        # Whoever reads it next sees the one or the other, and mends the lists.
        found = in_steps.get("acme", identifier)
        assert found in (chosen, after and replace(after, revision=chosen.revision + 1 if chosen else 1))
        model.pop(identifier, None)
        if found is not None:
            model[identifier] = found
    for query in asked:
        for user in (None, *USERS):
            assert shown(in_steps, user, query) == without_tag(expected(templates(model), user, query))
    assert_lists(in_steps, model.values())


def change(workflows: WorkflowRepository, before: Workflow | None, after: Workflow | None) -> None:
    if before is None:
        assert after is not None
        workflows.create(after)
    elif after is None:
        workflows.delete(before, "2027-01-01T00:00:00.000Z")
    else:
        workflows.replace(before, after)


def dies_at(call: int) -> Callable[[int], None]:
    def die(number: int) -> None:
        if number == call:
            raise Killed

    return die


def templates(model: dict[str, Workflow]) -> list[Workflow]:
    """The feed of templates is that of a tag that nobody can give."""
    return [replace(item, tags=(*item.tags, keys.TEMPLATES)) if item.is_template else item for item in model.values()]


def without_tag(listing: Listing) -> Listing:
    def plain(item: WorkflowSummary) -> WorkflowSummary:
        return replace(item, tags=tuple(tag for tag in item.tags if tag != keys.TEMPLATES))

    return Listing(listing.total, tuple(map(plain, listing.workflows)))


def test_names_sort_by_their_letters(workflows: WorkflowRepository) -> None:
    """Without regard to case, the shorter first, equal ones by id; what sorts before ``#`` makes no difference."""
    names = ["alpha!", "Alpha", "alpha beta", "ALPHA", "alph", "beta", "alpha#"]
    model = [workflow(number, name=name) for number, name in enumerate(names)]
    for item in model:
        workflows.create(item)
    for query in (ListQuery(10, sort="name", descending=False), ListQuery(10, sort="name")):
        assert workflows.list_all("acme", query) == expected(model, None, query)
        assert workflows.list_visible("acme", "ann", query) == expected(model, "ann", query)


# --- workflows in more feeds than a transaction has room for ----------------------------------------------------------


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("action", ["create", "replace", "delete"])
def test_a_death_between_steps_is_mended(
    in_steps: WorkflowRepository, dynamodb: Any, empty_table: Callable[[], None], action: str, before: bool
) -> None:
    """At whichever call the process dies: who reads the workflow next finishes its lists, and dies no other death."""
    small, large = workflow(tags=("x",)), workflow(tags=("etl",), shared_with=everybody(2), is_public=True)
    chosen, after = {"create": (None, large), "replace": (small, large), "delete": (large, None)}[action]
    for call in itertools.count(1):
        empty_table()
        if chosen is not None:
            in_steps.create(chosen)
        with watched(dynamodb) as calls:
            setattr(calls, "before" if before else "after", dies_at(call))
            try:
                change(in_steps, chosen, after)
            except Killed:
                lived = False
            else:
                lived = True
        found = in_steps.get("acme", small.id)
        assert_lists(in_steps, [found] if found else [], everybody(2))
        if lived:
            break
    assert call > 4, "there are steps to die between"


@pytest.mark.parametrize("action", ["replace", "delete"])
def test_who_comes_between_steps_loses_none(
    in_steps: WorkflowRepository,
    dynamodb: Any,
    table: Table,
    blobs: Blobs,
    empty_table: Callable[[], None],
    action: str,
) -> None:
    """Another edits the workflow before any call of the first one's: both edits count, and the lists are true."""
    other = WorkflowRepository(table, blobs, writes_at_once=WRITES_AT_ONCE)
    large = workflow(tags=("etl",), shared_with=everybody(2), is_public=True)
    for call in itertools.count(1):
        empty_table()
        in_steps.create(large)
        came = False
        with watched(dynamodb) as calls:

            def come(number: int, turn: int = call) -> None:
                nonlocal came
                if number == turn and not came:
                    came = True
                    seen = other.get("acme", large.id)
                    if seen is not None:
                        fewer = replace(seen, tags=("y",), shared_with=("u001", "bob"), status=WorkflowStatus.PAUSED)
                        other.replace(seen, fewer)

            calls.before = come
            with suppress(PreconditionFailed):
                change(in_steps, large, replace(large, tags=("z",), is_public=False) if action == "replace" else None)
        found = in_steps.get("acme", large.id)
        assert_lists(in_steps, [found] if found else [], ("ann", "u000", "u001", "bob"))
        if not came:
            break
        assert found is None or found.revision == (3 if call > 1 else 2)
    assert call > 4, "there are steps to come between"


def test_who_is_overtaken_while_mending_loses_none(
    in_steps: WorkflowRepository, dynamodb: Any, table: Table, blobs: Blobs
) -> None:
    """One dies, a second mends, a third takes a step of it away and dies too: the second goes on, then edits."""
    third = WorkflowRepository(table, blobs, writes_at_once=WRITES_AT_ONCE)
    large = workflow(tags=("etl", "x"), shared_with=everybody(2), is_public=True)
    with watched(dynamodb) as calls, suppress(Killed):
        calls.after = dies_at(1)
        in_steps.create(large)
    came = False

    def come(number: int) -> None:
        nonlocal came
        if number == 2 and not came:  # the second has read how far it is, and is about to write
            came = True
            with watched(dynamodb) as inner, suppress(Killed):
                inner.after = dies_at(2)
                third.get("acme", large.id)

    with watched(dynamodb) as calls:
        calls.before = come
        found = in_steps.get("acme", large.id)
    assert came
    assert found == large
    changed = in_steps.replace(large, replace(large, name="n", tags=("etl",)))
    assert_lists(in_steps, [changed], ("ann", "u000", "u001"))


def test_as_many_feeds_as_there_may_be(workflows: WorkflowRepository, dynamodb: Any) -> None:
    """Two hundred users and fifty tags, as long as they may be: the note of what is left to write is small."""
    tags = tuple(f"{number:02d}".ljust(64, "☃") for number in range(50))
    users = tuple(f"{number:03d}".ljust(64, "x") for number in range(200))
    before = workflow(tags=tags, shared_with=users)
    with watched(dynamodb) as calls:
        calls.after = dies_at(1)
        with pytest.raises(Killed):
            workflows.create(before)
    (item,) = dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": [marshalled(before)]}})["Responses"][TABLE]
    assert item["unlisted"]["M"]["done"] == {"N": "98"}  # beside the workflow, and what finds its organisation
    assert len(listing_changes(None, before)) > 30_000


def marshalled(item: Workflow) -> dict[str, Any]:
    return {name: {"S": value} for name, value in keys.workflow(item.organization_id, item.id).items()}


# --- what a list costs ------------------------------------------------------------------------------------------------


def stand_in(table: Table, many: list[Workflow]) -> None:
    """Puts workflows into their feeds as creating them one by one does, in far fewer calls."""
    counts: dict[tuple[str, str], Item] = {}
    entries = []
    for item in many:
        for kind, feed, *rest in listing_changes(None, item):
            if kind == "put":
                key = keys.listing_entry("acme", feed, item.created_at, item.id)
                about = vars_of(summary(item)) | keys.listing_sort_keys(item)
                entries.append({**key, **about})
            else:
                status, total, public = rest
                key = keys.listing_count("acme", feed, status or None)
                count = counts.setdefault((key["pk"], key["sk"]), {**key, "n": 0, "public": 0})
                count["n"] += total
                count["public"] += public
                if status:
                    count["statusKey"] = keys.status_count_sort_key(status)
    table.write_all([*entries, *counts.values()])


def vars_of(item: WorkflowSummary) -> Item:
    names = {
        "id": "workflowId", "organization_id": "organizationId", "owner_id": "ownerId", "is_public": "isPublic",
        "is_template": "isTemplate", "created_at": "createdAt", "updated_at": "updatedAt",
    }  # fmt: skip
    found = {names.get(name, name): getattr(item, name) for name in WorkflowSummary.__dataclass_fields__}
    return found | {"tags": list(item.tags)}


def some(number: int) -> list[Workflow]:
    """Of all kinds; a third of them public, half of them ann's."""
    return [
        workflow(
            index % 3600,
            id=f"wf_{index:06d}",
            owner_id=USERS[0] if index % 2 else USERS[1],
            shared_with=("ann",) if index % 5 == 0 else (),
            is_public=index % 3 == 0,
            tags=("etl",) if index % 2 == 0 else (),
            status=tuple(WorkflowStatus)[index % 4],
        )
        for index in range(number)
    ]


def test_the_short_cut_leaves_what_the_long_way_leaves(
    workflows: WorkflowRepository, table: Table, dynamodb: Any, empty_table: Callable[[], None]
) -> None:
    """What ``stand_in`` writes is what creating writes: so what a list costs on it is what it costs."""
    many = some(12)
    for item in many:
        workflows.create(item)
    listed = feeds_in(dynamodb)
    empty_table()
    stand_in(table, many)
    assert feeds_in(dynamodb) == listed


def feeds_in(dynamodb: Any) -> list[Any]:
    found = [item for page in dynamodb.get_paginator("scan").paginate(TableName=TABLE) for item in page["Items"]]
    return sorted((item for item in found if "#LIST#" in item["pk"]["S"]), key=lambda item: str(sorted(item.items())))


PAGES = {
    "default": ListQuery(limit=20),
    "status": ListQuery(limit=20, status=WorkflowStatus.ACTIVE),
    "tag": ListQuery(limit=20, tag="etl"),
    "tag and status": ListQuery(limit=20, tag="etl", status=WorkflowStatus.DRAFT),
    "by name": ListQuery(limit=20, sort="name", descending=False),
    "second page": ListQuery(limit=20, offset=20),
}


def test_a_page_costs_the_same_however_many_there_are(
    workflows: WorkflowRepository, table: Table, dynamodb: Any
) -> None:
    """Calls and items that DynamoDB reads for a page are the same with 600 workflows and with 2,000."""
    many = some(2000)
    stand_in(table, many[:600])
    asked = [(user, name) for user in (None, "ann", "cy") for name in PAGES]
    few = {(user, name): cost(workflows, dynamodb, user, PAGES[name]) for user, name in asked}
    stand_in(table, many)  # those that there are already are written once more, the same
    assert {(user, name): cost(workflows, dynamodb, user, PAGES[name]) for user, name in asked} == few
    for user, feeds in ((None, 1), ("ann", 2), ("cy", 2)):
        for name in ("default", "status", "tag", "tag and status"):
            calls, items = few[user, name]
            assert calls == feeds
            assert items <= feeds * (20 + keys.COUNTS)
    for user, name in asked:
        assert shown(workflows, user, PAGES[name]) == expected(many, user, PAGES[name])


def cost(workflows: WorkflowRepository, dynamodb: Any, user: str | None, query: ListQuery) -> tuple[int, int]:
    """How many calls a page takes, and how many items DynamoDB reads for it."""
    read: list[int] = []

    def count(parsed: dict[str, Any], **_: Any) -> None:
        read.append(parsed["ScannedCount"] if "ScannedCount" in parsed else int("Item" in parsed))

    dynamodb.meta.events.register("after-call", count)
    try:
        shown(workflows, user, query)
    finally:
        dynamodb.meta.events.unregister("after-call", count)
    return len(read), sum(read)


def test_a_get_is_one_call(workflows: WorkflowRepository, dynamodb: Any) -> None:
    """One item is read, however many feeds its workflow stands in."""
    workflows.create(workflow(shared_with=everybody(60)))
    with watched(dynamodb) as calls:
        assert workflows.get("acme", "wf_0001") is not None
    assert calls.operations == ["GetItem"]
