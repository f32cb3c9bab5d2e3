"""The guarded HTTP client, against real servers on loopback. Names come from a table instead of the DNS; addresses are
resolved for real.
"""

from __future__ import annotations

import datetime
import gzip
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.cloud.http import GuardedHttpClient, is_public, resolve_by_system
from chalicelib.foundation.errors import NodeError, Permanent, Retryable
from chalicelib.nodes.capabilities import HttpRequest, HttpResponse

# ---------------------------------------------------------------------------------------------------------- test server


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: Mapping[str, str]  #: lower-case names
    body: bytes
    server_address: str


@dataclass
class Upstream:
    """A server on loopback whose paths are functions of the handler; it remembers what it was asked."""

    http: ThreadingHTTPServer
    scheme: str = "http"
    received: list[Received] = field(default_factory=list)
    routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        return int(self.http.server_address[1])

    def url(self, path: str = "/", host: str | None = None) -> str:
        return f"{self.scheme}://{host or self.http.server_address[0]!s}:{self.port}{path}"

    def route(self, path: str, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.routes[path] = lambda handler: answer(handler, status, body, headers)


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    with suppress(ConnectionError):  # the client may have seen enough
        handler.wfile.write(body)


def start_server(address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Upstream:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            here = str(self.connection.getsockname()[0])
            upstream.received.append(Received(self.command, self.path, headers, body, here))
            handler = upstream.routes.get(self.path.partition("?")[0])
            if handler is None:
                answer(self, 404, b"", {})
            else:
                handler(self)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    class QuietServer(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is part of these tests."""

    http = QuietServer((address, 0), Handler)
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    upstream = Upstream(http, scheme="https" if tls else "http")
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return upstream


def stop_server(server: Upstream) -> None:
    server.closing.set()
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def server() -> Iterator[Upstream]:
    running = start_server()
    yield running
    stop_server(running)


@pytest.fixture
def other_server() -> Iterator[Upstream]:
    running = start_server("127.0.0.2")
    yield running
    stop_server(running)


class Names:
    """A name service under a test's control: each name has a list of answers, the last of which stays."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(sequence) for name, sequence in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.answers:
            return resolve_by_system(host, port)
        known = self.answers[host]
        return known.pop(0) if len(known) > 1 else known[0]


def get(client: GuardedHttpClient, url: str, **headers: str) -> HttpResponse:
    return send(client, "GET", url, headers={name.replace("_", "-"): value for name, value in headers.items()})


def send(
    client: GuardedHttpClient,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float = 10,
) -> HttpResponse:
    return client.send(HttpRequest(method, url, headers or {}, body, timeout_s))


def refusal(client: GuardedHttpClient, url: str) -> str:
    """The name of the error that a GET ends in."""
    with pytest.raises(NodeError) as caught:
        get(client, url)
    return caught.value.name


@pytest.fixture
def client() -> GuardedHttpClient:
    return GuardedHttpClient(allow_loopback=True)


@pytest.fixture
def strict() -> GuardedHttpClient:
    return GuardedHttpClient(allow_loopback=False)


# ------------------------------------------------------------------------------------------------------ plain exchanges


def test_answers_with_status_headers_and_body(client: GuardedHttpClient, server: Upstream) -> None:
    """Any status is an answer, not an error; header names are in lower case."""
    server.route("/", 418, b"short and stout", X_Kind="teapot")
    response = get(client, server.url())
    assert (response.status, response.body, response.headers["x-kind"]) == (418, b"short and stout", "teapot")


def test_sends_method_headers_and_body(client: GuardedHttpClient, server: Upstream) -> None:
    """What the caller gives arrives, with a length; the method may be in lower case."""
    server.route("/in")
    headers = {"Content-Type": "text/plain", "Authorization": "Bearer t"}
    send(client, "post", server.url("/in?q=a b".replace(" ", "%20")), headers=headers, body=b"hello")
    (received,) = server.received
    assert (received.method, received.path, received.body) == ("POST", "/in?q=a%20b", b"hello")
    assert received.headers["content-length"] == "5"
    assert received.headers["authorization"] == "Bearer t"


def test_framing_headers_are_the_clients_own(client: GuardedHttpClient, server: Upstream) -> None:
    """A caller cannot send another Host, or a length that disagrees with the body."""
    server.route("/")
    headers = {"Host": "evil.test", "Content-Length": "500", "Transfer-Encoding": "chunked"}
    send(client, "POST", server.url(), headers=headers, body=b"abc")
    (received,) = server.received
    assert received.headers["host"] == f"127.0.0.1:{server.port}"
    assert received.headers["content-length"] == "3"
    assert "transfer-encoding" not in received.headers


def test_head_has_no_body(client: GuardedHttpClient, server: Upstream) -> None:
    """The length that a HEAD announces is not waited for."""

    def announce(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "5")
        handler.end_headers()

    server.routes["/"] = announce
    assert send(client, "HEAD", server.url()).body == b""


def test_compressed_body_is_decoded(client: GuardedHttpClient, server: Upstream) -> None:
    """The caller sees the content, however it travelled."""
    server.route("/", body=gzip.compress(b"content" * 100), Content_Encoding="gzip")
    assert get(client, server.url()).body == b"content" * 100


def test_chunked_body(client: GuardedHttpClient, server: Upstream) -> None:
    """A body of unknown length is read to its end."""

    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    server.routes["/"] = chunked
    assert get(client, server.url()).body == b"abcde"


def test_path_beyond_ascii_is_percent_encoded(client: GuardedHttpClient, server: Upstream) -> None:
    """Letters become UTF-8 in percent form; what is encoded already stays as it is."""
    server.route("/caf%C3%A9%20x")
    assert get(client, server.url("/café%20x?ü=1#part")).status == 200
    assert server.received[0].path == "/caf%C3%A9%20x?%C3%BC=1"


def test_the_environments_proxy_is_not_used(
    client: GuardedHttpClient, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would resolve the name again, out of our sight."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.route("/", body=b"direct")
    assert get(client, server.url()).body == b"direct"


# ------------------------------------------------------------------------------------------------------------ addresses

REFUSED = [
    "127.0.0.1",
    "127.255.0.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1",
    "2002:a9fe:a9fe::",
    "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fd00:ec2::254",
    "fc00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "100::1",
    "2001:db8::1",
    "2001:10::1",
    "3fff::1",
    "5f00::1",
    "4000::1",
]

SPELLINGS = [
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.1",
    "127.0.1",
    "0",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "2852039166",
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
    "127\u30020\u30020\u30021",
    "localhost",
    "LOCALHOST",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:7f00:1]",
    "[::ffff:a9fe:a9fe]",
]


@pytest.mark.parametrize("address", REFUSED)
def test_special_addresses_are_not_public(address: str) -> None:
    """Whatever is not plain global unicast, or wraps an address that is not, is refused."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "52.95.110.1", "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_ordinary_addresses_are_public(address: str) -> None:
    """The guard lets the internet through, also from a subnet that has IPv6 only."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize("host", SPELLINGS)
def test_spelling_does_not_matter(strict: GuardedHttpClient, server: Upstream, host: str) -> None:
    """Decimal, octal, hexadecimal, short and full-width forms all end as the address that they mean."""
    assert refusal(strict, server.url(host=host)) == "AddressRefused"
    assert server.received == []


@pytest.mark.parametrize("address", [a for a in REFUSED if a not in ("127.0.0.1", "127.255.0.9", "::1")])
def test_loopback_setting_admits_loopback_only(client: GuardedHttpClient, address: str) -> None:
    """With ``allow_loopback`` everything else stays refused, loopback in an IPv6 disguise included."""
    host = f"[{address}]" if ":" in address else address
    assert refusal(client, f"http://{host}:9/") == "AddressRefused"


_SPECIAL_V4 = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16 198.18.0.0/15 "
    "224.0.0.0/4 240.0.0.0/4"
)
_DISGUISES: list[Callable[[int], IPv4Address | IPv6Address]] = [
    IPv4Address,
    IPv6Address,  # ::a.b.c.d, "IPv4-compatible"
    lambda v4: IPv6Address(0xFFFF << 32 | v4),  # mapped
    lambda v4: IPv6Address(0x64FF9B << 96 | v4),  # NAT64
    lambda v4: IPv6Address(0x0064FF9B0001 << 80 | v4),  # NAT64 of the local network
    lambda v4: IPv6Address(0x2002 << 112 | v4 << 80),  # 6to4
    lambda v4: IPv6Address(0x20010000 << 96 | (v4 ^ 0xFFFFFFFF)),  # Teredo's client
    lambda v4: IPv6Address(0x20010000 << 96 | v4 << 64),  # Teredo's server
]


@given(st.sampled_from(_SPECIAL_V4.split()), st.integers(0), st.sampled_from(_DISGUISES))
def test_no_disguise_makes_an_inner_address_public(
    network: str, offset: int, disguise: Callable[[int], IPv4Address | IPv6Address]
) -> None:
    """Every address of the special IPv4 networks is refused, as it is and in every form of IPv6 that can carry it."""
    block = IPv4Network(network)
    assert not is_public(disguise(int(block.network_address) + offset % block.num_addresses))


@given(st.integers(0, 2**128 - 1))
def test_ipv6_outside_global_unicast_is_refused(number: int) -> None:
    """What is public is global unicast, or NAT64 around a public IPv4 address."""
    address = IPv6Address(number)
    inner = number & 0xFFFFFFFF
    nat64 = number >> 32 == 0x64FF9B << 64 and is_public(IPv4Address(inner))
    assert not is_public(address) or number >> 125 == 1 or nat64


def test_one_bad_answer_refuses_the_name() -> None:
    """A name that leads to a public and to an inner address is a trap."""
    names = Names(trap_test=[["8.8.8.8", "10.0.0.1"]])
    assert refusal(GuardedHttpClient(allow_loopback=False, resolve=names), "http://trap.test/") == "AddressRefused"


def test_connects_to_the_address_that_was_checked(other_server: Upstream) -> None:
    """One resolution per hop: a name that moves after the check gains nothing. The server sees the name."""
    names = Names(rebind_test=[["127.0.0.2"], ["169.254.169.254"]])
    other_server.route("/", body=b"ok")
    client = GuardedHttpClient(allow_loopback=True, resolve=names)
    assert get(client, other_server.url(host="rebind.test")).body == b"ok"
    (received,) = other_server.received
    assert received.server_address == "127.0.0.2"
    assert received.headers["host"] == f"rebind.test:{other_server.port}"
    assert names.asked == ["rebind.test"]


def test_the_next_hop_is_checked_anew(server: Upstream) -> None:
    """A redirect to the same name resolves again, and is refused when the name has moved inside."""
    names = Names(rebind_test=[["127.0.0.1"], ["169.254.169.254"]])
    server.route("/", 302, Location="/again")
    client = GuardedHttpClient(allow_loopback=True, resolve=names)
    assert refusal(client, server.url(host="rebind.test")) == "AddressRefused"
    assert [received.path for received in server.received] == ["/"]


def test_tries_the_next_address(other_server: Upstream) -> None:
    """An address that does not answer is passed over for the name's next one."""
    names = Names(two_test=[["127.0.0.3", "127.0.0.2"]])  # nothing listens on the first
    other_server.route("/", body=b"second")
    client = GuardedHttpClient(allow_loopback=True, resolve=names)
    assert get(client, other_server.url(host="two.test")).body == b"second"


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "//10.0.0.1/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "https://192.168.0.1/",
    ],
)
def test_redirects_inside_are_refused(client: GuardedHttpClient, server: Upstream, location: str) -> None:
    """A public server cannot send us where we would not go ourselves."""
    server.route("/", 302, Location=location)
    assert refusal(client, server.url()) == "AddressRefused"


