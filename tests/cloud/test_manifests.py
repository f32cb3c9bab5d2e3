"""What a deployed workflow is in the cluster, held against the schemas that Kubernetes publishes."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from ipaddress import ip_address, ip_network
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.cloud.manifests import (
    GRACE_S,
    MAY_TRIGGER,
    STOP_DELAY_S,
    TEMPLATE_HASH,
    TERMINATION_S,
    WORKFLOW,
    PodOptions,
    label_value,
    manifests,
)
from chalicelib.foundation.settings import Settings
from chalicelib.graph.deployments import Deployed, resource_name

OLDEST = "1.32"  # that EKS supports in November 2026, in extended support
NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])
VERSIONS = (OLDEST, "1.34", NEWEST)

OPTIONS = PodOptions(
    namespace="user-workflows",
    image="123456789012.dkr.ecr.eu-central-1.amazonaws.com/millrace-pod:1",
    stage="prod",
    environment={"MILLRACE_STAGE": "prod", "AWS_REGION": "eu-central-1"},
    trigger_from=("10.0.0.0/28", "fd00::/64"),
    closed_to=("10.1.0.0/16", "fd01::/64"),
)
DEPLOYED = Deployed(
    organization_id="acme",
    workflow_id="wf_abc123",
    owner_id="ann",
    version=3,
    revision=7,
    plan="0" * 64,
    max_concurrent_runs=4,
)


def by_kind(deployed: Deployed = DEPLOYED, replicas: int = 2, options: PodOptions = OPTIONS) -> dict[str, Any]:
    return {manifest["kind"]: manifest for manifest in manifests(deployed, replicas, options)}


def container(objects: dict[str, Any]) -> dict[str, Any]:
    (found,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def template_hash(objects: dict[str, Any]) -> str:
    found = objects["Deployment"]["spec"]["template"]["metadata"]["annotations"][TEMPLATE_HASH]
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("native", [True, False], ids=["native sleep", "exec"])
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "full"])
def test_schemas_take_every_object(version: str, native: bool, bare: bool) -> None:
    """From the oldest version that EKS supports to the newest that there are schemas of, no field is unknown."""
    options = replace(OPTIONS, sleeps_natively=native)
    if bare:
        options = replace(options, trigger_from=(), closed_to=(), environment={})
    for manifest in manifests(DEPLOYED, 1, options):
        assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_schemas_would_not_take_just_anything() -> None:
    """The test above can fail: a field that Kubernetes does not know is found, and one that is missing."""
    deployment = by_kind()["Deployment"]
    for spec in ({**deployment["spec"], "replica": 1}, {"template": deployment["spec"]["template"]}):
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**deployment, "spec": spec}, OLDEST, strict=True)


def test_the_deployment_comes_last() -> None:
    """No pod starts before what it reads, and who may call it, is settled."""
    kinds = [manifest["kind"] for manifest in manifests(DEPLOYED, 1, OPTIONS)]
    assert kinds == ["ConfigMap", "NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment"]


def test_a_stopped_deployment_keeps_its_objects() -> None:
    """Without replicas only the number differs."""
    running, stopped = manifests(DEPLOYED, 1, OPTIONS), manifests(DEPLOYED, 0, OPTIONS)
    assert running[:-1] == stopped[:-1]
    assert stopped[-1]["spec"].pop("replicas") == 0
    assert running[-1]["spec"].pop("replicas") == 1
    assert running == stopped


def test_all_objects_are_found_by_their_labels() -> None:
    """One name, one namespace, the labels that say whose they are; the pods have them too."""
    objects = by_kind()
    labels = objects["Deployment"]["metadata"]["labels"]
    assert labels == {
        "app.kubernetes.io/managed-by": "millrace",
        "app.kubernetes.io/name": "millrace-workflow",
        "millrace.dev/workflow": "wf_abc123",
        "millrace.dev/organization": "acme",
        "millrace.dev/stage": "prod",
    }
    for manifest in objects.values():
        assert manifest["metadata"] == {"name": "workflow-wf-abc123", "namespace": "user-workflows", "labels": labels}
    assert objects["Deployment"]["spec"]["template"]["metadata"]["labels"] == labels


def test_whatever_selects_pods_selects_by_the_workflow() -> None:
    """A selector cannot be changed later, so it holds nothing that may change."""
    objects = by_kind()
    selector = {WORKFLOW: "wf_abc123"}
    assert objects["Service"]["spec"]["selector"] == selector
    for kind, key in (
        ("Deployment", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        assert objects[kind]["spec"][key] == {"matchLabels": selector}


def test_the_same_again_changes_nothing() -> None:
    """Equal input, equal objects, down to the hash that rolls pods."""
    assert manifests(DEPLOYED, 2, OPTIONS) == manifests(replace(DEPLOYED), 2, replace(OPTIONS))


@pytest.mark.parametrize(
    ("deployed", "options"),
    [
        (replace(DEPLOYED, plan="1" * 64), OPTIONS),
        (DEPLOYED, replace(OPTIONS, environment={"MILLRACE_STAGE": "other"})),
        (DEPLOYED, replace(OPTIONS, image="other:2")),
        (DEPLOYED, replace(OPTIONS, memory="1Gi")),
    ],
    ids=["plan", "settings", "image", "memory"],
)
def test_what_pods_read_rolls_them(deployed: Deployed, options: PodOptions) -> None:
    """Another plan, setting, image or size is another template."""
    assert template_hash(by_kind(deployed, 2, options)) != template_hash(by_kind())


def test_how_many_there_are_rolls_nothing() -> None:
    """Nor does who may call them."""
    assert template_hash(by_kind(replicas=7, options=replace(OPTIONS, trigger_from=()))) == template_hash(by_kind())


def test_what_the_pod_is_told() -> None:
    """The settings, what it serves, and its own name."""
    objects = by_kind()
    data = objects["ConfigMap"]["data"]
    assert Deployed.from_json(json.loads(data["MILLRACE_DEPLOYED"])) == DEPLOYED
    assert data["MILLRACE_STAGE"] == "prod"
    assert all(isinstance(value, str) for value in data.values())
    assert container(objects)["envFrom"] == [{"configMapRef": {"name": "workflow-wf-abc123"}}]
    assert [variable["name"] for variable in container(objects)["env"]] == ["POD_NAME"]


def test_the_pod_has_as_little_as_it_needs() -> None:
    """No root, no way to become it, nothing to write to but a bounded /tmp, no token of the cluster."""
    objects = by_kind()
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container(objects)["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]
    assert container(objects)["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    resources = container(objects)["resources"]
    assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory", "ephemeral-storage"}


def test_a_pod_is_gone_from_its_service_before_it_stops_to_listen() -> None:
    """The delay comes before SIGTERM, and all of it fits into what the cluster allows."""
    objects = by_kind()
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert container(objects)["lifecycle"]["preStop"] == {"sleep": {"seconds": STOP_DELAY_S}}
    assert objects["ConfigMap"]["data"]["MILLRACE_GRACE_S"] == str(GRACE_S)
    assert pod["terminationGracePeriodSeconds"] == TERMINATION_S
    assert STOP_DELAY_S + GRACE_S < TERMINATION_S


def test_a_rollout_takes_no_pod_away_before_another_is_ready() -> None:
    """And one that cannot come up is told as failed, after the time that a pod has to start."""
    spec = by_kind()["Deployment"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    startup = container(by_kind())["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] < spec["progressDeadlineSeconds"]


def test_probes_ask_what_they_are_for() -> None:
    """Whether it may get requests is another question than whether it lives."""
    found = container(by_kind())
    asked = {kind: found[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert asked == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}


def test_a_drain_does_not_hang_on_the_only_pod() -> None:
    """One may be away, whether there are ten or one."""
    assert by_kind(replicas=1)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_pods_spread_where_they_can() -> None:
    """Over zones and nodes; a small cluster takes them all the same."""
    constraints = by_kind()["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [constraint["topologyKey"] for constraint in constraints] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    assert {constraint["whenUnsatisfiable"] for constraint in constraints} == {"ScheduleAnyway"}


def test_who_may_call_a_pod() -> None:
    """Namespaces that are labelled for it and the named addresses, on the one port."""
    (rule,) = by_kind()["NetworkPolicy"]["spec"]["ingress"]
    assert rule["from"] == [
        {"namespaceSelector": {"matchLabels": {MAY_TRIGGER: "true"}}},
        {"ipBlock": {"cidr": "10.0.0.0/28"}},
        {"ipBlock": {"cidr": "fd00::/64"}},
    ]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]


def allowed(address: str, port: int, options: PodOptions = OPTIONS) -> bool:
    """Whether the policy lets a pod open a TCP connection to an address outside the cluster's namespaces."""
    for rule in by_kind(options=options)["NetworkPolicy"]["spec"]["egress"]:
        ports = [entry.get("port") for entry in rule["ports"] if entry["protocol"] == "TCP"]
        if port not in ports and None not in ports:
            continue
        for peer in rule["to"]:
            block = peer.get("ipBlock")
            if (
                block
                and _within(address, block["cidr"])
                and not any(_within(address, e) for e in block.get("except", ()))
            ):
                return True
    return False


