"""Payloads, plans and other blobs: small ones inline, large ones in S3, each written and read once."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from moto.s3.models import s3_backends

from chalicelib.compiler.pipeline import compile_plan
from chalicelib.engines.payloads import INLINE_BYTES, Payloads
from chalicelib.foundation.errors import Downstream, DownstreamTimeout
from chalicelib.foundation.json_types import Json
from chalicelib.nodes.registry import CATALOG
from chalicelib.store.blobs import Blobs
from chalicelib.store.plans import PlanRepository
from tests.conftest import ACCOUNT, BUCKET
from tests.fakes import graph, node, watched
from tests.runs import parsed


@pytest.mark.parametrize("value", [None, False, 0, 1.5, "", "é☃🎈", [], {}, {"a": [1, {"b": None}]}])
def test_values_come_back_as_they_were(blobs: Blobs, value: Json) -> None:
    """Any JSON value."""
    payloads = Payloads(blobs)
    assert payloads.get(payloads.put("acme", value)) == value


@pytest.mark.parametrize(
    ("text", "inline"),
    [
        ("x" * (INLINE_BYTES - 2), True),
        ("x" * (INLINE_BYTES - 1), False),
        ("☃" * ((INLINE_BYTES - 2) // 3), True),
        ("☃" * ((INLINE_BYTES - 2) // 3 + 1), False),
    ],
)
def test_the_boundary_counts_bytes(blobs: Blobs, text: str, inline: bool) -> None:
    """32 KB of UTF-8, quotes included, stand inline; one byte more lies in S3."""
    payloads = Payloads(blobs)
    payload = payloads.put("acme", text)
    assert (payload.key is None) is inline
    assert payload.size == len(text.encode()) + 2
    assert payloads.get(payload) == text


def test_equal_values_are_one_object(blobs: Blobs, s3: Any) -> None:
    """A large value is stored under the hash of its content, within its organisation."""
    payloads = Payloads(blobs)
    value = "x" * 40_000
    first, again, others = payloads.put("acme", value), payloads.put("acme", value), payloads.put("other", value)
    assert first == again
    assert others.key is not None
    assert others.key.startswith("payloads/other/")
    assert len(s3.list_objects_v2(Bucket=BUCKET)["Contents"]) == 2


def test_a_blob_is_read_once(s3: Any) -> None:
    """What cannot change is kept by whoever has read or written it. To put it is told to S3 once in a while only."""
    key = Blobs(s3, BUCKET).put("p", b"body")
    reader = Blobs(s3, BUCKET)
    with watched(s3) as calls:
        assert reader.get(key) == reader.get(key) == b"body"
        reader.put_at(key, b"body")
        reader.put_at(key, b"body")
    assert calls.operations == ["GetObject", "PutObject"]


def test_what_is_put_again_is_young_again(s3: Any) -> None:
    """Rules delete blobs by their age: a process that lives for long does not let one grow old that it still puts."""
    now = [0.0]
    blobs = Blobs(s3, BUCKET, monotonic=lambda: now[0])
    with watched(s3) as calls:
        for now[0] in (0.0, 3599.0, 3600.0, 7199.0):
            blobs.put("p", b"body")
    assert calls.operations == ["PutObject"] * 2


def test_a_blob_is_made_young(blobs: Blobs, s3: Any) -> None:
    """The age counts from then on and the content stays; where there is none there is nothing to be done."""
    key = blobs.put("p", b"body")
    moto = s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys[key]
    moto.last_modified = datetime(2020, 1, 1)
    blobs.make_young(key)
    assert s3.head_object(Bucket=BUCKET, Key=key)["LastModified"].year > 2020
    assert Blobs(s3, BUCKET).get(key) == b"body"
    blobs.make_young("p/none")


def test_all_that_begins_alike_is_deleted(blobs: Blobs, s3: Any) -> None:
    """In bounded parts; what begins otherwise stays."""
    for number in range(1_003):
        s3.put_object(Bucket=BUCKET, Key=f"gone/{number}", Body=b"")
    stays = blobs.put("gone2", b"")
    assert not blobs.delete_some("gone/")
    assert blobs.delete_some("gone/")
    assert blobs.delete_some("gone/")
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == [stays]


def test_what_is_kept_is_bounded(s3: Any) -> None:
    """Beyond 64 MB what was used longest ago is dropped, and read again when asked for."""
    blobs = Blobs(s3, BUCKET)
    body = bytes(15 * 1024 * 1024)
    keys = [blobs.put("p", body + bytes([number])) for number in range(6)]
    with watched(s3) as calls:
        blobs.get(keys[-1])
        assert calls.operations == []
        blobs.get(keys[0])
        assert calls.operations == ["GetObject"]


def test_a_blob_that_is_not_there(blobs: Blobs) -> None:
    """Nothing names a blob before it is stored, so one that is missing is a fault of the machinery."""
    with pytest.raises(Downstream):
        blobs.get("p/none")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ClientError({"Error": {"Code": "SlowDown"}}, "GetObject"), Downstream),
        (ReadTimeoutError(endpoint_url="x"), DownstreamTimeout),
        (EndpointConnectionError(endpoint_url="x"), Downstream),
    ],
)
def test_errors_of_the_sdk_end_here(error: Exception, expected: type[Exception]) -> None:
    """Whatever the SDK raises is one of our errors."""

    class Broken:
        def get_object(self, **_: Any) -> Any:
            raise error

        put_object = get_object

    blobs = Blobs(Broken(), BUCKET)
    for call in (lambda: blobs.get("k"), lambda: blobs.put("p", b"")):
        with pytest.raises(Downstream) as raised:
            call()
        assert type(raised.value) is expected


def test_a_link_reads_one_payload(blobs: Blobs, s3: Any) -> None:
    """Any payload can be handed out as a URL that ends; one that stands in its record is put where a URL can point."""
    payloads = Payloads(blobs)
    for value, text in (("x" * 40_000, '"' + "x" * 40_000 + '"'), ("☃", '"☃"')):
        link = urlsplit(payloads.link("acme", payloads.put("acme", value), 60))
        key = link.path.lstrip("/").removeprefix(f"{BUCKET}/")
        assert key.startswith("payloads/")
        assert "acme" in key.split("/")
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode() == text
        assert "Expires" in link.query


def test_plans_come_back_as_they_were(blobs: Blobs, s3: Any) -> None:
    """A plan is stored under the hash of its content, and is the same to another process."""
    shape = graph([node("c", "condition", expression="true"), node("a"), node("l", "loop", items="[1]"), node("b")],
                  "c:true -> a -> l", "l:item -> b")  # fmt: skip
    plan = compile_plan(parsed(shape), CATALOG, timeout_s=9)
    PlanRepository(blobs).put(plan)
    other = PlanRepository(Blobs(s3, BUCKET))
    found = other.get(plan.hash)
    assert found == plan
    assert found.hash == plan.hash
    with watched(s3) as calls:
        other.get(plan.hash)
        other.put(plan)
    assert calls.operations == []


def test_a_plan_that_was_put_by_somebody_else(blobs: Blobs) -> None:
    """What lies under the name of a plan and is another is never run."""
    nodes = [node("a", expression="1")]
    mine, other = (compile_plan(parsed(graph([{**nodes[0], "label": label}])), CATALOG) for label in ("mine", "other"))
    PlanRepository(blobs).put(mine)
    blobs.put_at(f"plans/{other.hash}.json.z", blobs.get(f"plans/{mine.hash}.json.z"))
    with pytest.raises(Downstream):
        PlanRepository(blobs).get(other.hash)


def test_plans_that_nobody_has_put(blobs: Blobs) -> None:
    """A plan is written before anything names it."""
    with pytest.raises(Downstream):
        PlanRepository(blobs).get("0" * 40)
