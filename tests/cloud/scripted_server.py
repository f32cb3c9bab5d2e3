"""A server on loopback that answers as it was told, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Asked:
    method: str
    path: str  #: with its query
    headers: dict[str, str]  #: names in lower case
    body: bytes


@dataclass(frozen=True)
class Told:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    breaks_off: bool = False  #: closes the connection in the place of an answer
    after: Callable[[], None] = lambda: None  #: what it does before it answers


def as_json(status: int, value: Any) -> Told:
    return Told(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def refusal(status: int, reason: str, message: str, **more: Any) -> Told:
    """As the API server refuses."""
    told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
    return as_json(status, {**told, "code": status, **more})


class ScriptedServer:
    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[Told] = []  #: one after the other; the last one again and again
        self.reply: Callable[[Asked], Told] = self._next
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                script.asked.append(asked)
                told = script.reply(asked)
                told.after()
                if told.breaks_off:
                    self.close_connection = True
                    return
                self.send_response(told.status)
                for name, value in told.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(told.body)))
                if self.close_connection:  # who asked for that has to hear it, or may send the next request too late
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(told.body)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:  # a client that has hung up
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def _next(self, _: Asked) -> Told:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def kubeconfig(self, folder: Path, token: str = "secret") -> Path:
        path = folder / "kubeconfig"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "it",
                    "clusters": [{"name": "it", "cluster": {"server": self.url}}],
                    "users": [{"name": "me", "user": {"token": token}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
                }
            )
        )
        return path

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
