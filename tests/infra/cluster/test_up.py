"""What ``make up`` does with the local cluster, besides starting it."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes import client

from infra.deploy import base_template
from infra.environment import function_environment
from infra.local import cluster_process, manifests, up
from infra.local.cluster.environment import IMAGE
from infra.local.home import NAMESPACE, Home
from infra.local.process import LocalError
from tests.clusters import TIMEOUT_S, local_cluster
from tests.infra.cluster.workloads import call, container


def test_the_namespace_is_prepared_as_an_accounts_cluster_would_be(tmp_path: Path) -> None:
    """All of infra/k8s is there; applied again nothing changes; a pod that may do too much is refused in it."""
    with local_cluster(tmp_path / "home") as own, own.api_client() as api:
        assert own.home
        assert cluster_process.ensure(own.home) is False
        assert manifests.apply_all(own.home) >= 7
        core = client.CoreV1Api(api)
        quota = core.list_namespaced_resource_quota(NAMESPACE, _request_timeout=TIMEOUT_S).items
        assert len(quota) == 1
        before = _versions(api)
        manifests.apply_all(own.home)
        assert _versions(api) == before
        loose = {"metadata": {"name": "loose"}, "spec": {"containers": [container(own)]}}
        with pytest.raises(client.ApiException, match="violates PodSecurity"):
            call(api, "POST", f"/api/v1/namespaces/{NAMESPACE}/pods", loose)


def _versions(api: client.ApiClient) -> list[str]:
    found = []
    for path in (
        f"/api/v1/namespaces/{NAMESPACE}",
        *(f"/api/v1/namespaces/{NAMESPACE}/{plural}" for plural in ("limitranges", "serviceaccounts")),
        f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies",
        *(
            f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/{plural}"
            for plural in ("roles", "rolebindings")
        ),
    ):
        told = call(api, "GET", path)
        found += [one["metadata"]["resourceVersion"] for one in told.get("items", [told])]
    return found


def test_what_the_cluster_refuses_is_told(tmp_path: Path) -> None:
    """A manifest with a field that does not exist stops ``make up``, and says which."""
    folder = tmp_path / "project" / "infra" / "k8s"
    folder.mkdir(parents=True)
    (folder / "odd.yaml").write_text("{apiVersion: v1, kind: Namespace, metadata: {name: odd}, spec: {size: 3}}")
    with local_cluster(tmp_path / "home") as own:
        assert own.home
        with pytest.raises(LocalError, match=r"refuses Namespace odd: .*spec\.size"):
            manifests.apply_all(own.home, tmp_path / "project")


def test_functions_are_told_where_the_cluster_is(tmp_path: Path) -> None:
    """The parameters are those of the template, and what they come to be in the environment is what settings read."""
    home = Home(tmp_path, 15000)
    parameters = up._cluster_parameters(home)
    template = base_template()
    assert set(parameters) <= set(template["Parameters"])
    assert set(parameters) <= set(template["Outputs"])
    known = dict.fromkeys(template["Outputs"], "1")
    environment = function_environment("local", known | parameters)
    assert environment["MILLRACE_CLUSTER"] == "kubeconfig"
    assert environment["MILLRACE_KUBECONFIG"] == str(tmp_path / "kubeconfig")
    assert environment["MILLRACE_NAMESPACE"] == NAMESPACE
    assert environment["MILLRACE_POD_IMAGE"] == IMAGE
