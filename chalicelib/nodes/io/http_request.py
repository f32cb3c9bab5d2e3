"""``http-request``: a call to an HTTP server.

A node that is cut off runs again, and so does its request. A server that takes an idempotency key, as many that move
money do, then does nothing a second time: ``idempotencyKey`` sends one that is the same for all attempts at the step.
What is sent is a UUID made of the runner's key, because that has names of nodes in it, which no header can carry.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit, urlunsplit
from uuid import NAMESPACE_OID, uuid5

from pydantic import BeforeValidator, Field

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.foundation.expressions import to_text
from chalicelib.foundation.json_types import Json, dumps, loads
from chalicelib.nodes.capabilities import HttpRequest, HttpResponse
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome

#: Answers after which the same request may succeed: time-outs, too many, and every fault of the server itself.
WORTH_ANOTHER_TRY = frozenset({408, 425, 429, *range(500, 600)})

IDEMPOTENCY_HEADER = "Idempotency-Key"  # of an IETF draft, Stripe and most others


def _texts(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _text(item) for key, item in value.items() if item is not None}
    return value


def _text(value: Any) -> str | list[str]:
    return [to_text(item) for item in value if item is not None] if isinstance(value, list) else to_text(value)


class Config(NodeConfig):
    method: Annotated[str, Field(pattern=r"^[A-Za-z]{1,20}$")]
    url: Annotated[str, Field(min_length=1, max_length=8192)]
    headers: Annotated[dict[str, str], BeforeValidator(_texts)] = Field(default_factory=dict)
    query: Annotated[dict[str, Any], BeforeValidator(_texts)] = Field(default_factory=dict)
    body: Any = None
    idempotency_key: bool | str = False  # a text is the header's name
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30
    fail_on_status: tuple[int, int] | None = (400, 599)


def run(context: NodeContext[Config]) -> Outcome:
    config = context.config
    response = context.capabilities.http.send(_request(config, context.idempotency_key))
    if config.fail_on_status and config.fail_on_status[0] <= response.status <= config.fail_on_status[1]:
        kind = Retryable if response.status in WORTH_ANOTHER_TRY else Permanent
        raise kind("HttpStatus", f"{config.method.upper()} {_shown(config.url)} answered {response.status}")
    return Outcome({"status": response.status, "headers": dict(response.headers), "body": _body(response)})


def _request(config: Config, key: str) -> HttpRequest:
    headers = dict(config.headers)
    if config.idempotency_key:
        name = IDEMPOTENCY_HEADER if config.idempotency_key is True else config.idempotency_key
        if not _has(headers, name):
            headers[name] = str(uuid5(NAMESPACE_OID, key))
    body = None
    if config.body is not None:
        is_text = isinstance(config.body, str)
        body = (config.body if is_text else dumps(config.body)).encode()
        if not is_text and not _has(headers, "Content-Type"):
            headers["Content-Type"] = "application/json"
    url = _with_query(config.url, config.query)
    return HttpRequest(config.method.upper(), url, headers, body, config.timeout_seconds)


def _has(headers: Mapping[str, str], name: str) -> bool:
    return any(each.lower() == name.lower() for each in headers)


def _with_query(url: str, query: Mapping[str, Any]) -> str:
    if not query:
        return url
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Permanent("InvalidUrl", str(error)) from None
    joined = "&".join(filter(None, [parts.query, urlencode(query, doseq=True)]))
    return urlunsplit(parts._replace(query=joined))


def _body(response: HttpResponse) -> Json:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.endswith(("/json", "+json")) and response.body.strip():
        try:
            return loads(response.body)
        except ValueError:
            pass  # what calls itself JSON and is none is handed on as the text that it is
    try:
        return response.body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(response.body).decode()


def _shown(url: str) -> str:
    """The URL without what may be secret in it: user, password and query."""
    return url.partition("?")[0].rpartition("@")[2]


TYPE = NodeType(
    name="http-request",
    title="HTTP request",
    category="io",
    description="Calls a URL; puts out status, headers and body: JSON parsed, binary as base64 text.",
    handler=run,
    duration=5,
    config_model=Config,
    scopes=("http:request",),
)
