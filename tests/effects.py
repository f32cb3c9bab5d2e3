"""A server on loopback that does things, once for each idempotency key, and counts what it did."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chalicelib.nodes.capabilities import HttpClient, HttpRequest, HttpResponse
from tests.fakes import Killed


class Effects:
    """What came of the requests, by path."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests: Counter[str] = Counter()
        self._done: set[tuple[str, str]] = set()  # path and key
        self._lock = threading.Lock()

    def do(self, path: str, key: str) -> None:
        with self._lock:
            self.requests[path] += 1
            self._done.add((path, key))

    def below(self, folder: str) -> Counter[str]:
        """How often each thing was done that lies in a folder."""
        with self._lock:
            return Counter(path.rpartition("/")[2] for path, _ in self._done if path.startswith(f"/{folder}/"))


@contextmanager
def serving(takes_s: float = 0) -> Iterator[Effects]:
    """A server that takes so many seconds for each request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            effects.do(self.path, self.headers["Idempotency-Key"])
            time.sleep(takes_s)
            with suppress(ConnectionError):  # whoever asked may have been killed meanwhile
                self.send_response(204)
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        effects = Effects(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield effects
        finally:
            server.shutdown()
            thread.join()


class MortalHttp:
    """A real client, whose caller may die: before a request is sent, or when its answer is there."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self.deaths: list[str] = []  #: ``before`` or ``after``, one for each of the next requests

    def send(self, request: HttpRequest) -> HttpResponse:
        moment = self.deaths.pop(0) if self.deaths else None
        if moment == "before":
            raise Killed
        response = self._client.send(request)
        if moment == "after":
            raise Killed
        return response
