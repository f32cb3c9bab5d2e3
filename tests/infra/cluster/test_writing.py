"""Ways of writing: apply with its owners, the three patches, dry runs; and of reading: selectors, watches."""

from __future__ import annotations

import copy
import json
import threading
from typing import Any

import pytest
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from tests.clusters import TIMEOUT_S, TestCluster
from tests.infra.cluster.workloads import apply, call, container, deployment, kubectl, service, until

Json = dict[str, Any]


def config(data: Json, **metadata: Any) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", **metadata}, "data": data}


def test_apply_takes_away_what_it_gave(api: client.ApiClient, place: str) -> None:
    """What an applier does not name any more goes; what others made stays."""
    first = apply(api, place, config({"a": "1", "b": "2"}, labels={"x": "1"}))
    path = f"/api/v1/namespaces/{place}/configmaps/one"
    call(api, "PATCH", path, {"data": {"c": "3"}}, content_type="application/merge-patch+json")
    second = apply(api, place, config({"a": "1"}))
    assert second["data"] == {"a": "1", "c": "3"}
    assert "labels" not in second["metadata"]
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    owned = {
        one["manager"]: one["fieldsV1"] for one in second["metadata"]["managedFields"] if one["operation"] == "Apply"
    }
    assert owned["test"]["f:data"]["f:a"] == {}
    assert "f:b" not in owned["test"]["f:data"]


def test_apply_again_changes_nothing(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """The same again leaves the version as it is: no rollout, no event."""
    body = deployment("web", container(cluster), 0)
    apply(api, place, body)

    def settled() -> Json | None:
        found: Json = call(api, "GET", f"/apis/apps/v1/namespaces/{place}/deployments/web")
        return found if found["status"].get("observedGeneration") == 1 and found["status"].get("conditions") else None

    before = until(settled, "the deployment is looked after")
    until(lambda: "deployment.kubernetes.io/revision" in settled()["metadata"]["annotations"], "a revision")  # type: ignore[index]
    before = settled() or before
    again = apply(api, place, body)
    assert again["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert again["metadata"]["generation"] == 1


def test_apply_of_what_another_owns(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """A conflict names the owner and the field; by force the field changes hands; the same value is shared."""
    apply(api, place, deployment("web", container(cluster), 0), manager="first")
    changed = deployment("web", container(cluster), 2)
    with pytest.raises(ApiException) as raised:
        apply(api, place, changed, manager="second", force=False)
    told = json.loads(raised.value.body)
    assert (told["code"], told["reason"]) == (409, "Conflict")
    assert [(cause["reason"], cause["field"]) for cause in told["details"]["causes"]] == [
        ("FieldManagerConflict", ".spec.replicas")
    ]
    assert 'conflict with "first"' in told["message"]
    forced = apply(api, place, changed, manager="second")
    owners = {
        one["manager"]: one["fieldsV1"] for one in forced["metadata"]["managedFields"] if one["operation"] == "Apply"
    }
    assert "f:replicas" not in owners["first"]["f:spec"]
    assert "f:replicas" in owners["second"]["f:spec"]
    name = 'k:{"name":"main"}'
    for owner in ("first", "second"):
        assert "f:image" in owners[owner]["f:spec"]["f:template"]["f:spec"]["f:containers"][name]


def test_applied_lists_are_merged_by_their_keys(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """Variables, ports and containers are told apart by name; one that is not applied any more goes alone."""
    body = deployment("web", container(cluster, env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]), 0)
    apply(api, place, body)
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [{"name": "C", "value": "3"}]}]}}}}
    path = f"/apis/apps/v1/namespaces/{place}/deployments/web"
    call(api, "PATCH", path, patch, content_type="application/strategic-merge-patch+json")
    fewer = deployment("web", container(cluster, env=[{"name": "B", "value": "20"}]), 0)
    after = apply(api, place, fewer)["spec"]["template"]["spec"]["containers"]
    assert len(after) == 1
    values = {one["name"]: one.get("value") for one in after[0]["env"]}
    assert (values["B"], values["C"]) == ("20", "3")
    assert "A" not in values


