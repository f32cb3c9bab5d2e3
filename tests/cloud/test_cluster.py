"""The facade of the cluster against a cluster: the local one, or a real one that the environment names.

Pods run a small program in the place of the pod server: what is under test is what the facade says and does.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
import yaml
from kubernetes import client

from chalicelib.cloud.api_server import ApiServer, Reply, by_kubeconfig
from chalicelib.cloud.cluster import Cluster, Observed
from chalicelib.cloud.manifests import PodOptions, manifests
from chalicelib.foundation.errors import Unavailable
from chalicelib.graph.deployments import Deployed
from infra.packaging import PROJECT
from tests.clusters import TestCluster, any_cluster, namespace
from tests.fakes import Killed

Found = TypeVar("Found")

WORKFLOW = "wf_abc123"
DEPLOYED = Deployed(organization_id="acme", workflow_id=WORKFLOW, owner_id="ann", version=1, revision=1, plan="a" * 64)
LONGEST_S = 60.0

#: Serves what pods serve, and says of which plan it is; or crashes, where it is told to.
PROGRAM = """
import http.server, json, os, signal, sys

if os.environ.get("BEHAVIOUR") == "crash":
    for number in range(40):
        print("line", number)
    sys.exit("no such plan")

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, told):
        text = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer({"inFlight": 3, "startedAt": "2026-01-05T09:00:00.000Z", "lastEndedAt": None})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        plan = json.loads(os.environ["MILLRACE_DEPLOYED"])["plan"]
        self.answer({"plan": plan, "body": body, "pod": os.environ["POD_NAME"], "id": self.headers["X-Request-Id"]})

    def log_message(self, *_):
        pass

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
address = ("", int(os.environ.get("MILLRACE_PORT", "8080")))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""


@dataclass
class Recording(ApiServer):
    """Sends requests on, and remembers them; ends the process in the place of the call of a certain number."""

    inner: ApiServer
    asked: list[tuple[str, str]] = field(default_factory=list)
    dies_at: int | None = None

    def _note(self, method: str, path: str) -> None:
        if self.dies_at == len(self.asked):
            raise Killed
        self.asked.append((method, path))

    def ask(self, method: str, path: str, **more: Any) -> Any:
        self._note(method, path)
        return self.inner.ask(method, path, **more)

    def read(self, path: str, query: Mapping[str, str]) -> str | None:
        self._note("GET", path)
        return self.inner.read(path, query)

    def pass_on(self, method: str, path: str, **more: Any) -> Reply:
        self._note(method, path)
        return self.inner.pass_on(method, path, **more)


@pytest.fixture(scope="module")
def test_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    with any_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture(scope="module")
def api(test_cluster: TestCluster) -> Iterator[client.ApiClient]:
    with test_cluster.api_client() as found:
        yield found


@pytest.fixture
def place(api: client.ApiClient, server: Recording) -> Iterator[str]:
    """A namespace with the service account that pods have."""
    with namespace(api) as name:
        account = yaml.safe_load((PROJECT / "infra" / "k8s" / "service-account.yaml").read_text())
        account["metadata"]["namespace"] = name
        server.inner.ask("POST", f"/api/v1/namespaces/{name}/serviceaccounts", body=account)
        yield name


@pytest.fixture
def server(test_cluster: TestCluster) -> Recording:
    return Recording(ApiServer(lambda: by_kubeconfig(str(test_cluster.kubeconfig))))


@pytest.fixture
def options(test_cluster: TestCluster, place: str) -> PodOptions:
    return PodOptions(
        namespace=place,
        image=test_cluster.image,
        stage="test",
        command=("python", "-c", PROGRAM),
        trigger_from=("0.0.0.0/0",),  # wherever the API server of a real cluster is
        cpu_request="10m",
        memory="64Mi",
    )


@pytest.fixture
def cluster(server: Recording, options: PodOptions) -> Cluster:
    return Cluster(server, options)


def eventually(look: Callable[[], Found], holds: Callable[[Found], bool]) -> Found:
    """What ``look`` sees once it holds; the last that it saw where it never does."""
    deadline = time.monotonic() + LONGEST_S
    while not holds(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def rolled_out(cluster: Cluster) -> Observed:
    return eventually(lambda: cluster.observe(WORKFLOW), lambda seen: seen.is_rolled_out)


def failed(cluster: Cluster, word: str) -> str:
    seen = eventually(lambda: cluster.observe(WORKFLOW), lambda seen: word in (seen.failure or ""))
    assert seen.failure is not None
    assert (seen.exists, seen.ready, seen.is_rolled_out) == (True, 0, False)
    return seen.failure


def triggered(cluster: Cluster) -> dict[str, Any]:
    answer = cluster.trigger(WORKFLOW, b'{"inputs": {"n": 1.0}}', {"X-Request-Id": "req_1"}, 10)
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.body)
    return found


