"""Node types that reach the world, with a world that is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.foundation.json_types import Json
from chalicelib.nodes.capabilities import Capabilities, HttpRequest, HttpResponse, Message, StoredObject
from tests.fakes import FakeLog, World
from tests.nodes.handlers import output

URL = "https://api.test/items"


class Sandbox:
    """Notes what it is asked to run, and returns it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Json, float]] = []

    def run(self, code: str, data: Json, timeout_s: float) -> Json:
        self.asked.append((code, data, timeout_s))
        return {"got": data}


def request(config: dict[str, Json], response: HttpResponse | None = None) -> tuple[HttpRequest, Json]:
    """What an http-request with this config sends, and what it puts out."""
    world = World()
    if response is not None:
        world.http.reply = lambda _: response
    found = output("http-request", {"method": "get", "url": URL, **config}, capabilities=world.capabilities)
    [sent] = world.http.requests
    return sent, found


def answer(body: bytes, content_type: str = "", status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"content-type": content_type}, body)


def test_the_least_request() -> None:
    """Method and URL, no body, half a minute of time."""
    sent, found = request({}, answer(b"hi", "text/plain"))
    assert sent == HttpRequest("GET", URL, {}, None, 30)
    assert found == {"status": 200, "headers": {"content-type": "text/plain"}, "body": "hi"}


@pytest.mark.parametrize(
    ("url", "query", "sent"),
    [
        (URL, {}, URL),
        (URL, {"a": 1, "b": "x y&z", "c": True, "d": None, "e": 2.0}, f"{URL}?a=1&b=x+y%26z&c=true&e=2"),
        (f"{URL}?a=1#part", {"b": "2"}, f"{URL}?a=1&b=2#part"),
        (URL, {"tag": ["a", "b"]}, f"{URL}?tag=a&tag=b"),
        (URL, {"tag": [True, 1.0, None]}, f"{URL}?tag=true&tag=1"),  # items as values: null is left out
        (URL, {"list": []}, URL),
    ],
)
def test_query(url: str, query: Json, sent: str) -> None:
    """It is added to the URL, escaped; a list is the name several times."""
    assert request({"url": url, "query": query})[0].url == sent


def test_headers() -> None:
    """Values become text, null is left out."""
    assert request({"headers": {"X-Count": 3, "X-On": True, "X-None": None}})[0].headers == {
        "X-Count": "3",
        "X-On": "true",
    }


@pytest.mark.parametrize(
    ("asked", "header"), [(True, "Idempotency-Key"), ("PayPal-Request-Id", "PayPal-Request-Id"), (False, None)]
)
def test_an_idempotency_key(asked: bool | str, header: str | None) -> None:
    """On request, under the usual name or another: a UUID that follows from the step."""
    first, again = (request({"idempotencyKey": asked})[0].headers for _ in range(2))
    assert first == again
    assert list(first) == ([header] if header else [])
    assert all(UUID(key) for key in first.values())


def test_an_idempotency_key_of_ones_own() -> None:
    """A header that is given stays."""
    given = {"idempotency-key": "order 7"}
    assert request({"idempotencyKey": True, "headers": given})[0].headers == given


@pytest.mark.parametrize(
    ("body", "headers", "sent", "kind"),
    [
        ({"a": [1, None]}, {}, b'{"a":[1,null]}', "application/json"),
        (0, {}, b"0", "application/json"),
        (False, {}, b"false", "application/json"),
        ({}, {"content-type": "application/merge-patch+json"}, b"{}", "application/merge-patch+json"),
        ("text ü", {}, "text ü".encode(), None),
        ("", {}, b"", None),
        (None, {}, None, None),
    ],
)
def test_body(body: Json, headers: Json, sent: bytes | None, kind: str | None) -> None:
    """Text goes as it is; any other value as JSON, and says so unless the headers do."""
    found, _ = request({"method": "post", "body": body, "headers": headers})
    assert found.method == "POST"
    assert found.body == sent
    assert {name.lower(): value for name, value in found.headers.items()}.get("content-type") == kind


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (answer(b'{"a": 1}', "application/json; charset=utf-8"), {"a": 1}),
        (answer(b'{"type": "x"}', "Application/Problem+JSON"), {"type": "x"}),
        (answer(b"[1", "application/json"), "[1"),  # calls itself JSON and is none
        (answer(b"", "application/json"), ""),
        (answer(b'{"a": 1}', "text/plain"), '{"a": 1}'),
        (answer("ü".encode()), "ü"),
        (answer(b"\xff\x00"), "/wA="),  # binary: base64
    ],
)
def test_answers(response: HttpResponse, expected: Json) -> None:
    """JSON is parsed, text is text, and the rest base64."""
    found: Any = request({}, response)[1]
    assert found["body"] == expected


