"""How far a deployment is, read from what a cluster says of it."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.cloud.manifests import TEMPLATE_HASH
from chalicelib.cloud.rollout import Rollout, rollout, runs

NEW, OLD = {TEMPLATE_HASH: "new"}, {TEMPLATE_HASH: "old"}


def deployment(wanted: int = 2, *, seen: int = 3, generation: int = 3, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": wanted, "template": {"metadata": {"annotations": NEW}}},
        "status": {"observedGeneration": seen, "replicas": wanted, "updatedReplicas": wanted, **status},
    }


def pod(
    name: str = "p", *, ready: bool = True, annotations: dict[str, str] = NEW, leaving: bool = False, **state: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "annotations": annotations, **({"deletionTimestamp": "now"} if leaving else {})},
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"name": "workflow", "image": "repo/pod:1", **(state or {"state": {"running": {}}})}],
        },
    }


def waits(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return pod(ready=False, state={"waiting": {"reason": reason, "message": message}}, **more)


def condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


TOO_LATE = condition("Progressing", "False", "ProgressDeadlineExceeded", 'ReplicaSet "x" has timed out progressing.')
NO_QUOTA = condition("ReplicaFailure", "True", "FailedCreate", "pods is forbidden: exceeded quota: pods, limited: 10")


def test_all_are_there() -> None:
    """As many as are wanted, ready, and nothing else."""
    assert rollout(deployment(), [pod("a"), pod("b")]) == Rollout(2, 2, True, None)


def test_none_are_wanted() -> None:
    """Then nothing is what is wanted; a pod that leaves does not count."""
    assert rollout(deployment(0), [pod(leaving=True)]) == Rollout(0, 0, True, None)


def test_none_are_wanted_and_some_are_there() -> None:
    """It takes a moment until they leave."""
    assert rollout(deployment(0, replicas=1, updatedReplicas=1), [pod()]).is_rolled_out is False


@pytest.mark.parametrize(
    ("told", "pods", "ready"),
    [
        (deployment(seen=2), [pod("a"), pod("b")], 2),  # the controller has not looked
        (deployment(replicas=3), [pod("a"), pod("b"), pod("c", annotations=OLD)], 2),  # an old one is left
        (deployment(updatedReplicas=1), [pod("a"), pod("b")], 2),
        (deployment(), [pod("a"), pod("b", annotations=OLD)], 1),
        (deployment(), [pod("a"), pod("b", ready=False)], 1),
        (deployment(), [pod("a"), pod("b", leaving=True)], 1),
        (deployment(), [], 0),
        ({**deployment(), "status": {}}, [], 0),  # right after it was made
    ],
)
def test_under_way(told: dict[str, Any], pods: list[dict[str, Any]], ready: int) -> None:
    """Ready are those of the newest template alone; it is no failure that others are to come."""
    assert rollout(told, pods) == Rollout(2, ready, False, None)


def test_a_deployment_that_is_being_removed_is_not_rolled_out() -> None:
    """Whatever its pods are."""
    told = deployment(1)
    told["metadata"]["deletionTimestamp"] = "now"
    assert rollout(told, [pod()]).is_rolled_out is False


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_cannot_be_had(reason: str) -> None:
    """Its name and the words of the node."""
    failure = rollout(deployment(1), [waits(reason, "not found")]).failure
    assert failure == f"The image 'repo/pod:1' cannot be had ({reason}): not found"


def test_a_container_that_cannot_be_made() -> None:
    """A ConfigMap that is missing, for instance."""
    failure = rollout(deployment(1), [waits("CreateContainerConfigError", 'configmap "x" not found')]).failure
    assert failure == 'The container cannot be made (CreateContainerConfigError): configmap "x" not found'


def test_a_pod_that_ends_again_and_again() -> None:
    """How it ended, how often, and which pod's log to read."""
    crashing = waits(
        "CrashLoopBackOff",
        name="p-1",
        restartCount=4,
        lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    )
    found = rollout(deployment(1), [crashing])
    assert found.failure == "The pod ends again and again (exit code 137, OOMKilled; started anew 4 times)."
    assert found.crashed == "p-1"


def test_a_quota() -> None:
    """No pod is there that could say it: the Deployment does."""
    failure = rollout(deployment(1, conditions=[NO_QUOTA]), []).failure
    assert failure is not None
    assert "exceeded quota: pods, limited: 10" in failure


def test_too_late() -> None:
    """With what keeps the pods from being ready."""
    stuck = pod(ready=False, state={"waiting": {"reason": "ContainerCreating"}})
    stuck["status"]["conditions"] = [condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available")]
    failure = rollout(deployment(1, conditions=[TOO_LATE]), [stuck]).failure
    assert failure == (
        'The pods were not ready in time: ReplicaSet "x" has timed out progressing. '
        "PodScheduled: 0/3 nodes are available"
    )


def test_a_pod_that_starts_is_no_failure() -> None:
    """Nor is one that waits for a node: a cluster may grow."""
    starting = waits("ContainerCreating")
    starting["status"]["conditions"] = [condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available")]
    assert rollout(deployment(1), [starting]).failure is None


def test_failures_of_the_past_do_not_count() -> None:
    """Not those of an older template, and not what the Deployment said before it saw the newest."""
    old = waits("ImagePullBackOff", annotations=OLD)
    assert rollout(deployment(1), [old]).failure is None
    assert rollout(deployment(1, seen=2, conditions=[TOO_LATE, NO_QUOTA]), []).failure is None


def test_who_is_ready_has_not_failed() -> None:
    """Though an old condition may stand there for a moment."""
    assert rollout(deployment(1, conditions=[TOO_LATE]), [pod()]).failure is None


def test_words_are_bounded() -> None:
    """A cluster may say a lot."""
    failure = rollout(deployment(1), [waits("ErrImagePull", "x" * 100_000)]).failure
    assert failure is not None
    assert len(failure) == 1000


@pytest.mark.parametrize(
    ("found", "expected"),
    [(pod(), True), (waits("CrashLoopBackOff"), False), ({"metadata": {}}, False)],
)
def test_who_can_be_asked(found: dict[str, Any], expected: bool) -> None:
    """A container that runs."""
    assert runs(found) is expected
