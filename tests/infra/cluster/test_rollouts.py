"""Deployments come to run, change, fail and go, as ``kubectl`` and the official client see it."""

from __future__ import annotations

import copy
import json
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.clusters import TIMEOUT_S, TestCluster
from tests.infra.cluster.workloads import (
    READY,
    SERVER,
    apply,
    call,
    condition,
    container,
    deployment,
    kubectl,
    pods,
    ready_deployment,
    service,
    until,
)


def _through(api: client.ApiClient, place: str, path: str = "/", method: str = "GET", body: Any = None) -> Any:
    return call(api, method, f"/api/v1/namespaces/{place}/services/http:web:80/proxy{path}", body)


def _answer(api: client.ApiClient, place: str, path: str = "/") -> Any:
    """What the service answers, as soon as it does: what has no readiness probe is ready before it listens."""

    def look() -> Any:
        try:
            return _through(api, place, path)
        except ApiException as error:
            if error.status != 503:
                raise
            return None

    return until(look, "an answer")


@pytest.fixture
def web(cluster: TestCluster, api: client.ApiClient, place: str) -> dict[str, Any]:
    """A deployment of two replicas behind a service, rolled out."""
    apply(api, place, service("web"))
    body = deployment("web", container(cluster, readinessProbe=READY), 2)
    apply(api, place, body)
    ready_deployment(api, place, "web")
    return body


def test_pods_run_and_are_reached(cluster: TestCluster, api: client.ApiClient, place: str, web: dict[str, Any]) -> None:
    """The service proxy leads to each ready pod in turn, the pod proxy to one; bodies and headers get there."""
    names = {pod.metadata.name for pod in pods(api, place, "web")}
    assert len(names) == 2
    assert {_answer(api, place)["name"] for _ in range(20)} == names
    echoed = _through(api, place, "/trigger?a=1", "POST", {"x": [1, 2]})
    assert (echoed["method"], echoed["path"], json.loads(echoed["body"])) == ("POST", "/trigger?a=1", {"x": [1, 2]})
    assert "authorization" not in {name.lower() for name in echoed["headers"]}
    one = names.pop()
    assert call(api, "GET", f"/api/v1/namespaces/{place}/pods/{one}:8080/proxy/activity")["name"] == one
    if (told := kubectl(cluster, "-n", place, "rollout", "status", "deployment/web", "--timeout=60s")) is not None:
        assert "successfully rolled out" in told
        listed = kubectl(cluster, "-n", place, "get", "deployment,pods,services", "--no-headers")
        assert listed
        assert "2/2" in listed
        for kind in ("deployment", "service", "namespace"):
            named = place if kind == "namespace" else "web"
            described = (kubectl(cluster, "-n", place, "describe", kind, named) or "").split()
            assert described[:2] == ["Name:", named]
        assert "serving as" in (kubectl(cluster, "-n", place, "logs", "deployment/web") or "")
        assert "Running" in listed


def test_scale_and_its_status(cluster: TestCluster, api: client.ApiClient, place: str, web: dict[str, Any]) -> None:
    """To none and back; without a ready pod the service proxy says that there is none."""
    apps = client.AppsV1Api(api)
    apps.patch_namespaced_deployment_scale("web", place, {"spec": {"replicas": 0}}, _request_timeout=TIMEOUT_S)
    until(lambda: not pods(api, place, "web"), "no pod is left")
    with pytest.raises(ApiException) as raised:
        _through(api, place)
    assert raised.value.status == 503
    told = json.loads(raised.value.body)
    assert (told["kind"], told["reason"]) == ("Status", "ServiceUnavailable")
    assert told["message"] == 'no endpoints available for service "web"' or "http:web:80" in told["message"]
    if kubectl(cluster, "-n", place, "scale", "deployment/web", "--replicas=3") is None:
        scale = apps.read_namespaced_deployment_scale("web", place, _request_timeout=TIMEOUT_S)
        scale.spec.replicas = 3
        apps.replace_namespaced_deployment_scale("web", place, scale, _request_timeout=TIMEOUT_S)
    assert ready_deployment(api, place, "web").status.ready_replicas == 3


