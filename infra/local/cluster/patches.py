"""Three of the four ways to patch: JSON patch (RFC 6902), merge patch (RFC 7396) and Kubernetes' strategic merge.

The fourth, server-side apply, is in ``apply``. Each function takes an object and returns a new one.
"""

from __future__ import annotations

import copy
from typing import Any

from infra.local.cluster import schemas
from infra.local.cluster.errors import ApiError, Json, bad_request
from infra.local.cluster.schemas import Schema

_DELETE_PRIMITIVE, _ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"


def merge(current: Any, patch: Any) -> Any:
    """RFC 7396.

    >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"b": None}})
    {'a': {'c': 2}}
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def json_patch(current: Json, operations: Any) -> Json:
    """RFC 6902. Raises ``ApiError`` 400 for what is no patch, 422 where it does not fit the object."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    result = copy.deepcopy(current)
    for operation in operations:
        try:
            _operate(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            message = f"the server rejected our request due to an error in our request: {operation}: {error}"
            raise ApiError(422, "Invalid", message) from error
    return result


def _operate(result: Json, operation: Json) -> None:
    match operation["op"]:
        case "add":
            _add(result, operation["path"], copy.deepcopy(operation["value"]))
        case "remove":
            _remove(result, operation["path"])
        case "replace":
            _remove(result, operation["path"])
            _add(result, operation["path"], copy.deepcopy(operation["value"]))
        case "move":
            _add(result, operation["path"], _remove(result, operation["from"]))
        case "copy":
            _add(result, operation["path"], copy.deepcopy(_get(result, operation["from"])))
        case "test":
            if _get(result, operation["path"]) != operation["value"]:
                raise ValueError("the test failed")
        case other:
            raise ValueError(f"unknown operation {other!r}")


def _tokens(pointer: str) -> list[str]:
    if not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is no JSON pointer into an object")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]


def _get(thing: Any, pointer: str) -> Any:
    for token in _tokens(pointer):
        thing = thing[int(token)] if isinstance(thing, list) else thing[token]
    return thing


def _holder(thing: Any, pointer: str) -> tuple[Any, str]:
    *way, last = _tokens(pointer)
    for token in way:
        thing = thing[int(token)] if isinstance(thing, list) else thing[token]
    return thing, last


def _add(thing: Any, pointer: str, value: Any) -> None:
    holder, last = _holder(thing, pointer)
    if isinstance(holder, list):
        index = len(holder) if last == "-" else int(last)
        if not 0 <= index <= len(holder):
            raise IndexError(f"there is no place {last}")
        holder.insert(index, value)
    else:
        holder[last] = value


def _remove(thing: Any, pointer: str) -> Any:
    holder, last = _holder(thing, pointer)
    return holder.pop(int(last) if isinstance(holder, list) else last)


def strategic(definition: str, current: Json, patch: Json) -> Json:
    """Kubernetes' own: lists whose items have a merge key are merged item by item. Raises ``ApiError`` 400."""
    result = _strategic(schemas.schema(definition), current, patch)
    assert isinstance(result, dict)
    return result


def _strategic(part: Schema, current: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    told = patch.get("$patch")
    if told not in (None, "merge", "replace", "delete"):
        raise bad_request(f"unknown directive $patch: {told}")
    if told == "delete":
        return {}
    plain = {key: value for key, value in patch.items() if not key.startswith("$")}
    if told == "replace" or part.get("x-kubernetes-patch-strategy") == "replace":
        return copy.deepcopy(plain)
    result = dict(current) if isinstance(current, dict) else {}
    if "$retainKeys" in patch:
        result = {key: value for key, value in result.items() if key in patch["$retainKeys"]}
    for key, gone in patch.items():
        if key.startswith(_DELETE_PRIMITIVE):
            name = key.removeprefix(_DELETE_PRIMITIVE)
            result[name] = [item for item in result.get(name) or [] if item not in gone]
    for key, value in plain.items():
        inner = schemas.child(part, key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, list) and "merge" in inner.get("x-kubernetes-patch-strategy", ""):
            result[key] = _merged_list(inner, result.get(key) or [], value)
        else:
            result[key] = _strategic(inner, result.get(key), value)
    for key, order in patch.items():
        if key.startswith(_ORDER) and (name := key.removeprefix(_ORDER)) in result:
            result[name] = _ordered(schemas.child(part, name), result[name], order)
    return result


def _merged_list(part: Schema, current: list[Any], patch: list[Any]) -> list[Any]:
    key = part.get("x-kubernetes-patch-merge-key")
    if key is None:
        return current + [item for item in patch if item not in current]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if item.get("$patch") != "replace"]
    result = list(current)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        at = next((index for index, one in enumerate(result) if one.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            result = [one for one in result if one.get(key) != item[key]]
        elif at is None:
            result.append(_strategic(schemas.items(part), {}, item))
        else:
            result[at] = _strategic(schemas.items(part), result[at], item)
    return result


def _ordered(part: Schema, current: list[Any], order: list[Any]) -> list[Any]:
    key = part.get("x-kubernetes-patch-merge-key")
    places = {str(one.get(key) if isinstance(one, dict) else one): index for index, one in enumerate(order)}

    def place(item: Any) -> int:
        return places.get(str(item.get(key) if isinstance(item, dict) else item), len(places))

    return sorted(current, key=place)
