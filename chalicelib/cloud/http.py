"""Outbound HTTP that cannot be turned against the network that it leaves from.

Users write the URLs of ``http-request``, and so do the servers that redirect it. Neither may reach what only this
machine can see: the metadata service (169.254.169.254), the runtime's own loopback endpoints, the inside of a VPC.
Checking the URL's text is not enough, for a name resolves to whatever its owner likes, to another address the next time
it is asked (DNS rebinding), and an address has many spellings (``0x7f.1``, ``::ffff:10.0.0.1``). So the address is
checked, and nothing else is: for every hop the name is resolved once, each answer must be public (``is_public``), and
the connection goes to the very address that was checked. Host header, SNI and the certificate check keep the name.
Proxies named in the environment are not used: they would resolve again.

The rest is bounds. ``timeout_s`` holds for everything together, so that a server which sends a byte now and then gains
nothing: the exchange runs in a thread of its own, and when time is up its socket is shut down, which ends that thread.
Sizes are counted while reading, after decompression. Headers that may carry credentials stay with the origin that they
were written for.

``urllib3`` speaks the protocol, through its connections (``urllib3.connection``) rather than its pools: each exchange
needs one connection to one address, no reuse, no retries, no redirects, and a socket to shut down.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote, urljoin, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError
from urllib3.response import HTTPResponse as Urllib3Response

from chalicelib.foundation.errors import NodeError, Permanent, Retryable
from chalicelib.nodes.capabilities import HttpRequest, HttpResponse

#: Name and port to numeric addresses. Raises ``OSError`` where there are none.
Resolve = Callable[[str, int], Sequence[str]]

MAX_RESPONSE_BYTES = 10 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_ADDRESSES_TRIED = 4
CHUNK_BYTES = 64 * 1024

# Its warnings about malformed headers quote the whole URL, and a query may hold a key.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)

# ----------------------------------------------------------------------------------------------------------- addresses

#: Global unicast, the only part of IPv6 that is handed out. Within it, and within IPv4, ``is_global`` decides, and
#: these lists for what some supported Python release does not know yet or counts as global.
_IPV6_GLOBAL = IPv6Network("2000::/3")
_NOT_PUBLIC_V4 = [
    IPv4Network(block)
    for block in ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4")
]
_NOT_PUBLIC_V6 = [
    IPv6Network(block)
    for block in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")  # with Teredo and 6to4: long dead
]
_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))  # an IPv4 address in an IPv6 disguise is in neither
_NAT64 = IPv6Network("64:ff9b::/96")  # how an IPv6-only subnet reaches IPv4: as public as the address inside


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is one that anyone on the internet could call too."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in block for block in _NOT_PUBLIC_V4)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _IPV6_GLOBAL and address.is_global and not any(address in block for block in _NOT_PUBLIC_V6)


def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """What ``getaddrinfo`` says, in its order, each address once. Raises ``OSError``."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in answers))


# ---------------------------------------------------------------------------------------------------- URLs and headers

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST_NAME = re.compile(r"[a-z0-9._-]{1,253}")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\\]")
_NOT_IN_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_KEPT_IN_TARGET = "!#$%&'()*+,/:;=?@[]~"

#: Framing and routing are the client's own; a caller's idea of them could only disagree with what is sent.
_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
#: What another origin may see after a redirect. Any other header may be a credential: keys travel under many names.
_HEADERS_ABROAD = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-type",
        "user-agent",
    }
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class _Url:
    scheme: str
    host: str  #: lower case, ASCII; an IPv6 address without brackets
    port: int
    target: str  #: path and query, as the request line has them

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def _parse(text: str, base: str = "") -> _Url:
    if _NOT_IN_URL.search(text):
        raise Permanent("InvalidUrl", "A URL holds no spaces, control characters or backslashes.")
    try:
        parts = urlsplit(urljoin(base, text))
        if parts.scheme not in _DEFAULT_PORTS:
            raise Permanent("InvalidUrl", "The URL must start with http:// or https://.")
        if "@" in parts.netloc:
            raise Permanent("InvalidUrl", "The URL holds a user name; send credentials in a header.")
        port = _DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
        target = quote(parts.path or "/", safe=_KEPT_IN_TARGET)
        if parts.query:
            target += "?" + quote(parts.query, safe=_KEPT_IN_TARGET)
        return _Url(parts.scheme, _host(parts.hostname or "", bracketed="[" in parts.netloc), port, target)
    except ValueError as error:  # a port beyond 65535, a stray bracket, a label of 64 letters
        raise Permanent("InvalidUrl", "The URL is malformed.") from error


