"""The table's few operations: what they bring back, what they refuse, what they try again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber

from chalicelib.foundation.errors import Downstream, DownstreamTimeout
from chalicelib.store.keys import Key
from chalicelib.store.table import ABSENT, PRESENT, ConditionFailed, Refused, Table, Write, delete, put, update
from tests.conftest import TABLE


def key(sk: str, pk: str = "p") -> Key:
    return {"pk": pk, "sk": sk}


def fill(table: Table, number: int, **attributes: Any) -> list[str]:
    names = [f"{index:04d}" for index in range(number)]
    table.write_all({**key(name), "n": index, **attributes} for index, name in enumerate(names))
    return names


def test_values_come_back_as_they_were(table: Table) -> None:
    """Texts, whole numbers, truth, bytes, lists and maps; None is the same as absent."""
    item = {**key("x"), "t": "é☃", "n": -3, "b": True, "y": b"\x00\xff", "l": [1, "a", {"m": False}], "empty": ""}
    table.write(put({**item, "none": None}))
    assert table.get(key("x")) == item


def test_an_item_may_be_given_as_text(table: Table) -> None:
    """In DynamoDB's own encoding, instead of as values; its condition holds as of any other."""
    text = '{"pk":{"S":"p"},"sk":{"S":"x"},"n":{"N":"7"},"l":{"L":[{"S":"\u00e9"},{"BOOL":true}]}}'
    write = Write("Put", key("x"), text=text, condition=ABSENT)
    table.transact([write, put({**key("y")})])
    assert table.get(key("x")) == {**key("x"), "n": 7, "l": ["é", True]}
    with pytest.raises(ConditionFailed):
        table.write(write)


def test_an_absent_item_is_none(table: Table) -> None:
    """Nothing is there until it is written."""
    assert table.get(key("x")) is None


def test_a_condition_that_does_not_hold_tells_what_stood_in_the_way(table: Table) -> None:
    """``ConditionFailed`` holds the old item; nothing is written."""
    table.write(put({**key("x"), "v": 1}, ABSENT))
    with pytest.raises(ConditionFailed) as raised:
        table.write(put({**key("x"), "v": 2}, ABSENT))
    assert raised.value.old == {**key("x"), "v": 1}
    with pytest.raises(ConditionFailed) as raised:
        table.write(update(key("nothing"), "SET v = :v", PRESENT, v=1))
    assert raised.value.old is None
    assert table.get(key("nothing")) is None


def test_an_update_returns_the_item_as_it_is_now(table: Table) -> None:
    """Reserved words are written with ``#``."""
    table.write(put({**key("x"), "status": "old"}))
    assert table.write(update(key("x"), "SET #status = :s", "#status = :o", s="new", o="old"))["status"] == "new"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_transaction_is_all_or_nothing(table: Table, place: int) -> None:
    """One condition that fails undoes every write, and is told by its place."""
    table.write(put({**key("there"), "v": 1}))
    writes: list[Write] = [put({**key("a")}, ABSENT), put({**key("b")}, ABSENT)]
    writes.insert(place, put({**key("there"), "v": 2}, ABSENT))
    with pytest.raises(ConditionFailed) as raised:
        table.transact(writes)
    assert raised.value.index == place
    assert raised.value.old == {**key("there"), "v": 1}
    assert table.get(key("a")) is None
    assert table.get(key("b")) is None


def test_a_transaction_puts_updates_and_deletes(table: Table) -> None:
    """All kinds of writes go together."""
    table.write(put({**key("old")}))
    table.transact([put({**key("new")}), update(key("count"), "ADD n :n", n=2), delete(key("old"), PRESENT)])
    assert table.get(key("new"))
    assert table.get(key("count")) == {**key("count"), "n": 2}
    assert table.get(key("old")) is None


