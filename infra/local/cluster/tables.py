"""Lists as tables, for ``kubectl get``: the server says what the columns are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from infra.local.cluster import clock
from infra.local.cluster.errors import Json
from infra.local.cluster.resources import Resource
from infra.local.cluster.selectors import to_text

Column = tuple[str, str, Callable[[Json, datetime], Any]]


def table(resource: Resource, things: list[Json], version: str, now: datetime, with_object: str) -> Json:
    """``with_object`` is ``includeObject`` of the request: ``None``, ``Metadata`` (where it is empty) or ``Object``."""
    columns = _COLUMNS.get(resource.kind, (_NAME, _AGE))
    definitions = [
        {"name": name, "type": kind, "format": "name" if name == "Name" else "", "description": "", "priority": 0}
        for name, kind, _ in columns
    ]
    rows = [{"cells": [cell(thing, now) for _, _, cell in columns], **_object(thing, with_object)} for thing in things]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": definitions,
        "rows": rows,
    }


def _object(thing: Json, with_object: str) -> Json:
    if with_object == "None":
        return {}
    if with_object == "Object":
        return {"object": thing}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": thing["metadata"]}
    return {"object": partial}


def age(thing: Json, now: datetime) -> str:
    """As kubectl writes it: ``42s``, ``5m10s``, ``3h``, ``2d``."""
    seconds = max(0, int((now - clock.parse(thing["metadata"]["creationTimestamp"])).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    return f"{hours}h" if days < 2 else f"{days}d"


def _status(thing: Json, *names: str) -> Any:
    value: Any = thing.get("status") or {}
    for name in names:
        value = (value or {}).get(name)
    return value or 0


def _pod_ready(pod: Json, _now: datetime) -> str:
    told = (pod.get("status") or {}).get("containerStatuses") or ()
    return f"{sum(one['ready'] for one in told)}/{len(pod['spec']['containers'])}"


def _pod_status(pod: Json, _now: datetime) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    reason = str((pod.get("status") or {}).get("phase", "Unknown"))
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        for kind in ("waiting", "terminated"):
            if kind in one["state"]:
                reason = one["state"][kind]["reason"]
    return reason


def _restarts(pod: Json, _now: datetime) -> str:
    told = (pod.get("status") or {}).get("containerStatuses") or ()
    return str(sum(one["restartCount"] for one in told))


def _ports(service: Json, _now: datetime) -> str:
    return ",".join(f"{port['port']}/{port['protocol']}" for port in service["spec"].get("ports") or ()) or "<none>"


def _addresses(endpoints: Json, _now: datetime) -> str:
    return ",".join(
        f"{one['ip']}:{port['port']}"
        for subset in endpoints.get("subsets") or ()
        for one in subset.get("addresses") or ()
        for port in subset["ports"]
    ) or "<none>"  # fmt: skip


_NAME: Column = ("Name", "string", lambda thing, _: thing["metadata"]["name"])
_AGE: Column = ("Age", "string", age)
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "Namespace": (_NAME, ("Status", "string", lambda thing, _: thing["status"]["phase"]), _AGE),
    "Pod": (
        _NAME,
        ("Ready", "string", _pod_ready),
        ("Status", "string", _pod_status),
        ("Restarts", "string", _restarts),
        _AGE,
    ),
    "Deployment": (
        _NAME,
        ("Ready", "string", lambda thing, _: f"{_status(thing, 'readyReplicas')}/{thing['spec']['replicas']}"),
        ("Up-to-date", "integer", lambda thing, _: _status(thing, "updatedReplicas")),
        ("Available", "integer", lambda thing, _: _status(thing, "availableReplicas")),
        _AGE,
    ),
    "ReplicaSet": (
        _NAME,
        ("Desired", "integer", lambda thing, _: thing["spec"]["replicas"]),
        ("Current", "integer", lambda thing, _: _status(thing, "replicas")),
        ("Ready", "integer", lambda thing, _: _status(thing, "readyReplicas")),
        _AGE,
    ),
    "Service": (
        _NAME,
        ("Type", "string", lambda thing, _: thing["spec"]["type"]),
        ("Cluster-IP", "string", lambda thing, _: thing["spec"].get("clusterIP", "<none>")),
        ("External-IP", "string", lambda *_: "<none>"),
        ("Port(s)", "string", _ports),
        _AGE,
    ),
    "Endpoints": (_NAME, ("Endpoints", "string", _addresses), _AGE),
    "ConfigMap": (_NAME, ("Data", "integer", lambda thing, _: len(thing.get("data") or {})), _AGE),
    "Secret": (
        _NAME,
        ("Type", "string", lambda thing, _: thing["type"]),
        ("Data", "integer", lambda thing, _: len(thing.get("data") or {})),
        _AGE,
    ),
    "PodDisruptionBudget": (
        _NAME,
        ("Min available", "string", lambda thing, _: thing["spec"].get("minAvailable", "N/A")),
        ("Max unavailable", "string", lambda thing, _: thing["spec"].get("maxUnavailable", "N/A")),
        ("Allowed disruptions", "integer", lambda thing, _: _status(thing, "disruptionsAllowed")),
        _AGE,
    ),
    "NetworkPolicy": (
        _NAME,
        ("Pod-Selector", "string", lambda thing, _: to_text(thing["spec"]["podSelector"]) or "<none>"),
        _AGE,
    ),
    "Event": (
        ("Last Seen", "string", age),
        ("Type", "string", lambda thing, _: thing["type"]),
        ("Reason", "string", lambda thing, _: thing["reason"]),
        (
            "Object",
            "string",
            lambda thing, _: "/".join(thing["involvedObject"][key] for key in ("kind", "name")).lower(),
        ),
        ("Message", "string", lambda thing, _: thing["message"]),
    ),
}
