"""Events: what controllers and the kubelet tell of an object, as ``kubectl describe`` shows it. Bounded."""

from __future__ import annotations

import hashlib
from typing import Any

from infra.local.cluster import clock
from infra.local.cluster.clock import Clock
from infra.local.cluster.errors import Json
from infra.local.cluster.resources import EVENTS
from infra.local.cluster.store import Store

_MOST = 200  # in a namespace; the oldest go first


class Recorder:
    def __init__(self, store: Store, now: Clock) -> None:
        self._store = store
        self._now = now

    def tell(self, about: Json, reason: str, message: str, *, component: str, warning: bool = False) -> None:
        """The same about the same object is one event that counts."""
        metadata = about["metadata"]
        namespace = metadata.get("namespace", "default")
        digest = hashlib.sha256(f"{metadata['uid']}\0{reason}\0{message}".encode()).hexdigest()[:16]
        name = f"{metadata['name'][:200]}.{digest}"
        moment = clock.text(self._now())
        before = self._store.get(EVENTS, namespace, name)
        if before is not None:
            self._store.put(EVENTS, {**before, "count": before["count"] + 1, "lastTimestamp": moment})
            return
        self._make_room(namespace)
        event: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace, "uid": digest, "creationTimestamp": moment},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": namespace,
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": "",
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        self._store.put(EVENTS, event)

    def _make_room(self, namespace: str) -> None:
        known = self._store.all_of(EVENTS, namespace)
        if len(known) >= _MOST:
            for old in sorted(known, key=lambda one: str(one["lastTimestamp"]))[: len(known) - _MOST + 1]:
                self._store.remove(EVENTS, namespace, old["metadata"]["name"])