def test_patches(api: client.ApiClient, place: str) -> None:
    """Each kind of patch means what its RFC, or Kubernetes, says."""
    path = f"/api/v1/namespaces/{place}/configmaps/one"
    call(api, "POST", path.rpartition("/")[0], config({"a": "1", "b": "2"}))
    merged = call(api, "PATCH", path, {"data": {"a": None, "c": "3"}}, content_type="application/merge-patch+json")
    assert merged["data"] == {"b": "2", "c": "3"}
    operations = [
        {"op": "test", "path": "/data/b", "value": "2"},
        {"op": "replace", "path": "/data/b", "value": "20"},
        {"op": "remove", "path": "/data/c"},
        {"op": "add", "path": "/metadata/annotations", "value": {"example.org/x": "y"}},
    ]
    patched = call(api, "PATCH", path, operations, content_type="application/json-patch+json")
    assert patched["data"] == {"b": "20"}
    assert patched["metadata"]["annotations"] == {"example.org/x": "y"}
    with pytest.raises(ApiException) as raised:
        call(api, "PATCH", path, operations, content_type="application/json-patch+json")
    assert raised.value.status == 422


def test_dry_run(api: client.ApiClient, place: str) -> None:
    """It answers as if, and nothing is there."""
    path = f"/api/v1/namespaces/{place}/configmaps"
    assert call(api, "POST", path, config({"a": "1"}), query=[("dryRun", "All")])["data"] == {"a": "1"}
    with pytest.raises(ApiException) as raised:
        call(api, "GET", f"{path}/one")
    assert raised.value.status == 404


