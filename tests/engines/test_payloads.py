"""Outputs from one byte to 100 MB: passed on as they are, put together without being held, loaded within a limit."""

from __future__ import annotations

import hashlib
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody

from chalicelib.bootstrap import Services, services
from chalicelib.cloud.objects import S3Objects
from chalicelib.engines.payloads import INLINE_BYTES, LOADED_BYTES, Payloads
from chalicelib.engines.secrets import Secrets
from chalicelib.engines.values import StepValues
from chalicelib.foundation import spool
from chalicelib.foundation.json_types import Json, dumps
from chalicelib.foundation.settings import Settings
from chalicelib.graph.executions import Payload
from chalicelib.nodes.spec import Outcome
from chalicelib.store.blobs import Blobs
from tests.conftest import BUCKET, TABLE
from tests.fakes import CountingIds, FakeClock, World, graph, node, watched
from tests.nodes.handlers import call
from tests.runs import Run, Runs

MB = 1_000_000
LARGE = 2 * INLINE_BYTES


@pytest.fixture
def app_services(settings: Settings, clock: FakeClock, world: World, s3: Any) -> Services:
    """As elsewhere, with the real S3 for nodes."""
    capabilities = replace(world.capabilities, objects=S3Objects(s3, BUCKET))
    return services(settings, clock=clock, ids=CountingIds(), capabilities=capabilities)


