"""Server-side apply: who owns which field, and what becomes of an object when one of its owners speaks again.

The fields of an object are named by paths whose elements are those of ``FieldsV1``: ``f:spec`` is a field,
``k:{"name":"web"}`` an item of a list that is told apart by keys, ``v:"x"`` an item of a set. A list or map that is a
whole (``atomic`` in the schema) ends a path. ``metadata.managedFields`` holds one set of paths for each manager and
operation; what an applier does not name any more, and nobody else owns, is removed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from infra.local.cluster import schemas
from infra.local.cluster.errors import Cause, Json, apply_conflicts
from infra.local.cluster.schemas import Schema

Path = tuple[str, ...]

#: Belongs to the server, or names the object: nobody owns it.
_NOBODYS: frozenset[Path] = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        ("f:status",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                *("name", "namespace", "generateName", "uid", "resourceVersion", "generation", "creationTimestamp"),
                *("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"),
            )
        ),
    }
)


@dataclass(frozen=True)
class Owner:
    """One entry of ``managedFields``."""

    manager: str
    operation: str  #: ``Apply`` or ``Update``
    api_version: str
    time: str
    fields: frozenset[Path]
    subresource: str = ""

    @property
    def who(self) -> tuple[str, str, str]:
        return self.manager, self.operation, self.subresource

    def with_fields(self, fields: Iterable[Path], time: str) -> Self:
        return type(self)(self.manager, self.operation, self.api_version, time, frozenset(fields), self.subresource)

    def to_json(self) -> Json:
        tree: Json = {}
        for path in sorted(self.fields):
            node = tree
            for element in path:
                node = node.setdefault(element, {})
            if path[-1][:2] in ("k:", "v:") or any(
                other[: len(path)] == path and other != path for other in self.fields
            ):
                node.setdefault(".", {})
        told = {
            "manager": self.manager,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": tree,
        }
        return told | ({"subresource": self.subresource} if self.subresource else {})

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        found: set[Path] = set()

        def walk(node: Json, path: Path) -> None:
            inner = {key: value for key, value in node.items() if key != "."}
            if path and ("." in node or not inner):
                found.add(path)
            for key, value in inner.items():
                walk(value, (*path, key))

        walk(raw.get("fieldsV1") or {}, ())
        return cls(
            raw["manager"], raw["operation"], raw["apiVersion"], raw.get("time", ""), frozenset(found),
            raw.get("subresource", ""),
        )  # fmt: skip


def owners(thing: Json) -> list[Owner]:
    return [Owner.from_json(raw) for raw in thing["metadata"].get("managedFields") or ()]


def fields_of(definition: str, thing: Json) -> dict[Path, Any]:
    """Each path of an object that somebody can own, with what is there. Items of keyed lists are there themselves."""
    found: dict[Path, Any] = {}
    _collect({**schemas.schema(definition), "name": definition}, thing, (), found)
    return {
        path: value
        for path, value in found.items()
        if path not in _NOBODYS and path[:2] not in _NOBODYS - {("f:metadata",)}
    }


def _collect(part: Schema, value: Any, path: Path, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and value and not schemas.is_atomic(part):
        for name, inner in value.items():
            if inner is not None:
                _collect(schemas.child(part, name), inner, (*path, f"f:{name}"), found)
    elif isinstance(value, list) and schemas.list_keys(part) is not None:
        for item in value:
            at = (*path, _key(part, item))
            found[at] = _ITEM
            _collect(schemas.items(part), item, at, found)
    elif isinstance(value, list) and schemas.is_set(part):
        for item in value:
            found[(*path, f"v:{json.dumps(item)}")] = item
    else:
        found[path] = value


_ITEM = object()  # an item as such; its fields have paths of their own


def _key(part: Schema, item: Any) -> str:
    keys = schemas.list_keys(part) or ()
    inner = schemas.items(part)
    told = {key: item.get(key, _default(inner, key)) for key in keys}
    return "k:" + json.dumps({key: value for key, value in told.items() if value is not None}, separators=(",", ":"))


def _default(_part: Schema, key: str) -> Any:
    return "TCP" if key == "protocol" else None  # the only key with a default, in ports


def apply(definition: str, live: Json | None, config: Json, manager: str, force: bool, time: str) -> Json:
    """What the object becomes when ``manager`` applies ``config``; ``live`` is what there is, if anything.

    Raises ``ApiError`` 409 where another manager owns a field with another value, unless ``force``.
    """
    wanted = fields_of(definition, config)
    base: Json = copy.deepcopy(live) if live is not None else {"metadata": {}}
    known = owners(base)
    others = [owner for owner in known if owner.who != (manager, "Apply", "")]
    mine = next((owner for owner in known if owner.who == (manager, "Apply", "")), None)
    there = fields_of(definition, base) if live is not None else {}

    changed = {path for path, value in wanted.items() if value is not _ITEM and path in there and there[path] != value}
    disputed = [(path, owner) for owner in others for path in sorted(owner.fields & changed)]
    if disputed and not force:
        raise apply_conflicts(
            [Cause(_told(path), "FieldManagerConflict", _with(owner)) for path, owner in disputed],
            sorted({owner.manager for _, owner in disputed}),
        )
    root = {**schemas.schema(definition), "name": definition}
    result: Json = _merged(root, base, config)
    held: set[Path] = set().union(*(owner.fields for owner in others))
    given_up = (mine.fields if mine else frozenset()) - set(wanted)
    for path in sorted(given_up, key=len):  # an item before its fields: they go with it
        if not any(other[: len(path)] == path for other in held | set(wanted)):
            _drop(root, result, path)
    lost = {path for path, _ in disputed}
    rest = [owner.with_fields(owner.fields - lost, owner.time) for owner in others]
    entry = Owner(manager, "Apply", config["apiVersion"], time, frozenset(wanted))
    if mine is not None and mine.fields == entry.fields:
        entry = entry.with_fields(entry.fields, mine.time)
    result["metadata"]["managedFields"] = [
        owner.to_json() for owner in (entry, *rest) if owner.fields or owner is entry
    ]
    return result


def record_update(
    definition: str, before: Json | None, after: Json, manager: str, time: str, subresource: str = ""
) -> None:
    """Note in ``after`` that ``manager`` has made what differs from ``before``."""
    old = fields_of(definition, before) if before is not None else {}
    new = fields_of(definition, after)
    made = {path for path, value in new.items() if path not in old or (value is not _ITEM and old[path] != value)}
    known = owners(before) if before is not None else []
    who = (manager, "Update", subresource)
    mine = next((owner for owner in known if owner.who == who), None)
    kept = [owner.with_fields((owner.fields - made) & set(new), owner.time) for owner in known if owner.who != who]
    own = ((mine.fields if mine else frozenset()) | made) & set(new)
    entry = Owner(manager, "Update", after["apiVersion"], time, frozenset(own), subresource)
    if mine is not None and not made and own == mine.fields:
        entry = entry.with_fields(own, mine.time)
    after["metadata"]["managedFields"] = [owner.to_json() for owner in (*kept, entry) if owner.fields]


def _merged(part: Schema, current: Any, config: Any) -> Any:
    if isinstance(config, dict) and isinstance(current, dict) and config and not schemas.is_atomic(part):
        result = dict(current)
        for name, value in config.items():
            if value is not None:
                result[name] = _merged(schemas.child(part, name), current.get(name), value)
        return result
    if isinstance(config, list) and isinstance(current, list) and schemas.list_keys(part) is not None:
        return _merged_items(part, current, config)
    if isinstance(config, list) and isinstance(current, list) and schemas.is_set(part):
        return config + [item for item in current if item not in config]
    return copy.deepcopy(config)


def _merged_items(part: Schema, current: list[Any], config: list[Any]) -> list[Any]:
    """The items that are applied, in their order; then the others."""
    there = {_key(part, item): item for item in current}
    applied = [_merged(schemas.items(part), there.get(_key(part, item), {}), item) for item in config]
    named = {_key(part, item) for item in config}
    return applied + [item for item in current if _key(part, item) not in named]


def _drop(part: Schema, thing: Any, path: Path) -> None:
    """Remove what a path leads to, if it is there, and what that leaves empty on the way."""
    element, rest = path[0], path[1:]
    if element.startswith("f:"):
        name = element[2:]
        if not isinstance(thing, dict) or name not in thing:
            return
        if rest:
            _drop(schemas.child(part, name), thing[name], rest)
        if not rest or thing[name] in ([], {}):
            del thing[name]
    elif isinstance(thing, list):
        for index, item in enumerate(thing):
            told = f"v:{json.dumps(item)}" if element.startswith("v:") else _key(part, item)
            if told == element:
                if rest:
                    _drop(schemas.items(part), item, rest)
                else:
                    del thing[index]
                return


def _told(path: Path) -> str:
    """As messages write it: ``.spec.template.spec.containers[name="web"].image``."""
    text = ""
    for element in path:
        kind, _, name = element.partition(":")
        if kind == "f":
            text += f".{name}"
        elif kind == "k":
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(name).items()) + "]"
        else:
            text += f"[={name}]"
    return text


def _with(owner: Owner) -> str:
    how = f" with subresource {owner.subresource!r}" if owner.subresource else ""
    using = f" using {owner.api_version}" if owner.operation == "Update" else ""
    return f'conflict with "{owner.manager}"{how}{using}'
