"""Deployments: one ReplicaSet for each template, and the way from the old ones to the new.

A rolling update never has more pods than ``replicas`` and ``maxSurge``, and never fewer that are available than
``replicas`` without ``maxUnavailable``. What the status says is what ``kubectl rollout status`` and ``describe`` read.
"""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import timedelta

from infra.local.cluster import clock
from infra.local.cluster.errors import ApiError, Json
from infra.local.cluster.events import Recorder
from infra.local.cluster.objects import Objects
from infra.local.cluster.quantities import share
from infra.local.cluster.replica_sets import MANAGER, ReplicaSets, owner_of, reference
from infra.local.cluster.resources import DEPLOYMENTS, REPLICA_SETS

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_DESIRED, _MOST = "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Deployments:
    def __init__(self, objects: Objects, replica_sets: ReplicaSets, recorder: Recorder, now: clock.Clock) -> None:
        self._objects = objects
        self._replica_sets = replica_sets
        self._recorder = recorder
        self._now = now

    def sync(self, deployment: Json) -> None:
        """One step of its rollout."""
        if deployment["metadata"].get("deletionTimestamp"):
            return
        owned = self._owned(deployment)
        new = next((one for one in owned if _template(one) == deployment["spec"]["template"]), None)
        old = [one for one in owned if one is not new]
        made = None
        if not deployment["spec"].get("paused"):
            if new is None:
                new = made = self._make(deployment, owned)
            if new is not None:
                self._note_revision(deployment, new, old)
        if new is not None or deployment["spec"].get("paused"):
            self._roll(deployment, new, old)
        self._tell(deployment, made)
        self._tidy(deployment)

    def _owned(self, deployment: Json) -> list[Json]:
        """Its ReplicaSets, oldest first."""
        namespace, uid = deployment["metadata"]["namespace"], deployment["metadata"]["uid"]
        owned = [one for one in self._objects.store.all_of(REPLICA_SETS, namespace) if owner_of(one) == uid]
        return sorted(owned, key=_revision)

    def _make(self, deployment: Json, owned: list[Json]) -> Json | None:
        template = copy.deepcopy(deployment["spec"]["template"])
        taken = {one["metadata"]["name"] for one in owned}
        digest = next(
            text
            for count in range(len(taken) + 1)
            if f"{deployment['metadata']['name']}-{(text := _digest(template, count))}" not in taken
        )
        labels = {**(template["metadata"].get("labels") or {}), HASH: digest}
        template["metadata"]["labels"] = labels
        selector = copy.deepcopy(deployment["spec"]["selector"])
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: digest}
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{deployment['metadata']['name']}-{digest}",
                "labels": labels,
                "annotations": {REVISION: str(max((_revision(one) for one in owned), default=0) + 1)},
                "ownerReferences": [reference(deployment)],
            },
            "spec": {
                "replicas": 0,
                "selector": selector,
                "template": template,
                **{name: deployment["spec"][name] for name in ("minReadySeconds",) if name in deployment["spec"]},
            },
        }
        try:
            return self._objects.create(REPLICA_SETS, deployment["metadata"]["namespace"], body, MANAGER).object
        except ApiError as error:
            self._recorder.tell(
                deployment, "ReplicaSetCreateError", f"Failed to create new replica set: {error.message}",
                component="deployment-controller", warning=True,
            )  # fmt: skip
            return None

    def _note_revision(self, deployment: Json, new: Json, old: list[Json]) -> None:
        """A template that comes back gets a new revision; the deployment shows the newest."""
        newest = max((_revision(one) for one in old), default=0)
        number = _revision(new) if _revision(new) > newest else newest + 1

        def note(thing: Json) -> None:
            thing["metadata"].setdefault("annotations", {})[REVISION] = str(number)

        self._objects.amend(REPLICA_SETS, new, note)
        self._objects.amend(DEPLOYMENTS, deployment, note)

    # --- The way from old to new -------------------------------------------------------------------------------------

    def _roll(self, deployment: Json, new: Json | None, old: list[Json]) -> None:
        spec = deployment["spec"]
        old = [self._fresh(one) for one in old]
        new = self._fresh(new) if new else None
        if spec.get("paused"):
            if new is not None and not any(_wanted(one) for one in old):
                self._scale(deployment, new, spec["replicas"])
        elif new is not None and spec["strategy"]["type"] == "Recreate":
            for one in old:
                self._scale(deployment, one, 0)
            if not any(self._replica_sets.pods_of(one) for one in old):
                self._scale(deployment, new, spec["replicas"])
        elif new is not None:
            self._roll_on(deployment, new, old)

    def _roll_on(self, deployment: Json, new: Json, old: list[Json]) -> None:
        replicas = deployment["spec"]["replicas"]
        surge, unavailable = bounds(deployment)
        total = sum(_wanted(one) for one in (*old, new))
        if _wanted(new) > replicas:
            self._scale(deployment, new, replicas)
        elif _wanted(new) < replicas:
            self._scale(deployment, new, _wanted(new) + max(0, min(replicas + surge - total, replicas - _wanted(new))))
        new = self._fresh(new)
        if not any(_wanted(one) for one in old):
            return
        least = replicas - unavailable
        total = sum(_wanted(one) for one in (*old, new))
        spare = total - least - max(0, _wanted(new) - _available(new))
        for one in old:  # what does not work goes first: nobody misses it
            gone = min(spare, _wanted(one) - _available(one))
            if gone > 0:
                self._scale(deployment, one, _wanted(one) - gone)
                spare -= gone
        old = [self._fresh(one) for one in old]
        spare = sum(_available(one) for one in (*old, new)) - least
        for one in old:
            gone = min(spare, _wanted(one))
            if gone > 0:
                self._scale(deployment, one, _wanted(one) - gone)
                spare -= gone

    def _scale(self, deployment: Json, replica_set: Json, replicas: int) -> None:
        before = _wanted(self._fresh(replica_set))
        surge, _ = bounds(deployment)
        most = str(deployment["spec"]["replicas"] + surge)

        def change(thing: Json) -> None:
            thing["spec"]["replicas"] = replicas
            thing["metadata"].setdefault("annotations", {}).update(
                {_DESIRED: str(deployment["spec"]["replicas"]), _MOST: most}
            )

        self._objects.amend(REPLICA_SETS, replica_set, change)
        if replicas != before:
            way = "up" if replicas > before else "down"
            name = replica_set["metadata"]["name"]
            self._recorder.tell(
                deployment, "ScalingReplicaSet", f"Scaled {way} replica set {name} from {before} to {replicas}",
                component="deployment-controller",
            )  # fmt: skip

    def _fresh(self, replica_set: Json) -> Json:
        metadata = replica_set["metadata"]
        return self._objects.store.get(REPLICA_SETS, metadata["namespace"], metadata["name"]) or replica_set

    def _tidy(self, deployment: Json) -> None:
        """Old ReplicaSets without pods are kept for a rollback, but no more than asked for."""
        owned = self._owned(deployment)
        idle = [
            one for one in owned
            if _template(one) != deployment["spec"]["template"] and not _wanted(one)
            and not (one.get("status") or {}).get("replicas") and not one["metadata"].get("deletionTimestamp")
        ]  # fmt: skip
        for one in idle[: max(0, len(idle) - deployment["spec"]["revisionHistoryLimit"])]:
            self._objects.delete(REPLICA_SETS, one["metadata"]["namespace"], one["metadata"]["name"], {})

    # --- Status ------------------------------------------------------------------------------------------------------

    def _tell(self, deployment: Json, made: Json | None) -> None:
        deployment = self._objects.store.get(
            DEPLOYMENTS, deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        ) or deployment  # fmt: skip
        owned = self._owned(deployment)
        new = next((one for one in owned if _template(one) == deployment["spec"]["template"]), None)
        before = deployment.get("status") or {}
        counts = {
            "replicas": sum(_count(one, "replicas") for one in owned),
            "updatedReplicas": _count(new, "replicas"),
            "readyReplicas": sum(_count(one, "readyReplicas") for one in owned),
            "availableReplicas": sum(_available(one) for one in owned),
        }
        counts["unavailableReplicas"] = max(0, sum(_wanted(one) for one in owned) - counts["availableReplicas"])
        status: Json = {"observedGeneration": deployment["metadata"]["generation"]}
        status |= {name: count for name, count in counts.items() if count}
        conditions = [self._availability(deployment, counts), self._progress(deployment, new, made, before, counts)]
        failure = next((one for rs in owned for one in (rs.get("status") or {}).get("conditions") or ()), None)
        if failure is not None:
            conditions.append({name: failure[name] for name in ("type", "status", "reason", "message")})
        status["conditions"] = self._dated(conditions, before.get("conditions") or [], before, counts)
        self._objects.set_status(DEPLOYMENTS, deployment, status)

    def _availability(self, deployment: Json, counts: dict[str, int]) -> Json:
        _, unavailable = bounds(deployment)
        if counts["availableReplicas"] >= deployment["spec"]["replicas"] - unavailable:
            reason, message, word = "MinimumReplicasAvailable", "Deployment has minimum availability.", "True"
        else:
            reason, message, word = (
                "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", "False",
            )  # fmt: skip
        return {"type": "Available", "status": word, "reason": reason, "message": message}

    def _progress(
        self, deployment: Json, new: Json | None, made: Json | None, before: Json, counts: dict[str, int]
    ) -> Json:
        known = next((one for one in before.get("conditions") or () if one["type"] == "Progressing"), None)
        told: Json = {"type": "Progressing", "status": "True"}
        if new is None:
            waiting = {**told, "reason": "NewReplicaSetWaiting", "message": "No ReplicaSet yet."}
            return dict(known) if known is not None else waiting
        name, replicas = new["metadata"]["name"], deployment["spec"]["replicas"]
        if made is not None:
            return {**told, "reason": "NewReplicaSetCreated", "message": f'Created new replica set "{name}"'}
        complete = counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == replicas
        if complete:
            return {
                **told,
                "reason": "NewReplicaSetAvailable",
                "message": f'ReplicaSet "{name}" has successfully progressed.',
            }
        if known is not None and known["reason"] == "NewReplicaSetAvailable" and name in known["message"]:
            return dict(known)  # it was rolled out; what changes now is no rollout
        moved = any(
            counts[count] > before.get(count, 0) for count in ("updatedReplicas", "readyReplicas", "availableReplicas")
        ) or counts["replicas"] - counts["updatedReplicas"] < before.get("replicas", 0) - before.get(
            "updatedReplicas", 0
        )
        if not moved and known is not None and self._is_late(deployment, known):
            return {
                "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                "message": f'ReplicaSet "{name}" has timed out progressing.',
            }  # fmt: skip
        progressing = {**told, "reason": "ReplicaSetUpdated", "message": f'ReplicaSet "{name}" is progressing.'}
        return progressing if moved or known is None else dict(known)

    def _is_late(self, deployment: Json, known: Json) -> bool:
        limit = timedelta(seconds=deployment["spec"]["progressDeadlineSeconds"])
        return known["reason"] == "ProgressDeadlineExceeded" or (
            clock.parse(known["lastUpdateTime"]) + limit < self._now()
        )

    def _dated(self, conditions: list[Json], known: list[Json], before: Json, counts: dict[str, int]) -> list[Json]:
        """A condition keeps its times while it says the same; progress that goes on has a new one."""
        moment = clock.text(self._now())
        moved = any(counts[count] > before.get(count, 0) for count in ("updatedReplicas", "readyReplicas"))
        dated = []
        for one in conditions:
            old = next((other for other in known if other["type"] == one["type"]), None)
            same = old is not None and all(old.get(name) == one[name] for name in ("status", "reason", "message"))
            updated = old["lastUpdateTime"] if old and same and not (moved and one["type"] == "Progressing") else moment
            turned = old["lastTransitionTime"] if old and old["status"] == one["status"] else moment
            dated.append({**one, "lastUpdateTime": updated, "lastTransitionTime": turned})
        return dated


