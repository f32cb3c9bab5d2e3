"""What an API server of Kubernetes refuses, with the status, the reason and the fields that it names."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.clusters import TIMEOUT_S, TestCluster
from tests.infra.cluster.workloads import apply, call, container, deployment, service

Json = dict[str, Any]


def _at(body: Json, *path: Any, value: Any) -> Json:
    """A copy of the body with another value in one place; ``...`` takes it away."""
    changed = copy.deepcopy(body)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


def refusal(act: Callable[[], object]) -> Json:
    with pytest.raises(ApiException) as raised:
        act()
    told: Json = json.loads(raised.value.body)
    assert told["kind"] == "Status"
    assert told["status"] == "Failure"
    assert told["code"] == raised.value.status
    return told


_MAIN = ("spec", "template", "spec", "containers", 0)

INVALID = [
    # A name with an underscore, as ids of workflows have it
    (("metadata", "name"), "workflow-wf_abc123", "metadata.name"),
    (("metadata", "name"), "Upper", "metadata.name"),
    (("metadata", "labels"), {"app": "no spaces"}, "metadata.labels"),
    (("metadata", "labels"), {"-app": "x"}, "metadata.labels"),
    (("spec", "replicas"), -1, "spec.replicas"),
    (("spec", "selector"), {"matchLabels": {"app": "other"}}, "spec.template.metadata.labels"),
    (("spec", "selector"), ..., "spec.selector"),
    (("spec", "template", "spec", "containers"), [], "spec.template.spec.containers"),
    (("spec", "template", "spec", "restartPolicy"), "Never", "spec.template.spec.restartPolicy"),
    ((*_MAIN, "image"), ..., "spec.template.spec.containers[0].image"),
    ((*_MAIN, "name"), "Main_1", "spec.template.spec.containers[0].name"),
    ((*_MAIN, "name"), ..., "spec.template.spec.containers[0].name"),
    ((*_MAIN, "ports", 0, "containerPort"), 70000, "spec.template.spec.containers[0].ports[0].containerPort"),
    ((*_MAIN, "ports", 0, "name"), "a-name-that-is-too-long", "spec.template.spec.containers[0].ports[0].name"),
    ((*_MAIN, "readinessProbe"), {"periodSeconds": 1}, "spec.template.spec.containers[0].readinessProbe"),
    ((*_MAIN, "volumeMounts"), [{"name": "none", "mountPath": "/x"}],
     "spec.template.spec.containers[0].volumeMounts[0].name"),
    ((*_MAIN, "resources"), {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
     "spec.template.spec.containers[0].resources.requests"),
    (("spec", "strategy"), {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
     "spec.strategy.rollingUpdate.maxUnavailable"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "field"), INVALID)
def test_invalid_deployments(
    cluster: TestCluster, api: client.ApiClient, place: str, path: tuple[Any, ...], value: Any, field: str
) -> None:
    """422 with the field that is wrong among the causes; nothing is made."""
    body = _at(deployment("web", container(cluster)), *path, value=value)
    told = refusal(lambda: call(api, "POST", f"/apis/apps/v1/namespaces/{place}/deployments", body))
    assert (told["code"], told["reason"]) == (422, "Invalid")
    assert told["details"]["kind"] == "Deployment"
    assert field in {cause["field"] for cause in told["details"]["causes"]}
    assert told["message"].startswith("Deployment.apps ")
    assert not client.AppsV1Api(api).list_namespaced_deployment(place, _request_timeout=TIMEOUT_S).items


@pytest.mark.parametrize(
    ("path", "value"),
    [(("spec", "replicas"), "two"), ((*_MAIN, "command"), "python"), (("spec", "template"), [])],
)
def test_fields_of_a_wrong_type(
    cluster: TestCluster, api: client.ApiClient, place: str, path: tuple[Any, ...], value: Any
) -> None:
    """400: it is none of its kind."""
    body = _at(deployment("web", container(cluster)), *path, value=value)
    told = refusal(lambda: call(api, "POST", f"/apis/apps/v1/namespaces/{place}/deployments", body))
    assert (told["code"], told["reason"]) == (400, "BadRequest")
    assert "cannot be handled as a Deployment" in told["message"]


def test_unknown_fields(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """Refused where validation is strict, warned of and left out where it is not; never applied."""
    body = _at(deployment("web", container(cluster)), *_MAIN, "imagePullPolicies", value="Always")
    path = f"/apis/apps/v1/namespaces/{place}/deployments"
    strict = refusal(lambda: call(api, "POST", path, body, query=[("fieldValidation", "Strict")]))
    assert strict["code"] == 400
    unknown = 'unknown field "spec.template.spec.containers[0].imagePullPolicies"'
    assert f"strict decoding error: {unknown}" in strict["message"]
    assert refusal(lambda: apply(api, place, body))["code"] in (400, 500)
    _, url, sent, _, _ = api.param_serialize(
        "POST", path, header_params={"Content-Type": "application/json"}, auth_settings=["BearerToken"]
    )
    warned = api.call_api("POST", url, sent, body, _request_timeout=TIMEOUT_S)
    assert warned.status == 201
    assert unknown in json.loads(warned.headers["Warning"].removeprefix("299 - "))
    assert "imagePullPolicies" not in warned.read().decode()


def test_what_cannot_change(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """The selector of a deployment and the address of a service stay as they are."""
    body = deployment("web", container(cluster), 0)
    apply(api, place, body)
    other = {"matchLabels": {"app": "web", "more": "yes"}}
    changed = _at(_at(body, "spec", "selector", value=other), "spec", "template", "metadata", "labels",
                  value=other["matchLabels"])  # fmt: skip
    told = refusal(lambda: apply(api, place, changed))
    assert told["code"] == 422
    assert "field is immutable" in told["message"]
    assert {cause["field"] for cause in told["details"]["causes"]} == {"spec.selector"}
    apply(api, place, service("web"))
    moved = {"spec": {"clusterIP": "10.96.77.77", "clusterIPs": ["10.96.77.77"]}}
    path = f"/api/v1/namespaces/{place}/services/web"
    assert refusal(lambda: call(api, "PATCH", path, moved, content_type="application/merge-patch+json"))["code"] == 422


def test_names_that_are_taken_and_names_that_are_not_there(
    cluster: TestCluster, api: client.ApiClient, place: str
) -> None:
    """409 AlreadyExists, 404 NotFound, each with whom it means."""
    path = f"/api/v1/namespaces/{place}/configmaps"
    body = {"metadata": {"name": "one"}, "data": {"a": "1"}}
    call(api, "POST", path, body)
    told = refusal(lambda: call(api, "POST", path, body))
    assert (told["code"], told["reason"]) == (409, "AlreadyExists")
    assert told["details"] == {"name": "one", "kind": "configmaps"}
    for method in ("GET", "DELETE"):
        told = refusal(lambda method=method: call(api, method, f"/apis/apps/v1/namespaces/{place}/deployments/none"))  # type: ignore[misc]
        assert (told["code"], told["reason"]) == (404, "NotFound")
        assert told["details"] == {"name": "none", "group": "apps", "kind": "deployments"}
        assert told["message"] == 'deployments.apps "none" not found'
    told = refusal(lambda: call(api, "POST", "/api/v1/namespaces/nowhere-at-all/configmaps", body))
    assert told["message"] == 'namespaces "nowhere-at-all" not found'
    assert refusal(lambda: call(api, "DELETE", f"{path}/one", {"preconditions": {"uid": "another"}}))["code"] == 409


def test_changed_meanwhile(api: client.ApiClient, place: str) -> None:
    """Who writes what was read before somebody else wrote has to read again."""
    path = f"/api/v1/namespaces/{place}/configmaps"
    read = call(api, "POST", path, {"metadata": {"name": "one"}, "data": {"a": "1"}})
    call(api, "PUT", f"{path}/one", {**read, "data": {"a": "2"}})
    told = refusal(lambda: call(api, "PUT", f"{path}/one", {**read, "data": {"a": "3"}}))
    assert (told["code"], told["reason"]) == (409, "Conflict")
    assert "the object has been modified" in told["message"]
    assert call(api, "GET", f"{path}/one")["data"] == {"a": "2"}


def test_without_a_token(cluster: TestCluster, api: client.ApiClient) -> None:
    """401, also with a wrong one."""
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        _, url, sent, _, _ = api.param_serialize("GET", "/api/v1/namespaces", header_params=headers)
        answer = api.call_api("GET", url, sent, _request_timeout=TIMEOUT_S)
        assert answer.status in (401, 403)
        assert json.loads(answer.read())["kind"] == "Status"


def test_unknown_paths_and_bodies(api: client.ApiClient, place: str) -> None:
    """404 for a kind that is not there, 415 for a patch that is none, 400 for what is no JSON."""
    assert refusal(lambda: call(api, "GET", f"/apis/apps/v1/namespaces/{place}/wishes"))["code"] == 404
    path = f"/api/v1/namespaces/{place}/configmaps/one"
    call(api, "POST", path.rpartition("/")[0], {"metadata": {"name": "one"}})
    assert refusal(lambda: call(api, "PATCH", path, {}, content_type="application/json"))["code"] == 415
    path = f"/api/v1/namespaces/{place}/configmaps?labelSelector=%3D%3D%3D"
    assert refusal(lambda: call(api, "GET", path))["code"] == 400


def test_pod_security(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """In a namespace of the level ``restricted`` a pod that may do too much is refused."""
    level = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    call(api, "PATCH", f"/api/v1/namespaces/{place}", level, content_type="application/merge-patch+json")
    path = f"/api/v1/namespaces/{place}/pods"
    loose = {"metadata": {"name": "one"}, "spec": {"containers": [container(cluster)]}}
    told = refusal(lambda: call(api, "POST", path, loose))
    assert told["code"] == 403
    for words in (
        'violates PodSecurity "restricted:latest"', "allowPrivilegeEscalation != false", "unrestricted capabilities",
        "runAsNonRoot != true", "seccompProfile",
    ):  # fmt: skip
        assert words in told["message"]
    strict = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    tight = {**loose, "spec": {"containers": [container(cluster, securityContext=strict)]}}
    assert call(api, "POST", path, tight)["status"]["phase"] == "Pending"


def test_limits(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """A limit range fills in what a container does not say, and refuses what is over its greatest."""
    limit = {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}
    call(
        api, "POST", f"/api/v1/namespaces/{place}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [limit]}}
    )
    path = f"/api/v1/namespaces/{place}/pods"
    plain = {"metadata": {"name": "one"}, "spec": {"containers": [container(cluster)]}}
    made = call(api, "POST", path, plain)["spec"]["containers"][0]["resources"]
    assert made == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}
    large = container(cluster, resources={"limits": {"cpu": "2"}})
    told = refusal(lambda: call(api, "POST", path, {"metadata": {"name": "two"}, "spec": {"containers": [large]}}))
    assert told["code"] == 403
    assert "maximum cpu usage per Container is 1, but limit is 2" in told["message"]
