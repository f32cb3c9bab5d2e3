"""Deployments over HTTP: what is answered, in the words of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.bootstrap import lambda_services
from chalicelib.cloud.cluster import PodAnswer
from chalicelib.foundation.json_types import dumps
from tests.api.client import Api
from tests.fake_cluster import FakeCluster
from tests.fakes import graph, node

WORKFLOWS = "/api/v1/workflows"
GRAPH = graph([node("h", "webhook-trigger"), node("a")], "h -> a")
DEFAULT = {"type": "idle-shutdown", "idleTimeoutMinutes": 30}
NEVER_NOW = {
    "type": "scheduled-window",
    "schedule": {"timezone": "UTC", "windows": [{"days": [0], "startTime": "00:00", "endTime": "00:01"}]},
}


@pytest.fixture
def path(api: Api, cluster: FakeCluster) -> str:
    """A workflow of an app; it is not deployed."""
    body = {"name": "ETL", "description": "d", "settings": {"appId": "crm"}, **GRAPH}
    return f"{WORKFLOWS}/{api.post(WORKFLOWS, body).json['workflowId']}"


@pytest.fixture
def up(api: Api, path: str) -> str:
    assert api.post(f"{path}/deploy").status == 200
    return path


def lifecycle(api: Api, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = api.get(f"{path}/lifecycle").json
    return answer


def test_the_life_of_a_deployment(api: Api, path: str) -> None:
    """Each answer as it is published."""
    one = path.rpartition("/")[2]
    told = {"workflowId": one, "lifecyclePolicy": DEFAULT, "deploymentStatus": "not-deployed", "stoppedReason": None}
    assert lifecycle(api, path) == told
    answer = api.post(f"{path}/deploy")
    assert answer.json == {"message": "Workflow deployed successfully", "workflowId": one, "status": "active"}
    assert answer.headers["etag"] == api.get(path).headers["etag"]
    assert lifecycle(api, path) == told | {"deploymentStatus": "running"}
    assert api.post(f"{path}/stop").json == {"workflowId": one, "deploymentStatus": "stopped"}
    assert lifecycle(api, path) == told | {"deploymentStatus": "stopped", "stoppedReason": "user"}
    started = api.post(f"{path}/start", {"replicas": 2}).json
    assert started == {"workflowId": one, "deploymentStatus": "running", "replicas": 2}
    policy = {"type": "always-on"}
    assert api.put(f"{path}/lifecycle", policy).json == {"workflowId": one, "lifecyclePolicy": policy}
    assert lifecycle(api, path) == told | {"deploymentStatus": "running", "lifecyclePolicy": policy}
    answer = api.post(f"{path}/undeploy")
    assert answer.json == {"message": "Workflow undeployed successfully", "workflowId": one, "status": "draft"}
    assert lifecycle(api, path)["deploymentStatus"] == "not-deployed"
    assert api.post(f"{path}/undeploy").status == 200


def test_trigger(api: Api, up: str, cluster: FakeCluster) -> None:
    """Started at once, or waited for; the request's id is the one by which the pod knows it."""
    one = up.rpartition("/")[2]
    answer = api.post(f"{up}/trigger")
    execution = answer.json["execution_id"]
    assert answer.json == {"status": "started", "execution_id": execution, "workflow_id": one, "output": {}}
    assert cluster.triggers[0][1]["X-Request-Id"] == answer.headers["x-request-id"]
    answer = api.post(f"{up}/trigger", {"trigger_type": "cron", "inputs": {"n": [1]}, "sync": True})
    assert answer.json["status"] == "succeeded"
    assert answer.json["output"] == {"n": [1]}


def test_a_run_that_fails(api: Api, up: str, cluster: FakeCluster) -> None:
    """200, with its error."""
    error = {"name": "Boom", "message": "no"}
    cluster.answer = lambda deployed, headers, body: PodAnswer(
        200,
        {},
        dumps({"status": "failed", "execution_id": headers["Millrace-Execution-Id"], "error": error}).encode(),
    )
    answer = api.post(f"{up}/trigger", {"sync": True})
    assert answer.status == 200
    assert (answer.json["status"], answer.json["error"], answer.json["output"]) == ("failed", error, {})


def test_a_key_names_the_request(api: Api, up: str) -> None:
    """The same answer again, and 422 for another request."""
    first = api.post(f"{up}/trigger", {"inputs": {"n": 1}}, Idempotency_Key="k")
    assert api.post(f"{up}/trigger", {"inputs": {"n": 1}}, Idempotency_Key="k").json == first.json
    assert api.post(f"{up}/trigger", {"inputs": {"n": 2}}, Idempotency_Key="k").status == 422