def bounds(deployment: Json) -> tuple[int, int]:
    """How many pods there may be more than wanted, and how many fewer that are available."""
    spec = deployment["spec"]
    if spec["strategy"]["type"] == "Recreate":
        return 0, 0
    rolling = spec["strategy"]["rollingUpdate"]
    surge = share(rolling["maxSurge"], spec["replicas"], up=True)
    unavailable = min(share(rolling["maxUnavailable"], spec["replicas"], up=False), spec["replicas"])
    return surge, unavailable if surge or unavailable else 1


def _template(replica_set: Json) -> Json:
    """The template of the deployment that it was made for."""
    template: Json = copy.deepcopy(replica_set["spec"]["template"])
    template["metadata"].get("labels", {}).pop(HASH, None)
    return template


def _digest(template: Json, count: int) -> str:
    number = int(hashlib.sha256(f"{json.dumps(template, sort_keys=True)}\0{count}".encode()).hexdigest(), 16)
    return "".join(_LETTERS[number // len(_LETTERS) ** place % len(_LETTERS)] for place in range(10))


def _revision(replica_set: Json) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, "0"))


def _wanted(replica_set: Json) -> int:
    return int(replica_set["spec"]["replicas"])


def _count(replica_set: Json | None, name: str) -> int:
    return int(((replica_set or {}).get("status") or {}).get(name, 0))


def _available(replica_set: Json) -> int:
    return _count(replica_set, "availableReplicas")
