"""The way of every request: credential -> principal -> parse -> one service call -> render.

A route is a function of a ``Call`` and its path parameters that returns an ``Answer`` or raises. It asks
``call.body(...)`` for its body when it has found what the path names: so an unknown key is told before a missing scope,
that before an absent resource, and that before a bad body.

Errors become answers here and not in middleware, because Chalice makes a 500 of an exception before any middleware sees
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, Literal, TypeVar

from chalice import Blueprint, Response
from pydantic import BaseModel, ValidationError

from chalicelib.bootstrap import Services, lambda_services
from chalicelib.foundation.errors import Fault, InvalidInput, MillraceError, TooLarge
from chalicelib.foundation.json_types import dumps, loads
from chalicelib.foundation.logs import logger
from chalicelib.foundation.problems import problem
from chalicelib.services.access import Principal

MAX_BODY_BYTES = 5 * 1024 * 1024

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Answer:
    body: Any = None  # JSON, or text of another content type; None is an empty body
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None  # where it is not that of the route


class Call:
    """One request, as its route sees it."""

    def __init__(self, request: Any, services: Services, principal: Principal | None) -> None:
        self._request = request
        self._principal = principal
        self.services = services

    @property
    def principal(self) -> Principal:
        assert self._principal is not None, "a route without a scope knows no principal"
        return self._principal

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(self._request.query_params or {})

    @property
    def method(self) -> str:
        return str(self._request.method)

    @property
    def request_id(self) -> str:
        return str(self._request.context.get("requestId", ""))

    @property
    def raw_body(self) -> bytes:
        return bytes(self._request.raw_body)

    @cached_property
    def headers(self) -> dict[str, str]:
        """All of them, by their names in lower case."""
        return {name.lower(): str(value) for name, value in self._request.headers.items()}

    @cached_property
    def query_values(self) -> dict[str, list[str]]:
        """Each parameter of the query, as often as it stands there."""
        found = self._request.query_params
        return {name: found.getlist(name) for name in found} if found else {}

    def header(self, name: str) -> str | None:
        value = self._request.headers.get(name)
        return None if value is None else str(value)

    def body(self, model: type[M]) -> M:
        """The body as ``model``; an absent one counts as an empty object.

        Raises ``InvalidInput`` that lists every fault.
        """
        raw = self._request.raw_body
        try:
            value = loads(raw) if raw.strip() else {}
        except ValueError as error:
            raise InvalidInput.at("", f"The body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise InvalidInput.at("", "The body has to be a JSON object.")
        try:
            return model.model_validate(value)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise InvalidInput(Fault(_path(item["loc"]), _message(item)) for item in found) from None

    def check_size(self) -> None:
        """Raises ``TooLarge``."""
        if len(self._request.raw_body) > MAX_BODY_BYTES:
            raise TooLarge


View = Callable[..., Answer]
JSON = "application/json"


@dataclass(frozen=True)
class Parameter:
    """A parameter of a query, or a header."""

    name: str
    description: str
    schema: Mapping[str, Any]
    place: Literal["query", "header"] = "query"
    required: bool = False


@dataclass(frozen=True)
class Route:
    """What there is to know of one route: what registers it, checks it and describes it."""

    method: str
    path: str
    scope: str | None  # None: no key is needed
    summary: str
    name: str
    tag: str
    status: int  # of an answer without error
    answer: type[BaseModel] | None  # None: an empty body, or one that is no JSON
    body: type[BaseModel] | None = None
    parameters: tuple[Parameter, ...] = ()
    statuses: tuple[int, ...] = ()  # of errors, those aside that every route has
    content_type: str = JSON
    or_status: int | None = None  # of another answer without error


#: Every route of every API, as it was registered: what the OpenAPI document tells of.
ROUTES: list[Route] = []


class Router:
    """Registers the routes of a blueprint:

    ``@router.get("/api/v1/things/{thing_id}", "Get a thing", scope=READ, ...)``.
    """

    def __init__(self, blueprint: Blueprint, tag: str) -> None:
        self._blueprint = blueprint
        self._tag = tag

    def route(
        self,
        method: str,
        path: str,
        summary: str,
        *,
        scope: str | None,
        answer: type[BaseModel] | None,
        status: int = 200,
        body: type[BaseModel] | None = None,
        parameters: tuple[Parameter, ...] = (),
        statuses: tuple[int, ...] = (),
        content_type: str = JSON,
        or_status: int | None = None,
        name: str | None = None,
    ) -> Callable[[View], View]:
        def register(view: View) -> View:
            known = Route(
                method=method,
                path=path,
                scope=scope,
                summary=summary,
                name=name or view.__name__,
                tag=self._tag,
                status=status,
                answer=answer,
                body=body,
                parameters=parameters,
                statuses=statuses,
                content_type=content_type,
                or_status=or_status,
            )

            @wraps(view)
            def handle(**path_parameters: str) -> Response:
                return _handle(self._blueprint.current_request, view, known, path_parameters)

            ROUTES.append(known)
            self._blueprint.route(path, methods=[method], content_types=["*/*"], name=known.name)(handle)
            return view

        return register


def _handle(request: Any, view: View, route: Route, path_parameters: Mapping[str, str]) -> Response:
    request_id = str(request.context.get("requestId", ""))
    log = logger()
    log.set_correlation_id(request_id)
    try:
        services = lambda_services()
        principal = None
        if route.scope is not None:
            principal = services.keys.authenticate(request.headers.get("x-api-key"))
            principal.require(route.scope)
        call = Call(request, services, principal)
        call.check_size()
        answer = view(call, **path_parameters)
    except Exception as error:
        status, body, headers = problem(error)
        if status >= 500:
            log.exception("request failed", extra={"route": request.context.get("resourcePath")})
        elif isinstance(error, MillraceError):
            log.info("request refused", extra={"status": status, "code": error.code})
        return _response(status, body, headers, request_id, "application/problem+json")
    return _response(answer.status or route.status, answer.body, answer.headers, request_id, route.content_type)


def _response(status: int, body: Any, headers: Mapping[str, str], request_id: str, kind: str) -> Response:
    shown: dict[str, str | list[str]] = {"X-Request-Id": request_id, **headers}
    if body is None:
        return Response("", headers=shown, status_code=status)
    text = dumps(body) if kind.endswith("json") else body
    return Response(text, headers={"Content-Type": kind, **shown}, status_code=status)


def _path(location: tuple[str | int, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _message(item: Any) -> str:
    return str(item["msg"]).removeprefix("Value error, ")
