"""The published schemas of Kubernetes: is an object of its kind, and how are its lists merged?

They come with the package ``kubernetes-validate``: one JSON schema for each kind, with the marks
(``x-kubernetes-list-map-keys``, ``x-kubernetes-patch-merge-key``) that a real API server merges by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

VERSION = "1.34"  # of Kubernetes: what the local cluster says that it is
_FILE = ("kubernetes-json-schema", f"v{VERSION}.0-local-strict", "_definitions.json")
_FREE = {"io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "io.k8s.apimachinery.pkg.runtime.RawExtension"}
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_QUANTITY_TEXT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}

Schema = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    what: Literal["unknown", "type", "required"]
    path: str  #: ``spec.template.spec.containers[0].name``
    message: str = ""


@cache
def _definitions() -> dict[str, Schema]:
    folder = files("kubernetes_validate")
    loaded: dict[str, Schema] = json.loads(folder.joinpath(*_FILE).read_text())["$defs"]
    return loaded


def schema(definition: str) -> Schema:
    return _definitions()[definition]


def follow(part: Schema) -> Schema:
    """The schema that a part refers to, with the marks of the reference itself."""
    reference = part.get("$ref")
    if reference is None:
        return part
    name = reference.rpartition("/")[2]
    marks = {key: value for key, value in part.items() if key.startswith("x-")}
    return {**_definitions()[name], **marks, "name": name}


def child(part: Schema, key: str) -> Schema:
    """The schema of a field of an object; an empty one where nothing is known of it."""
    found = part.get("properties", {}).get(key)
    if found is None:
        extra = part.get("additionalProperties")
        found = extra if isinstance(extra, dict) else {}
    return follow(found)


def items(part: Schema) -> Schema:
    return follow(part.get("items", {}))


def list_keys(part: Schema) -> tuple[str, ...] | None:
    """By which fields server-side apply tells the items of a list apart; ``None`` where the list is a whole."""
    if part.get("x-kubernetes-list-type") == "map":
        return tuple(part["x-kubernetes-list-map-keys"])
    return None


def is_set(part: Schema) -> bool:
    return part.get("x-kubernetes-list-type") == "set"


def is_atomic(part: Schema) -> bool:
    """Whether a map is owned and replaced as a whole."""
    return part.get("x-kubernetes-map-type") == "atomic" or part.get("name") in _FREE


def problems(definition: str, value: Any) -> list[Problem]:
    """What makes a value none of its kind. Nulls count as absent, as in Kubernetes."""
    return list(_problems({**schema(definition), "name": definition}, value, ""))


def _problems(part: Schema, value: Any, path: str) -> Iterator[Problem]:
    if value is None or part.get("name") in _FREE:
        return
    if part.get("name") == _QUANTITY:
        if isinstance(value, bool) or not _QUANTITY_TEXT.fullmatch(str(value)):
            yield Problem(
                "type", path, "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*)$'"
            )
        return
    if "oneOf" in part:  # an integer or a text
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            yield Problem("type", path, "must be a string or an integer")
        return
    kinds = part.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    if kinds and not _is(value, kinds):
        yield Problem("type", path, f"cannot unmarshal {_word(value)} into a field of type {kinds[0]}")
        return
    if isinstance(value, dict):
        yield from _object_problems(part, value, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _problems(items(part), item, f"{path}[{index}]")


def _object_problems(part: Schema, value: dict[str, Any], path: str) -> Iterator[Problem]:
    for name in part.get("required", ()):
        if value.get(name) is None:
            yield Problem("required", _join(path, name), "Required value")
    known, extra = part.get("properties", {}), part.get("additionalProperties")
    for name, inner in value.items():
        if name not in known and extra is False:
            yield Problem("unknown", _join(path, name))
        else:
            yield from _problems(child(part, name), inner, _join(path, name))


def _is(value: Any, kinds: list[str]) -> bool:
    if isinstance(value, bool):
        return "boolean" in kinds
    return any(isinstance(value, _TYPES[kind]) for kind in kinds)


def _word(value: Any) -> str:
    return next(
        word
        for word, kind in (("bool", bool), ("string", str), ("number", (int, float)), ("object", dict), ("array", list))
        if isinstance(value, kind)
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def prune(definition: str, value: Any) -> Any:
    """The value without nulls and without fields that its kind does not have."""
    return _prune({**schema(definition), "name": definition}, value)


def _prune(part: Schema, value: Any) -> Any:
    if part.get("name") in _FREE:
        return value
    if isinstance(value, dict):
        known, extra = part.get("properties", {}), part.get("additionalProperties")
        return {
            name: _prune(child(part, name), inner)
            for name, inner in value.items()
            if inner is not None and (name in known or extra is not False)
        }
    if isinstance(value, list):
        return [_prune(items(part), item) for item in value]
    return value