# ----------------------------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/relative",
        "ftp://example.test/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http:example.test",
        "http:///path",
        "http://user@127.0.0.1/",
        "http://good.test:80@127.0.0.1/",
        "http://good.test\\@127.0.0.1/",
        "http://127.0.0.1\t/",
        "http://exa\nmple.test/",
        "http://example.test/ HTTP/1.1\r\nX: y",
        "http://example.test:99999/",
        "http://example.test:port/",
        "http://[::1",
        "http://[fe80::1%25eth0]/",
        "http://[v1.x]/",
        "http://a..b/",
        "http://" + "a" * 64 + ".test/",
        "http://exa mple.test/",
        "http://exam<ple.test/",
        "http://example.test/\ud800",
    ],
)
def test_malformed_urls_are_refused(client: GuardedHttpClient, url: str) -> None:
    """Other schemes, user names, and texts that two parsers could read differently are not tried."""
    assert refusal(client, url) == "InvalidUrl"


@pytest.mark.parametrize(
    "location", ["ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http://a b/", "http://[::1", "http://[/"]
)
def test_redirects_to_malformed_urls_are_refused(client: GuardedHttpClient, server: Upstream, location: str) -> None:
    """A server's Location follows the same rules as the user's URL."""
    server.route("/", 302, Location=location)
    with pytest.raises(Permanent):
        get(client, server.url())
    assert len(server.received) == 1