def _host(host: str, *, bracketed: bool) -> str:
    if bracketed:
        if "%" in host:
            raise ValueError("a zone names an interface of this machine")
        return str(IPv6Address(host))
    ascii_host = host.encode("idna").decode("ascii").lower()
    if not _HOST_NAME.fullmatch(ascii_host):
        raise ValueError("not a host name")
    return ascii_host


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    """By lower-case name, checked. Values are never part of an error's text."""
    headers = {"accept-encoding": "gzip, deflate", "user-agent": "Millrace"}
    for name, value in given.items():
        if not _TOKEN.fullmatch(name):
            raise Permanent("InvalidHeader", f"{name!r} is not a header's name.")
        if _NOT_IN_HEADER.search(value) or not _is_latin1(value):
            raise Permanent(
                "InvalidHeader",
                f"The value of {name} holds a line break or another character that a header cannot carry.",
            )
        if name.lower() not in _OWN_HEADERS:
            headers[name.lower()] = value
    return headers


def _is_latin1(value: str) -> bool:
    return all(ord(character) < 256 for character in value)


# ------------------------------------------------------------------------------------------------------------ exchange


@dataclass(frozen=True)
class _Hop:
    """One request of a chain of redirects."""

    method: str
    url: _Url
    headers: Mapping[str, str]
    body: bytes | None

    def after(self, status: int, location: str) -> _Hop:
        """Where a redirect leads, by RFC 9110, 15.4."""
        url = _parse(_percent_encoded(location.strip()), self.url.text)
        method, headers, body = self.method, self.headers, self.body
        if (status in (301, 302) and method == "POST") or (status == 303 and method != "HEAD"):
            method, body = "GET", None
            headers = {name: value for name, value in headers.items() if not name.startswith("content-")}
        if url.origin != self.url.origin:
            headers = {name: value for name, value in headers.items() if name in _HEADERS_ABROAD}
        return _Hop(method, url, headers, body)


def _percent_encoded(location: str) -> str:
    """Header bytes beyond ASCII, which ``http.client`` shows as Latin-1, are meant as they are."""
    return quote(location.encode("latin-1"), safe=_KEPT_IN_TARGET)


