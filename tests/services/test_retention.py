"""What runs and deleted workflows leave behind goes in its time, and not before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from moto.s3.models import s3_backends

from chalicelib.cloud.sdk import client
from chalicelib.foundation.errors import NotFound
from chalicelib.foundation.settings import Settings
from chalicelib.graph.retention import AUDIT_DAYS, DEFAULT_DAYS, MARGIN, MAX_DAYS, REMAINS_DAYS, SHELVES, shelf
from chalicelib.store import keys
from infra.deploy import base_template
from tests.conftest import ACCOUNT, BUCKET, TABLE
from tests.fakes import FakeClock, Killed, graph, node, watched
from tests.runs import OWNER, Runs

DAY = 24 * 3600
MARGIN_S = MARGIN.total_seconds()
LARGE = {"x": "x" * 40_000}
GRAPH = graph([node("a"), node("b"), node("w", "wait", seconds=300 * DAY)], "a -> b -> w")


@pytest.fixture
def items(dynamodb: Any) -> Callable[[str], dict[str, dict[str, Any]]]:
    """The items of a partition by their sort keys, as DynamoDB has them."""

    def read(partition: str) -> dict[str, dict[str, Any]]:
        query = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": partition}}}
        return {item["sk"]["S"]: item for item in dynamodb.query(TableName=TABLE, **query)["Items"]}

    return read


def of_run(execution_id: str) -> str:
    return keys.execution(OWNER.organization_id, execution_id)["pk"]


def expiry(items: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {sk: int(item["expiresAt"]["N"]) for sk, item in items.items()}


def now(clock: FakeClock) -> int:
    return int(clock.now().timestamp())


def do_upkeep(runs: Runs) -> None:
    assert not [failure for report in runs.services.upkeep.run() for failure in report.failures]


@pytest.mark.parametrize(("said", "days"), [({}, DEFAULT_DAYS), ({"retentionDays": 3}, 3)])
def test_all_that_a_run_leaves_goes(runs: Runs, clock: FakeClock, items: Any, said: dict[str, int], days: int) -> None:
    """The run goes when its retention after its end is over; each of its records then or within the margin."""
    execution_id = runs.start(graph([node("c", "condition", expression="true"), node("n")], "c:false -> n"), **said)
    clock.advance(3600)
    runs.walk(execution_id)
    clock.advance(10)
    runs.tell_end(execution_id)
    found = expiry(items(of_run(execution_id)))
    end = now(clock) + days * DAY
    assert found.pop(keys.EXECUTION) == end
    assert set(found) == {"STEP##c", "STEP##n"}
    assert all(end <= at <= end + MARGIN_S for at in found.values())


def test_a_run_whose_retention_is_over_is_not_found(runs: Runs, clock: FakeClock) -> None:
    """The table deletes within days, part by part; nobody gets to see, or to take up again, a run with holes."""
    execution_id = runs.run(graph([node("a")]), retentionDays=3).execution.id
    clock.advance(3 * DAY - 1)
    runs.detail(execution_id)
    clock.advance(1)
    with pytest.raises(NotFound):
        runs.detail(execution_id)
    with pytest.raises(NotFound):
        runs.services.control.cancel(OWNER, execution_id)


@pytest.mark.parametrize("days", [1, 90])
def test_a_run_outlasts_its_retention(runs: Runs, clock: FakeClock, items: Any, days: int) -> None:
    """As long as it lasts, all that it has left stays: records and payloads are never nearer to their end than the
    retention and half of the margin.
    """
    execution_id = runs.start(GRAPH, LARGE, retentionDays=days)
    for name in ("a", "b", "w"):
        runs.visit(execution_id, name)
    objects = s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys
    (payload,) = (name for name in objects if name.startswith("payloads/"))
    since = clock.now()
    for _ in range(12):
        clock.advance(DAY)
        objects[payload].last_modified = objects[payload].last_modified.replace(year=2000)
        do_upkeep(runs)
        found = expiry(items(of_run(execution_id)))
        assert len(found) == 4
        assert min(found.values()) >= now(clock) + days * DAY + MARGIN_S / 2 - DAY / 24
        if objects[payload].last_modified.year > 2000:
            assert clock.now() - since <= MARGIN / 2 + timedelta(days=1)
            since = clock.now()
    assert since > clock.now() - MARGIN  # it was made young more than once
    runs.visit(execution_id, "w", phase="leave")
    runs.step_functions.executions()[execution_id].status = "SUCCEEDED"
    runs.tell_end(execution_id)
    found = expiry(items(of_run(execution_id)))
    end = now(clock) + days * DAY
    assert found.pop(keys.EXECUTION) == end
    assert all(end <= at <= end + MARGIN_S for at in found.values())


@pytest.mark.parametrize(
    ("service", "number"), [("s3", 1), ("s3", 2), *(("dynamodb", number) for number in range(9, 18))]
)
def test_moving_on_that_dies(
    runs: Runs, clock: FakeClock, items: Any, settings: Settings, service: str, number: int
) -> None:
    """Killed at any of its calls, a later look does the rest."""
    execution_id = runs.start(GRAPH, LARGE, retentionDays=1)
    for name in ("a", "b", "w"):
        runs.visit(execution_id, name)
    clock.advance(4 * DAY)
    with watched(client(service, settings.region)) as calls:
        calls.before = _dies_at(number)
        with pytest.raises(Killed):
            do_upkeep(runs)
    clock.advance(2 * 3600)
    do_upkeep(runs)
    assert min(expiry(items(of_run(execution_id))).values()) >= now(clock) + DAY + MARGIN_S / 2


def _dies_at(wanted: int) -> Callable[[int], None]:
    def die(number: int) -> None:
        if number == wanted:
            raise Killed

    return die


def test_a_short_run_is_not_moved_on(runs: Runs, clock: FakeClock, items: Any) -> None:
    """Nothing is written twice for the sake of its age within the first half of the margin."""
    execution_id = runs.start(GRAPH, LARGE)
    runs.visit(execution_id, "a")
    before = expiry(items(of_run(execution_id)))
    clock.advance(MARGIN_S / 2 - 1)
    do_upkeep(runs)
    assert expiry(items(of_run(execution_id))) == before
    clock.advance(2 * 3600)
    do_upkeep(runs)
    assert min(expiry(items(of_run(execution_id))).values()) > max(before.values())


@pytest.mark.parametrize(("days", "place"), [(1, "1d"), (2, "7d"), (90, "90d"), (91, "180d"), (3650, "3650d")])
def test_payloads_lie_where_they_are_kept_long_enough(runs: Runs, s3: Any, days: int, place: str) -> None:
    """On the first shelf that is kept for as long as the run is."""
    runs.run(graph([node("a")]), LARGE, retentionDays=days)
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="payloads/")["Contents"]
    assert [item["Key"].rsplit("/", 1)[0] for item in listed] == [f"payloads/{place}/acme"]


def _rules() -> Iterator[tuple[str, int]]:
    bucket = base_template()["Resources"]["DataBucket"]["Properties"]
    for rule in bucket["LifecycleConfiguration"]["Rules"]:
        if "ExpirationInDays" in rule:
            assert rule["Status"] == "Enabled"
            yield rule["Prefix"], rule["ExpirationInDays"]


def test_each_shelf_has_its_rule() -> None:
    """A payload stays for the days of its shelf, the margin, and a day in which nobody has to put it again."""
    rules = dict(_rules())
    plans = rules.pop("plans/")
    del rules["attachments/"], rules["inbound/"]  # mails are no part of a run
    wanted = {f"payloads/{shelf('', days)}": days + MARGIN.days + 1 for days in SHELVES}
    assert rules == wanted
    assert plans > MAX_DAYS + MARGIN.days + 366


def test_the_audit_ages(runs: Runs, clock: FakeClock, items: Any) -> None:
    """An entry goes after a year and some."""
    workflow = runs.workflow(graph([node("a")]))
    entries = expiry(items(keys.audit(OWNER.organization_id, workflow.id, "", "")["pk"]))
    assert list(entries.values()) == [now(clock) + AUDIT_DAYS * DAY]


@pytest.mark.parametrize("dies_in", ["dynamodb", "s3", None])
def test_what_a_deleted_workflow_leaves(
    runs: Runs, clock: FakeClock, items: Any, s3: Any, dynamodb: Any, dies_in: str | None
) -> None:
    """Versions, tags and snapshots go a month later, whatever dies on the way; those of others stay."""
    stays, goes = runs.workflow(graph([node("a")])), runs.workflow(graph([node("a")]))
    for workflow in (stays, goes):
        runs.services.versions.create(OWNER, workflow, "v1", "first", None)
    runs.services.workflows.delete(OWNER, runs.services.workflows.find(OWNER, goes.id))

    def left(workflow: Any) -> set[str]:
        found = set(items(keys.workflow(OWNER.organization_id, workflow.id)["pk"]))
        prefix = f"definitions/{OWNER.organization_id}/{workflow.id}/"
        return found | {item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())}

    before, others = left(goes), left(stays)
    assert len(before) > 3  # a version, its tag, its snapshot, a note of the deletion
    clock.advance(REMAINS_DAYS * DAY - 1)
    do_upkeep(runs)
    assert left(goes) == before
    clock.advance(1)
    for number in range(1, 30 if dies_in else 1):
        assert number < 29
        with watched(s3 if dies_in == "s3" else dynamodb) as calls:
            calls.before = _dies_at(number)
            try:
                do_upkeep(runs)
            except Killed:
                clock.advance(601)
            else:
                break
    do_upkeep(runs)
    assert left(goes) == set()
    assert left(stays) == others