@given(st.one_of(st.text(), st.text().map("http://{}".format), st.text().map("https://h{}/".format)))
def test_no_text_escapes_the_guard(url: str) -> None:
    """Whatever the URL, where every name leads inside there is one of two refusals and no connection."""
    client = GuardedHttpClient(allow_loopback=True, resolve=lambda host, port: ["10.0.0.1"])
    assert refusal(client, url) in ("AddressRefused", "InvalidUrl")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "a\r\nX-Injected: 1"),
        ("X-A", "a\nb"),
        ("X-A", "a\0"),
        ("X-A\r\nB", "c"),
        ("", "c"),
        ("X A", "c"),
        ("X", "€"),
    ],
)
def test_headers_cannot_smuggle(client: GuardedHttpClient, server: Upstream, name: str, value: str) -> None:
    """Line breaks and other characters that no header carries are refused before anything is sent."""
    with pytest.raises(Permanent) as caught:
        send(client, "GET", server.url(), headers={name: value})
    assert caught.value.name == "InvalidHeader"
    assert server.received == []


@pytest.mark.parametrize("method", ["CONNECT", "trace", "GET /\r\nX: y", ""])
def test_methods_that_are_not_sent(client: GuardedHttpClient, server: Upstream, method: str) -> None:
    """Tunnels, echoes and texts that are no method are refused."""
    with pytest.raises(Permanent) as caught:
        send(client, method, server.url())
    assert caught.value.name == "InvalidMethod"