def _within(address: str, cidr: str) -> bool:
    found, network = ip_address(address), ip_network(cidr)
    return found.version == network.version and found in network


@pytest.mark.parametrize(
    ("address", "port", "may"),
    [
        ("52.119.224.1", 443, True),  # DynamoDB
        ("10.7.0.9", 443, True),  # an endpoint in the VPC
        ("93.184.215.14", 8443, True),  # http-request
        ("2600:1f18::1", 443, True),
        ("169.254.170.23", 80, True),  # credentials, from the Pod Identity agent
        ("fd00:ec2::23", 80, True),
        ("169.254.170.23", 443, False),  # ... and nothing else of it
        ("169.254.169.254", 80, False),  # the node's own credentials
        ("fd00:ec2::254", 80, False),
        ("169.254.170.2", 80, False),
        ("fe80::1", 80, False),
        ("10.1.2.3", 443, False),  # the cluster, where it is named
        ("fd01::1", 443, False),
    ],
)
def test_what_a_pod_may_call(address: str, port: int, may: bool) -> None:
    """The world and the agent that hands out credentials; not the node's metadata, not the inside of the cluster."""
    assert allowed(address, port) is may


def test_names_are_asked_of_the_dns_alone() -> None:
    """UDP goes nowhere else: a name look-up is a way out."""
    rules = by_kind()["NetworkPolicy"]["spec"]["egress"]
    with_udp = [rule for rule in rules if any(entry["protocol"] == "UDP" for entry in rule["ports"])]
    assert len(with_udp) == 1
    assert {entry["port"] for entry in with_udp[0]["ports"]} == {53}


