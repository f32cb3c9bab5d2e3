"""infra/k8s: what a cluster is given before workflows are deployed to it."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from chalicelib.cloud.manifests import MAY_TRIGGER, PodOptions, manifests
from chalicelib.foundation.settings import Settings
from chalicelib.graph.deployments import Deployed
from infra.packaging import PROJECT

FILES = sorted((PROJECT / "infra" / "k8s").glob("*.yaml"))
OBJECTS: list[dict[str, Any]] = [found for file in FILES for found in yaml.safe_load_all(file.read_text())]
OPTIONS = PodOptions(namespace=Settings.namespace, image="i", stage="s")


def of(kind: str) -> dict[str, Any]:
    (found,) = (manifest for manifest in OBJECTS if manifest["kind"] == kind)
    return found


@pytest.mark.parametrize("version", ["1.32", "1.37"])
@pytest.mark.parametrize("manifest", OBJECTS, ids=lambda manifest: f"{manifest['kind']}")
def test_schemas_take_every_object(manifest: dict[str, Any], version: str) -> None:
    """From the oldest version that EKS supports to the newest that there are schemas of."""
    assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_all_of_it_lies_in_the_namespace_of_pods() -> None:
    """The one that the settings name where they say nothing else."""
    assert of("Namespace")["metadata"]["name"] == Settings.namespace
    others = [manifest for manifest in OBJECTS if manifest["kind"] != "Namespace"]
    assert {manifest["metadata"]["namespace"] for manifest in others} == {Settings.namespace}


def test_pods_have_to_be_restricted_there() -> None:
    """As Kubernetes' strictest standard means it; and they do not call each other's triggers."""
    labels = of("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert MAY_TRIGGER not in labels


def test_pods_keep_to_the_limits() -> None:
    """They have the service account that is there, and are not larger than a container may be."""
    pod = manifests(Deployed("o", "wf_1", "u", 1, 1, "a"), 1, OPTIONS)[-1]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == of("ServiceAccount")["metadata"]["name"]
    (limits,) = of("LimitRange")["spec"]["limits"]
    resources = pod["containers"][0]["resources"]
    assert resources["limits"] == limits["default"]
    assert resources["requests"] == limits["defaultRequest"]


def test_nothing_goes_in_or_out_by_itself() -> None:
    """What no policy lets through is refused, in both directions, for every pod."""
    assert of("NetworkPolicy")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_nobody_in_the_cluster_has_the_role_but_the_group() -> None:
    """One binding, to the group that the access entries give."""
    binding = of("RoleBinding")
    assert binding["roleRef"]["name"] == of("Role")["metadata"]["name"]
    assert [subject["kind"] for subject in binding["subjects"]] == ["Group"]
    assert not [rule for rule in of("Role")["rules"] if "*" in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]]
