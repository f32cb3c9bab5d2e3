"""The environment and the command of a container, as Kubernetes would build them. Nothing of the caller's gets in."""

from __future__ import annotations

import base64
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local.cluster.errors import Json
from infra.local.cluster.quantities import quantity
from infra.local.cluster.resources import CONFIG_MAPS, SECRETS, Resource
from infra.local.cluster.store import Store

IMAGE = "millrace/pod:local"
ENTRYPOINT = (sys.executable, "-m", "chalicelib.pod")
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.\-][A-Za-z0-9_.\-]*)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigError(Exception):
    """A container cannot be made: what it refers to is not there. The message is what Kubernetes says."""


def image_environment(folder: Path) -> dict[str, str]:
    """What the image itself says: where programs are, and a home that can be written to."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONUNBUFFERED": "1",
    }


def environment(
    store: Store, pod: Json, container: Json, base: Mapping[str, str], ports: Mapping[str, int]
) -> dict[str, str]:
    """``ports`` leads from container ports to those of this machine. Raises ``ConfigError``."""
    found = {**base, "HOSTNAME": pod["metadata"]["name"][:63]}
    namespace = pod["metadata"]["namespace"]
    for source in container.get("envFrom") or ():
        found |= {f"{source.get('prefix', '')}{key}": value for key, value in _all_of(store, namespace, source).items()}
    given: dict[str, str] = {}
    for variable in container.get("env") or ():
        if "valueFrom" in variable:
            value = _value_from(store, pod, container, variable["valueFrom"])
            if value is None:
                continue
        else:
            value = expand(variable.get("value") or "", {**found, **given})
        given[variable["name"]] = value
    found |= given
    if own := local_port(container, ports):
        found |= {"MILLRACE_HOST": "127.0.0.1", "MILLRACE_PORT": str(own)}
    return found


def command(container: Json, environ: Mapping[str, str]) -> list[str]:
    entrypoint = [expand(word, environ) for word in container.get("command") or ENTRYPOINT]
    return entrypoint + [expand(word, environ) for word in container.get("args") or ()]


def local_port(container: Json, ports: Mapping[str, int]) -> int | None:
    """Of the port named ``http``, or else of the first."""
    listed = sorted(container.get("ports") or (), key=lambda port: port.get("name") != "http")
    return ports.get(str(listed[0]["containerPort"])) if listed else None


def expand(text: str, environ: Mapping[str, str]) -> str:
    """
    >>> expand("$(A) $$(A) $(B)", {"A": "1"})
    '1 $(A) $(B)'
    """

    def one(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environ.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def _all_of(store: Store, namespace: str, source: Json) -> dict[str, str]:
    for field, resource in (("configMapRef", CONFIG_MAPS), ("secretRef", SECRETS)):
        if reference := source.get(field):
            thing = _referred(store, resource, namespace, reference)
            return _plain(resource, thing) if thing else {}
    return {}


def _value_from(store: Store, pod: Json, container: Json, source: Json) -> str | None:
    if reference := source.get("fieldRef"):
        return field_of(pod, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        return _resource_of(container, reference)
    for field, resource in (("configMapKeyRef", CONFIG_MAPS), ("secretKeyRef", SECRETS)):
        if reference := source.get(field):
            thing = _referred(store, resource, pod["metadata"]["namespace"], reference)
            values = _plain(resource, thing) if thing else {}
            if reference["key"] not in values and not reference.get("optional"):
                where = f"{resource.kind} {pod['metadata']['namespace']}/{reference['name']}"
                raise ConfigError(f"couldn't find key {reference['key']} in {where}")
            return values.get(reference["key"])
    return None


def _referred(store: Store, resource: Resource, namespace: str, reference: Json) -> Json | None:
    thing = store.get(resource, namespace, reference["name"])
    if thing is None and not reference.get("optional"):
        raise ConfigError(f'{resource.plural[:-1]} "{reference["name"]}" not found')
    return thing


def _plain(resource: Resource, thing: Json) -> dict[str, str]:
    data: dict[str, str] = thing.get("data") or {}
    if resource is CONFIG_MAPS:
        return data
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}


def field_of(pod: Json, path: str) -> str:
    """Raises ``ConfigError``."""
    if match := _SUBSCRIPT.fullmatch(path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    value: Any = pod
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None or isinstance(value, (dict, list)):
        raise ConfigError(f"field label not supported: {path}")
    return str(value)


def _resource_of(container: Json, reference: Json) -> str:
    kind, _, name = reference["resource"].partition(".")
    amount = ((container.get("resources") or {}).get(kind) or {}).get(name, "0")
    divisor = quantity(reference.get("divisor") or "1") or quantity("1")
    return str(math.ceil(quantity(amount) / divisor))
