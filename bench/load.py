"""A load generator that is not itself the bottleneck: ``python -m bench.load PORT CONNECTIONS SECONDS``.

Each connection is kept alive and sends the next request when it has the answer to the last. Prints one line of JSON:
requests, seconds, and the latencies in milliseconds. An answer that does not say ``succeeded``, or no status 200, ends
it with an error.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import httptools
import uvloop

BODY = b'{"sync":true,"inputs":{"name":"Ada","n":21}}'
REQUEST = b"POST /trigger HTTP/1.1\r\nHost: pod\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
WARM_UP_S = 2.0


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        if not self._load.over.done():
            self._load.over.set_exception(ConnectionError("the server has closed a connection"))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._load.over.done():
            return
        if self._parser.get_status_code() != 200 or b'"status":"succeeded"' not in self._body:
            self._load.over.set_exception(ValueError(self._body[:500]))
            return
        self._load.took.append(time.perf_counter() - self._began)
        self._ask()

    def _ask(self) -> None:
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._began = time.perf_counter()
        self._transport.write(REQUEST % (len(BODY), BODY))


class _Load:
    def __init__(self) -> None:
        self.took: list[float] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()


async def main(port: int, connections: int, seconds: float) -> None:
    load = _Load()
    event_loop = asyncio.get_running_loop()
    for _ in range(connections):
        await event_loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
    await asyncio.wait([load.over], timeout=WARM_UP_S)
    load.took.clear()
    print("begin", flush=True)
    began = time.perf_counter()
    await asyncio.wait([load.over], timeout=seconds)
    lasted = time.perf_counter() - began
    if load.over.done():
        load.over.result()
    load.over.cancel()
    took = sorted(load.took)
    told = {"requests": len(took), "seconds": lasted}
    told |= {f"p{share}": took[len(took) * share // 100] * 1e3 for share in (50, 99)}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