def test_rollout_drops_no_request(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """While a new template takes over, with no pod to spare and a pause before the end, every request is answered."""
    main = container(
        cluster, readinessProbe=READY, lifecycle={"preStop": {"exec": {"command": ["python", "-c", _PAUSE]}}}
    )
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    body = deployment("web", main, 2, strategy=rolling)
    apply(api, place, service("web"))
    apply(api, place, body)
    before = ready_deployment(api, place, "web")
    _answer(api, place)
    greetings: list[str | None] = []
    failures: list[Exception] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                greetings.append(_through(api, place)["greeting"])
            except ApiException as error:
                failures.append(error)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    try:
        changed = copy.deepcopy(body)
        changed["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "GREETING", "value": "new"})
        apply(api, place, changed)
        after = ready_deployment(api, place, "web")
        until(lambda: greetings[-1] == "new", "an answer of the new pods")
    finally:
        over.set()
        for thread in asking:
            thread.join()
    assert not failures
    assert greetings[0] is None
    assert after.metadata.generation == before.metadata.generation + 1
    apps = client.AppsV1Api(api)
    sets = apps.list_namespaced_replica_set(place, _request_timeout=TIMEOUT_S).items
    assert sorted(one.spec.replicas for one in sets) == [0, 2]


_PAUSE = "import time; time.sleep(1)"


def test_unready_pods_get_no_requests(
    cluster: TestCluster, api: client.ApiClient, place: str, web: dict[str, Any]
) -> None:
    """A pod whose readiness probe fails leaves the endpoints, and goes on running."""
    sick = _answer(api, place, "/broken")["name"]

    def addresses() -> list[str]:
        found = client.CoreV1Api(api).read_namespaced_endpoints("web", place, _request_timeout=TIMEOUT_S)
        return [one.target_ref.name for part in found.subsets or [] for one in part.addresses or []]

    until(lambda: len(addresses()) == 1 and sick not in addresses(), "the sick pod is no endpoint")
    assert {_through(api, place)["name"] for _ in range(6)} == set(addresses())
    assert next(pod for pod in pods(api, place, "web") if pod.metadata.name == sick).status.phase == "Running"


def test_a_container_that_ends_begins_again(
    cluster: TestCluster, api: client.ApiClient, place: str, web: dict[str, Any]
) -> None:
    """It is restarted in the same pod, and the status tells how it ended; the log of before can be read."""
    with pytest.raises(ApiException):
        _through(api, place, "/end")

    def look() -> client.V1ContainerStatus | None:
        told = [one for pod in pods(api, place, "web") for one in pod.status.container_statuses or []]
        return next((one for one in told if one.restart_count and one.last_state.terminated), None)

    ended = until(look, "a restart").last_state.terminated
    assert (ended.exit_code, ended.reason) == (3, "Error")
    name = next(pod.metadata.name for pod in pods(api, place, "web") if pod.status.container_statuses[0].restart_count)
    log = client.CoreV1Api(api).read_namespaced_pod_log(name, place, previous=True, _request_timeout=TIMEOUT_S)
    assert log == f"serving as {name}\n"
    ready_deployment(api, place, "web")


def test_crash_loop(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """A program that ends at once waits between its restarts, and its last lines are there to read."""
    crashing = container(cluster, "print('no luck today', flush=True); raise SystemExit(7)")
    apply(api, place, deployment("web", crashing))

    def look() -> client.V1Pod | None:
        for pod in pods(api, place, "web"):
            for one in pod.status.container_statuses or []:
                if one.state.waiting and one.state.waiting.reason == "CrashLoopBackOff":
                    assert one.last_state.terminated.exit_code == 7
                    return pod
        return None

    pod = until(look, "CrashLoopBackOff")
    core = client.CoreV1Api(api)
    log = core.read_namespaced_pod_log(pod.metadata.name, place, tail_lines=1, _request_timeout=TIMEOUT_S)
    assert log == "no luck today\n"
    if (told := kubectl(cluster, "-n", place, "describe", "pod", pod.metadata.name)) is not None:
        assert "Back-off restarting failed container" in told
    assert condition(api, place, "web", "Available", "False").reason == "MinimumReplicasUnavailable"


def test_unknown_image(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """An image that cannot be pulled keeps the pod pending and says so; past its deadline the deployment does too."""
    main = {**container(cluster), "image": "registry.invalid/millrace/none:1"}
    apply(api, place, deployment("web", main, progressDeadlineSeconds=2))

    def look() -> str | None:
        waiting = [
            one.state.waiting
            for pod in pods(api, place, "web")
            for one in pod.status.container_statuses or []
            if pod.status.phase == "Pending"
        ]
        return next((one.message for one in waiting if one and one.reason == "ImagePullBackOff"), None)

    assert "registry.invalid/millrace/none:1" in until(look, "ImagePullBackOff")
    late = condition(api, place, "web", "Progressing", "False")
    assert late.reason == "ProgressDeadlineExceeded"
    assert "has timed out progressing" in late.message


def test_quota(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """One pod more than the quota has: the deployment says which quota is in the way, and goes on when it is gone."""
    core = client.CoreV1Api(api)
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    core.create_namespaced_resource_quota(place, quota, _request_timeout=TIMEOUT_S)
    until(lambda: core.read_namespaced_resource_quota("few", place, _request_timeout=TIMEOUT_S).status.hard, "quota")
    apply(api, place, deployment("web", container(cluster), 2))
    failure = condition(api, place, "web", "ReplicaFailure", "True")
    assert failure.reason == "FailedCreate"
    assert "exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1" in failure.message
    more = {"spec": {"hard": {"pods": "2"}}}
    core.patch_namespaced_resource_quota("few", place, more, _request_timeout=TIMEOUT_S)
    ready_deployment(api, place, "web")


def test_missing_config_map(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """A container waits for the ConfigMap that it is made from, and begins when it is there."""
    main = container(cluster, envFrom=[{"configMapRef": {"name": "later"}}])
    apply(api, place, deployment("web", main))
    apply(api, place, service("web"))

    def waits() -> bool:
        told = [one for pod in pods(api, place, "web") for one in pod.status.container_statuses or []]
        return any(one.state.waiting and one.state.waiting.reason == "CreateContainerConfigError" for one in told)

    until(waits, "CreateContainerConfigError")
    apply(
        api, place, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {"GREETING": "hi"}}
    )
    ready_deployment(api, place, "web")
    assert _answer(api, place)["greeting"] == "hi"


def test_deletion_waits_for_the_program_and_takes_all_along(
    cluster: TestCluster, api: client.ApiClient, place: str
) -> None:
    """The program is asked to end and has its grace period; in the foreground the deployment outlives its pods."""
    lingering = container(cluster, env=[{"name": "LINGER", "value": "1.5"}], readinessProbe=READY)
    apply(api, place, deployment("web", lingering, grace=90))
    ready_deployment(api, place, "web")
    apps = client.AppsV1Api(api)
    began = time.monotonic()
    apps.delete_namespaced_deployment("web", place, propagation_policy="Foreground", _request_timeout=TIMEOUT_S)
    until(lambda: pods(api, place, "web")[0].metadata.deletion_timestamp, "the pod ends")

    def is_gone() -> bool:
        return not apps.list_namespaced_deployment(place, _request_timeout=TIMEOUT_S).items

    until(is_gone, "the deployment is gone")
    assert 1.5 <= time.monotonic() - began < 80
    assert not pods(api, place, "web")
    assert not apps.list_namespaced_replica_set(place, _request_timeout=TIMEOUT_S).items


def test_a_program_is_asked_to_end_once(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """Whatever is written of its pod while it ends: some programs take a second SIGTERM for a reason to hurry."""
    lingering = container(cluster, env=[{"name": "LINGER", "value": "3"}], readinessProbe=READY)
    apply(api, place, deployment("web", lingering, grace=90))
    ready_deployment(api, place, "web")
    (name,) = [pod.metadata.name for pod in pods(api, place, "web")]
    core = client.CoreV1Api(api)
    logs = [""]

    def is_asked() -> bool:
        logs.append(core.read_namespaced_pod_log(name, place, _request_timeout=TIMEOUT_S))
        return "asked to end" in logs[-1]

    def is_gone() -> bool:
        with suppress(ApiException):
            is_asked()
        return not pods(api, place, "web")

    client.AppsV1Api(api).delete_namespaced_deployment("web", place, _request_timeout=TIMEOUT_S)
    until(is_asked, "SIGTERM")
    for number in "12":
        note = {"metadata": {"annotations": {"note": number}}}
        core.patch_namespaced_pod(name, place, note, _request_timeout=TIMEOUT_S)
    until(is_gone, "the pod is gone")
    assert logs[-1].count("asked to end") == 1


def test_a_pod_ends_though_what_it_was_made_of_is_gone(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """Its ConfigMap is deleted before it: what runs had read that long ago."""
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"GREETING": "hi"}}
    apply(api, place, settings)
    main = container(
        cluster,
        envFrom=[{"configMapRef": {"name": "settings"}}],
        lifecycle={"preStop": {"exec": {"command": ["python", "-c", "pass"]}}},
        readinessProbe=READY,
    )
    apply(api, place, deployment("web", main))
    ready_deployment(api, place, "web")
    client.CoreV1Api(api).delete_namespaced_config_map("settings", place, _request_timeout=TIMEOUT_S)
    client.AppsV1Api(api).delete_namespaced_deployment("web", place, _request_timeout=TIMEOUT_S)
    until(lambda: not pods(api, place, "web"), "the pod is gone")


def test_what_does_not_end_is_killed(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """A program that ignores SIGTERM is ended when its grace period is over."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    apply(api, place, deployment("web", container(cluster, deaf), grace=1))
    ready_deployment(api, place, "web")
    client.AppsV1Api(api).delete_namespaced_deployment("web", place, _request_timeout=TIMEOUT_S)
    until(lambda: not pods(api, place, "web"), "the pod is gone")


#: Fails once for each file: what a container leaves in its folder, the next one in the same pod finds there.
_IS_WHOLE = """
import os, sys
try:
    os.remove(os.environ["TMPDIR"] + "/broken")
except FileNotFoundError:
    sys.exit(0)
sys.exit(1)
"""


def test_liveness(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """A container whose liveness probe fails is asked to end, and started anew."""
    probe = {"exec": {"command": ["python", "-c", _IS_WHOLE]}}
    main = container(cluster, livenessProbe={**probe, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30})
    apply(api, place, service("web"))
    apply(api, place, deployment("web", main))
    ready_deployment(api, place, "web")
    _answer(api, place, "/broken")

    def look() -> client.V1ContainerStatus | None:
        (pod,) = pods(api, place, "web")
        (told,) = pod.status.container_statuses
        return told if told.restart_count else None

    restarted = until(look, "a restart")
    assert restarted.restart_count == 1
    assert restarted.last_state.terminated.exit_code == 0


def test_startup_probe_holds_the_others_back(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """Until it has started it is not ready, however often liveness would have failed."""
    slow = "import time; time.sleep(2)\n"
    refused = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    main = container(cluster, slow + SERVER, livenessProbe=refused, startupProbe={**refused, "failureThreshold": 80})
    apply(api, place, deployment("web", main))
    ready_deployment(api, place, "web")
    assert pods(api, place, "web")[0].status.container_statuses[0].restart_count == 0


def test_rollback_takes_the_old_replica_set(
    cluster: TestCluster, api: client.ApiClient, place: str, web: dict[str, Any]
) -> None:
    """A template that comes back is rolled out by the ReplicaSet that had it, as a new revision."""
    apps = client.AppsV1Api(api)
    first = apps.list_namespaced_replica_set(place, _request_timeout=TIMEOUT_S).items[0].metadata.name
    changed = copy.deepcopy(web)
    changed["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "GREETING", "value": "new"})
    apply(api, place, changed)
    ready_deployment(api, place, "web")
    apply(api, place, web)
    found = ready_deployment(api, place, "web")
    sets = {one.metadata.name: one for one in apps.list_namespaced_replica_set(place, _request_timeout=TIMEOUT_S).items}
    assert len(sets) == 2
    assert sets[first].spec.replicas == 2
    assert found.metadata.annotations["deployment.kubernetes.io/revision"] == "3"