def text_of(size: int) -> bytes:
    """A text of so many bytes, with much that JSON has to escape."""
    line = (
        b'Sing, \\O goddess, "the anger" of Achilles son of Peleus, that brought countless ills upon the Achaeans.\r\n'
    )
    return line * (size // len(line)) + b"." * (size % len(line))


def put(s3: Any, body: bytes, kind: str = "text/plain") -> None:
    s3.put_object(Bucket=BUCKET, Key="in", Body=body, ContentType=kind)


def read(**more: Any) -> dict[str, Any]:
    return node("read", "s3-read", bucket=BUCKET, key="in", **more)


def write(body: Any, identifier: str = "write") -> dict[str, Any]:
    return node(identifier, "s3-write", bucket=BUCKET, key=identifier, body=body)


def written(s3: Any, key: str = "write") -> tuple[str, str]:
    found = s3.get_object(Bucket=BUCKET, Key=key)
    return digest(found["Body"].iter_chunks(MB)), found["ContentType"]


def digest(chunks: Iterator[bytes]) -> str:
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return found.hexdigest()


def stored_text(runs: Runs, payload: Payload | None) -> str:
    assert payload is not None
    pieces = list(runs.services.payloads.stream(payload))
    assert sum(map(len, pieces)) == payload.size
    return digest(iter(pieces))


def record_sizes(dynamodb: Any) -> list[int]:
    return [len(repr(item)) for item in dynamodb.scan(TableName=TABLE)["Items"]]


CHAIN = graph(
    [
        node("start", "manual-trigger"),
        read(),
        node("check", "condition", expression="trigger.go"),
        node("log", "log", message="at {{ execution.id }}"),
        node("left"),
        node("right", expression="nodes.read"),
        node("pick", "switch", expression="'x'", cases=["x"]),
        node("wait", "wait", seconds=1),
        node("join", "merge", mode="first"),
        write("{{ data }}"),
    ],
    "start -> read -> check",
    "check:true -> log -> left -> pick",
    "log -> right -> join",
    "pick:x -> wait -> join -> write",
)


@pytest.mark.parametrize("size", [1, 30_000, INLINE_BYTES - 1, INLINE_BYTES, MB, 20 * MB, 100 * MB])
def test_any_size_passes_through_a_graph(runs: Runs, s3: Any, dynamodb: Any, size: int) -> None:
    """Chains, branches, joins and waits: what comes out is byte for byte what went in, and no record is large."""
    body = text_of(size)
    put(s3, body)
    with watched(s3) as calls:
        run = runs.run(CHAIN, {"go": True})
    assert (run.status, {str(step.status) for step in run.steps.values()}) == ("succeeded", {"succeeded"})
    assert written(s3) == (digest(iter([body])), "text/plain; charset=utf-8")
    assert max(record_sizes(dynamodb)) < 2 * INLINE_BYTES
    passed = [step.output for name, step in run.steps.items() if name not in ("start", "write")]
    assert len(passed) == 8
    assert len(set(passed)) == 1
    of_payloads = [operation for operation, made in calls.made if made.get("Key", "").startswith("payloads/")]
    assert of_payloads == ([] if size <= INLINE_BYTES - 10 else ["PutObject", "GetObject"])  # written once, read once


JOINS = graph(
    [
        read(),
        node("a", "log", message=""),
        node("b", "log", message=""),
        node("small", expression="[1, 'é']"),
        node("list", "merge", mode="list"),
        node("object", "log", message=""),
        node("mapped", "log", message="", inputMappings={"whole": "nodes.read", "n": "$count(nodes.small)"}),
        node(
            "fields", "set-fields", fields={"deep": [{"it": "{{ nodes.read }}"}, "{{ nodes.small[0] }}"], "name": "x"}
        ),
        write({"rows": "{{ data }}"}),
    ],
    "read -> a",
    "read -> b",
    "read -> small",
    "a -> list",
    "small -> list",
    "b -> list",
    "a -> object",
    "small -> object",
    "small -> mapped",
    "small -> fields",
    "read -> write",
)


@pytest.mark.parametrize("size", [1, LARGE, 20 * MB])
def test_large_values_are_put_together(runs: Runs, s3: Any, dynamodb: Any, size: int) -> None:
    """Joins, mapped inputs, fields and the output of the run hold them: the texts of the parts, joined."""
    body = text_of(size)
    put(s3, body)
    run = runs.run(JOINS)
    text = dumps(body.decode())
    expected = {
        "list": f'[{text},[1,"é"],{text}]',
        "object": f'{{"a":{text},"small":[1,"é"]}}',
        "mapped": f'{{"whole":{text},"n":2}}',
        "fields": f'{{"deep":[{{"it":{text}}},1],"name":"x"}}',
    }
    assert {name: stored_text(runs, run.steps[name].output) for name in expected} == {
        name: digest(iter([whole.encode()])) for name, whole in expected.items()
    }
    assert written(s3) == (digest(iter([f'{{"rows":{text}}}'.encode()])), "application/json")
    told = dumps(runs.output(run.steps["write"]))
    sinks = ",".join(f'"{name}":{whole}' for name, whole in {**expected, "write": told}.items())
    assert stored_text(runs, run.execution.output) == digest(iter([f"{{{sinks}}}".encode()]))
    assert max(record_sizes(dynamodb)) < 2 * INLINE_BYTES


LOOP = graph(
    [
        node("each", "loop", items="[1, 2, 3]"),
        read(),
        node("odd", "condition", expression="loop.item % 2 = 1"),
        node("number", expression="loop.item"),
        node("after", "log", message=""),
    ],
    "each:item -> read -> odd",
    "each:item -> number",
    "each:done -> after",
)


def test_results_of_loops_may_be_large(runs: Runs, s3: Any) -> None:
    """Each item's is joined to the others unread."""
    body = text_of(LARGE)
    put(s3, body)
    graph_of_one_sink = graph(LOOP["nodes"][:2] + LOOP["nodes"][-1:], "each:item -> read", "each:done -> after")
    text = dumps(body.decode())
    run = runs.run(graph_of_one_sink)
    assert stored_text(runs, run.steps["after"].output) == digest(iter([f"[{text},{text},{text}]".encode()]))
    run = runs.run(LOOP)
    assert runs.output(run.execution) == [{"odd": body.decode(), "number": item} for item in (1, 2, 3)]


JSON_BODY = b' [1.50, {"b": "\\u00e9\\ud83d\\ude00/"},\n 1E2 ' + b", null" * 20_000 + b"]\n"


def test_json_stays_as_it_was_written(runs: Runs, s3: Any) -> None:
    """A large JSON object of S3 is checked and not rewritten; expressions read it as any other."""
    put(s3, JSON_BODY, "application/json; charset=utf-8")
    nodes = [read(), node("e", expression="data[1].b & data[0] & $string($count(data))"), write("{{ data }}")]
    run = runs.run(graph(nodes, "read -> e", "read -> write"))
    assert runs.output(run.steps["e"]) == "é😀/1.520003"
    assert written(s3) == (digest(iter([JSON_BODY.strip()])), "application/json")


def test_a_large_json_string_is_written_as_text(runs: Runs, s3: Any) -> None:
    """However its JSON escapes it."""
    put(s3, b' "' + b"\\u00e9\\ud83d\\ude00\\/" * 20_000 + b'" ', "application/json")
    runs.run(graph([read(), write("{{ data }}")], "read -> write"))
    assert written(s3) == (digest(iter(["é😀/".encode() * 20_000])), "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (text_of(LARGE) + b"\xff", "text/plain", "NotText"),
        (b'["' + text_of(LARGE) + b'"]', "application/json", "JsonError"),
        (b"[" + b"1," * LARGE + b"1", "application/json", "JsonError"),
        (b'["' + b"x" * LARGE + b'\xff"]', "application/json", "NotText"),
    ],
)
def test_what_is_not_what_it_calls_itself(runs: Runs, s3: Any, body: bytes, kind: str, error: str) -> None:
    """Is found out wherever in a large object it stands; nothing is stored of it."""
    put(s3, body, kind)
    run = runs.run(graph([read()]))
    assert run.execution.error is not None
    assert run.execution.error["name"] == error
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix="payloads/")


