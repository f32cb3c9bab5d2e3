"""Moto behind a port of loopback: for processes of their own that are to meet the AWS of a test."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any

from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from moto.core.models import botocore_stubber

from tests.conftest import TURN

_SERVICE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/")
_HOSTS = {"states": "states", "dynamodb": "dynamodb", "s3": "s3"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.tell(*self.done(self.body()))

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def done(self, body: bytes) -> tuple[int, Mapping[str, Any], bytes]:
        """Has moto do what is asked for; status, headers and content of its answer."""
        signed = _SERVICE.search(self.headers.get("Authorization", ""))
        assert signed is not None, "every request of ours is signed"
        region, service = signed.groups()
        url = f"https://{_HOSTS[service]}.{region}.amazonaws.com{self.path}"
        headers = HTTPHeaders.from_dict(dict(self.headers.items()))
        with TURN:
            found = botocore_stubber.process_request(AWSPreparedRequest(self.command, url, headers, body, False))
        assert found is not None, f"moto has no {url}"
        status, told, text = found
        return status, told, text.encode() if isinstance(text, str) else text

    def tell(self, status: int, told: Mapping[str, Any], content: bytes) -> None:
        content = b"" if self.command == "HEAD" else content
        self.send_response(status)
        for name, value in told.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.answer()

    do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

    def log_message(self, *_: Any) -> None:
        """Nothing: what fails shows in the test."""


@contextmanager
def moto_port(handler: type[Handler] = Handler, context: SSLContext | None = None) -> Iterator[str]:
    """The URL under which the AWS of this process is reached, by TLS with a ``context``; for as long as moto is on."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
