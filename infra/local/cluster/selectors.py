"""Label and field selectors: ``app=web,tier in (a,b),!old`` and ``metadata.name=x,status.phase!=Running``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from infra.local.cluster.errors import Json, bad_request

Predicate = Callable[[Json], bool]

_SET = re.compile(r"\s*([^\s=!,()]+)\s+(in|notin)\s+\(([^()]*)\)\s*")
_EQUAL = re.compile(r"\s*([^\s=!,()]+)\s*(==|=|!=)\s*([^\s=!,()]*)\s*")
_EXISTS = re.compile(r"\s*(!?)\s*([^\s=!,()]+)\s*")
_COMMA = re.compile(r",(?![^()]*\))")

#: Fields that lists of a kind can be narrowed by, besides name and namespace.
_FIELDS = {
    "Pod": {"spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"},
    "Event": {
        *("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid"),
        *("involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "type"),
        *("source", "reportingComponent"),
    },
    "Namespace": {"status.phase"},
    "Secret": {"type"},
    "ReplicaSet": {"status.replicas"},
}


def labels(text: str) -> Predicate:
    """Raises ``ApiError`` 400 for what is no selector."""
    tests = [_label_test(part) for part in _COMMA.split(text) if part.strip()]
    return lambda thing: all(test(thing["metadata"].get("labels") or {}) for test in tests)


def _label_test(part: str) -> Callable[[Mapping[str, str]], bool]:
    if match := _SET.fullmatch(part):
        key, word, values = match[1], match[2], {value.strip() for value in match[3].split(",")}
        if word == "in":
            return lambda given: given.get(key) in values
        return lambda given: given.get(key) not in values
    if match := _EQUAL.fullmatch(part):
        key, sign, value = match.groups()
        if sign == "!=":
            return lambda given: given.get(key) != value
        return lambda given: given.get(key) == value
    if match := _EXISTS.fullmatch(part):
        absent, key = bool(match[1]), match[2]
        return lambda given: (key in given) is not absent
    raise bad_request(f"unable to parse requirement: {part!r}")


def fields(text: str, kind: str) -> Predicate:
    """Raises ``ApiError`` 400 for what is no selector, or names a field by which the kind cannot be selected."""
    tests: list[tuple[str, bool, str]] = []
    for part in filter(None, text.split(",")):
        match = _EQUAL.fullmatch(part)
        if not match:
            raise bad_request(f"invalid field selector: {part!r}")
        if match[1] not in {"metadata.name", "metadata.namespace"} | _FIELDS.get(kind, set()):
            raise bad_request(f"field label not supported: {match[1]}")
        tests.append((match[1], match[2] != "!=", match[3]))
    return lambda thing: all((_field(thing, path) == value) is wanted for path, wanted, value in tests)


def _field(thing: Any, path: str) -> str:
    for name in path.split("."):
        thing = thing.get(name) if isinstance(thing, dict) else None
    return "" if thing is None else str(thing)


def matches(selector: Mapping[str, Any] | None, given: Mapping[str, str]) -> bool:
    """Whether labels fulfil a ``LabelSelector``; an absent one matches nothing, an empty one everything."""
    if selector is None:
        return False
    if any(given.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(one, given) for one in selector.get("matchExpressions") or ())


def _expression(one: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    key, values = one["key"], one.get("values") or []
    match one["operator"]:
        case "In":
            return given.get(key) in values
        case "NotIn":
            return given.get(key) not in values
        case "Exists":
            return key in given
        case _:
            return key not in given


def to_text(selector: Mapping[str, Any]) -> str:
    """As ``status.selector`` of a scale has it."""
    return ",".join(f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items()))