def versions(server: Recording, place: str) -> dict[str, str]:
    """What changes with an object, of every object of the workflow."""
    found = {}
    for manifest in manifests(DEPLOYED, 1, PodOptions(namespace=place, image="i", stage="test")):
        kind = manifest["kind"]
        group = "api/v1" if manifest["apiVersion"] == "v1" else f"apis/{manifest['apiVersion']}"
        plural = {"NetworkPolicy": "networkpolicies"}.get(kind, f"{kind.lower()}s")
        path = f"/{group}/namespaces/{place}/{plural}/workflow-wf-abc123"
        there = server.inner.ask("GET", path)
        if there is not None:
            metadata = there["metadata"]
            found[kind] = str(metadata.get("generation", metadata["resourceVersion"]))
    return found


def pods_of(server: Recording, place: str) -> list[str]:
    listed = server.inner.ask("GET", f"/api/v1/namespaces/{place}/pods")
    return [item["metadata"]["name"] for item in listed["items"]]


def test_a_life(cluster: Cluster, server: Recording, place: str) -> None:
    """Deployed, called, stopped, started, removed: each of it twice is as good as once."""
    assert cluster.observe(WORKFLOW) == Observed(False, 0, 0, False, None)
    assert cluster.scale(WORKFLOW, 1) is False
    assert cluster.remove(WORKFLOW) is True
    with pytest.raises(Unavailable):
        cluster.trigger(WORKFLOW, b"{}", {}, 5)

    cluster.apply(DEPLOYED, 1)
    assert rolled_out(cluster) == Observed(True, 1, 1, True, None)
    before, pod = versions(server, place), triggered(cluster)["pod"]
    cluster.apply(DEPLOYED, 1)
    assert versions(server, place) == before
    assert rolled_out(cluster).ready == 1
    told = triggered(cluster)
    assert told == {"plan": "a" * 64, "body": '{"inputs": {"n": 1.0}}', "pod": pod, "id": "req_1"}
    (activity,) = cluster.activity(WORKFLOW) or []
    assert (activity.in_flight, activity.last_ended_at) == (3, None)

    for _ in range(2):
        assert cluster.scale(WORKFLOW, 0) is True
    assert rolled_out(cluster) == Observed(True, 0, 0, True, None)
    assert eventually(lambda: cluster.activity(WORKFLOW), lambda found: found == []) == []
    with pytest.raises(Unavailable):
        eventually(lambda: cluster.trigger(WORKFLOW, b"{}", {}, 5), lambda _: False)
    assert cluster.scale(WORKFLOW, 2) is True
    assert rolled_out(cluster).ready == 2

    while not cluster.remove(WORKFLOW):  # as long as a pod is there, it keeps what it needs
        if any(pods_of(server, place)):
            assert set(versions(server, place)) > {"ConfigMap", "NetworkPolicy"}
        time.sleep(0.2)
    assert cluster.remove(WORKFLOW) is True
    assert cluster.observe(WORKFLOW).exists is False
    assert pods_of(server, place) == []
    assert left(server, place) == []


def test_another_version_takes_the_place_of_the_first(cluster: Cluster) -> None:
    """Ready are those of the newest alone, and the old one serves until then."""
    cluster.apply(DEPLOYED, 1)
    rolled_out(cluster)
    newer = replace(DEPLOYED, version=2, plan="b" * 64)
    cluster.apply(newer, 1)
    assert cluster.observe(WORKFLOW).is_rolled_out is False
    seen = eventually(lambda: (triggered(cluster)["plan"], cluster.observe(WORKFLOW)), lambda s: s[1].is_rolled_out)
    assert seen[1] == Observed(True, 1, 1, True, None)
    assert triggered(cluster)["plan"] == newer.plan


def test_an_image_that_is_not_there(cluster: Cluster, server: Recording, options: PodOptions) -> None:
    """It is named, and another deployment with one that is there mends it."""
    Cluster(server, replace(options, image="registry.invalid/no/such:1")).apply(DEPLOYED, 1)
    assert "registry.invalid/no/such:1" in failed(cluster, "image")
    cluster.apply(DEPLOYED, 1)
    assert rolled_out(cluster).failure is None


def test_a_pod_that_crashes(server: Recording, options: PodOptions) -> None:
    """Its last words are told, and not all that it ever said."""
    cluster = Cluster(server, replace(options, environment={"BEHAVIOUR": "crash"}))
    cluster.apply(DEPLOYED, 1)
    failure = failed(cluster, "no such plan")
    assert failure.startswith("The pod ends again and again (exit code 1")
    lines = failure.splitlines()
    assert len(lines) <= 21
    assert "line 39" in lines
    assert "line 0" not in lines