# ------------------------------------------------------------------------------------------------------------ redirects


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", "PUT"),
        (302, "DELETE", "DELETE"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
        (301, "GET", "GET"),
    ],
)
def test_method_and_body_after_a_redirect(
    client: GuardedHttpClient, server: Upstream, status: int, method: str, then: str
) -> None:
    """RFC 9110: 301 and 302 turn a POST into a GET, 303 anything but HEAD, 307 and 308 repeat the request."""
    server.route("/", status, Location="/next")
    server.route("/next", 200)
    body = None if method in ("GET", "HEAD") else b"payload"
    send(client, method, server.url(), headers={"Content-Type": "text/plain"}, body=body)
    received = server.received[-1]
    assert (received.method, received.path) == (then, "/next")
    assert received.body == (b"payload" if body and then == method else b"")
    assert ("content-type" in received.headers) == (then == method)


SECRETS = {
    "Authorization": "Bearer secret",
    "Cookie": "session=secret",
    "X-API-Key": "secret",
    "X-Auth-Token": "secret",
    "X-Shopify-Access-Token": "secret",
}


def test_credentials_stay_with_their_origin(
    client: GuardedHttpClient, server: Upstream, other_server: Upstream
) -> None:
    """A redirect to another origin carries no header that may be a credential; coming back does not restore them."""
    server.route("/", 307, Location=other_server.url("/there"))
    other_server.route("/there", 307, Location=server.url("/back"))
    server.route("/back", 200)
    headers = {**SECRETS, "Accept": "text/plain", "Content-Type": "text/plain"}
    send(client, "POST", server.url(), headers=headers, body=b"payload")
    (there,), (first, back) = other_server.received, server.received
    assert first.headers["x-api-key"] == "secret"
    for received in (there, back):
        assert "secret" not in " ".join(received.headers.values())
        assert received.headers["accept"] == "text/plain"
        assert received.body == b"payload"