def test_defaults(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """What nobody says is filled in as a real server does."""
    made = apply(api, place, deployment("web", container(cluster), 0))["spec"]
    assert made["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (made["progressDeadlineSeconds"], made["revisionHistoryLimit"]) == (600, 10)
    pod = made["template"]["spec"]
    assert (pod["restartPolicy"], pod["dnsPolicy"], pod["terminationGracePeriodSeconds"]) == (
        "Always",
        "ClusterFirst",
        5,
    )
    assert pod["containers"][0]["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    told = apply(api, place, service("web"))["spec"]
    assert (told["type"], told["sessionAffinity"]) == ("ClusterIP", "None")
    assert told["clusterIP"] == told["clusterIPs"][0]


def test_selectors(api: client.ApiClient, place: str) -> None:
    """Lists are narrowed by labels and by fields."""
    core = client.CoreV1Api(api)
    for name, labels in (("a", {"tier": "x"}), ("b", {"tier": "y"}), ("c", {})):
        core.create_namespaced_config_map(
            place, {"metadata": {"name": name, "labels": labels}}, _request_timeout=TIMEOUT_S
        )

    def names(**by: str) -> str:
        found = core.list_namespaced_config_map(place, **by, _request_timeout=TIMEOUT_S).items
        return "".join(one.metadata.name for one in found if one.metadata.name in ("a", "b", "c"))

    assert names(label_selector="tier=x") == "a"
    assert names(label_selector="tier in (x, y)") == "ab"
    assert names(label_selector="tier!=x") == "bc"
    assert names(label_selector="!tier") == "c"
    assert names(label_selector="tier,tier notin (y)") == "a"
    assert names(field_selector="metadata.name=b") == "b"
    with pytest.raises(ApiException) as raised:
        names(field_selector="data.a=1")
    assert raised.value.status == 400


def test_watch(api: client.ApiClient, place: str) -> None:
    """A watch tells of what is there, of what changes, and of what goes, for those that its selector takes."""
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map(
        place, {"metadata": {"name": "a", "labels": {"w": "1"}}}, _request_timeout=TIMEOUT_S
    )
    version = core.list_namespaced_config_map(place, _request_timeout=TIMEOUT_S).metadata.resource_version

    def change() -> None:
        for name, labels in (("b", {"w": "1"}), ("c", {})):
            body = {"metadata": {"name": name, "labels": labels}}
            core.create_namespaced_config_map(place, body, _request_timeout=TIMEOUT_S)
        core.patch_namespaced_config_map("a", place, {"data": {"x": "1"}}, _request_timeout=TIMEOUT_S)
        core.patch_namespaced_config_map("b", place, {"metadata": {"labels": None}}, _request_timeout=TIMEOUT_S)
        core.delete_namespaced_config_map("a", place, _request_timeout=TIMEOUT_S)

    changing = threading.Thread(target=change)
    changing.start()
    seen = []
    stream = watch.Watch().stream(
        core.list_namespaced_config_map, place, label_selector="w=1", resource_version=version, timeout_seconds=20
    )
    for event in stream:
        seen.append((event["type"], event["object"].metadata.name))
        if seen[-1] == ("DELETED", "a"):
            break
    changing.join()
    assert seen == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b"), ("DELETED", "a")]


def test_deleting_a_namespace_takes_all_that_is_in_it(cluster: TestCluster, api: client.ApiClient) -> None:
    """While it ends nothing new is made in it; then it is gone."""
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": "test-going"}}, _request_timeout=TIMEOUT_S)
    lingering = container(cluster, env=[{"name": "LINGER", "value": "1"}])
    apply(api, "test-going", deployment("web", lingering))
    until(lambda: core.list_namespaced_pod("test-going", _request_timeout=TIMEOUT_S).items, "a pod")
    core.delete_namespace("test-going", _request_timeout=TIMEOUT_S)
    with pytest.raises(ApiException) as raised:
        apply(api, "test-going", config({"a": "1"}))
    assert raised.value.status == 403
    assert "being terminated" in raised.value.body

    def is_gone() -> bool:
        found = core.list_namespace(field_selector="metadata.name=test-going", _request_timeout=TIMEOUT_S).items
        return not found

    until(is_gone, "the namespace is gone")


def test_kubectl_or_what_it_would_do(cluster: TestCluster, api: client.ApiClient, place: str) -> None:
    """``kubectl`` applies its own way (three-way merge from an annotation), gets, explains, and deletes."""
    body = deployment("web", container(cluster, env=[{"name": "A", "value": "1"}]), 0)
    fewer = copy.deepcopy(body)
    fewer["spec"]["template"]["spec"]["containers"][0]["env"].pop()
    if (told := kubectl(cluster, "-n", place, "apply", "-f", "-", body=json.dumps(body))) is not None:
        assert "deployment.apps/web created" in told
        assert "unchanged" in (kubectl(cluster, "-n", place, "apply", "-f", "-", body=json.dumps(body)) or "")
        assert "configured" in (kubectl(cluster, "-n", place, "apply", "-f", "-", body=json.dumps(fewer)) or "")
        assert "Number of desired pods" in (kubectl(cluster, "explain", "deployment.spec.replicas") or "")
        assert place in (kubectl(cluster, "get", "namespaces") or "")
    else:
        apply(api, place, body)
        apply(api, place, fewer)
    after = call(api, "GET", f"/apis/apps/v1/namespaces/{place}/deployments/web")
    assert [one["name"] for one in after["spec"]["template"]["spec"]["containers"][0]["env"]][:1] == ["POD_NAME"]
    assert "A" not in {one["name"] for one in after["spec"]["template"]["spec"]["containers"][0]["env"]}
    if kubectl(cluster, "-n", place, "delete", "deployment", "web", "--timeout=60s") is None:
        client.AppsV1Api(api).delete_namespaced_deployment("web", place, _request_timeout=TIMEOUT_S)
    assert not client.AppsV1Api(api).list_namespaced_deployment(place, _request_timeout=TIMEOUT_S).items
