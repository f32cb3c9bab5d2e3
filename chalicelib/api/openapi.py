"""The OpenAPI 3.1 document:

made from the routes as they are registered and the models that check bodies, never by hand.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from chalice import Blueprint
from pydantic import BaseModel, ConfigDict

from chalicelib.api.endpoint import JSON, ROUTES, Answer, Call, Route, Router
from chalicelib.foundation.problems import INTERNAL, STATUSES

VERSION = "1.0.0"

blueprint = Blueprint(__name__)
route = Router(blueprint, "Description").route

_TITLES = dict((*STATUSES.values(), INTERNAL))
_REFERENCE = "#/components/schemas/{model}"


class AnyDocument(BaseModel):
    model_config = ConfigDict(extra="allow", defer_build=True)


class FaultShape(AnyDocument):
    message: str
    path: str | None = None


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(defer_build=True)

    type: str
    title: str
    status: int
    detail: str
    errors: list[FaultShape] | None = None


@route("GET", "/api/v1/openapi.json", "The description of this API", scope=None, answer=AnyDocument)
def get_openapi(_: Call) -> Answer:
    return Answer(document())


@cache
def document() -> dict[str, Any]:
    """The description of every route of every API."""
    from pydantic.json_schema import models_json_schema  # what describes models is heavy, and seldom asked for

    bodies = {known.body for known in ROUTES if known.body}
    answers = {known.answer for known in ROUTES if known.answer} | {ProblemDocument}
    wanted = [(model, "validation") for model in bodies] + [(model, "serialization") for model in answers]
    wanted.sort(key=lambda item: item[0].__name__)
    schemas, definitions = models_json_schema(wanted, ref_template=_REFERENCE)  # type: ignore[arg-type]
    paths: dict[str, dict[str, Any]] = {}
    for known in ROUTES:
        paths.setdefault(known.path, {})[known.method.lower()] = _operation(known, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Millrace",
            "version": VERSION,
            "description": "Workflow automation that a company runs in its own AWS account.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(known.tag for known in ROUTES)],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
    }


def _operation(known: Route, schemas: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": known.name,
        "summary": known.summary,
        "tags": [known.tag],
        "security": [{"ApiKey": []}] if known.scope else [],
        "parameters": [*_path_parameters(known.path), *_parameters(known)],
        "responses": {
            **{str(status): _success(known, schemas) for status in (known.status, known.or_status) if status},
            **_errors(known, schemas),
        },
    }
    if known.scope:
        operation["description"] = f"Scope: `{known.scope}`"
    if known.body:
        content = {"application/json": {"schema": schemas[known.body, "validation"]}}
        needed = any(field.is_required() for field in known.body.model_fields.values())
        operation["requestBody"] = {"required": needed, "content": content}
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _parameters(known: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": item.name,
            "in": item.place,
            "required": item.required,
            "description": item.description,
            "schema": dict(item.schema),
        }
        for item in known.parameters
    ]


_HEADERS = {"X-Request-Id": {"description": "By which the request is found in the logs.", "schema": {"type": "string"}}}


def _success(known: Route, schemas: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": known.summary, "headers": _HEADERS}
    if known.answer:
        answer["content"] = {known.content_type: {"schema": schemas[known.answer, "serialization"]}}
    elif known.content_type != JSON:
        answer["content"] = {known.content_type: {"schema": {"type": "string"}}}
    return answer


def _errors(known: Route, schemas: Any) -> dict[str, Any]:
    """What may go wrong: what the route says, and what every route has in common."""
    statuses = {*known.statuses, 413, 500, 502, 504} | ({401, 403} if known.scope else set())
    content = {"application/problem+json": {"schema": schemas[ProblemDocument, "serialization"]}}
    return {
        str(status): {"description": _TITLES[status], "headers": _HEADERS, "content": content}
        for status in sorted(statuses)
    }
