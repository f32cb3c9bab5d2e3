"""What becomes of pods and objects when the local cluster is killed, stopped and started. Of the local one only."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kubernetes import client

from infra.local import cluster_process, process
from infra.local.cluster import processes
from infra.local.cluster.kubelet import ports_of
from infra.local.home import Home
from infra.local.ports import FOR_PODS, listen
from tests.clusters import TIMEOUT_S, TestCluster, local_cluster, namespace
from tests.infra.cluster.workloads import (
    READY,
    apply,
    call,
    container,
    deployment,
    pods,
    ready_deployment,
    service,
    until,
)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[TestCluster]:
    """A cluster that a test may kill."""
    with local_cluster(tmp_path / "home") as found:
        yield found


def running(home: Home) -> dict[int, float]:
    """Processes of pods of this home, by what is on disk: id and start."""
    found = [processes.adopt(note.parent) for note in home.pods.glob("*/*/pid")]
    return {one.pid: one.started for one in found if one is not None}


def alive(known: dict[int, float]) -> list[int]:
    """Which of them run still."""
    found = []
    for pid, started in known.items():
        try:
            one = psutil.Process(pid)
            if abs(one.create_time() - started) < 0.01 and one.status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            pass
    return found


def server(home: Home) -> psutil.Process:
    found = process.recorded(home.cluster_process_file, "infra.local.cluster")
    assert found
    return found[0]


def web(own: TestCluster, api: client.ApiClient, place: str, **spec: object) -> dict[int, float]:
    """Two pods that are ready, behind a service: their processes."""
    assert own.home
    apply(api, place, service("web"))
    apply(api, place, deployment("web", container(own, readinessProbe=READY), 2, **spec))
    ready_deployment(api, place, "web")
    found = running(own.home)
    assert len(found) == 2
    return found


def test_a_killed_cluster_finds_its_objects_and_its_pods_again(own: TestCluster) -> None:
    """Pods go on while there is no server; the next one takes the same processes on, and can end them."""
    assert own.home
    with own.api_client() as api, namespace(api) as place:
        before = web(own, api, place)
        uid = client.AppsV1Api(api).read_namespaced_deployment("web", place, _request_timeout=TIMEOUT_S).metadata.uid
        killed = server(own.home)
        killed.kill()
        killed.wait(10)
        assert sorted(alive(before)) == sorted(before)
        assert cluster_process.ensure(own.home)
        found = ready_deployment(api, place, "web")
        assert found.metadata.uid == uid
        assert running(own.home) == before
        assert [pod.status.container_statuses[0].restart_count for pod in pods(api, place, "web")] == [0, 0]
        client.AppsV1Api(api).delete_namespaced_deployment("web", place, _request_timeout=TIMEOUT_S)
        until(lambda: not alive(before), "the pods have ended")


def test_pods_that_died_with_the_cluster_begin_again(own: TestCluster) -> None:
    """As when a node comes back: the same pods, restarted."""
    assert own.home
    with own.api_client() as api, namespace(api) as place:
        before = web(own, api, place)
        names = {pod.metadata.name for pod in pods(api, place, "web")}
        killed = server(own.home)
        killed.kill()
        killed.wait(10)
        for pid in before:
            os.killpg(pid, signal.SIGKILL)
        cluster_process.ensure(own.home)

        def restarted() -> bool:
            told = [pod.status.container_statuses[0] for pod in pods(api, place, "web")]
            return all(one.restart_count == 1 and one.ready for one in told)

        until(restarted, "both are restarted and ready")  # the deployment tells for a while what was before
        ready_deployment(api, place, "web")
        assert {pod.metadata.name for pod in pods(api, place, "web")} == names
        answer = call(api, "GET", f"/api/v1/namespaces/{place}/services/web/proxy/")
        assert answer["name"] in names


def test_down_ends_every_pod_and_up_brings_them_back(own: TestCluster) -> None:
    """Pods are asked to end before the server does; their objects are kept."""
    assert own.home
    with own.api_client() as api, namespace(api) as place:
        before = web(own, api, place)
        logs = list(own.home.pods.glob("*/*/current.log"))
        cluster_process.stop(own.home)
        assert not alive(before)
        assert all(log.read_text().endswith("asked to end\n") for log in logs)
        assert process.recorded(own.home.cluster_process_file, "infra.local.cluster") is None
        cluster_process.ensure(own.home)
        assert ready_deployment(api, place, "web").status.ready_replicas == 2
        assert not set(running(own.home)) & set(before)


def test_down_after_a_kill_ends_what_was_left_behind(own: TestCluster) -> None:
    """Nothing outlives ``make down``, also where nobody is there any more to end it."""
    assert own.home
    with own.api_client() as api, namespace(api) as place:
        before = web(own, api, place)
        killed = server(own.home)
        killed.kill()
        killed.wait(10)
        cluster_process.stop(own.home)
        assert not alive(before)
        cluster_process.ensure(own.home)  # for the end of the namespace


def test_a_port_that_somebody_took_is_given_up(own: TestCluster) -> None:
    """A pod has ports before its containers start. One that is taken by then is replaced, and the service follows."""
    with own.api_client() as api, namespace(api) as place:
        main = container(own, envFrom=[{"configMapRef": {"name": "later"}}], readinessProbe=READY)
        apply(api, place, service("web"))
        apply(api, place, deployment("web", main))

        def port() -> int:
            found = call(api, "GET", f"/api/v1/namespaces/{place}/pods")["items"]
            return ports_of(found[0]).get("8080", 0) if found else 0

        lost = until(port, "the pod has a port")
        assert lost in FOR_PODS
        with listen(lost):
            later = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {"GREETING": "hi"}}
            apply(api, place, later)
            ready_deployment(api, place, "web")
            assert port() not in (0, lost)
            assert call(api, "GET", f"/api/v1/namespaces/{place}/services/web/proxy/")["greeting"] == "hi"
            (pod,) = pods(api, place, "web")
            assert pod.status.container_statuses[0].restart_count == 0


def test_a_process_id_that_was_given_out_again_is_left_alone(tmp_path: Path) -> None:
    """A note names this very process, but was written long after its start."""
    note = tmp_path / "pod" / "main" / "pid"
    note.parent.mkdir(parents=True)
    note.write_text(str(os.getpid()))
    os.utime(note, (time.time() - 10**6,) * 2)
    assert processes.adopt(note.parent) is None
    assert processes.end_leftovers(tmp_path, 0.1) == 0
    assert not note.exists()


def test_containers_see_nothing_of_the_callers_environment(own: TestCluster) -> None:
    """Only what the manifest says, and what the platform gives."""
    with own.api_client() as api, namespace(api) as place:
        web(own, api, place)
        answer = call(api, "GET", f"/api/v1/namespaces/{place}/services/web:80/proxy/")
        image = {"PATH", "HOME", "TMPDIR", "HOSTNAME", "PYTHONUNBUFFERED", "PWD", "LC_CTYPE", "SHLVL", "_", "OLDPWD"}
        platform = {
            "AWS_ENDPOINT_URL",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        }
        assert set(answer["environment"]) <= image | platform | {"POD_NAME", "MILLRACE_HOST", "MILLRACE_PORT"}
        assert {"POD_NAME", "MILLRACE_PORT", "AWS_ENDPOINT_URL"} <= set(answer["environment"])


def test_the_kubeconfig_is_for_its_owner_alone(own: TestCluster) -> None:
    """It holds a token."""
    assert own.kubeconfig.stat().st_mode & 0o077 == 0