@pytest.mark.parametrize("request_", ["stop", "start", "undeploy", "trigger"])
def test_what_was_never_deployed(api: Api, path: str, request_: str) -> None:
    """409; an archived one is not deployed either."""
    assert api.post(f"{path}/{request_}").status == 409
    assert api.put(f"{path}/status", {"status": "archived"}).status == 200
    assert api.post(f"{path}/deploy").status == 409


def test_a_graph_with_errors(api: Api) -> None:
    """409 with what validate tells."""
    made = api.post(WORKFLOWS, {"name": "w", **graph([node("a", "no-such-type")])}).json["workflowId"]
    answer = api.post(f"{WORKFLOWS}/{made}/deploy")
    assert answer.status == 409
    assert [error["type"] for error in answer.json["errors"]] == ["unknown-node"]


def test_a_rollout_that_fails(api: Api, path: str, cluster: FakeCluster) -> None:
    """502 that says why, and a status that says that it has."""
    cluster.failure = "ImagePullBackOff: no such image"
    answer = api.post(f"{path}/deploy")
    assert answer.status == 502
    assert "ImagePullBackOff: no such image" in answer.json["detail"]
    assert lifecycle(api, path)["deploymentStatus"] == "failed"
    assert api.get(path).json["status"] == "draft"


def test_outside_of_its_window(api: Api, path: str) -> None:
    """Deployed, and stopped; neither a user nor a trigger starts it."""
    assert api.put(f"{path}/lifecycle", NEVER_NOW).status == 200
    answer = api.post(f"{path}/deploy").json
    assert answer["status"] == "active"
    assert "outside-window" in answer["message"]
    assert lifecycle(api, path)["stoppedReason"] == "outside-window"
    for request in ("start", "trigger"):
        refused = api.post(f"{path}/{request}")
        assert refused.status == 409
        assert "outside its window" in refused.json["detail"]


def test_who_may(client_of: Callable[..., Api], api: Api, up: str) -> None:
    """Who has it by a share stops, starts and triggers it, and does not deploy it; who sees it as a public one triggers
    it.
    """
    api.post(f"{up}/share", {"userId": "bob"})
    api.put(up, {"isPublic": True})
    allowed = {
        "bob": {"stop": 200, "start": 200, "trigger": 200, "deploy": 403, "undeploy": 403},
        "cy": {"stop": 403, "start": 403, "trigger": 200, "deploy": 403, "undeploy": 403},
    }
    for user, told in allowed.items():
        client = client_of(user)
        assert {request: client.post(f"{up}/{request}").status for request in told} == told
        assert lifecycle(client, up)["deploymentStatus"] == "running"


def test_discover(api: Api, up: str, client_of: Callable[..., Api]) -> None:
    """As it is published, but for the name in the cluster, which has no underscore."""
    one = up.rpartition("/")[2]
    name = f"workflow-{one.replace('_', '-')}"
    assert api.get(f"{WORKFLOWS}/discover?appId=crm").json == [
        {
            "id": one,
            "name": "ETL",
            "description": "d",
            "trigger_type": "webhook",
            "mode": "production",
            "endpoints": {"proxy_url": f"http://{name}.user-workflows.svc.cluster.local/trigger", "method": "POST"},
            "deployment": {"pod_name": name, "namespace": "user-workflows"},
        }
    ]
    assert api.get(f"{WORKFLOWS}/discover?appId=shop").json == []
    assert client_of("cy").get(f"{WORKFLOWS}/discover?appId=crm").json == []
    for query in ("", "?appId="):
        answer = api.get(f"{WORKFLOWS}/discover{query}")
        assert (answer.status, answer.json["errors"][0]["path"]) == (400, "appId")


def test_delete_undeploys(api: Api, up: str, cluster: FakeCluster) -> None:
    """Nothing of it is left."""
    assert api.delete(up, If_Match=api.get(up).headers["etag"]).status == 204
    assert cluster.objects == {}
    assert api.get(up).status == 404


def test_a_stage_without_a_cluster(api: Api, path: str) -> None:
    """409 that says so; what else can be done with workflows, can be done."""
    del lambda_services().cluster
    assert api.post(f"{path}/deploy").status == 409
    assert "no cluster" in api.post(f"{path}/deploy").json["detail"]
    assert lifecycle(api, path)["deploymentStatus"] == "not-deployed"
    assert api.delete(path).status == 204
