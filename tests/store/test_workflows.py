"""Workflows in the store against the plainest thing that could be right: a dict and a loop over it."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.foundation.errors import Conflict, PreconditionFailed
from chalicelib.graph.listing import Listing, ListQuery
from chalicelib.graph.model import Connection, Graph, Node, Workflow, WorkflowStatus
from chalicelib.store import keys
from chalicelib.store.blobs import Blobs
from chalicelib.store.table import Table
from chalicelib.store.workflows import WorkflowRepository
from tests.conftest import BUCKET, TABLE
from tests.fakes import Killed, watched

LATER = "2027-01-01T00:00:00.000Z"  # when remains go


def workflow(number: int = 1, **fields: Any) -> Workflow:
    moment = f"2026-01-05T09:{number // 60:02d}:{number % 60:02d}.000Z"
    defaults = {"organization_id": "acme", "owner_id": "ann", "name": f"w{number}"}
    return Workflow(**{"id": f"wf_{number:04d}", "created_at": moment, "updated_at": moment, **defaults, **fields})


def test_a_workflow_comes_back_as_it_was(workflows: WorkflowRepository) -> None:
    """Every field, whatever it holds."""
    graph = Graph(
        (Node("a", "transform", "L", {"x": 1.5, "y": -2}, {"k": [None, 1e300, "☃"]}, {"m": "x"}, {"p": "q"},
              {"retry": {"maxAttempts": 2}, "onError": "port"}), Node("b", "log")),
        (Connection("c", "a", "b", "error", "in"),),
    )  # fmt: skip
    made = workflow(
        description="d",
        status=WorkflowStatus.PAUSED,
        version=3,
        graph=graph,
        config={"x": {"y": []}},
        settings={"timeout": 5},
        tags=("t", "u"),
        shared_with=("bob",),
        is_public=True,
        is_template=True,
    )
    workflows.create(made)
    found = workflows.get("acme", made.id)
    assert found == replace(made, graph=Graph((graph.nodes[0], replace(graph.nodes[1], label="b")), graph.connections))


def test_an_organisation_sees_its_own_only(workflows: WorkflowRepository) -> None:
    """The same id under another organisation is another workflow."""
    workflows.create(workflow())
    assert workflows.get("other", "wf_0001") is None
    assert workflows.list_all("other", ListQuery(10)) == Listing(0, ())
    workflows.create(workflow(organization_id="other"))


def test_an_id_is_given_once(workflows: WorkflowRepository) -> None:
    """A second workflow of one id is refused, and counts for nothing."""
    workflows.create(workflow())
    with pytest.raises(Conflict):
        workflows.create(workflow(name="another"))
    assert workflows.list_all("acme", ListQuery(10)).total == 1


def test_a_large_definition_lies_in_s3(workflows: WorkflowRepository, dynamodb: Any, s3: Any) -> None:
    """A definition that compresses to more than 200 KB is not in the item, and comes back all the same."""
    noise = random.Random(7).randbytes(250_000).hex()
    made = workflow(config={"noise": noise})
    workflows.create(made)
    item = dynamodb.get_item(TableName=TABLE, Key={"pk": {"S": "ORG#acme#WF#wf_0001"}, "sk": {"S": "WORKFLOW"}})["Item"]
    assert "definition" not in item
    assert item["definitionKey"]["S"].startswith("definitions/acme/wf_0001/")
    other = WorkflowRepository(Table(dynamodb, TABLE), Blobs(s3, BUCKET))
    assert other.get("acme", made.id) == made
    smaller = workflows.replace(made, replace(made, config={}))
    found = workflows.get("acme", made.id)
    assert found == smaller


def test_a_change_raises_the_revision(workflows: WorkflowRepository) -> None:
    """Each replacement is of the state that was read, and of no other."""
    made = workflow()
    workflows.create(made)
    changed = workflows.replace(made, replace(made, name="new"))
    assert changed.revision == 2
    for stale in (lambda: workflows.replace(made, replace(made, name="newer")), lambda: workflows.delete(made, LATER)):
        with pytest.raises(PreconditionFailed):
            stale()
    assert workflows.get("acme", made.id) == changed
    workflows.delete(changed, LATER)
    assert workflows.get("acme", made.id) is None
    with pytest.raises(PreconditionFailed):
        workflows.replace(changed, replace(changed, name="ghost"))
    assert workflows.list_all("acme", ListQuery(10)).total == 0


def test_a_page_reads_no_more_where_there_are_more(workflows: WorkflowRepository, dynamodb: Any) -> None:
    """A user's page reads a page of each of the two feeds and their counts, however many stand in both."""
    for number in range(12):
        workflows.create(workflow(number, is_public=True))
    read: list[int] = []

    def note(parsed: dict[str, Any], **_: Any) -> None:
        read.append(parsed["ScannedCount"])

    dynamodb.meta.events.register("after-call.dynamodb.Query", note)
    try:
        found = workflows.list_visible("acme", "ann", ListQuery(limit=2, offset=1))
    finally:
        dynamodb.meta.events.unregister("after-call.dynamodb.Query", note)
    assert (found.total, [item.id for item in found.workflows]) == (12, ["wf_0010", "wf_0009"])
    assert len(read) == 2
    assert max(read) <= 1 + 2 + keys.COUNTS


