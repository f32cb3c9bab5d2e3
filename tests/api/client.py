"""The API as API Gateway calls it: proxy events in, proxy responses out."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from chalice import Chalice
from chalice.local import LambdaContext, RouteMatcher

_NUMBERS = itertools.count(1)
_SAME = "the key of this client"


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]  #: names in lower case
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Api:
    """A client with an API key. Every answer is checked for what all answers have in common."""

    def __init__(self, app: Chalice, key: str | None) -> None:
        self._app = app
        self._key = key
        self._routes = RouteMatcher(list(app.routes))

    def with_key(self, key: str | None) -> Api:
        return Api(self._app, key)

    def get(self, path: str, **headers: str) -> Response:
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Response:
        return self.call("POST", path, body, headers=headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Response:
        return self.call("PUT", path, body, headers=headers)

    def delete(self, path: str, **headers: str) -> Response:
        return self.call("DELETE", path, headers=headers)

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """``body``: bytes as they are, None for none, else as JSON. ``_`` in a name of a header stands for ``-``."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json"}
        if self._key is not None:
            sent["X-API-Key"] = self._key
        sent |= {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        event = self._event(method, path, sent, raw)
        answer = self._app(event, LambdaContext("api", 1024))
        found = {name.lower(): str(value) for name, value in answer["headers"].items()}
        text = answer["body"]
        if answer.get("isBase64Encoded"):
            text = base64.b64decode(text).decode()
        response = Response(answer["statusCode"], found, text)
        _check(response, event["requestContext"]["requestId"])
        return response

    def _event(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        match = self._routes.match_route(path)
        try:
            text, is_base64 = body.decode() or None, False
        except UnicodeDecodeError:
            text, is_base64 = base64.b64encode(body).decode(), True
        return {
            "requestContext": {
                "httpMethod": method,
                "resourcePath": match.route,
                "path": path.partition("?")[0],
                "requestId": f"request-{next(_NUMBERS)}",
                "identity": {"sourceIp": "127.0.0.1"},
            },
            "headers": dict(headers),
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "pathParameters": {name: unquote(value) for name, value in match.captured.items()} or None,
            "multiValueQueryStringParameters": match.query_params or None,
            "stageVariables": None,
            "body": text,
            "isBase64Encoded": is_base64,
        }


def _check(response: Response, request_id: str) -> None:
    """CONTRACTS of every answer: the request's id, the shape of an error, and nothing that Lambda would not carry."""
    assert response.headers["x-request-id"] == request_id
    assert len(response.text.encode()) < 6_000_000, "Lambda answers with 6 MB at most"
    if response.status >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json
        assert problem.keys() - {"errors"} == {"type", "title", "status", "detail"}
        assert problem["status"] == response.status
        assert problem["type"].startswith("urn:millrace:error:")
        assert problem["title"]
        assert problem["detail"]
        if response.status == 400:
            assert problem["errors"]
            assert all(fault.keys() == {"path", "message"} for fault in problem["errors"])
    elif response.text:
        assert response.headers["content-type"] in ("application/json", "text/html; charset=utf-8")
