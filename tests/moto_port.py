"""Moto behind a port of loopback: for processes of their own that are to meet the AWS of a test."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from moto.core.models import botocore_stubber

from tests.conftest import TURN

_SERVICE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/")
_HOSTS = {"states": "states", "dynamodb": "dynamodb", "s3": "s3"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        signed = _SERVICE.search(self.headers.get("Authorization", ""))
        assert signed is not None, "every request of ours is signed"
        region, service = signed.groups()
        url = f"https://{_HOSTS[service]}.{region}.amazonaws.com{self.path}"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = HTTPHeaders.from_dict(dict(self.headers.items()))
        with TURN:
            found = botocore_stubber.process_request(AWSPreparedRequest(self.command, url, headers, body, False))
        assert found is not None, f"moto has no {url}"
        status, told, text = found
        content = b"" if self.command == "HEAD" else text.encode() if isinstance(text, str) else text
        self.send_response(status)
        for name, value in told.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _answer

    def log_message(self, *_: Any) -> None:
        """Nothing: what fails shows in the test."""


@contextmanager
def moto_port() -> Iterator[str]:
    """The URL under which the AWS of this process is reached; for as long as moto is on."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
