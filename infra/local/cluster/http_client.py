"""A small HTTP/1.1 client for the proxies and for probes: plain HTTP, kept-alive connections, everything bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httptools

MAX_ANSWER_BYTES = 32 * 1024 * 1024
_IDLE_S = 3.0  # seconds; servers commonly end idle connections after five
_MOST_IDLE = 64  # connections to one address
_CONNECT_S = 5.0  # seconds
_CHUNK = 64 * 1024
_REPEATABLE = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}

Header = tuple[bytes, bytes]


class Unreachable(Exception):
    """No whole answer came; the message says why, as an API server would."""


@dataclass
class Response:
    status: int = 0
    headers: list[Header] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    #: What httptools calls.
    has_headers: bool = False
    is_complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.has_headers = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0
    is_used: bool = False


class HttpClient:
    """Of one event loop."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], list[_Connection]] = {}

    async def request(
        self,
        address: tuple[str, int],
        method: str,
        target: str,
        headers: Sequence[Header] = (),
        body: bytes = b"",
        timeout_s: float = 30.0,
    ) -> Response:
        """Raises ``Unreachable``, ``TimeoutError``."""
        names = {name.lower() for name, _ in headers}
        lines = [f"{method} {target} HTTP/1.1\r\n".encode()]
        lines += [name + b": " + value + b"\r\n" for name, value in headers]
        if b"host" not in names:
            lines.append(f"host: {address[0]}:{address[1]}\r\n".encode())
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(b"content-length: %d\r\n" % len(body))
        sent = b"".join(lines) + b"\r\n" + body
        repeatable = method in _REPEATABLE or b"idempotency-key" in names
        async with asyncio.timeout(timeout_s):
            while True:
                connection = await self._connection(address)
                try:
                    return await self._exchange(address, connection, method, sent)
                except _Stale as error:
                    if not repeatable:
                        raise Unreachable("EOF") from error
                except BaseException:
                    connection.writer.close()
                    raise

    def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.writer.close()
        self._idle.clear()

    async def _connection(self, address: tuple[str, int]) -> _Connection:
        idle = self._idle.get(address, [])
        while idle:
            connection = idle.pop()
            fresh = time.monotonic() - connection.idle_since < _IDLE_S
            if fresh and not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.close()
        try:
            async with asyncio.timeout(_CONNECT_S):
                return _Connection(*await asyncio.open_connection(*address, limit=_CHUNK))
        except TimeoutError as error:
            raise Unreachable(f"dial tcp {address[0]}:{address[1]}: i/o timeout") from error
        except OSError as error:
            raise Unreachable(f"dial tcp {address[0]}:{address[1]}: connect: {_word(error)}") from error

    async def _exchange(self, address: tuple[str, int], connection: _Connection, method: str, sent: bytes) -> Response:
        answer = Response()
        parser = httptools.HttpResponseParser(answer)
        try:
            connection.writer.write(sent)
            await connection.writer.drain()
            began = False
            while not answer.is_complete and not (method == "HEAD" and answer.has_headers):
                data = await connection.reader.read(_CHUNK)
                if not data:
                    if answer.has_headers and b"content-length" not in {name.lower() for name, _ in answer.headers}:
                        break  # the end of the connection is the end of the answer
                    if not began and connection.is_used:
                        raise _Stale
                    raise Unreachable("EOF")
                began = True
                parser.feed_data(data)
                if len(answer.body) > MAX_ANSWER_BYTES:
                    raise Unreachable(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        except (ConnectionError, httptools.HttpParserError) as error:
            connection.writer.close()
            if connection.is_used and not answer.has_headers and isinstance(error, ConnectionError):
                raise _Stale from error
            raise Unreachable(str(error) or type(error).__name__) from error
        except _Stale:
            connection.writer.close()
            raise
        answer.status = parser.get_status_code()
        if answer.is_complete and parser.should_keep_alive():
            self._keep(address, connection)
        else:
            connection.writer.close()
        return answer

    def _keep(self, address: tuple[str, int], connection: _Connection) -> None:
        connection.idle_since, connection.is_used = time.monotonic(), True
        idle = self._idle.setdefault(address, [])
        idle.append(connection)
        if len(idle) > _MOST_IDLE:
            idle.pop(0).writer.close()


class _Stale(Exception):
    """The server has ended a kept connection before it saw the request."""


def _word(error: OSError) -> str:
    return "connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