def test_credentials_go_on_within_their_origin(client: GuardedHttpClient, server: Upstream) -> None:
    """A redirect to another path of the same origin keeps them."""
    server.route("/", 302, Location="next")
    server.route("/next", 200)
    send(client, "GET", server.url(), headers=SECRETS)
    received = server.received[-1].headers
    assert {name: received[name.lower()] for name in SECRETS} == SECRETS


def test_endless_redirects_end(client: GuardedHttpClient, server: Upstream) -> None:
    """Five redirects are followed, the sixth is not."""
    server.route("/", 302, Location="/")
    assert refusal(client, server.url()) == "TooManyRedirects"
    assert len(server.received) == 6


def test_redirect_without_location_is_an_answer(client: GuardedHttpClient, server: Upstream) -> None:
    """A 304, or a 302 that leads nowhere, is what the server said."""
    server.route("/", 302, b"lost")
    assert get(client, server.url()).body == b"lost"


# --------------------------------------------------------------------------------------------------------------- bounds


def test_body_larger_than_the_bound(server: Upstream) -> None:
    """Reading stops where the bound is passed."""
    client = GuardedHttpClient(allow_loopback=True, max_response_bytes=1000)
    server.route("/fits", body=b"x" * 1000)
    server.route("/large", body=b"x" * 1001)
    assert len(get(client, server.url("/fits")).body) == 1000
    assert refusal(client, server.url("/large")) == "ResponseTooLarge"


@pytest.mark.parametrize("chunked", [False, True])
def test_decompression_bomb(server: Upstream, chunked: bool) -> None:
    """A tenth of a megabyte that unpacks to a hundred is refused after the bound, and never held."""
    bomb = gzip.compress(b"\0" * 100_000_000, compresslevel=9)

    def send_bomb(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            with suppress(ConnectionError):
                handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(bomb), bomb))
        else:
            handler.send_header("Content-Length", str(len(bomb)))
            handler.end_headers()
            with suppress(ConnectionError):
                handler.wfile.write(bomb)

    server.routes["/"] = send_bomb
    client = GuardedHttpClient(allow_loopback=True, max_response_bytes=1_000_000)
    tracemalloc.start()
    try:
        assert refusal(client, server.url()) == "ResponseTooLarge"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_headers_larger_than_the_bound(client: GuardedHttpClient, server: Upstream) -> None:
    """So are headers."""
    server.route("/", 200, b"", X_A="a" * 40_000, X_B="b" * 40_000)
    assert refusal(client, server.url()) == "ResponseTooLarge"


