"""Requests to an API server: time-outs, retries, and errors as ours. The server is a scripted one on loopback."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3.exceptions
from kubernetes.client import exceptions as client_errors
from kubernetes.config import ConfigException

from chalicelib.cloud.api_server import (
    APPLY,
    ATTEMPTS,
    IDLE_S,
    PAUSES_S,
    ApiServer,
    Reply,
    by_kubeconfig,
    status_of,
    translated,
)
from chalicelib.foundation.errors import Downstream, DownstreamTimeout, MillraceError, Unavailable
from tests.cloud.scripted_server import ScriptedServer, Told, as_json, refusal, scripted_server

PATH = "/api/v1/namespaces/n/configmaps/c"


class Ticks:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def script() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def server(script: ScriptedServer, slept: list[float], ticks: Ticks, tmp_path: Path) -> ApiServer:
    path = str(script.kubeconfig(tmp_path))
    return ApiServer(lambda: by_kubeconfig(path), sleep=slept.append, monotonic=ticks)


def passes(server: ApiServer, *, limit: int = 1000, timeout_s: float = 5.0) -> Reply:
    return server.pass_on("POST", "/proxy", body=b"[1.0]", headers={}, timeout_s=timeout_s, limit=limit)


def test_an_object_is_json(server: ApiServer, script: ScriptedServer) -> None:
    """It is sent with the token, and as the type that says what is to be done with it."""
    script.answers = [as_json(200, {"kind": "ConfigMap"})]
    found = server.ask("PATCH", PATH, query={"force": "true"}, body={"a": "ä"}, content_type=APPLY)
    assert found == {"kind": "ConfigMap"}
    (asked,) = script.asked
    assert (asked.method, asked.path) == ("PATCH", f"{PATH}?force=true")
    assert asked.body == '{"a":"ä"}'.encode()
    assert asked.headers["content-type"] == APPLY
    assert asked.headers["authorization"] == "Bearer secret"


def test_what_is_not_there_is_none(server: ApiServer, script: ScriptedServer) -> None:
    """Asked once."""
    script.answers = [refusal(404, "NotFound", "not found", details={"name": "c", "kind": "configmaps"})]
    assert server.ask("GET", PATH) is None
    assert server.read(PATH, {}) is None
    assert len(script.asked) == 2


def test_a_namespace_that_is_not_there_is_a_fault(server: ApiServer, script: ScriptedServer) -> None:
    """Of the set-up: to take it for a deployment that is gone would be wrong."""
    script.answers = [refusal(404, "NotFound", 'namespaces "n" not found', details={"name": "n", "kind": "namespaces"})]
    with pytest.raises(Downstream, match='namespaces "n" not found'):
        server.ask("PATCH", PATH, body={})


@pytest.mark.parametrize("status", [409, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(server: ApiServer, script: ScriptedServer, slept: list[float], status: int) -> None:
    """Whatever the server cannot do at the moment, after a pause."""
    script.answers = [refusal(status, "Any", "later"), as_json(200, {"ok": True})]
    assert server.ask("PATCH", PATH, body={}) == {"ok": True}
    assert slept == [PAUSES_S[0]]
    assert [asked.body for asked in script.asked] == [b"{}", b"{}"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, Unavailable), (503, Unavailable), (504, DownstreamTimeout), (500, Downstream), (409, Downstream)],
)
def test_what_does_not_pass_is_told(
    server: ApiServer, script: ScriptedServer, slept: list[float], status: int, kind: type[MillraceError]
) -> None:
    """After some tries, with the server's words."""
    script.answers = [refusal(status, "Any", "etcd is away")]
    with pytest.raises(Downstream, match=f"{status}: etcd is away") as caught:
        server.ask("GET", PATH)
    assert type(caught.value) is kind
    assert len(script.asked) == ATTEMPTS
    assert slept == list(PAUSES_S)


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_what_is_refused_is_not_tried_again(
    server: ApiServer, script: ScriptedServer, slept: list[float], status: int
) -> None:
    """It would be refused again."""
    script.answers = [refusal(status, "Any", "exceeded quota: pods")]
    with pytest.raises(Downstream, match="exceeded quota") as caught:
        server.ask("PATCH", PATH, body={})
    assert type(caught.value) is Downstream
    assert (len(script.asked), slept) == (1, [])


