"""What a real API server fills in where an object says nothing."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from infra.local.cluster.errors import Json

_SERVICE_NETWORK = ipaddress.ip_network("10.96.0.0/16")


def _set(thing: Json, **values: Any) -> None:
    for name, value in values.items():
        if thing.get(name) is None:
            thing[name] = value


def pod_spec(spec: Json) -> None:
    _set(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        securityContext={},
    )
    if spec.get("serviceAccountName"):
        _set(spec, serviceAccount=spec["serviceAccountName"])
    for container in spec.get("containers") or ():
        _container(container)
    for volume in spec.get("volumes") or ():
        for kind, mode in (("configMap", "defaultMode"), ("secret", "defaultMode"), ("projected", "defaultMode")):
            if kind in volume:
                _set(volume[kind], **{mode: 420})


def _container(container: Json) -> None:
    _, _, tag = container.get("image", "").rpartition("/")[2].partition(":")
    _set(
        container,
        imagePullPolicy="Always" if tag in ("", "latest") else "IfNotPresent",
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        resources={},
    )
    for port in container.get("ports") or ():
        _set(port, protocol="TCP")
    for variable in container.get("env") or ():
        if reference := (variable.get("valueFrom") or {}).get("fieldRef"):
            _set(reference, apiVersion="v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if "httpGet" in probe:
                _set(probe["httpGet"], path="/", scheme="HTTP")
    limits = container["resources"].get("limits")
    if limits:
        container["resources"]["requests"] = {**limits, **(container["resources"].get("requests") or {})}


def _deployment(thing: Json, _used: Iterable[str]) -> None:
    spec = thing["spec"]
    _set(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    _set(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _set(spec["strategy"], rollingUpdate={})
        _set(spec["strategy"]["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")
    _template(spec)


def _replica_set(thing: Json, _used: Iterable[str]) -> None:
    _set(thing["spec"], replicas=1)
    _template(thing["spec"])


def _template(spec: Json) -> None:
    _set(spec, template={})
    _set(spec["template"], metadata={}, spec={})
    pod_spec(spec["template"]["spec"])


def _pod(thing: Json, _used: Iterable[str]) -> None:
    pod_spec(thing["spec"])
    _set(thing["spec"], serviceAccountName="default", serviceAccount="default", enableServiceLinks=True)
    thing["spec"].setdefault("priority", 0)
    _set(thing, status={"phase": "Pending", "qosClass": _quality(thing["spec"])})


def _quality(spec: Json) -> str:
    asked = [container.get("resources") or {} for container in spec.get("containers") or ()]
    if not any(one.get("requests") or one.get("limits") for one in asked):
        return "BestEffort"
    equal = all(
        set(one.get("limits") or {}) >= {"cpu", "memory"} and one.get("requests") == one["limits"] for one in asked
    )
    return "Guaranteed" if equal else "Burstable"


def _service(thing: Json, used: Iterable[str]) -> None:
    spec = thing["spec"]
    _set(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP", targetPort=port.get("port"))
    if spec["type"] != "ExternalName":
        if not spec.get("clusterIP"):
            taken = set(used)
            spec["clusterIP"] = next(str(address) for address in _SERVICE_NETWORK.hosts() if str(address) not in taken)
        _set(spec, clusterIPs=[spec["clusterIP"]], ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    _set(thing, status={"loadBalancer": {}})


def _namespace(thing: Json, _used: Iterable[str]) -> None:
    _set(thing, spec={})
    _set(thing["spec"], finalizers=["kubernetes"])
    _set(thing, status={"phase": "Active"})
    _set(thing["metadata"], labels={})
    thing["metadata"]["labels"]["kubernetes.io/metadata.name"] = thing["metadata"]["name"]


def _secret(thing: Json, _used: Iterable[str]) -> None:
    _set(thing, type="Opaque")
    plain = thing.pop("stringData", None) or {}
    if plain:
        coded = {name: base64.b64encode(text.encode()).decode() for name, text in plain.items()}
        thing["data"] = {**(thing.get("data") or {}), **coded}


def _network_policy(thing: Json, _used: Iterable[str]) -> None:
    spec = thing.get("spec") or {}
    _set(spec, podSelector={}, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            _set(port, protocol="TCP")
    thing["spec"] = spec


def _role_binding(thing: Json, _used: Iterable[str]) -> None:
    _set(thing["roleRef"], apiGroup="rbac.authorization.k8s.io")
    for subject in thing.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _set(subject, apiGroup="rbac.authorization.k8s.io")


def _limit_range(thing: Json, _used: Iterable[str]) -> None:
    for limit in thing["spec"].get("limits") or ():
        if limit.get("type") == "Container":
            limit["default"] = {**(limit.get("max") or {}), **(limit.get("default") or {})}
            limit["defaultRequest"] = {
                **(limit.get("min") or {}), **limit["default"], **(limit.get("defaultRequest") or {})
            }  # fmt: skip
            for name in ("default", "defaultRequest"):
                if not limit[name]:
                    del limit[name]


_OF: dict[str, Callable[[Json, Iterable[str]], None]] = {
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "Pod": _pod,
    "Service": _service,
    "Namespace": _namespace,
    "Secret": _secret,
    "NetworkPolicy": _network_policy,
    "RoleBinding": _role_binding,
    "LimitRange": _limit_range,
}


#: What a kind's status says before its controller has looked.
_FIRST_STATUS: dict[str, Json] = {
    "Deployment": {},
    "ReplicaSet": {"replicas": 0},
    "PodDisruptionBudget": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
    "ResourceQuota": {},
}


def fill(kind: str, thing: Json, used_addresses: Iterable[str] = ()) -> None:
    """Fill in the object itself. ``used_addresses`` are those that services have."""
    if kind in _OF:
        _OF[kind](thing, used_addresses)
    if kind in _FIRST_STATUS:
        thing.setdefault("status", dict(_FIRST_STATUS[kind]))