@pytest.mark.parametrize(
    ("status", "limits", "error"),
    [
        (200, "default", None),
        (302, "default", None),
        (400, "default", Permanent),
        (404, "default", Permanent),
        (408, "default", Retryable),
        (425, "default", Retryable),
        (429, "default", Retryable),
        (500, "default", Retryable),
        (501, "default", Retryable),
        (599, "default", Retryable),
        (600, "default", None),
        (404, None, None),
        (500, None, None),
        (404, [500, 599], None),
        (503, [500, 599], Retryable),
        (204, [200, 299], Permanent),
    ],
)
def test_statuses(status: int, limits: Json, error: type[Exception] | None) -> None:
    """A status in the range is an error, worth another try where the server may change its mind; null: never."""
    config: dict[str, Json] = {} if limits == "default" else {"failOnStatus": limits}
    if error is None:
        found: Any = request(config, answer(b"", status=status))[1]
        assert found["status"] == status
        return
    with pytest.raises(error, match=f"answered {status}") as raised:
        request(config, answer(b"", status=status))
    assert isinstance(raised.value, (Permanent, Retryable))
    assert raised.value.name == "HttpStatus"


def test_an_error_shows_no_secret() -> None:
    """User, password and query of the URL stay out of the message, which records keep."""
    with pytest.raises(Permanent) as raised:
        request({"url": "https://user:secret@api.test/a?key=secret"}, answer(b"", status=404))
    assert raised.value.message == "GET api.test/a answered 404"


def test_errors_of_the_client_pass() -> None:
    """What the client says of a request that it could not make is the node's error."""
    world = World()
    world.http.fail_with(Retryable("HttpTimeout", "too slow"))
    with pytest.raises(Retryable, match="HttpTimeout"):
        output("http-request", {"method": "GET", "url": URL}, capabilities=world.capabilities)


def test_a_url_that_is_none() -> None:
    """Where a query has to be added, a URL that cannot be read is told."""
    with pytest.raises(Permanent) as raised:
        request({"url": "http://[::1", "query": {"a": 1}})
    assert raised.value.name == "InvalidUrl"


def stored(body: bytes, content_type: str) -> Capabilities:
    world = World()
    world.objects.stored["bucket", "key"] = StoredObject([body], content_type)
    return world.capabilities


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        ("a,ü\n".encode(), "text/csv", "a,ü\n"),
        (b"", "", ""),
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b"[1]", "application/geo+json; v=1", [1]),
        (b"[1]", "binary/octet-stream", "[1]"),
    ],
)
def test_s3_read(body: bytes, content_type: str, expected: Json) -> None:
    """The text of the object, parsed where its type is JSON."""
    config: dict[str, Json] = {"bucket": "bucket", "key": "key"}
    assert output("s3-read", config, capabilities=stored(body, content_type)) == expected


@pytest.mark.parametrize(
    ("body", "content_type", "name"), [(b"\xff", "text/plain", "NotText"), (b"{", "application/json", "JsonError")]
)
def test_s3_read_refuses(body: bytes, content_type: str, name: str) -> None:
    """What is no text, or calls itself JSON and is none, is an error that names the object."""
    with pytest.raises(Permanent, match="s3://bucket/key") as raised:
        output("s3-read", {"bucket": "bucket", "key": "key"}, capabilities=stored(body, content_type))
    assert raised.value.name == name


@pytest.mark.parametrize(
    ("body", "written", "content_type"),
    [
        ("ü", "ü".encode(), "text/plain; charset=utf-8"),
        ({"a": "ü"}, '{"a":"ü"}'.encode(), "application/json"),
        (None, b"null", "application/json"),
        ([], b"[]", "application/json"),
    ],
)
def test_s3_write(body: Json, written: bytes, content_type: str) -> None:
    """Text goes as it is, any other value as JSON; the output says what lies where, its size in bytes."""
    world = World()
    found = output("s3-write", {"bucket": "bucket", "key": "a/b", "body": body}, capabilities=world.capabilities)
    assert world.objects.stored == {("bucket", "a/b"): StoredObject([written], content_type)}
    assert found == {"bucket": "bucket", "key": "a/b", "size": len(written), "etag": "etag"}


@pytest.mark.parametrize(
    "config", [{"bucket": "b", "key": "k"}, {"bucket": "bucket", "key": ""}, {"bucket": "bucket", "key": "k" * 1025}]
)
def test_s3_names(config: dict[str, Json]) -> None:
    """Names that S3 would not take are a fault of the config."""
    for name in ("s3-read", "s3-write"):
        with pytest.raises(Permanent) as raised:
            output(name, {**config, "body": ""}, capabilities=World().capabilities)
        assert raised.value.name == "InvalidConfig"


@pytest.mark.parametrize(("level", "written"), [(None, "info"), ("error", "error")])
def test_log(level: Json, written: str) -> None:
    """The message is written at its level, and the input goes on."""
    lines: list[tuple[str, str]] = []

    class Log(FakeLog):
        def write(self, level: str, message: str) -> None:
            lines.append((level, message))

    capabilities = replace(World().capabilities, log=Log())
    config: dict[str, Json] = {"message": "here"} | ({"level": level} if level else {})
    assert output("log", config, {"n": 1}, capabilities=capabilities) == {"n": 1}
    assert lines == [(written, "here")]