def failure(run: Run, step: str) -> str:
    found = run.steps[step].error
    assert found is not None
    assert len(run.steps[step].attempts) == 1
    return f"{found.name}: {found.message}"


LOOKING: dict[str, tuple[list[dict[str, Any]], str]] = {
    "an expression": ([node("x", expression="$length(data)")], "data"),
    "an expression over the trigger's way": ([node("x", expression="$length(nodes.read)")], "nodes.read"),
    "a condition": ([node("x", "condition", expression="data = 1")], "data"),
    "a loop": ([node("x", "loop", items="data")], "data"),
    "a template in a text": ([node("x", "log", message="-{{ data }}-")], "data"),
    "a template for a text": ([node("x", "csv-parse", text="{{ data }}")], "config.text"),
    "a template for a request": ([node("x", "http-request", method="PUT", url="u", body="{{ data }}")], "config.body"),
    "a script": ([node("x", "script", code="def main(data): return 1")], "The value"),
    "kept input": ([node("x", "set-fields", fields={}, keepInput=True)], "The value"),
    "a merge of keys": ([node("x", "merge", mode="object")], "The value"),
    "values passed through": ([node("x", "log", message="", passThroughValues={"a": "b"})], "The value"),
    "a mapping": ([node("x", "log", message="", inputMappings={"n": "$length(data)"})], "data"),
}  # fmt: skip


@pytest.mark.parametrize("case", LOOKING)
def test_who_looks_into_what_is_too_large_fails(runs: Runs, s3: Any, case: str) -> None:
    """With the name, the size and the limit, and for good: it would be as large the next time."""
    put(s3, b"x" * (LOADED_BYTES - 1))
    nodes, name = LOOKING[case]
    nodes[0]["settings"] = {"retry": {"maxAttempts": 3}}
    run = runs.run(graph([read(), *nodes], "read -> x"))
    size = LOADED_BYTES + 1
    assert failure(run, "x").startswith(f"PayloadTooLarge: {name} has {size} bytes of JSON text; ")


def test_up_to_the_limit_a_value_is_loaded(runs: Runs, s3: Any) -> None:
    """To the byte; and once, however many expressions read it."""
    put(s3, b"x" * (LOADED_BYTES - 2))
    length = node("x", "set-fields", fields={"a": "{{ $length(data) }}", "b": "{{ $length(nodes.read) - 1 }}"})
    run = runs.run(graph([read(), length], "read -> x"))
    assert run.output == {"a": LOADED_BYTES - 2, "b": LOADED_BYTES - 3}