ANY_ID = st.one_of(
    st.from_regex(r"wf_[0-9a-hjkmnp-tv-z]{16}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    st.text(max_size=200).filter(lambda text: text.isprintable()),
)


@given(ANY_ID)
def test_names_are_what_kubernetes_allows(workflow_id: str) -> None:
    """Of any id there come a DNS-1123 label that begins with a letter, and a legal value of a label."""
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", resource_name(workflow_id))
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", label_value(workflow_id))


@given(st.lists(ANY_ID, min_size=2, max_size=5, unique=True))
def test_no_two_workflows_share_a_name(ids: list[str]) -> None:
    """Also those that differ only in what a name cannot say."""
    named = [*ids, *(text.upper() for text in ids), *(text.replace("_", "-") for text in ids)]
    assert len({resource_name(text) for text in named}) == len(set(named))


def test_the_name_of_an_ordinary_workflow_can_be_read() -> None:
    """It shows the id."""
    assert resource_name("wf_fa28x5nmdpcdsd90") == "workflow-wf-fa28x5nmdpcdsd90"


@given(
    st.builds(
        Deployed,
        organization_id=st.text(),
        workflow_id=st.text(),
        owner_id=st.text(),
        version=st.integers(),
        revision=st.integers(),
        plan=st.text(),
        retention_days=st.integers(),
        max_concurrent_runs=st.none() | st.integers(),
    )
)
def test_what_is_deployed_comes_back_from_json(deployed: Deployed) -> None:
    """Through the text of a ConfigMap."""
    assert Deployed.from_json(json.loads(json.dumps(deployed.to_json()))) == deployed


def test_settings_come_back_from_their_environment() -> None:
    """A pod makes of its variables what the function that deployed it had."""
    odd: dict[str, Any] = {
        field.name: {"int": 17, "int | None": None, "bool": True}.get(str(field.type), f"a-{field.name}")
        for field in fields(Settings)
    }
    settings = Settings(**odd)
    assert Settings.from_environment(settings.to_environment()) == settings
    limited = replace(settings, max_concurrent_runs=3, allow_loopback=False)
    assert Settings.from_environment(limited.to_environment()) == limited
