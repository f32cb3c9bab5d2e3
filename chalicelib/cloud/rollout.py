"""What a Deployment and its pods say of how far they are: read from their JSON, with nothing guessed.

A pod is of the newest template where it carries the hash that the Deployment's template carries now
(``manifests.TEMPLATE_HASH``): no ReplicaSet has to be asked for. What the Deployment says of itself counts from the
moment on at which its controller has seen the newest generation; before, it speaks of the one before.

A *failure* is what the cluster gives as the reason why pods do not come to be ready. It may end without our doing, when
a registry is back or a quota is raised: so it is what is seen now, asked anew each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.cloud.manifests import TEMPLATE_HASH

#: Reasons for which a container waits, and which do not go by themselves in the ordinary course of a start.
_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_CRASH = "CrashLoopBackOff"
MAX_WORDS = 1000  # characters


@dataclass(frozen=True)
class Rollout:
    replicas: int
    ready: int
    is_rolled_out: bool
    failure: str | None
    crashed: str | None = None  #: name of the pod whose log says more of the failure


def rollout(deployment: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Rollout:
    spec, status = deployment["spec"], deployment.get("status", {})
    wanted: int = spec.get("replicas", 1)
    newest = [pod for pod in pods if not is_leaving(pod) and _hash(pod) == _hash(spec["template"])]
    ready = sum(_is_ready(pod) for pod in newest)
    is_seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
    is_rolled_out = (
        is_seen
        and ready == wanted
        and status.get("replicas", 0) == status.get("updatedReplicas", 0) == wanted
        and "deletionTimestamp" not in deployment["metadata"]
    )
    if ready >= wanted:
        return Rollout(wanted, ready, is_rolled_out, None)
    conditions = status.get("conditions", []) if is_seen else []
    failure, crashed = _of_pods(newest)
    failure = failure or _of_replicas(conditions) or _of_time(conditions, newest)
    return Rollout(wanted, ready, is_rolled_out, failure and failure[:MAX_WORDS], crashed)


def is_leaving(pod: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def runs(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's container runs now, so that it can be asked."""
    return any("running" in container.get("state", {}) for container in _containers(pod))


def _hash(templated: Mapping[str, Any]) -> str | None:
    found: str | None = templated["metadata"].get("annotations", {}).get(TEMPLATE_HASH)
    return found


def _is_ready(pod: Mapping[str, Any]) -> bool:
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions", [])
    )


def _containers(pod: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = pod.get("status", {}).get("containerStatuses", [])
    return found


def _waiting(pods: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], str, str]]:
    for pod in pods:
        for container in _containers(pod):
            waiting = container.get("state", {}).get("waiting")
            if waiting:
                yield pod, container, waiting.get("reason", ""), waiting.get("message", "")


def _of_pods(pods: Sequence[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """Why pods cannot start, or do not stay; with the name of one that crashed."""
    for _, container, reason, message in _waiting(pods):
        if reason in _IMAGE:
            return f"The image {container.get('image', '')!r} cannot be had ({reason}): {message}".rstrip(": "), None
        if reason in _CONFIG:
            return f"The container cannot be made ({reason}): {message}".rstrip(": "), None
    for pod, container, reason, _ in _waiting(pods):
        if reason == _CRASH:
            ended = container.get("lastState", {}).get("terminated", {})
            how = f"exit code {ended.get('exitCode', 'unknown')}, {ended.get('reason', 'no reason given')}"
            times = container.get("restartCount", 0)
            return f"The pod ends again and again ({how}; started anew {times} times).", pod["metadata"]["name"]
    return None, None


def _of_replicas(conditions: Sequence[Mapping[str, Any]]) -> str | None:
    """Why pods are not even made: a quota, mostly."""
    for condition in conditions:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return f"The cluster makes no pod ({condition.get('reason', '')}): {condition.get('message', '')}"
    return None


def _of_time(conditions: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]]) -> str | None:
    """That they were not ready in time, with what keeps the pods from it."""
    for condition in conditions:
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            said = f"The pods were not ready in time: {condition.get('message', '')}"
            return " ".join([said, *dict.fromkeys(_obstacles(pods))])
    return None


def _obstacles(pods: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions", []):
            if condition["status"] == "False" and condition.get("message"):
                yield f"{condition['type']}: {condition['message']}"