class Refuses:
    """A client that cancels the first transactions and then does them."""

    def __init__(self, client: Any, times: int, code: str) -> None:
        self._client, self._times, self._code = client, times, code
        self.exceptions = client.exceptions
        self.asked = 0

    def transact_write_items(self, **request: Any) -> Any:
        self.asked += 1
        if self.asked <= self._times:
            raise self.exceptions.TransactionCanceledException(
                {
                    "Error": {"Code": "TransactionCanceledException", "Message": "cancelled"},
                    "CancellationReasons": [{"Code": "None"}, {"Code": self._code}],
                },
                "TransactWriteItems",
            )
        return self._client.transact_write_items(**request)


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError"])
def test_transactions_that_meet_are_tried_again(dynamodb: Any, naps: list[float], code: str) -> None:
    """A conflict is nobody's fault: after a pause, which grows at most to a second, the same is tried again."""
    client = Refuses(dynamodb, 11, code)
    Table(client, TABLE, naps.append).transact([put({**key("a")}), put({**key("b")})])
    assert client.asked == 12
    assert len(naps) == 11
    assert all(0 <= nap <= 1 for nap in naps)


def test_a_conflict_that_does_not_end_is_told(dynamodb: Any, naps: list[float]) -> None:
    """The tries are bounded."""
    client = Refuses(dynamodb, 10_000, "TransactionConflict")
    with pytest.raises(Downstream):
        Table(client, TABLE, naps.append).transact([put({**key("a")})])
    assert client.asked == 12


def test_a_transaction_that_can_never_succeed_is_not_tried_again(dynamodb: Any, naps: list[float]) -> None:
    """Only conflicts and throttling pass."""
    client = Refuses(dynamodb, 1, "ItemCollectionSizeLimitExceeded")
    with pytest.raises(Downstream):
        Table(client, TABLE, naps.append).transact([put({**key("a")})])
    assert client.asked == 1