def test_log_knows_its_levels() -> None:
    """Any other word is a fault of the config."""
    with pytest.raises(Permanent, match="level"):
        output("log", {"message": "x", "level": "loud"})


def test_script() -> None:
    """The sandbox is given the code as it is written, the input and the time limit; what it returns is the output."""
    sandbox = Sandbox()
    capabilities = replace(World().capabilities, scripts=sandbox)
    code = "def main(data): return '{{ data }}'"
    assert output("script", {"code": code}, {"n": 1}, capabilities=capabilities) == {"got": {"n": 1}}
    output("script", {"code": code, "timeoutSeconds": 2.5}, capabilities=capabilities)
    assert sandbox.asked == [(code, {"n": 1}, 30), (code, None, 2.5)]


@pytest.mark.parametrize("more", [{"language": "ruby"}, {"timeoutSeconds": 301}, {"timeoutSeconds": 0}, {"code": ""}])
def test_script_refuses(more: dict[str, Json]) -> None:
    """Python only, and within the time that a Lambda has."""
    with pytest.raises(Permanent) as raised:
        output("script", {"code": "def main(data): ...", **more})
    assert raised.value.name == "InvalidConfig"


def test_a_config_tells_all_its_faults() -> None:
    """Once templates are rendered nothing is forgiven, and every fault is named with its place."""
    faults: Sequence[str] = ("method", "url", "timeoutSeconds", "failOnStatus[1]")
    with pytest.raises(Permanent) as raised:
        request({"method": "{{ x }}", "url": "", "timeoutSeconds": "soon", "failOnStatus": [400]})
    assert [fault for fault in faults if f"{fault}:" not in raised.value.message] == []


# --- event-emit ----------------------------------------------------------------------------------------------------


def test_event_emit_tells_whose_it_is() -> None:
    """The organisation is that of the run, whatever the config says; the same node says the same key each time."""
    world = World()
    config: dict[str, Any] = {"eventType": "order.paid", "data": {"n": 1, "organizationId": "other"}}
    for number in (1, 2):
        found = output("event-emit", config, capabilities=world.capabilities)
        assert found == {"eventId": f"event-{number}", "eventType": "order.paid"}
    told = {"organizationId": "acme", "data": config["data"], "idempotencyKey": "exec_1/node"}
    assert world.events.put_there == [("order.paid", told)] * 2


def test_event_emit_tells_its_input() -> None:
    """Where no data is set; null is data."""
    world = World()
    output("event-emit", {"eventType": "x"}, {"n": 2}, capabilities=world.capabilities)
    output("event-emit", {"eventType": "x", "data": None}, {"n": 2}, capabilities=world.capabilities)
    assert [detail["data"] for _, detail in world.events.put_there] == [{"n": 2}, None]


QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/orders"


@pytest.mark.parametrize(("message", "text"), [("ü\n", "ü\n"), ({"n": 1}, '{"n":1}'), (None, "null"), ([], "[]")])
def test_sqs_send(message: Json, text: str) -> None:
    """Text goes as it is, any other value as JSON; the output is the message's id."""
    world = World()
    found = output("sqs-send", {"queueUrl": QUEUE, "message": message}, capabilities=world.capabilities)
    assert world.queues.sent == [(QUEUE, Message(text))]
    assert found == {"messageId": "message-1"}


def test_sqs_send_to_a_fifo_queue() -> None:
    """All attempts send the same message, in the order of its group."""
    world = World()
    for _ in range(2):
        config: dict[str, Json] = {"queueUrl": f"{QUEUE}.fifo", "message": "m", "groupId": "g"}
        output("sqs-send", config, capabilities=world.capabilities)
    first, second = (message for _, message in world.queues.sent)
    assert first == second
    assert first.group_id == "g"
    assert first.deduplication_id is not None
    assert len(first.deduplication_id) == 64


def test_sqs_send_bounds_its_messages() -> None:
    """1 MB of text goes, however it is escaped in JSON; a byte more is refused before it is sent."""
    world = World()
    most = "\x01" * 1024 * 1024
    output("sqs-send", {"queueUrl": QUEUE, "message": most}, capabilities=world.capabilities)
    with pytest.raises(Permanent) as raised:
        output("sqs-send", {"queueUrl": QUEUE, "message": most + "x"}, capabilities=world.capabilities)
    assert raised.value.name == "MessageTooLarge"
    assert len(world.queues.sent) == 1


@pytest.mark.parametrize("url", ["orders", "https://sqs.test/orders", "file:///123456789012/orders"])
def test_sqs_send_takes_urls_of_queues(url: str) -> None:
    """What is no URL of a queue is an invalid config."""
    with pytest.raises(Permanent) as raised:
        output("sqs-send", {"queueUrl": url, "message": "m"})
    assert raised.value.name == "InvalidConfig"