def test_a_connection_that_breaks_off(server: ApiServer, script: ScriptedServer, slept: list[float]) -> None:
    """What may be done twice is done again; a request to a pod is not, for it may have been taken."""
    script.answers = [Told(breaks_off=True), as_json(200, {"ok": True})]
    assert server.ask("GET", PATH) == {"ok": True}
    script.answers = [Told(breaks_off=True)]
    with pytest.raises(Unavailable):
        server.ask("GET", PATH)
    sent = len(script.asked)
    with pytest.raises(DownstreamTimeout, match="may have been taken"):
        passes(server)
    assert len(script.asked) == sent + 1


def test_nobody_listens(slept: list[float], tmp_path: Path) -> None:
    """A port at which nobody is has taken nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        script = ScriptedServer()
        script._server.server_close()
        script.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        path = str(script.kubeconfig(tmp_path))
        server = ApiServer(lambda: by_kubeconfig(path), sleep=slept.append)
        with pytest.raises(Unavailable):
            passes(server)
        assert slept == []
        with pytest.raises(Unavailable):
            server.ask("GET", PATH)
        assert slept == list(PAUSES_S)


def test_a_server_that_is_slow(script: ScriptedServer, server: ApiServer) -> None:
    """The caller's time is the limit, and what became of the request is not known."""
    over = threading.Event()

    def wait() -> None:
        over.wait(10)

    script.answers = [Told(after=wait)]
    with pytest.raises(DownstreamTimeout):
        passes(server, timeout_s=0.1)
    over.set()


def test_an_answer_that_trickles(script: ScriptedServer, server: ApiServer, ticks: Ticks) -> None:
    """Bytes that still come do not give it more time."""

    def later() -> None:
        ticks.now += 100

    script.answers = [Told(body=b"x" * 10, after=later)]
    with pytest.raises(DownstreamTimeout):
        passes(server)


def test_an_answer_that_is_too_large(script: ScriptedServer, server: ApiServer) -> None:
    """It is not read to its end, and the next request gets its own answer all the same."""
    script.answers = [Told(body=b"x" * 200_000), Told(body=b"y")]
    with pytest.raises(Downstream, match="larger than 1000"):
        passes(server)
    assert passes(server).body == b"y"


def test_redirects_are_not_followed(script: ScriptedServer, server: ApiServer) -> None:
    """The token would go along."""
    script.answers = [Told(302, b"", {"Location": f"{script.url}/elsewhere"})]
    assert passes(server).status == 302
    with pytest.raises(Downstream, match="302"):
        server.ask("GET", PATH)
    assert len(script.asked) == 2


def test_a_request_to_a_pod_goes_as_it_is(script: ScriptedServer, server: ApiServer) -> None:
    """Byte for byte, and so does the answer, whatever its status."""
    script.answers = [Told(422, b'{"title": "x"}', {"X-Request-Id": "r"})]
    reply = passes(server)
    assert (reply.status, reply.body, reply.headers["x-request-id"]) == (422, b'{"title": "x"}', "r")
    assert script.asked[0].body == b"[1.0]"


def test_connections_are_kept_but_not_for_ever(script: ScriptedServer, server: ApiServer, ticks: Ticks) -> None:
    """After a pause they are made anew: a frozen Lambda does not hear that one has been closed."""
    opened = []
    connect = script._server.get_request

    def counted() -> Any:
        opened.append(1)
        return connect()

    script._server.get_request = counted  # type: ignore[method-assign]
    script.answers = [as_json(200, {})]
    for _ in range(3):
        server.ask("GET", PATH)
    assert len(opened) == 1
    ticks.now += IDLE_S + 1
    server.ask("GET", PATH)
    assert len(opened) == 2


