"""Long lists: each item is found again with little reading, and results are put together without holding them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.engines.lists import INLINE_ITEMS_BYTES, MAX_SLICES, SLICE_BYTES, Lists
from chalicelib.engines.payloads import Payloads
from chalicelib.foundation import spool
from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.json_types import Json
from chalicelib.store.blobs import Blobs
from tests.conftest import BUCKET, TABLE
from tests.fakes import graph, node, watched
from tests.runs import Runs


@pytest.fixture
def payloads(app_services: Services) -> Payloads:
    return app_services.payloads


LISTS: dict[str, list[Json]] = {
    "nothing": [],
    "small ones": [None, 1, "two", {"three": [3]}, "é☃"],
    "as much as stands in the record": ["x" * (INLINE_ITEMS_BYTES - 4)],
    "a byte more": ["x" * (INLINE_ITEMS_BYTES - 3)],
    "many": list(range(20_000)),
    "of all sizes": ["☃" * (number * 37 % 1_000) for number in range(2_000)],
    "each larger than a slice": ["x" * (SLICE_BYTES + number) for number in range(9)],
    "nulls": [None] * 20_000,
}


@pytest.mark.parametrize("name", LISTS)
def test_every_item_is_found_again(name: str, payloads: Payloads, s3: Any) -> None:
    """Whatever the list, by whoever reads: one that has stored nothing."""
    values = LISTS[name]
    stored = Lists(payloads).put_items("acme", values)
    read = Lists(Payloads(Blobs(s3, BUCKET)))
    assert stored.key is None
    assert len((stored.text or "").encode()) <= max(INLINE_ITEMS_BYTES, MAX_SLICES * 24)
    positions = [*range(0, len(values), max(1, len(values) // 150)), *range(len(values))[-3:]]
    assert [read.item(stored, position) for position in positions] == [values[position] for position in positions]


@pytest.mark.parametrize(("count", "size"), [(10_000, 100), (100_000, 300)])
def test_an_item_costs_the_reading_of_one_slice(count: int, size: int, payloads: Payloads, s3: Any) -> None:
    """Not of the list; and the next item is in memory already."""
    stored = Lists(payloads).put_items("acme", ["x" * size] * count)
    read = Lists(Payloads(Blobs(s3, BUCKET)))
    with watched(s3) as calls:
        assert read.item(stored, count // 2) == "x" * size
        assert read.item(stored, count // 2 + 1) == "x" * size
    assert calls.operations == ["GetObject"]
    first, last = map(int, calls.made[0][1]["Range"].removeprefix("bytes=").split("-"))
    assert last - first < max(SLICE_BYTES, stored.size // MAX_SLICES) + size + 10


def test_the_list_in_s3_is_json(payloads: Payloads, s3: Any) -> None:
    """One object with the whole list, for whoever looks at it."""
    stored = Lists(payloads).put_items("acme", LISTS["many"])
    (found,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    body = s3.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read()
    assert json.loads(body) == LISTS["many"]
    assert len(body) == stored.size


@pytest.mark.parametrize("texts", [[], ["1"], ["null", '{"a":[1]}', '"é☃"'], ['"' + "x" * 50_000 + '"'] * 200])
def test_results_are_put_together(texts: list[str], payloads: Payloads) -> None:
    """The texts become one list: in the record, in S3, or by way of the disk."""
    stored = Lists(payloads).put_results("acme", ([text.encode()] for text in texts))
    assert payloads.get(stored) == [json.loads(text) for text in texts]
    assert stored.size == len(f"[{','.join(texts)}]".encode())


def test_equal_results_are_one_object(payloads: Payloads, s3: Any) -> None:
    """A delivery that comes again stores nothing new."""
    results = [[b'"', b"x" * 40_000, b'"']]
    others = Payloads(Blobs(s3, BUCKET))
    assert Lists(payloads).put_results("acme", results) == Lists(others).put_results("acme", results)
    assert len(s3.list_objects_v2(Bucket=BUCKET)["Contents"]) == 1


def test_results_have_a_limit(payloads: Payloads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what a Lambda's disk holds it is said so, and nothing is stored."""
    monkeypatch.setattr(spool, "MAX_BYTES", 1_000)
    with pytest.raises(Permanent, match="PayloadTooLarge"):
        Lists(payloads).put_results("acme", [[b"1" * 500]] * 3)


LOOP = graph([node("l", "loop", items="[1..1000]"), node("b"), node("d")], "l:item -> b", "l:done -> d")


def test_results_are_read_in_bounded_calls(runs: Runs, dynamodb: Any) -> None:
    """A loop of a thousand items asks for a hundred records at a time."""
    execution = runs.start(LOOP)
    runs.visit(execution, "l")
    runs.visit(execution, "b", "[7]")
    with watched(dynamodb) as calls:
        runs.visit(execution, "l", phase="leave")
    asked = [len(given["RequestItems"][TABLE]["Keys"]) for name, given in calls.made if name == "BatchGetItem"]
    assert max(asked) == 100
    assert len(asked) == 1 + 11
    results = runs.output(runs.steps(execution)["l"])
    assert isinstance(results, list)
    assert (len(results), results[7], results[8]) == (1000, 8, None)


def test_an_item_of_a_long_list_reaches_its_node(runs: Runs, s3: Any) -> None:
    """The index stands in the record, the item in S3; ``loop.item`` is the same."""
    shape = graph(
        [node("l", "loop", items="[1..5000]"), node("b", expression="[data, loop.item, loop.index, loop.count]")],
        "l:item -> b",
    )
    execution = runs.start(shape)
    runs.visit(execution, "l")
    runs.visit(execution, "b", "[4321]")
    assert runs.output(runs.steps(execution)["b[4321]"]) == [4322, 4322, 4321, 5000]
    items = runs.steps(execution)["l"].items
    assert items is not None
    assert len(items.text or "") < 200