class GuardedHttpClient:
    """An ``HttpClient`` for URLs that nobody vouches for. Safe to share between threads."""

    def __init__(
        self,
        *,
        allow_loopback: bool,
        resolve: Resolve = resolve_by_system,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        max_redirects: int = 5,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """``allow_loopback`` admits 127.0.0.0/8 and ::1, in those forms. ``ssl_context``: ``None`` trusts what the
        system trusts.
        """
        self._allow_loopback = allow_loopback
        self._resolve = resolve
        self._given_ssl_context = ssl_context
        self.max_response_bytes = max_response_bytes
        self.max_redirects = max_redirects

    def send(self, request: HttpRequest) -> HttpResponse:
        """See ``HttpClient.send``. Returns or raises within ``timeout_s``."""
        method = request.method.upper()
        if not _TOKEN.fullmatch(method) or method in ("CONNECT", "TRACE"):
            raise Permanent("InvalidMethod", f"{request.method!r} is not a method that can be sent.")
        hop = _Hop(method, _parse(request.url), _headers(request.headers), request.body)
        exchange = _Exchange(self, deadline=time.monotonic() + request.timeout_s)
        answer: Future[HttpResponse] = Future()
        threading.Thread(target=_settle, args=(answer, exchange, hop), name="http-request", daemon=True).start()
        try:
            return answer.result(timeout=max(request.timeout_s, 0))
        except TimeoutError:
            exchange.abandon()
            raise _timed_out() from None

    def addresses(self, url: _Url) -> Sequence[str]:
        """The addresses of the URL's host, all of them checked: one bad answer among good ones is reason enough to
        refuse.
        """
        try:
            found = [ip_address(text) for text in self._resolve(url.host, url.port)]
        except (OSError, ValueError) as error:
            raise Retryable("HttpConnectionError", f"The name {url.host} could not be resolved.") from error
        for address in found:
            if not self._may_call(address):
                raise Permanent("AddressRefused", f"{url.host} leads to {address}, which is not a public address.")
        return [str(address) for address in found[:MAX_ADDRESSES_TRIED]]

    def _may_call(self, address: IPv4Address | IPv6Address) -> bool:
        return is_public(address) or (self._allow_loopback and any(address in block for block in _LOOPBACK))

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """Made at the first need: reading the system's certificates takes tens of milliseconds."""
        return self._given_ssl_context or ssl.create_default_context()


def _settle(answer: Future[HttpResponse], exchange: _Exchange, hop: _Hop) -> None:
    try:
        answer.set_result(exchange.run(hop))
    except BaseException as error:  # whatever it is belongs to the caller, who waits for it
        answer.set_exception(error)


class _Exchange:
    """A request and the redirects that follow from it: one deadline, and at most one connection at a time."""

    def __init__(self, client: GuardedHttpClient, deadline: float) -> None:
        self._client = client
        self._deadline = deadline  # by time.monotonic
        self._socket: socket.socket | None = None

    def run(self, hop: _Hop) -> HttpResponse:
        """Raises ``NodeError`` only: what the libraries below raise is translated here."""
        try:
            return self._follow(hop)
        except NodeError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise Permanent(
                "TlsCertificateInvalid", f"The server's certificate is not valid: {error.verify_message}."
            ) from error
        except NewConnectionError as error:  # before its base class, a time-out
            raise Retryable("HttpConnectionError", "No connection to the server.") from error
        except (TimeoutError, Urllib3TimeoutError) as error:
            raise _timed_out() from error
        except (ssl.SSLError, SSLError) as error:
            raise Retryable("TlsError", "The encrypted connection failed.") from error
        except (OSError, HTTPError, HTTPException) as error:
            raise Retryable("HttpConnectionError", f"The connection failed ({type(error).__name__}).") from error
        finally:
            self._close()

    def abandon(self) -> None:
        """End the connection, if there is one: a thread that waits for it goes on at once. Any thread may call it."""
        if self._socket is not None:
            with suppress(OSError):  # not connected any more
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # an SSLSocket's own would go on in plain text

    def _close(self) -> None:
        self.abandon()
        if self._socket is not None:
            self._socket.close()

    def _follow(self, hop: _Hop) -> HttpResponse:
        for _ in range(self._client.max_redirects + 1):
            with closing(self._request(hop)) as response:
                location = response.headers.get("location")
                if response.status not in _REDIRECTS or location is None:
                    return self._read(response)
            self._close()  # nobody reads a redirect's body
            hop = hop.after(response.status, location)
        raise Permanent("TooManyRedirects", f"More than {self._client.max_redirects} redirects.")

    def _request(self, hop: _Hop) -> Urllib3Response:
        """The head of the answer; its body is still to be read."""
        connection = self._connect(hop.url)
        connection.request(
            hop.method,
            hop.url.target,
            body=hop.body,
            headers={"host": hop.url.authority, **hop.headers},
            preload_content=False,
        )
        connection.timeout = self._remaining_s()
        return connection.getresponse()

    def _read(self, response: Urllib3Response) -> HttpResponse:
        headers = {name.lower(): value for name, value in response.headers.items()}
        if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
            raise Permanent("ResponseTooLarge", f"The answer's headers exceed {MAX_HEADER_BYTES} bytes.")
        chunks, size = [], 0
        for chunk in response.stream(CHUNK_BYTES, decode_content=True):
            size += len(chunk)
            if size > self._client.max_response_bytes:
                raise Permanent("ResponseTooLarge", f"The answer exceeds {self._client.max_response_bytes} bytes.")
            chunks.append(chunk)
            self._remaining_s()
        return HttpResponse(response.status, headers, b"".join(chunks))

    def _connect(self, url: _Url) -> HTTPConnection:
        """To the first address that answers. Nothing was sent before, so trying the next one repeats nothing."""
        addresses = self._client.addresses(url)
        failure: Exception = Retryable("HttpConnectionError", f"{url.host} has no address.")
        for tried, address in enumerate(addresses):
            share_s = self._remaining_s() / (len(addresses) - tried)  # a silent address leaves time for the next
            connection = self._connection(url, address, share_s)
            try:
                connection.connect()
            except (OSError, HTTPError) as error:
                connection.close()
                failure = error
                continue
            self._socket = connection.sock
            connection.timeout = self._remaining_s()
            return connection
        raise failure

    def _connection(self, url: _Url, address: str, timeout_s: float) -> HTTPConnection:
        if url.scheme == "http":
            return HTTPConnection(address, url.port, timeout=timeout_s)
        context = self._client.ssl_context
        return HTTPSConnection(address, url.port, timeout=timeout_s, ssl_context=context, server_hostname=url.host)

    def _remaining_s(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise _timed_out()
        return remaining


def _timed_out() -> Retryable:
    return Retryable("HttpTimeout", "No complete answer within the time allowed.")
