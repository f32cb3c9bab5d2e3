"""The API against its own OpenAPI document: asked whatever that allows, it answers as that says.

schemathesis makes the requests out of the document; they go the way of every other test here, as proxy events. Each is
made twice, the second time of a workflow, a node, a connection and a run that exist, so that more than 404 is met.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response as Answer
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import app as _app  # registers the routes that the document tells of
from chalicelib.api.endpoint import ROUTES
from chalicelib.api.openapi import document
from tests.api.client import Api
from tests.api.conftest import MakeKey
from tests.fakes import graph, node

assert _app.app.routes

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
schema = schemathesis.openapi.from_dict(document())


@pytest.fixture
def everyone(api: Api, make_key: MakeKey) -> Api:
    """Somebody who may do everything."""
    return api.with_key(make_key("ann", "*"))


@pytest.fixture
def there(everyone: Api) -> dict[str, str]:
    """What a path may name, by the name of its parameter."""
    made = everyone.post("/api/v1/workflows", {"name": "w", **graph([node("a"), node("b")], "a -> b")}).json[
        "workflowId"
    ]
    of = f"/api/v1/workflows/{made}"
    return {
        "workflow_id": made,
        "node_id": "a",
        "connection_id": everyone.get(of).json["connections"][0]["id"],
        "execution_id": everyone.post(f"{of}/execute").json["executionId"],
    }


@schema.parametrize()
@hypothesis.settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(case: Case[Any], everyone: Api, there: dict[str, str]) -> None:
    """No 500, and status, content type, headers and body are among those that the document tells of."""
    case.validate_response(_answer(everyone, case, case.path_parameters or {}), checks=CHECKS)
    if set(case.path_parameters or {}) & set(there):
        case.validate_response(_answer(everyone, case, {**(case.path_parameters or {}), **there}), checks=CHECKS)


def test_the_document_tells_of_every_route() -> None:
    """Each with its method, and nothing else."""
    told = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    assert told == {(route.method, route.path) for route in ROUTES}


def _answer(api: Api, case: Case[Any], names: Any) -> Answer:
    path = case.path
    for name, value in names.items():
        path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
    query = urlencode({name: value for name, value in (case.query or {}).items() if value is not None}, doseq=True)
    given = {name: str(value) for name, value in (case.headers or {}).items()}
    headers = {name: value for name, value in given.items() if value.isprintable() and name.lower() != "x-api-key"}
    found = api.call(case.method, f"{path}?{query}" if query else path, _body(case.body), headers)
    request = requests.Request(case.method, f"http://api.test{path}").prepare()
    answer_headers = {name: [value] for name, value in found.headers.items()}
    return Answer(found.status, answer_headers, found.text.encode(), request, elapsed=0.0, verify=False)


def _body(given: Any) -> bytes | None:
    """A body is left out, made to be no JSON, or JSON."""
    if "NotSet" in type(given).__name__:
        return None
    return given if isinstance(given, bytes) else json.dumps(given).encode()


def test_the_page_tells_of_every_route(api: Api) -> None:
    """It needs no key, runs no script, fetches nothing, and names each method and path."""
    answer = api.with_key(None).get("/api/v1/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in answer.text
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    for route in ROUTES:
        assert f'class="method {route.method.lower()}">{route.method}</span> <code>{route.path}</code>' in answer.text
