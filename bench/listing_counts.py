"""What a page of a list reads where an organisation has a hundred workflows, and where it has a hundred thousand.

The feeds are those of one workflow that was made through the API, its entries repeated: under other ids and times, with
the counts that as many workflows would have led to. They are put into moto's table directly, as a hundred thousand
requests would take an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType, Item

from bench.aws import ACCOUNT, REGION, TABLE, aws_in_process, sdk
from bench.report import Figures, Progress
from chalicelib.bootstrap import lambda_services
from chalicelib.foundation.clock import timestamp
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.listing import ListQuery
from chalicelib.graph.model import WorkflowStatus
from chalicelib.services.access import READ, Principal
from tests.fakes import watched
from tests.runs import OWNER

FEW, MANY = 100, 100_000
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_USER = Principal(OWNER.organization_id, OWNER.user_id, frozenset({READ}))

PAGES = {
    "default page": ListQuery(limit=20),
    "by status": ListQuery(limit=20, status=WorkflowStatus.DRAFT),
    "by tag": ListQuery(limit=20, tag="etl"),
    "by name": ListQuery(limit=20, sort="name", descending=False),
    "last changed first": ListQuery(limit=20, sort="updatedAt"),
}


def measure(progress: Progress) -> Sequence[Figures]:
    """``broken`` where a page reads more of many than of few."""
    with aws_in_process():
        feeds = _Feeds()
        found = []
        for number in (FEW, MANY):
            progress(f"lists of {number:,} workflows")
            feeds.fill(number)
            found.append(list(_pages(number)))
    rows = [[name, calls, few, many] for (name, calls, few), (_, _, many) in zip(*found, strict=True)]
    broken = [
        f"{row[0]}: {row[2]} items of {FEW:,} workflows, {row[3]} of {MANY:,}" for row in rows if row[2] != row[3]
    ]
    columns = ("page of 20, as a user", "calls", f"items read of {FEW:,}", f"of {MANY:,}")
    return [Figures("What a page of the list of workflows reads", columns, rows, broken)]


def _pages(number: int) -> Iterator[tuple[str, int, int]]:
    for name, query in PAGES.items():
        with watched(sdk("dynamodb")) as calls:
            listing = lambda_services().workflows.list(_USER, query)
        assert (listing.total, len(listing.workflows)) == (number, query.limit), name
        yield name, calls.reads, calls.items_read


class _Feeds:
    """The feeds in which a workflow stands, and in each as many like it as are wanted."""

    def __init__(self) -> None:
        made = lambda_services().workflows.create(OWNER, WorkflowChange(name="w", tags=("etl",), is_public=True))
        self._id, self._created = made.id, made.created_at
        self._items = dynamodb_backends[ACCOUNT][REGION].get_table(TABLE).items
        listed = [item for items in self._items.values() for item in items.values() if "#LIST#" in item.hash_key.value]
        self._counts = [item for item in listed if "n" in item.attrs]
        self._entries = [item for item in listed if "n" not in item.attrs]
        self._there = 1

    def fill(self, number: int) -> None:
        for index in range(self._there, number):
            created = timestamp(_FIRST + timedelta(seconds=index))
            for entry in self._entries:
                other = self._like(entry, f"wf_{index:06}", created)
                self._items[entry.hash_key][other.range_key] = other
        self._there = number
        for count in self._counts:
            of_user = count.attrs["public"].value != "0"
            count.attrs |= {"n": DynamoType({"N": str(number)}), "public": DynamoType({"N": str(number * of_user)})}

    def _like(self, entry: Item, workflow_id: str, created: str) -> Item:
        """The entry as another workflow, made at another time, would have it."""
        changed = {
            name: DynamoType({"S": value.value.replace(self._id, workflow_id).replace(self._created, created)})
            for name, value in entry.attrs.items()
            if value.type == "S" and name != "pk" and (self._id in value.value or self._created in value.value)
        }
        item = Item(entry.hash_key, changed["sk"], {})
        item.attrs.update({**entry.attrs, **changed})
        return item
