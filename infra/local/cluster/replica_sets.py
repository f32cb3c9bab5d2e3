"""ReplicaSets: as many pods as wanted, no more; what is in the way stands in the status."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta

from infra.local.cluster import clock, selectors
from infra.local.cluster.errors import ApiError, Json
from infra.local.cluster.events import Recorder
from infra.local.cluster.kubelet import is_ready
from infra.local.cluster.objects import Objects, Options
from infra.local.cluster.resources import PODS, REPLICA_SETS

MANAGER = Options(manager="kube-controller-manager")
_OVER = ("Succeeded", "Failed")


def owner_of(thing: Json) -> str | None:
    """The uid of the controller that has made it."""
    for owner in thing["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner["uid"])
    return None


def reference(owner: Json) -> Json:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def ready_since(pod: Json) -> datetime | None:
    for one in (pod.get("status") or {}).get("conditions") or ():
        if one["type"] == "Ready" and one["status"] == "True":
            return clock.parse(one["lastTransitionTime"])
    return None


def is_available(pod: Json, min_ready_s: int, now: datetime) -> bool:
    since = ready_since(pod)
    return since is not None and since + timedelta(seconds=min_ready_s) <= now


class ReplicaSets:
    def __init__(self, objects: Objects, recorder: Recorder, now: clock.Clock) -> None:
        self._objects = objects
        self._recorder = recorder
        self._now = now

    def pods_of(self, replica_set: Json) -> list[Json]:
        """Those that it has made and that have not ended, terminating ones too."""
        uid = replica_set["metadata"]["uid"]
        return [
            pod
            for pod in self._objects.store.all_of(PODS, replica_set["metadata"]["namespace"])
            if owner_of(pod) == uid and (pod.get("status") or {}).get("phase") not in _OVER
        ]

    def sync(self, replica_set: Json) -> None:
        """One step towards as many pods as are wanted."""
        failure = None
        if not replica_set["metadata"].get("deletionTimestamp"):
            failure = self._scale(replica_set)
        self._tell(replica_set, failure)

    def _scale(self, replica_set: Json) -> str | None:
        wanted = replica_set["spec"]["replicas"]
        active = [pod for pod in self.pods_of(replica_set) if not pod["metadata"].get("deletionTimestamp")]
        for _ in range(wanted - len(active)):
            try:
                made = self._objects.create(PODS, replica_set["metadata"]["namespace"], _pod(replica_set), MANAGER)
            except ApiError as error:
                self._say(replica_set, "FailedCreate", f"Error creating: {error.message}", True)
                return error.message
            name = made.object["metadata"]["name"]
            self._say(replica_set, "SuccessfulCreate", f"Created pod: {name}", False)
        for pod in sorted(active, key=_worth)[: len(active) - wanted if len(active) > wanted else 0]:
            self._objects.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"], {})
            self._say(replica_set, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}", False)
        return None

    def _tell(self, replica_set: Json, failure: str | None) -> None:
        active = [pod for pod in self.pods_of(replica_set) if not pod["metadata"].get("deletionTimestamp")]
        spec, now = replica_set["spec"], self._now()
        least = spec.get("minReadySeconds") or 0
        labels = spec["template"]["metadata"].get("labels") or {}
        status: Json = {
            "replicas": len(active),
            "fullyLabeledReplicas": sum(
                selectors.matches({"matchLabels": labels}, pod["metadata"].get("labels") or {}) for pod in active
            ),
            "readyReplicas": sum(is_ready(pod) for pod in active),
            "availableReplicas": sum(is_available(pod, least, now) for pod in active),
            "observedGeneration": replica_set["metadata"]["generation"],
        }
        status = {key: value for key, value in status.items() if value or key in ("replicas", "observedGeneration")}
        if failure is not None:
            before: Json = next(iter((replica_set.get("status") or {}).get("conditions") or ()), {})
            status["conditions"] = [
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": _without_name(failure, before.get("message", "")),
                    "lastTransitionTime": before.get("lastTransitionTime") or clock.text(now),
                }
            ]
        self._objects.set_status(REPLICA_SETS, replica_set, status)

    def _say(self, replica_set: Json, reason: str, message: str, warning: bool) -> None:
        known = (replica_set.get("status") or {}).get("conditions")
        if not (warning and known):  # tried again and again: told once
            component = "replicaset-controller"
            self._recorder.tell(replica_set, reason, message, component=component, warning=warning)


def _without_name(message: str, before: str) -> str:
    """Each try has another pod's name; a message that differs in that alone stays as it is."""
    return before if before.partition('" is ')[2] == message.partition('" is ')[2] and before else message


def _pod(replica_set: Json) -> Json:
    template = copy.deepcopy(replica_set["spec"]["template"])
    metadata = template.get("metadata") or {}
    kept = {name: metadata[name] for name in ("labels", "annotations", "finalizers") if metadata.get(name)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **kept,
            "generateName": f"{replica_set['metadata']['name']}-",
            "ownerReferences": [reference(replica_set)],
        },
        "spec": template["spec"],
    }


def _worth(pod: Json) -> tuple[bool, bool, float]:
    """Who goes first: pods that have not begun, then those that are not ready, then the youngest."""
    phase = (pod.get("status") or {}).get("phase")
    born = clock.parse(pod["metadata"]["creationTimestamp"]).timestamp()
    return phase == "Running", is_ready(pod), -born
