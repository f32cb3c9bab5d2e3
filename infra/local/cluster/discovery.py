"""What the server says of itself: version, groups, kinds, and as much OpenAPI as ``kubectl`` asks for."""

from __future__ import annotations

from typing import Any

from infra.local.cluster import schemas
from infra.local.cluster.errors import Json
from infra.local.cluster.resources import GROUPS, RESOURCES, Resource

_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


def version() -> Json:
    major, minor = schemas.VERSION.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{schemas.VERSION}.0+millrace",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "local",
    }


def core_versions(address: str) -> Json:
    served = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": served}


def group_list() -> Json:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in GROUPS]}


def group(name: str) -> Json | None:
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)} if name in GROUPS else None


def _group(name: str) -> Json:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def resource_list(group_name: str) -> Json | None:
    """The kinds of a group; ``None`` where there is no such group."""
    if group_name and group_name not in GROUPS:
        return None
    listed = [entry for resource in RESOURCES if resource.group == group_name for entry in _entries(resource)]
    told = f"{group_name}/v1" if group_name else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": told, "resources": listed}


def _entries(resource: Resource) -> list[Json]:
    plain: Json = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        plain["shortNames"] = list(resource.short_names)
    if resource.categories:
        plain["categories"] = list(resource.categories)
    return [plain, *(_subresource(resource, name) for name in resource.subresources)]


def _subresource(resource: Resource, name: str) -> Json:
    entry: Json = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
    match name:
        case "scale":
            return entry | {
                "group": "autoscaling",
                "version": "v1",
                "kind": "Scale",
                "verbs": ["get", "patch", "update"],
            }
        case "log":
            return entry | {"kind": resource.kind, "verbs": ["get"]}
        case "proxy":
            kind = f"{resource.kind}ProxyOptions"
            return entry | {"kind": kind, "verbs": ["create", "delete", "get", "patch", "update"]}
        case "finalize":
            return entry | {"kind": resource.kind, "verbs": ["update"]}
    return entry | {"kind": resource.kind, "verbs": ["get", "patch", "update"]}


def openapi_paths() -> Json:
    """``/openapi/v3``: where the documents of the groups are."""
    paths = {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1"}}
    paths |= {f"apis/{name}/v1": {"serverRelativeURL": f"/openapi/v3/apis/{name}/v1"} for name in GROUPS}
    return {"paths": paths}


def openapi(group_name: str) -> Json | None:
    """``/openapi/v3/...``: paths with what ``kubectl`` looks for in them, and the schemas that ``explain`` shows."""
    if group_name and group_name not in GROUPS:
        return None
    paths: Json = {}
    wanted: set[str] = set()
    for resource in RESOURCES:
        if resource.group == group_name:
            paths |= _paths(resource)
            _gather(resource.definition, wanted)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": f"v{schemas.VERSION}.0"},
        "paths": paths,
        "components": {"schemas": {name: _component(schemas.schema(name)) for name in sorted(wanted)}},
    }


def openapi_v2() -> Json:
    """``/openapi/v2``, for programs that know that one alone: no more than the kinds' names."""
    definitions = {
        resource.definition: {"type": "object", "x-kubernetes-group-version-kind": [_gvk(resource)]}
        for resource in RESOURCES
    }
    info = {"title": "Kubernetes", "version": f"v{schemas.VERSION}.0"}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": definitions}


def _paths(resource: Resource) -> Json:
    base = f"/apis/{resource.group}/v1" if resource.group else "/api/v1"
    base += "/namespaces/{namespace}" if resource.namespaced else ""
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]
    reference = {"$ref": f"#/components/schemas/{resource.definition}"}
    answers = {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}}
    content = {kind: {"schema": {"type": "object"}} for kind in _PATCHES}

    def operation(action: str, **extra: Any) -> Json:
        return {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(resource),
            "parameters": parameters,
            "responses": answers,
            **extra,
        }

    return {
        f"{base}/{resource.plural}": {"get": operation("list"), "post": operation("post")},
        f"{base}/{resource.plural}/{{name}}": {
            "get": operation("get"),
            "put": operation("put"),
            "patch": operation("patch", requestBody={"content": content}),
            "delete": operation("delete"),
        },
    }


def _gvk(resource: Resource) -> Json:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _gather(name: str, found: set[str]) -> None:
    if name not in found:
        found.add(name)
        for reference in _references(schemas.schema(name)):
            _gather(reference, found)


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"].rpartition("/")[2]] if isinstance(part.get("$ref"), str) else []
        return own + [name for inner in part.values() for name in _references(inner)]
    if isinstance(part, list):
        return [name for inner in part for name in _references(inner)]
    return []


def _component(part: Any) -> Any:
    """In the words of OpenAPI 3.0: one type, references under ``components``."""
    if isinstance(part, list):
        return [_component(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    told = {name: _component(inner) for name, inner in part.items() if name not in ("$ref", "additionalProperties")}
    if isinstance(part.get("type"), list):
        told["type"] = next(word for word in part["type"] if word != "null")
    if isinstance(part.get("additionalProperties"), dict):
        told["additionalProperties"] = _component(part["additionalProperties"])
    if "$ref" in part:
        reference = {"$ref": f"#/components/schemas/{part['$ref'].rpartition('/')[2]}"}
        return {**told, "allOf": [reference]} if told else reference
    return told