def test_a_quota_that_is_used_up(cluster: Cluster, server: Recording, place: str) -> None:
    """The cluster's own words say which."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": place},
        "spec": {"hard": {"pods": "0"}},
    }
    server.inner.ask("POST", f"/api/v1/namespaces/{place}/resourcequotas", body=quota)
    cluster.apply(DEPLOYED, 1)
    assert "exceeded quota: none" in failed(cluster, "quota")


def test_whoever_dies_while_deploying(cluster: Cluster, server: Recording, place: str) -> None:
    """After any call: the next who deploys finishes it, and the next who removes leaves nothing."""
    for calls in range(5):
        server.asked.clear()
        server.dies_at = calls
        with pytest.raises(Killed):
            cluster.apply(DEPLOYED, 0)
        server.dies_at = None
        if calls % 2:
            cluster.apply(DEPLOYED, 0)
            assert rolled_out(cluster).replicas == 0
        assert eventually(lambda: cluster.remove(WORKFLOW), bool)
        assert left(server, place) == []


def test_whoever_dies_while_removing(cluster: Cluster, server: Recording, place: str) -> None:
    """After any call: the next who removes leaves nothing."""
    cluster.apply(DEPLOYED, 0)
    removed = False
    for calls in range(30):
        server.asked.clear()
        server.dies_at = calls
        with suppress(Killed):
            removed = cluster.remove(WORKFLOW)
        if removed:
            break
    server.dies_at = None
    assert eventually(lambda: cluster.remove(WORKFLOW), bool)
    assert left(server, place) == []


def left(server: Recording, place: str) -> list[str]:
    """Whatever is there with our label."""
    kinds = [
        "api/v1/{}/configmaps",
        "api/v1/{}/services",
        "api/v1/{}/pods",
        "apis/apps/v1/{}/deployments",
        "apis/policy/v1/{}/poddisruptionbudgets",
        "apis/networking.k8s.io/v1/{}/networkpolicies",
    ]
    query = {"labelSelector": "app.kubernetes.io/managed-by=millrace"}
    return [
        item["metadata"]["name"]
        for kind in kinds
        for item in server.inner.ask("GET", f"/{kind.format(f'namespaces/{place}')}", query=query)["items"]
    ]


def test_others_are_left_alone(cluster: Cluster, server: Recording, place: str) -> None:
    """Another workflow's objects, and what somebody else has put there."""
    other = replace(DEPLOYED, workflow_id="wf_other")
    somebody = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {}}
    server.inner.ask("POST", f"/api/v1/namespaces/{place}/configmaps", body=somebody)
    cluster.apply(DEPLOYED, 0)
    cluster.apply(other, 0)
    assert eventually(lambda: cluster.remove(WORKFLOW), bool)
    assert cluster.observe("wf_other").exists is True
    assert server.inner.ask("GET", f"/api/v1/namespaces/{place}/configmaps/mine") is not None


#: How a request is called where rights are given. A list is a GET without a name.
_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "GET": "get"}
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v1/namespaces/[^/]+/(?P<plural>\w+)(?:/(?P<name>[^/]+)(?:/(?P<sub>\w+))?)?"
)


def right(method: str, path: str) -> tuple[str, str, str]:
    """API group, resource and verb of a request."""
    match = _PATH.match(path)
    assert match is not None, path
    resource = f"{match['plural']}/{match['sub']}" if match["sub"] else match["plural"]
    verb = "list" if method == "GET" and not match["name"] else _VERBS[method]
    return match["group"] or "", resource, verb


def test_the_role_is_what_the_facade_needs(server: Recording, options: PodOptions) -> None:
    """The rules of infra/k8s/rbac.yaml are the calls of a whole life, one for one: none is missing, none too many."""
    crashing = Cluster(server, replace(options, environment={"BEHAVIOUR": "crash"}))
    cluster = Cluster(server, options)
    crashing.apply(DEPLOYED, 1)
    failed(crashing, "no such plan")
    cluster.apply(DEPLOYED, 1)
    rolled_out(cluster)
    triggered(cluster)
    cluster.activity(WORKFLOW)
    cluster.scale(WORKFLOW, 0)
    eventually(lambda: cluster.remove(WORKFLOW), bool)
    used = {right(method, path) for method, path in server.asked}
    used |= {(group, resource, "create") for group, resource, verb in used if verb == "patch" and "/" not in resource}

    documents = yaml.safe_load_all((PROJECT / "infra" / "k8s" / "rbac.yaml").read_text())
    (role,) = (document for document in documents if document["kind"] == "Role")
    given = [
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert len(set(given)) == len(given)
    assert set(given) == used
