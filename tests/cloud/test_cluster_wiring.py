"""How the cluster is wired: from the settings, and not before it is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.cloud.manifests import manifests
from chalicelib.foundation.errors import Conflict, Downstream
from chalicelib.foundation.settings import Settings
from chalicelib.graph.deployments import Deployed
from tests.fakes import FakeClock

DEPLOYED = Deployed("acme", "wf_1", "ann", 1, 1, "a" * 64)


def wired(settings: Settings, **changes: Any) -> Services:
    return services(replace(settings, **changes), clock=FakeClock())


@pytest.mark.parametrize("named", ["", "eks:", "elsewhere"])
def test_a_stage_without_a_cluster(settings: Settings, named: str) -> None:
    """It is told that nothing can be deployed, and what would have to be set."""
    with pytest.raises(Conflict, match="has no cluster"):
        _ = wired(settings, cluster=named).cluster


def test_a_cluster_that_is_out_of_reach_is_known_when_it_is_called(settings: Settings, tmp_path: Any) -> None:
    """Not before: what does not call it goes on without."""
    cluster = wired(settings, cluster="kubeconfig", kubeconfig=str(tmp_path / "none")).cluster
    assert cluster.endpoint("wf_1") == "http://workflow-wf-1.user-workflows.svc.cluster.local/trigger"
    with pytest.raises(Downstream):
        cluster.observe("wf_1")


def test_an_eks_cluster_is_asked_for_by_its_name(settings: Settings) -> None:
    """EKS does not know it: its own words are told."""
    with pytest.raises(Downstream, match="No cluster found for name: nowhere"):
        wired(settings, cluster="eks:nowhere").cluster.observe("wf_1")


def test_what_pods_are_told(settings: Settings) -> None:
    """The settings of the function that deploys them, and nothing of the cluster; the policy says who may call."""
    named = replace(
        settings,
        cluster="kubeconfig",
        kubeconfig="secret-place",
        pod_image="pod:7",
        trigger_from="10.0.0.0/28, 10.0.1.0/28",
        closed_to_pods="172.20.0.0/16",
    )
    options = services(named).cluster._options
    config, policy, *_, deployment = manifests(DEPLOYED, 1, options)
    told = Settings.from_environment(config["data"])
    assert told == replace(named, cluster="", kubeconfig="")
    sources = [peer["ipBlock"]["cidr"] for peer in policy["spec"]["ingress"][0]["from"] if "ipBlock" in peer]
    assert sources == ["10.0.0.0/28", "10.0.1.0/28"]
    assert "172.20.0.0/16" in policy["spec"]["egress"][-1]["to"][0]["ipBlock"]["except"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "pod:7"
