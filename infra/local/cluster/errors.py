"""What the API refuses, in the words and with the ``Status`` objects of Kubernetes.

ApiError
    unauthorized 401    no token, or a wrong one
    bad_request 400     no JSON, a field of a wrong type, an unknown field under strict validation
    not_found 404
    forbidden 403       admission refuses: quota, pod security, a namespace that ends
    already_exists 409
    conflict 409        changed since it was read, or owned by another field manager
    invalid 422         one cause for each field that is wrong
    expired 410         a watch from a version that is no longer known
    unavailable 503     no pod to send a request to
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.local.cluster.resources import Resource

Json = dict[str, Any]


@dataclass(frozen=True)
class Cause:
    """One field that is wrong. ``reason`` is a word of Kubernetes, ``FieldValueInvalid`` for instance."""

    field: str
    reason: str
    message: str

    def to_json(self) -> Json:
        return {"reason": self.reason, "message": self.message, "field": self.field}


class ApiError(Exception):
    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> Json:
        told = status("Failure", self.message, self.reason, self.code)
        return told | {"details": self.details} if self.details else told


def status(outcome: str, message: str = "", reason: str = "", code: int = 200) -> Json:
    told: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome}
    told |= {"message": message} if message else {}
    told |= {"reason": reason} if reason else {}
    return told | {"code": code}


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unknown_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name))


def forbidden(resource: Resource, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    details = _details(resource, name)
    if causes:
        details["causes"] = [cause.to_json() for cause in causes]
    return ApiError(403, "Forbidden", f'{resource.qualified} "{name}" is forbidden: {why}', details)


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    told = [f"{cause.field}: {cause.message}" for cause in causes]
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    details = _details(resource, name) | {"kind": resource.kind, "causes": [cause.to_json() for cause in causes]}
    return ApiError(422, "Invalid", f'{resource.qualified_kind} "{name}" is invalid: {text}', details)


def apply_conflicts(causes: Sequence[Cause], managers: Sequence[str]) -> ApiError:
    plural = "s" if len(causes) > 1 else ""
    with_whom = " and ".join(f'"{manager}"' for manager in managers)
    message = f"Apply failed with {len(causes)} conflict{plural}: conflict{plural} with {with_whom}: " + ", ".join(
        cause.field for cause in causes
    )
    return ApiError(409, "Conflict", message, {"causes": [cause.to_json() for cause in causes]})


def expired(version: int) -> ApiError:
    return ApiError(410, "Expired", f"too old resource version: {version}")


def unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def unsupported_media_type(given: str, allowed: Sequence[str]) -> ApiError:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(allowed)}"
    return ApiError(415, "UnsupportedMediaType", f"{message} (given: {given})")


def _details(resource: Resource, name: str) -> Json:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural}
