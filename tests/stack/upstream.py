"""A server on loopback that nodes call, and that the test holds in its hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Seen:
    path: str
    client_port: int  #: of the caller's end of the connection: by it the process is known
    at: float  #: by time.monotonic


@dataclass
class Upstream:
    """Answers by path: with the statuses in ``answers``, one after the other, then with 200.

    A path in ``held`` is answered when its event is set.
    """

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    answers: dict[str, list[int]] = field(default_factory=dict)
    held: dict[str, threading.Event] = field(default_factory=dict)
    body: bytes = b'{"fine": true}'

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def calls(self, path: str) -> list[Seen]:
        return [call for call in self.seen if call.path == path]

    def hold(self, path: str) -> threading.Event:
        self.held[path] = threading.Event()
        return self.held[path]


_LONGEST_HOLD = 60  # seconds: a test that failed must not leave a thread behind


@contextmanager
def upstream() -> Iterator[Upstream]:
    state = Upstream()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.seen.append(Seen(self.path, self.client_address[1], time.monotonic()))
            if self.path in state.held:
                state.held[self.path].wait(_LONGEST_HOLD)
            status = (state.answers.get(self.path) or [200]).pop(0)
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(state.body)))
                self.end_headers()
                self.wfile.write(state.body)
            except ConnectionError:
                pass  # the caller was killed meanwhile

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield state
        finally:
            for event in state.held.values():
                event.set()
            server.shutdown()
            thread.join()
