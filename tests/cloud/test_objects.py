"""What nodes may do in S3, on moto; and what S3 answers, as errors that say whether to try again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from chalicelib.bootstrap import Services
from chalicelib.cloud.objects import MAX_OBJECT_BYTES, S3Objects
from chalicelib.engines.payloads import INLINE_BYTES
from chalicelib.foundation.errors import NodeError, Permanent, Retryable
from chalicelib.foundation.settings import Settings
from tests.conftest import BUCKET
from tests.fakes import graph, node
from tests.runs import OWNER, Runs


@pytest.fixture
def objects(s3: Any) -> S3Objects:
    return S3Objects(s3, BUCKET)


def test_what_was_written_is_read(objects: S3Objects, s3: Any) -> None:
    """A whole object with its type goes in and comes out; the ETag is S3's, without its quotes."""
    written = objects.write(BUCKET, "reports/2026 ☃.txt", ["Grüße".encode()], "text/plain")
    assert s3.head_object(Bucket=BUCKET, Key="reports/2026 ☃.txt")["ETag"] == f'"{written.etag}"'
    found = objects.read(BUCKET, "reports/2026 ☃.txt")
    assert (b"".join(found.body).decode(), found.content_type) == ("Grüße", "text/plain")


def test_what_is_not_there(objects: S3Objects) -> None:
    """Neither an object nor a bucket comes into being by trying again."""
    assert refusal(lambda: objects.read(BUCKET, "nothing")) == (Permanent, "NoSuchKey")
    assert refusal(lambda: objects.read("no-such-bucket", "nothing")) == (Permanent, "NoSuchBucket")
    assert refusal(lambda: objects.write("no-such-bucket", "k", [], "text/plain")) == (Permanent, "NoSuchBucket")
    assert refusal(lambda: objects.read("no bucket's name", "k")) == (Permanent, "InvalidBucketName")


OWN_KEYS = [
    "plans/0a1b.json.z",
    "payloads/acme/0a1b",
    "payloads/other/0a1b",
    "definitions/acme/wf_1/0a1b",
    "/plans/x",
    "//plans//x",
    "./payloads/x",
    "reports/../plans/x",
    "../../definitions/x",
]


@pytest.mark.parametrize("key", OWN_KEYS)
def test_our_own_objects_are_closed_to_nodes(objects: S3Objects, s3: Any, key: str) -> None:
    """Plans, payloads and definitions in the data bucket are neither read nor written, however the key is spelled."""
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"ours")
    assert refusal(lambda: objects.read(BUCKET, key)) == (Permanent, "AccessDenied")
    assert refusal(lambda: objects.write(BUCKET, key, [b"forged"], "text/plain")) == (Permanent, "AccessDenied")
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"ours"


@pytest.mark.parametrize("key", ["plans", "planse/x", "my/plans/x", "plans.txt", "Plans/x"])
def test_keys_that_only_look_like_ours_are_open(objects: S3Objects, key: str) -> None:
    """Only what lies under the prefixes is ours."""
    objects.write(BUCKET, key, [b"theirs"], "text/plain")
    assert b"".join(objects.read(BUCKET, key).body) == b"theirs"


def test_the_prefixes_are_open_in_other_buckets(objects: S3Objects, s3: Any) -> None:
    """In a bucket of the user's, ``plans/`` is a name like any other."""
    s3.create_bucket(Bucket="theirs")
    objects.write("theirs", "plans/2027.txt", [b"grow"], "text/plain")
    assert b"".join(objects.read("theirs", "plans/2027.txt").body) == b"grow"


def test_all_that_millrace_stores_is_closed(runs: Runs, objects: S3Objects, s3: Any) -> None:
    """Every object that a large workflow and a large run leave in the data bucket is one that nodes may not touch."""
    scattered = "".join(chr(0x4E00 + index * 7919 % 20000) for index in range(150_000))  # hard to compress
    nodes = [node("a", expression=f"$pad('', {INLINE_BYTES}, 'x')"), node("b", "set-fields", fields={"t": scattered})]
    run = runs.run(graph(nodes, "a -> b"))
    assert run.status == "succeeded"
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert {key.partition("/")[0] for key in keys} == {"plans", "payloads", "definitions"}
    for key in keys:
        with pytest.raises(Permanent, match="AccessDenied"):
            objects.read(BUCKET, key)


def test_the_deployed_node_runner_knows_its_bucket(settings: Settings, aws: None) -> None:
    """As bootstrap wires it, a node is refused what is Millrace's own."""
    wired = Services(settings)
    with pytest.raises(Permanent, match="AccessDenied"):
        wired._capabilities.objects.read(BUCKET, f"payloads/{OWNER.organization_id}/0a1b")


class Scripted:
    """S3 with prepared answers."""

    def __init__(self) -> None:
        client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        self.stubber = Stubber(client)
        self.objects = S3Objects(client, "own")


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    scripted = Scripted()
    with scripted.stubber:
        yield scripted
    scripted.stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        ("AccessDenied", Permanent, "AccessDenied"),
        ("403", Permanent, "AccessDenied"),
        ("PermanentRedirect", Permanent, "WrongRegion"),
        ("SlowDown", Retryable, "S3Error"),
        ("InternalError", Retryable, "S3Error"),
    ],
)
def test_errors_of_s3(scripted: Scripted, code: str, kind: type[NodeError], name: str) -> None:
    """What S3 refuses for good is permanent, any other failure is worth another try."""
    for operation in ("get_object", "put_object"):
        scripted.stubber.add_client_error(operation, code)
    assert refusal(lambda: scripted.objects.read("b", "k")) == (kind, name)
    assert refusal(lambda: scripted.objects.write("b", "k", [], "text/plain")) == (kind, name)


def test_an_object_too_large_is_not_read(scripted: Scripted) -> None:
    """The bound is checked before a byte of the body is read."""
    scripted.stubber.add_response("get_object", {"ContentLength": MAX_OBJECT_BYTES + 1})
    assert refusal(lambda: scripted.objects.read("b", "k")) == (Permanent, "ObjectTooLarge")


def test_s3_out_of_reach() -> None:
    """A connection that fails is worth another try."""

    class Unreachable:
        def get_object(self, **_: Any) -> Any:
            raise EndpointConnectionError(endpoint_url="http://nowhere")

    assert refusal(lambda: S3Objects(Unreachable(), "own").read("b", "k")) == (Retryable, "S3Error")


def refusal(call: Any) -> tuple[type[NodeError], str]:
    with pytest.raises(NodeError) as caught:
        call()
    return type(caught.value), caught.value.name