def drip(server: Upstream, head: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Send ``head``, then a byte now and then, for as long as the client stays."""

    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while not server.closing.wait(0.02):
            handler.wfile.write(b"a")

    return handle


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
    ids=["status line", "header", "body", "body until the end"],
)
def test_slow_server_meets_the_deadline(client: GuardedHttpClient, server: Upstream, head: bytes) -> None:
    """The deadline is for the whole: each byte in time does not extend it, and no thread is left behind."""
    server.routes["/"] = drip(server, head)
    with pytest.raises(Retryable) as caught:
        send(client, "GET", server.url(), timeout_s=0.3)
    assert caught.value.name == "HttpTimeout"
    wait_for_threads_to_end()


def test_redirects_share_the_deadline(client: GuardedHttpClient, server: Upstream) -> None:
    """Each hop spends of the same time."""

    def slow_redirect(handler: BaseHTTPRequestHandler) -> None:
        server.closing.wait(0.2)
        answer(handler, 302, b"", {"Location": "/"})

    server.routes["/"] = slow_redirect
    with pytest.raises(Retryable) as caught:
        send(client, "GET", server.url(), timeout_s=0.5)
    assert caught.value.name == "HttpTimeout"
    assert len(server.received) <= 3
    wait_for_threads_to_end()


def test_slow_name_service_meets_the_deadline() -> None:
    """Resolving cannot be interrupted, but it is not waited for."""
    released = threading.Event()

    def resolve(host: str, port: int) -> Sequence[str]:
        released.wait(30)
        return ["127.0.0.1"]

    with pytest.raises(Retryable) as caught:
        send(GuardedHttpClient(allow_loopback=True, resolve=resolve), "GET", "http://slow.test/", timeout_s=0.1)
    assert caught.value.name == "HttpTimeout"
    released.set()
    wait_for_threads_to_end()


def wait_for_threads_to_end() -> None:
    deadline = time.monotonic() + 10
    while any(thread.name == "http-request" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "a request's thread outlives its deadline"
        time.sleep(0.01)


def test_nobody_listens(client: GuardedHttpClient, server: Upstream) -> None:
    """A refused connection may succeed later."""
    url = server.url()
    server.http.server_close()
    assert refusal(client, url) == "HttpConnectionError"


def test_unknown_name(client: GuardedHttpClient) -> None:
    """So may a name that cannot be resolved now."""
    assert refusal(client, "http://name.invalid/") == "HttpConnectionError"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_broken_answers(client: GuardedHttpClient, server: Upstream, reply: bytes) -> None:
    """An answer that breaks off or makes no sense is a failed connection."""

    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(reply)
        handler.close_connection = True

    server.routes["/"] = broken
    assert refusal(client, server.url()) == "HttpConnectionError"


# ------------------------------------------------------------------------------------------------------------------ TLS


@dataclass(frozen=True)
class Authority:
    """A certificate authority for one test."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def name(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A test's authority")])

    def sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, host: str | None) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        else:
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(self.key, hashes.SHA256())

    def trusting(self) -> ssl.SSLContext:
        root = self.sign(self.name, self.key, None).public_bytes(serialization.Encoding.PEM)
        return ssl.create_default_context(cadata=root.decode())

    def serving(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        file = self.folder / f"{host}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + self.sign(name, key, host).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls_server(authority: Authority) -> Iterator[Upstream]:
    context = authority.serving("good.test")
    names_seen: list[str | None] = []
    context.sni_callback = lambda sock, name, ctx: names_seen.append(name)
    running = start_server(tls=context)
    running.routes["/sni"] = lambda handler: answer(handler, 200, str(names_seen[-1]).encode(), {})
    yield running
    stop_server(running)


def test_tls_verifies_the_name_though_it_connects_to_an_address(authority: Authority, tls_server: Upstream) -> None:
    """SNI and the certificate check use the URL's name; another name with the same address fails the check."""
    names = Names(good_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    client = GuardedHttpClient(allow_loopback=True, resolve=names, ssl_context=authority.trusting())
    assert get(client, tls_server.url("/sni", host="good.test")).body == b"good.test"
    assert refusal(client, tls_server.url("/sni", host="other.test")) == "TlsCertificateInvalid"
    assert refusal(client, tls_server.url("/sni", host="127.0.0.1")) == "TlsCertificateInvalid"


def test_unknown_authority_is_refused(tls_server: Upstream) -> None:
    """Without a context of its own the client trusts what the system trusts, and that is not this server."""
    client = GuardedHttpClient(allow_loopback=True, resolve=Names(good_test=[["127.0.0.1"]]))
    assert refusal(client, tls_server.url("/sni", host="good.test")) == "TlsCertificateInvalid"


def test_no_tls_where_tls_was_expected(client: GuardedHttpClient, server: Upstream) -> None:
    """Plain HTTP on the other side is a TLS failure."""
    assert refusal(client, f"https://127.0.0.1:{server.port}/") == "TlsError"


def test_slow_body_over_tls_meets_the_deadline(authority: Authority, tls_server: Upstream) -> None:
    """The deadline cuts an encrypted connection too."""
    tls_server.routes["/"] = drip(tls_server, b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
    names = Names(good_test=[["127.0.0.1"]])
    client = GuardedHttpClient(allow_loopback=True, resolve=names, ssl_context=authority.trusting())
    with pytest.raises(Retryable) as caught:
        send(client, "GET", tls_server.url("/", host="good.test"), timeout_s=0.4)
    assert caught.value.name == "HttpTimeout"
    wait_for_threads_to_end()
