"""The loop that brings what is to what is wanted: after each change, and twice a second for what only time changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from infra.local.cluster import admission, clock, endpoints, garbage, selectors
from infra.local.cluster.deployments import Deployments
from infra.local.cluster.errors import ApiError, Json
from infra.local.cluster.events import Recorder
from infra.local.cluster.kubelet import is_ready
from infra.local.cluster.objects import Objects
from infra.local.cluster.quantities import share, to_text
from infra.local.cluster.replica_sets import ReplicaSets
from infra.local.cluster.resources import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    EVENTS,
    PODS,
    REPLICA_SETS,
    RESOURCE_QUOTAS,
    SERVICES,
    Resource,
)
from infra.local.cluster.store import Change

_TICK_S = 0.5  # seconds
_GATHER_S = 0.01  # seconds in which changes that come together are looked at together
_log = logging.getLogger(__name__)


class Controllers:
    def __init__(self, objects: Objects, recorder: Recorder, now: clock.Clock) -> None:
        self._objects = objects
        self._replica_sets = ReplicaSets(objects, recorder, now)
        self._deployments = Deployments(objects, self._replica_sets, recorder, now)
        self._changed = asyncio.Event()
        objects.store.listen(self._take)

    def _take(self, change: Change) -> None:
        if change.resource is not EVENTS:
            self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _TICK_S)
            await asyncio.sleep(_GATHER_S)
            self._changed.clear()
            self.sync()

    def sync(self) -> None:
        """Each controller takes one step for each of its objects. What fails for one does not stop the others."""
        store = self._objects.store
        garbage.sync(self._objects)
        for resource, step in (
            (DEPLOYMENTS, self._deployments.sync),
            (REPLICA_SETS, self._replica_sets.sync),
            (RESOURCE_QUOTAS, self._count),
            (DISRUPTION_BUDGETS, self._budget),
        ):
            for thing in store.all_of(resource):
                self._try(step, resource, thing)
        for service in endpoints.services_of(self._objects):
            self._try(self._lead, SERVICES, service)

    @staticmethod
    def _try(step: Callable[[Json], None], resource: Resource, thing: Json) -> None:
        try:
            step(thing)
        except ApiError as error:
            _log.warning("%s %s: %s", resource.kind, thing["metadata"]["name"], error.message)
        except Exception:
            _log.exception("%s %s", resource.kind, thing["metadata"]["name"])

    def _lead(self, service: Json) -> None:
        endpoints.sync(self._objects, service)

    def _count(self, quota: Json) -> None:
        hard = (quota.get("spec") or {}).get("hard") or {}
        used = admission.used_of(self._objects.store, quota["metadata"]["namespace"], list(hard))
        status = {"hard": hard, "used": {name: to_text(amount) for name, amount in used.items()}}
        self._objects.set_status(RESOURCE_QUOTAS, quota, status)

    def _budget(self, budget: Json) -> None:
        spec = budget.get("spec") or {}
        chosen = [
            pod
            for pod in self._objects.store.all_of(PODS, budget["metadata"]["namespace"])
            if selectors.matches(spec.get("selector"), pod["metadata"].get("labels") or {})
            and not pod["metadata"].get("deletionTimestamp")
        ]
        healthy = sum(is_ready(pod) for pod in chosen)
        if spec.get("minAvailable") is not None:
            wanted = share(spec["minAvailable"], len(chosen), up=True)
        else:
            wanted = max(0, len(chosen) - share(spec.get("maxUnavailable", 0), len(chosen), up=True))
        status = {
            "currentHealthy": healthy,
            "desiredHealthy": wanted,
            "expectedPods": len(chosen),
            "disruptionsAllowed": max(0, healthy - wanted),
            "observedGeneration": budget["metadata"]["generation"],
        }
        self._objects.set_status(DISRUPTION_BUDGETS, budget, status)