@pytest.mark.parametrize("number", [0, 1, 100, 101, 250])
def test_batch_get(table: Table, dynamodb_calls: Any, number: int) -> None:
    """Any number of keys, a hundred a call; what is absent is not in the answer."""
    names = fill(table, number)
    dynamodb_calls.clear()
    found = table.get_many([*(key(name) for name in names), *([key("absent")] if number else [])])
    assert sorted(item["sk"] for item in found) == names
    assert len(dynamodb_calls.made) == -(-(number + bool(number)) // 100)


def test_keys_that_a_batch_leaves_over_are_asked_for_again(dynamodb: Any, naps: list[float]) -> None:
    """DynamoDB may answer a part of a batch; the rest is read by another call."""
    first, second = ({"pk": {"S": "p"}, "sk": {"S": name}} for name in "ab")
    wanted = {"Keys": [first, second], "ConsistentRead": True}
    left = {"Keys": [second], "ConsistentRead": True}
    with Stubber(dynamodb) as stub:
        stub.add_response(
            "batch_get_item",
            {"Responses": {TABLE: [first]}, "UnprocessedKeys": {TABLE: left}},
            {"RequestItems": {TABLE: wanted}},
        )
        stub.add_response("batch_get_item", {"Responses": {TABLE: [second]}}, {"RequestItems": {TABLE: left}})
        found = Table(dynamodb, TABLE, naps.append).get_many([key("a"), key("b")])
    assert [item["sk"] for item in found] == ["a", "b"]
    assert len(naps) == 1


def test_items_that_a_batch_leaves_unwritten_are_written_again(dynamodb: Any, naps: list[float]) -> None:
    """The same for writes."""
    requests = [{"PutRequest": {"Item": {"pk": {"S": "p"}, "sk": {"S": name}}}} for name in "ab"]
    with Stubber(dynamodb) as stub:
        stub.add_response(
            "batch_write_item",
            {"UnprocessedItems": {TABLE: requests[1:]}},
            {"RequestItems": {TABLE: requests}},
        )
        stub.add_response("batch_write_item", {}, {"RequestItems": {TABLE: requests[1:]}})
        Table(dynamodb, TABLE, naps.append).write_all([{**key("a")}, {**key("b")}])
        stub.assert_no_pending_responses()


def test_a_batch_that_is_never_answered_in_full_is_told(dynamodb: Any, naps: list[float]) -> None:
    """The tries are bounded, for reads and for writes."""
    keys = {TABLE: {"Keys": [{"pk": {"S": "p"}, "sk": {"S": "a"}}]}}
    items = {TABLE: [{"PutRequest": {"Item": {"pk": {"S": "p"}, "sk": {"S": "a"}}}}]}
    with Stubber(dynamodb) as stub:
        for _ in range(12):
            stub.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": keys})
        with pytest.raises(Downstream):
            Table(dynamodb, TABLE, naps.append).get_many([key("a")])
        for _ in range(12):
            stub.add_response("batch_write_item", {"UnprocessedItems": items})
        with pytest.raises(Downstream):
            Table(dynamodb, TABLE, naps.append).write_all([{**key("a")}])


def test_a_query_reads_past_a_megabyte(table: Table, dynamodb_calls: Any) -> None:
    """A partition of 3 MB comes whole and in order, by several calls."""
    names = fill(table, 60, text="x" * 50_000)
    dynamodb_calls.clear()
    assert [item["sk"] for item in table.query("p")] == names
    assert len(dynamodb_calls.made) >= 3
    assert table.count("p") == 60


def test_a_query_is_lazy(table: Table, dynamodb_calls: Any) -> None:
    """Who takes the first item pays for the first page only."""
    fill(table, 60, text="x" * 50_000)
    dynamodb_calls.clear()
    next(table.query("p"))
    assert len(dynamodb_calls.made) == 1


@pytest.mark.parametrize("limit", [0, 1, 7, 59, 60, 61])
def test_a_limit_bounds_what_is_read(table: Table, limit: int) -> None:
    """``limit`` items, the newest first where asked so, even across pages."""
    names = fill(table, 60, text="x" * 50_000)
    assert [item["sk"] for item in table.query("p", limit=limit)] == names[:limit]
    assert [item["sk"] for item in table.query("p", limit=limit, newest_first=True)] == names[::-1][:limit]


def test_a_limit_counts_what_a_filter_drops(table: Table) -> None:
    """What is read is bounded, not what is handed out."""
    table.write_all({**key(f"{index:02d}"), "kind": "ab"[index % 2]} for index in range(10))
    assert len(list(table.query("p", limit=4, filters={"kind": "a"}))) == 2
    assert len(list(table.query("p", filters={"kind": "a"}))) == 5
    assert table.count("p", filters={"kind": "a"}) == 5


def test_a_query_by_prefix_with_some_attributes(table: Table) -> None:
    """Only items whose sort key begins so, and only what was asked for of each."""
    table.write_all({**key(sk), "status": "s", "more": 1} for sk in ("A#1", "A#2", "B#1"))
    assert list(table.query("p", prefix=("sk", "A#"), attributes=("status",))) == [{"status": "s"}] * 2


def test_partitions_do_not_mix(table: Table) -> None:
    """A query brings one partition."""
    table.write_all([{**key("x", "p")}, {**key("x", "p2")}, {**key("x", "P")}])
    assert [item["pk"] for item in table.query("p")] == ["p"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ClientError({"Error": {"Code": "ValidationException", "Message": "no"}}, "GetItem"), Refused),
        (ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "GetItem"), Downstream),
        (ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetItem"), Downstream),
        (ReadTimeoutError(endpoint_url="x"), DownstreamTimeout),
        (ConnectTimeoutError(endpoint_url="x"), DownstreamTimeout),
        (EndpointConnectionError(endpoint_url="x"), Downstream),
    ],
)
@pytest.mark.parametrize("operation", ["get", "get_many", "query", "write", "write_all", "transact"])
def test_errors_of_the_sdk_end_here(dynamodb: Any, operation: str, error: Exception, expected: type[Exception]) -> None:
    """Whatever the SDK raises is one of our errors, slow told from broken, with the cause kept."""
    calls: dict[str, Callable[[Table], object]] = {
        "get": lambda table: table.get(key("a")),
        "get_many": lambda table: table.get_many([key("a")]),
        "query": lambda table: list(table.query("p")),
        "write": lambda table: table.write(put({**key("a")})),
        "write_all": lambda table: table.write_all([{**key("a")}]),
        "transact": lambda table: table.transact([put({**key("a")})]),
    }
    with pytest.raises(Downstream) as raised:
        calls[operation](Table(Broken(dynamodb, error), TABLE))
    assert type(raised.value) is expected
    assert raised.value.__cause__ is error


class Broken:
    """A client of which every call raises ``error``."""

    def __init__(self, client: Any, error: Exception) -> None:
        self.exceptions = client.exceptions
        self._error = error

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            raise self._error

        return call
