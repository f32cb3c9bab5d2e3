"""How a pod is called, and what is told of it. The cluster is a scripted server on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.cloud.api_server import ApiServer, by_kubeconfig
from chalicelib.cloud.cluster import MAX_REQUEST_BYTES, Cluster, PodActivity
from chalicelib.cloud.manifests import PodOptions
from chalicelib.foundation.errors import Downstream, DownstreamTimeout, MillraceError, TooLarge, Unavailable
from tests.cloud.scripted_server import Asked, ScriptedServer, Told, as_json, refusal, scripted_server

OPTIONS = PodOptions(namespace="user-workflows", image="pod:1", stage="test")
PROXY = "/api/v1/namespaces/user-workflows/services/http:workflow-wf-1:80/proxy/trigger"


@pytest.fixture
def script() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def cluster(script: ScriptedServer, tmp_path: Path) -> Cluster:
    path = str(script.kubeconfig(tmp_path))
    return Cluster(ApiServer(lambda: by_kubeconfig(path), sleep=lambda _: None), OPTIONS)


def test_a_trigger_goes_by_the_service_proxy(cluster: Cluster, script: ScriptedServer) -> None:
    """The body as it is, and of the headers those that a pod knows: none that means something to the API server."""
    script.answers = [as_json(200, {"status": "started"})]
    headers = {
        "Idempotency-Key": "k",
        "Millrace-Execution-Id": "exec_1",
        "Prefer": "wait=20",
        "X-Request-Id": "r",
        "Authorization": "Bearer of-the-caller",
        "Impersonate-User": "admin",
        "Host": "elsewhere",
    }
    answer = cluster.trigger("wf_1", b'{"inputs":{"n":1.0}}', headers, 5)
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "started"})
    (asked,) = script.asked
    assert (asked.method, asked.path, asked.body) == ("POST", PROXY, b'{"inputs":{"n":1.0}}')
    assert asked.headers["idempotency-key"] == "k"
    assert asked.headers["millrace-execution-id"] == "exec_1"
    assert asked.headers["prefer"] == "wait=20"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["authorization"] == "Bearer secret"
    assert "impersonate-user" not in asked.headers
    assert asked.headers["host"].startswith("127.0.0.1")


@pytest.mark.parametrize("status", [200, 400, 409, 413, 422, 500])
def test_what_a_pod_answers_is_handed_on(cluster: Cluster, script: ScriptedServer, status: int) -> None:
    """Its problems too."""
    script.answers = [as_json(status, {"type": "urn:millrace:error:x", "status": status})]
    assert cluster.trigger("wf_1", b"{}", {}, 5).status == status


DIAL = "error trying to reach service: dial tcp 10.0.3.7:8080: connect: connection refused"
BROKE = "error trying to reach service: read tcp 10.0.0.1:4321->10.0.3.7:8080: read: connection reset by peer"


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (refusal(503, "ServiceUnavailable", 'no endpoints available for service "workflow-wf-1"'), Unavailable),
        (refusal(503, "ServiceUnavailable", DIAL), Unavailable),
        (refusal(404, "NotFound", 'services "workflow-wf-1" not found'), Unavailable),
        (refusal(429, "TooManyRequests", "too many requests"), Unavailable),
        (as_json(503, {"type": "urn:millrace:error:unavailable", "status": 503}), Unavailable),  # a pod that drains
        (refusal(503, "ServiceUnavailable", BROKE), DownstreamTimeout),
        (refusal(503, "ServiceUnavailable", "error trying to reach service: EOF"), DownstreamTimeout),
        (refusal(504, "Timeout", "request did not complete"), DownstreamTimeout),
        (Told(breaks_off=True), DownstreamTimeout),
        (refusal(403, "Forbidden", "may not proxy"), Downstream),
        (refusal(401, "Unauthorized", "Unauthorized"), Downstream),
        (Told(307, b"", {"Location": "http://169.254.169.254/"}), Downstream),
    ],
)
def test_whether_somebody_took_it(
    cluster: Cluster, script: ScriptedServer, told: Told, kind: type[MillraceError]
) -> None:
    """Nobody did, or that is not known, or it cannot be done: and it was sent once in any case."""
    script.answers = [told]
    with pytest.raises(MillraceError) as caught:
        cluster.trigger("wf_1", b"{}", {}, 5)
    assert type(caught.value) is kind
    assert len(script.asked) == 1


def test_a_body_that_is_too_large_is_not_sent(cluster: Cluster, script: ScriptedServer) -> None:
    """Nor does it cost a connection."""
    with pytest.raises(TooLarge):
        cluster.trigger("wf_1", b"x" * (MAX_REQUEST_BYTES + 1), {}, 5)
    assert script.asked == []


def test_the_address_within_the_cluster(cluster: Cluster) -> None:
    """As Kubernetes' DNS names a Service."""
    assert cluster.endpoint("wf_1") == "http://workflow-wf-1.user-workflows.svc.cluster.local/trigger"