def test_what_is_no_json(script: ScriptedServer, server: ApiServer) -> None:
    """A proxy's page in the place of an object is a service that fails."""
    script.answers = [Told(200, b"<html>")]
    with pytest.raises(Downstream, match="not JSON"):
        server.ask("GET", PATH)


@pytest.mark.parametrize(
    ("reply", "is_status"),
    [
        (Reply(503, {}, b'{"kind":"Status","apiVersion":"v1","message":"m"}'), True),
        (Reply(200, {}, b'{"kind":"Status","apiVersion":"v1"}'), False),
        (Reply(503, {}, b'{"type":"urn:millrace:error:unavailable","status":503}'), False),
        (Reply(500, {}, b"[]"), False),
        (Reply(502, {}, b"<html>"), False),
    ],
)
def test_the_servers_own_words(reply: Reply, is_status: bool) -> None:
    """Are told apart from a pod's by their shape."""
    assert (status_of(reply) is not None) is is_status


def test_no_kubeconfig(tmp_path: Path) -> None:
    """It is told that the way is not known."""
    missing = ApiServer(lambda: by_kubeconfig(str(tmp_path / "none")))
    with pytest.raises(Downstream, match="way to the cluster is not known"):
        missing.ask("GET", PATH)
    (tmp_path / "broken").write_text("a: [")
    with pytest.raises(Downstream, match="not YAML"):
        ApiServer(lambda: by_kubeconfig(str(tmp_path / "broken"))).ask("GET", PATH)


def kinds(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


LIBRARY = sorted(
    {
        *(kind for kind in kinds(urllib3.exceptions.HTTPError) if kind.__module__.startswith("urllib3")),
        *(kind for kind in kinds(client_errors.OpenApiException) if kind.__module__.startswith("kubernetes")),
        ConfigException,
    },
    key=lambda kind: kind.__qualname__,
)


@pytest.mark.parametrize("may_have_been_taken", [True, False])
@pytest.mark.parametrize("kind", LIBRARY, ids=lambda kind: kind.__qualname__)
def test_every_error_of_the_libraries_is_ours(kind: type[Exception], may_have_been_taken: bool) -> None:
    """None that the client, or what it stands on, can raise comes out as it is."""
    error = kind.__new__(kind)  # what they are made with differs from one to the other
    vars(error).update(vars(client_errors.ApiException(status=418, reason="a teapot")), original_traceback="")
    assert isinstance(translated(error, may_have_been_taken=may_have_been_taken), Downstream)


def test_enough_of_them_were_found() -> None:
    """The list above is not empty by mistake."""
    assert {urllib3.exceptions.ReadTimeoutError, client_errors.ApiException} < set(LIBRARY)
    assert len(LIBRARY) > 30


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (urllib3.exceptions.NewConnectionError(None, "refused"), Unavailable),  # type: ignore[arg-type]
        (urllib3.exceptions.ConnectTimeoutError(), Unavailable),
        (urllib3.exceptions.ReadTimeoutError(None, "", ""), DownstreamTimeout),  # type: ignore[arg-type]
        (urllib3.exceptions.ProtocolError(), DownstreamTimeout),
        (urllib3.exceptions.SSLError(ssl.SSLEOFError()), DownstreamTimeout),
        (urllib3.exceptions.SSLError(ssl.SSLCertVerificationError()), Downstream),
        (urllib3.exceptions.MaxRetryError(None, "", urllib3.exceptions.ConnectTimeoutError()), Unavailable),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_whether_a_request_was_taken(error: Exception, kind: type[Exception]) -> None:
    """Where the connection never stood, by nobody; where it broke off later, that is not known."""
    assert type(translated(error, may_have_been_taken=True)) is kind


def test_errors_of_our_own_stay() -> None:
    """A fault in the code is not a broken cluster."""
    fault = ZeroDivisionError()
    assert translated(fault) is fault
