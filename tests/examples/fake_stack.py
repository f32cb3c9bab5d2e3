"""A throw-away stack: as much of the API, and of S3, as the demo calls. The real one is tested on the real stack.

It answers what a test tells it to, and remembers what it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KEY = "mr_secret_key"
PREFIX = "/_aws/execute-api/abc/local"


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeStack:
    executions: list[dict[str, Any]]  #: the answers of GET executions, in turn; the last one stays
    validation: dict[str, Any] = field(default_factory=lambda: {"valid": True, "errors": [], "warnings": []})
    refusals: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)  #: by path, given first
    objects: dict[str, bytes] = field(default_factory=dict)  #: in S3, by path; a bucket is one as well
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def stack_json(self) -> dict[str, Any]:
        return {
            "api_url": self.url + PREFIX,
            "api_key": KEY,
            "aws_endpoint_url": self.url,
            "region": "us-east-1",
            "bucket": "data",
        }

    def calls(self) -> list[str]:
        """The requests to the API, without repetitions in a row."""
        found: list[str] = []
        for request in self.requests:
            call = f"{request.method} {request.path.removeprefix(PREFIX)}"
            if request.path.startswith(PREFIX) and call not in found[-1:]:
                found.append(call)
        return found

    def answer(self, request: Request) -> tuple[int, bytes]:
        if not request.path.startswith(PREFIX):
            return self._s3(request)
        path = request.path.removeprefix(PREFIX)
        if waiting := self.refusals.get(path):
            return waiting.pop(0)
        match request.method, path:
            case "POST", "/api/v1/workflows":
                return 201, b'{"workflowId": "wf_1"}'
            case "POST", "/api/v1/workflows/wf_1/validate":
                return 200, json.dumps(self.validation).encode()
            case "POST", "/api/v1/workflows/wf_1/execute":
                return 201, b'{"executionId": "exec_1"}'
            case "GET", "/api/v1/executions/exec_1":
                return 200, json.dumps(self.executions.pop(0) if self.executions[1:] else self.executions[0]).encode()
        return 404, b"{}"

    def _s3(self, request: Request) -> tuple[int, bytes]:
        if request.method == "GET":
            return (200, self.objects[request.path]) if request.path in self.objects else (404, b"")
        if request.path.count("/") == 1 and request.path in self.objects:
            return 409, b"<Error><Code>BucketAlreadyOwnedByYou</Code><Message>yours</Message></Error>"
        self.objects[request.path] = request.body
        return 200, b""


@contextmanager
def serve(stack: FakeStack) -> Iterator[FakeStack]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, dict(self.headers), body)
            stack.requests.append(request)
            status, answer = stack.answer(request)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do

        def log_message(self, format: str, *args: object) -> None:
            """Not of interest."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stack.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stack
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