class ByDns(Cluster):
    """Where the name of a Service leads to the scripted server."""

    url = ""

    def endpoint(self, workflow_id: str) -> str:
        return f"{self.url}/trigger"


@pytest.fixture
def by_dns(script: ScriptedServer) -> ByDns:
    def nobody() -> None:
        raise AssertionError("the API server was asked")

    cluster = ByDns(ApiServer(nobody), OPTIONS, route="dns")
    cluster.url = script.url
    return cluster


def test_within_the_cluster_a_pod_is_called_by_name(by_dns: ByDns, script: ScriptedServer) -> None:
    """Each time on a connection of its own, so that the Service chooses a pod anew; without a token of ours."""
    script.answers = [as_json(200, {"status": "started"})]
    for _ in range(2):
        assert by_dns.trigger("wf_1", b"{}", {"X-Request-Id": "r"}, 5).status == 200
    assert [(asked.path, asked.headers["connection"]) for asked in script.asked] == [("/trigger", "close")] * 2
    assert all("authorization" not in asked.headers for asked in script.asked)


def test_a_service_without_pods_refuses(by_dns: ByDns, script: ScriptedServer) -> None:
    """By name too it is told apart: nobody took it, or that is not known."""
    script.answers = [Told(breaks_off=True)]
    with pytest.raises(DownstreamTimeout):
        by_dns.trigger("wf_1", b"{}", {}, 5)
    by_dns.url = "http://127.0.0.1:1"
    with pytest.raises(Unavailable):
        by_dns.trigger("wf_1", b"{}", {}, 5)


def pods(*states: str) -> Told:
    """A list of pods; of each its name and what its container does."""
    items = []
    for number, state in enumerate(states):
        leaving = {"deletionTimestamp": "now"} if state == "leaving" else {}
        does = "waiting" if state == "waiting" else "running"
        items.append(
            {
                "metadata": {"name": f"p{number}", **leaving},
                "status": {"containerStatuses": [{"state": {does: {}}}]},
            }
        )
    return as_json(200, {"kind": "PodList", "items": items})


def answering(listed: Told, answers: dict[str, Told]) -> object:
    def reply(asked: Asked) -> Told:
        name = asked.path.rpartition("/http:")[2].partition(":")[0]
        return answers[name] if asked.path.endswith("/proxy/activity") else listed

    return reply


BUSY = as_json(200, {"inFlight": 2, "startedAt": "2026-01-05T09:00:00.000Z", "lastEndedAt": "2026-01-05T09:10:00.000Z"})
NEW = as_json(200, {"inFlight": 0, "startedAt": "2026-01-05T09:20:00.000Z", "lastEndedAt": None})


def test_what_pods_have_to_do(cluster: Cluster, script: ScriptedServer) -> None:
    """Each that runs is asked by the pod proxy; not one that leaves, and not one that does not run."""
    script.reply = answering(pods("running", "leaving", "waiting", "running"), {"p0": BUSY, "p3": NEW})  # type: ignore[assignment]
    assert cluster.activity("wf_1") == [
        PodActivity(2, "2026-01-05T09:00:00.000Z", "2026-01-05T09:10:00.000Z"),
        PodActivity(0, "2026-01-05T09:20:00.000Z", None),
    ]
    assert script.asked[1].path == "/api/v1/namespaces/user-workflows/pods/http:p0:8080/proxy/activity"


def test_no_pods_have_nothing_to_do(cluster: Cluster, script: ScriptedServer) -> None:
    """That is known."""
    script.answers = [pods()]
    assert cluster.activity("wf_1") == []


@pytest.mark.parametrize(
    "told",
    [
        refusal(503, "ServiceUnavailable", DIAL),
        Told(breaks_off=True),
        as_json(404, {"inFlight": 0, "startedAt": "", "lastEndedAt": None}),
        as_json(200, {}),
        as_json(200, []),
        Told(200, b"<html>"),
    ],
    ids=["refused", "broke off", "not found", "empty", "no object", "no JSON"],
)
def test_a_pod_that_does_not_tell(cluster: Cluster, script: ScriptedServer, told: Told) -> None:
    """Makes it unknown what there is to do, whatever the others say."""
    script.reply = answering(pods("running", "running"), {"p0": NEW, "p1": told})  # type: ignore[assignment]
    assert cluster.activity("wf_1") is None