def test_exactly_one_of_many_wins(workflows: WorkflowRepository) -> None:
    """Eight writers that have read the same revision: one replaces it, the others are told that they came too late."""
    made = workflow()
    workflows.create(made)

    def attempt(number: int) -> bool:
        try:
            workflows.replace(made, replace(made, name=f"by {number}", status=WorkflowStatus.PAUSED))
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, range(8)))
    assert won.count(True) == 1
    found = workflows.get("acme", made.id)
    assert found is not None
    assert (found.name, found.revision) == (f"by {won.index(True)}", 2)
    assert workflows.list_all("acme", ListQuery(10, 0, WorkflowStatus.PAUSED)).total == 1
    assert workflows.list_all("acme", ListQuery(10, 0, WorkflowStatus.DRAFT)).total == 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_death_leaves_lists_that_are_true(workflows: WorkflowRepository, dynamodb: Any, moment: str) -> None:
    """A workflow and its entries and counts change together, or not at all."""

    def die(number: int) -> None:
        raise Killed

    with watched(dynamodb) as calls:
        setattr(calls, moment, die)
        with pytest.raises(Killed):
            workflows.create(workflow(is_public=True))
    there = workflows.get("acme", "wf_0001") is not None
    assert there is (moment == "after")
    for listing in (
        workflows.list_all("acme", ListQuery(10)),
        workflows.list_visible("acme", "ann", ListQuery(10)),
        workflows.list_visible("acme", "bob", ListQuery(10, 0, WorkflowStatus.DRAFT)),
    ):
        assert (listing.total, len(listing.workflows)) == (there, there)


def test_feeds_beyond_a_transaction_are_finished_by_the_next_reader(
    workflows: WorkflowRepository, dynamodb: Any
) -> None:
    """Dead between two transactions: nobody may change what is half listed; whoever reads it, lists the rest."""
    users = tuple(f"user{number}" for number in range(60))
    half = workflow(shared_with=users)

    def die(number: int) -> None:
        if number == 1:
            raise Killed

    with watched(dynamodb) as calls:
        calls.after = die
        with pytest.raises(Killed):
            workflows.create(half)
    assert workflows.list_visible("acme", users[-1], ListQuery(10)).total == 0
    with pytest.raises(PreconditionFailed):
        workflows.replace(half, replace(half, name="too early"))
    assert workflows.get("acme", half.id) is not None
    for user in users:
        assert workflows.list_visible("acme", user, ListQuery(10)).total == 1
    renamed = workflows.replace(half, replace(half, name="in time"))
    assert workflows.get("acme", half.id) == renamed


def test_a_list_costs_a_query_a_feed(workflows: WorkflowRepository, dynamodb: Any) -> None:
    """However many there are: one for an administrator, two for anyone else."""
    for number in range(12):
        workflows.create(workflow(number, is_public=number % 2 == 0))
    with watched(dynamodb) as calls:
        workflows.list_all("acme", ListQuery(5, 6, None))
        assert calls.operations == ["Query"]
        workflows.list_visible("acme", "ann", ListQuery(5, 6, None))
        assert calls.operations == ["Query"] * 3
