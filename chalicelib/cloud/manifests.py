"""What one deployed workflow is in the cluster: five objects of one name, as data. Nothing here calls anybody.

``manifests`` lists them in the order in which they are applied. Each object can be there without those behind it: the
Deployment comes last, so no pod starts before what it reads is there, who may call it is settled, and the Service
that leads to it exists. Whoever dies in between has started nothing; the next who applies all of them finishes it.

A pod rolls when its template changes, and only then. So the template carries a hash of what it reads besides, the
ConfigMap: another plan is another template, and the same deployment applied again changes nothing at all. The same hash
tells pods of the newest template from those before.

**Shutdown**, in seconds after a pod was told to go: its endpoint is removed while ``preStop`` sleeps, so that no new
request comes when the server gets SIGTERM (``STOP_DELAY_S``); then it finishes its runs (``GRACE_S``) and hands over
the rest; what is left until ``TERMINATION_S`` is for the hand-over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.foundation.json_types import canonical, dumps
from chalicelib.graph.deployments import POD_PORT, Deployed, resource_name

SERVICE_PORT = 80
PORT_NAME = "http"
CONTAINER = "workflow"

STOP_DELAY_S = 5
GRACE_S = 45
TERMINATION_S = 60  # more than the two above together

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "millrace"  # what it is managed by; also the field manager of server-side apply
WORKFLOW = "millrace.dev/workflow"
TEMPLATE_HASH = "millrace.dev/template"
MAY_TRIGGER = "millrace.dev/may-trigger"

_USER = 10001  # of the image, see infra/pod/Dockerfile
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")

#: Where a node hands out what only it may have: EC2's metadata and its IPv6 twin, and whatever else is link-local.
_LINK_LOCAL_V4 = "169.254.0.0/16"
_NOT_THE_WORLD_V6 = ("fe80::/10", "fd00:ec2::/32")
_POD_IDENTITY_AGENT = ("169.254.170.23/32", "fd00:ec2::23/128")
_NODE_LOCAL_DNS = "169.254.20.10/32"


@dataclass(frozen=True)
class PodOptions:
    """What all deployments of a stage have in common."""

    namespace: str
    image: str
    stage: str
    environment: Mapping[str, str] = field(default_factory=dict)  #: the settings, as the pod reads them
    command: tuple[str, ...] = ()  #: in the place of the image's own program
    service_account: str = "millrace-workflow"
    cpu_request: str = "250m"
    cpu_limit: str = "1"
    memory: str = "512Mi"  #: asked for and the most: a pod is never ended because its node has promised too much
    scratch: str = "1Gi"  #: of disk, for values that are too large for memory
    trigger_from: tuple[str, ...] = ()  #: CIDRs, beside labelled namespaces: where the API server's proxy calls from
    closed_to: tuple[str, ...] = ()  #: CIDRs that workflows may not call: pods, services, nodes of the cluster
    sleeps_natively: bool = True  #: false for API servers before 1.30, which do not know ``sleep``


def manifests(deployed: Deployed, replicas: int, options: PodOptions) -> list[dict[str, Any]]:
    """All objects of a deployment, in the order in which they are applied. With no replicas they are there too."""
    metadata = _metadata(deployed, options)
    config = {
        **options.environment,
        "MILLRACE_DEPLOYED": dumps(deployed.to_json()),
        "MILLRACE_GRACE_S": str(GRACE_S),
    }
    selector = {WORKFLOW: label_value(deployed.workflow_id)}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": config},
        _network_policy(metadata, selector, options),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": "ClusterIP",
                "selector": selector,
                "ports": [{"name": PORT_NAME, "port": SERVICE_PORT, "targetPort": PORT_NAME, "protocol": "TCP"}],
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            # One may always go, so that a drain does not wait for ever for the only pod of a deployment: where it goes,
            # the trigger is sent again, and its runs are handed over.
            "spec": {
                "maxUnavailable": 1,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": selector},
            },
        },
        _deployment(metadata, selector, config, replicas, options),
    ]


def label_value(text: str) -> str:
    """``text`` where a label may have it as its value, else a hash of it.

    >>> label_value("wf_abc123")
    'wf_abc123'
    """
    if _LABEL_VALUE.fullmatch(text):
        return text
    return f"sha256-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def owned(workflow_id: str) -> str:
    """The label selector of all that belongs to a workflow, its pods included."""
    return f"{MANAGED_BY}={MANAGER},{WORKFLOW}={label_value(workflow_id)}"


def _metadata(deployed: Deployed, options: PodOptions) -> dict[str, Any]:
    return {
        "name": resource_name(deployed.workflow_id),
        "namespace": options.namespace,
        "labels": _labels(deployed, options),
    }


def _labels(deployed: Deployed, options: PodOptions) -> dict[str, str]:
    return {
        MANAGED_BY: MANAGER,
        "app.kubernetes.io/name": "millrace-workflow",
        WORKFLOW: label_value(deployed.workflow_id),
        "millrace.dev/organization": label_value(deployed.organization_id),
        "millrace.dev/stage": label_value(options.stage),
    }


def _network_policy(metadata: Mapping[str, Any], selector: Mapping[str, str], options: PodOptions) -> dict[str, Any]:
    """Who may call the pods, and what they may call.

    In come triggers: from namespaces that are labelled for it, and from where the API server's proxy calls. Probes
    come from the node, which network policies do not concern.

    Out go names to the DNS, credentials from the Pod Identity agent, and TCP to anywhere else but what is link-local:
    DynamoDB, S3 and Step Functions are public addresses, or private ones of endpoints in the VPC; ``http-request``
    calls any port of any public server, and judges the address itself (``cloud.http``). What is left for this policy
    is the node's own metadata, and with ``closed_to`` what else is in the cluster.
    """
    may_call: list[dict[str, Any]] = [{"namespaceSelector": {"matchLabels": {MAY_TRIGGER: "true"}}}]
    may_call += [{"ipBlock": {"cidr": cidr}} for cidr in options.trigger_from]
    closed_v4 = [cidr for cidr in options.closed_to if ":" not in cidr]
    closed_v6 = [cidr for cidr in options.closed_to if ":" in cidr]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": may_call, "ports": [{"protocol": "TCP", "port": POD_PORT}]}],
            "egress": [
                {
                    "to": [
                        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
                        {"ipBlock": {"cidr": _NODE_LOCAL_DNS}},
                    ],
                    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
                },
                {
                    "to": [{"ipBlock": {"cidr": cidr}} for cidr in _POD_IDENTITY_AGENT],
                    "ports": [{"protocol": "TCP", "port": 80}],
                },
                {
                    "to": [
                        {"ipBlock": {"cidr": "0.0.0.0/0", "except": [_LINK_LOCAL_V4, *closed_v4]}},
                        {"ipBlock": {"cidr": "::/0", "except": [*_NOT_THE_WORLD_V6, *closed_v6]}},
                    ],
                    "ports": [{"protocol": "TCP"}],
                },
            ],
        },
    }


def _deployment(
    metadata: Mapping[str, Any],
    selector: Mapping[str, str],
    config: Mapping[str, str],
    replicas: int,
    options: PodOptions,
) -> dict[str, Any]:
    pod = _pod(metadata["name"], selector, options)
    told = hashlib.sha256(canonical([config, pod])).hexdigest()
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector},
            # No request is dropped: a new pod has to be ready before an old one goes.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "minReadySeconds": 1,
            "progressDeadlineSeconds": 120,
            "revisionHistoryLimit": 2,
            "template": {
                "metadata": {"labels": metadata["labels"], "annotations": {TEMPLATE_HASH: told}},
                "spec": pod,
            },
        },
    }


def _pod(name: str, selector: Mapping[str, str], options: PodOptions) -> dict[str, Any]:
    return {
        "serviceAccountName": options.service_account,
        "automountServiceAccountToken": False,  # it has no business with the API server
        "enableServiceLinks": False,  # else each Service of the namespace adds variables
        "terminationGracePeriodSeconds": TERMINATION_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(selector)},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "containers": [_container(name, options)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": options.scratch}}],
    }


def _container(name: str, options: PodOptions) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": options.image,
        **({"command": list(options.command)} if options.command else {}),
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": PORT_NAME, "containerPort": POD_PORT, "protocol": "TCP"}],
        "envFrom": [{"configMapRef": {"name": name}}],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {
            "requests": {"cpu": options.cpu_request, "memory": options.memory, "ephemeral-storage": "256Mi"},
            "limits": {"cpu": options.cpu_limit, "memory": options.memory, "ephemeral-storage": "2Gi"},
        },
        # A minute to load the plan and to reach the table; only then do the others count.
        "startupProbe": {**_probe("/readyz"), "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {**_probe("/healthz"), "periodSeconds": 10, "failureThreshold": 3},
        "lifecycle": {"preStop": _stop_delay(options)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own, and nobody else's
    }


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": PORT_NAME}, "timeoutSeconds": 3}


def _stop_delay(options: PodOptions) -> dict[str, Any]:
    if options.sleeps_natively:
        return {"sleep": {"seconds": STOP_DELAY_S}}
    return {"exec": {"command": ["python", "-c", f"import time; time.sleep({STOP_DELAY_S})"]}}