def test_the_limit_is_for_all_that_a_step_loads(runs: Runs, s3: Any) -> None:
    """Two that would fit do not fit together; the same one twice is one."""
    put(s3, b"x" * (LOADED_BYTES // 2))
    nodes = [
        read(),
        node("other", "set-fields", fields={"it": "{{ data }}"}),
        node("same", expression="$length(data) - $length(nodes.read)"),
        node("both", expression="$length(data.it) - $length(nodes.read)", settings={"onError": "continue"}),
    ]
    run = runs.run(graph(nodes, "read -> other -> both", "read -> same"))
    assert runs.output(run.steps["same"]) == 0
    assert failure(run, "both").startswith("PayloadTooLarge: ")


def test_what_is_not_looked_into_may_have_any_size(runs: Runs, s3: Any) -> None:
    """Beside a value that is too large, others are read: by their names, or by the path to them."""
    put(s3, b"x" * LOADED_BYTES)
    nodes = [
        read(),
        node("small", expression="{'n': 3}"),
        node("log", "log", message="{{ nodes.small.n }} {{ execution.workflowId }}"),
        node("port", "set-fields", fields={"large": "{{ data.read }}", "n": "{{ nodes.small.n }}"}),
    ]
    run = runs.run(graph(nodes, "read -> small", "read -> log", "small -> log", "read -> port", "small -> port"))
    assert run.status == "succeeded"
    text = '"' + "x" * LOADED_BYTES + '"'
    expected = f'{{"large":{text},"n":3}}'
    assert stored_text(runs, run.steps["port"].output) == digest(iter([expected.encode()]))


def test_the_most_that_can_be_put_together(runs: Runs, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it a step fails, and a run that has succeeded says so in the place of its output."""
    monkeypatch.setattr(spool, "MAX_BYTES", LARGE * 3)
    put(s3, b"x" * LARGE)
    nodes = [read(), *(node(name, "log", message="") for name in "abc"), node("m", "merge", mode="list")]
    run = runs.run(graph(nodes, "read -> a -> m", "read -> b -> m", "read -> c -> m"))
    assert failure(run, "m").startswith("PayloadTooLarge: ")
    run = runs.run(graph(nodes[:-1], "read -> a", "read -> b", "read -> c"))
    assert run.status == "succeeded"
    output: Any = run.output
    assert output["error"]["name"] == "PayloadTooLarge"


def test_the_trigger_may_be_large(runs: Runs) -> None:
    """What a run is started with passes like any output."""
    inputs: Json = {"rows": ["x" * 100] * 1000}
    nodes = [node("t", "manual-trigger"), node("a", expression="trigger"), node("n", expression="$count(data.rows)")]
    run = runs.run(graph(nodes, "t -> a -> n"), inputs)
    assert run.output == 1000
    assert run.execution.trigger.payload == run.steps["t"].output == run.steps["a"].output


class NoCredentials:
    def read(self, organization_id: str, name: str) -> str:
        raise AssertionError("nothing here names a credential")


class DiskS3:
    """S3 in a folder: moto holds every body in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put_object(self, Bucket: str, Key: str, Body: Any, **_: Any) -> dict[str, Any]:
        path = self._path(Key)
        with path.open("wb") as file:
            shutil.copyfileobj(Body, file, MB)
        return {"ETag": '"etag"'}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        path = self._path(Key)
        size = path.stat().st_size
        kind = "application/json" if Key.endswith("json") else "text/plain"
        return {"Body": StreamingBody(path.open("rb"), size), "ContentLength": size, "ContentType": kind}

    def _path(self, key: str) -> Path:
        return self.folder / key.replace("/", "_")


ROW = b'{"id": 17, "name": "Achilles", "of": ["Peleus", "Thetis"], "at": {"x": 39.95, "y": 26.23}},\n'


@pytest.mark.parametrize(("key", "line", "size"), [("text", text_of(1000), 100 * MB), ("rows.json", ROW, 40 * MB)])
def test_memory_is_bounded_whatever_the_size(tmp_path: Path, world: World, key: str, line: bytes, size: int) -> None:
    """A value is read, checked, put together with another and written within a fraction of its size."""
    disk = DiskS3(tmp_path)
    with (tmp_path / key).open("wb") as file:
        file.write(b"[" if key.endswith("json") else b"")
        for _ in range(size // len(line) // 1000):
            file.write(line * 1000)
        file.write(b"0]" if key.endswith("json") else b"")
    payloads = Payloads(Blobs(disk, BUCKET))
    held: dict[str, Any] = {
        "capabilities": replace(world.capabilities, objects=S3Objects(disk, BUCKET)),
        "values": StepValues(payloads, "acme", Secrets(NoCredentials(), "acme")),
    }
    tracemalloc.start()
    try:
        found = call("s3-read", {"bucket": BUCKET, "key": key}, **held)
        assert isinstance(found, Outcome)
        merged = call("merge", {"mode": "list"}, inputs=[found.output, 1, found.output], **held)
        assert isinstance(merged, Outcome)
        whole = payloads.put("acme", merged.output)
        call("s3-write", {"bucket": BUCKET, "key": "out", "body": found.output}, **held)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out").read_bytes() == (tmp_path / key).read_bytes()
    assert whole.size > 2 * size * 0.99
    assert peak < 32 * MB


def test_a_read_of_a_run_reads_no_output(runs: Runs, s3: Any) -> None:
    """The record of a run tells where its output lies; whoever wants it asks for it."""
    put(s3, text_of(LARGE))
    run = runs.run(graph([read()]))
    with watched(s3) as calls:
        runs.detail(run.execution.id)
    assert calls.operations == []
