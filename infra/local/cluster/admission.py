"""What decides of a pod, besides the pod: limit ranges, pod security and quotas of its namespace."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from infra.local.cluster.errors import Json, forbidden
from infra.local.cluster.quantities import quantity, to_text
from infra.local.cluster.resources import (
    DEPLOYMENTS,
    LIMIT_RANGES,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    RESOURCE_QUOTAS,
    RESOURCES,
    Resource,
)
from infra.local.cluster.store import Store

_COUNTED = {
    **{resource.plural: resource for resource in RESOURCES if not resource.group},
    **{f"count/{resource.qualified}": resource for resource in RESOURCES},
}
_COMPUTE = ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "cpu", "memory")


def apply_limits(store: Store, pod: Json) -> None:
    """Fill in requests and limits as the namespace's limit ranges say. Raises ``ApiError`` 403 for what is outside."""
    for limit_range in store.all_of(LIMIT_RANGES, pod["metadata"]["namespace"]):
        for limit in limit_range["spec"]["limits"]:
            if limit["type"] == "Container":
                for container in pod["spec"]["containers"]:
                    _limit(pod, container, limit)


def _limit(pod: Json, container: Json, limit: Json) -> None:
    resources = container.setdefault("resources", {})
    requests, limits = dict(resources.get("requests") or {}), dict(resources.get("limits") or {})
    for name, amount in (limit.get("default") or {}).items():
        limits.setdefault(name, amount)
    for name, amount in (limit.get("defaultRequest") or {}).items():
        requests.setdefault(name, amount)
    if requests:
        resources["requests"] = requests
    if limits:
        resources["limits"] = limits
    for name, most in (limit.get("max") or {}).items():
        if quantity(limits.get(name, most)) > quantity(most):
            why = f"maximum {name} usage per Container is {most}, but limit is {limits[name]}"
            raise forbidden(PODS, pod["metadata"]["name"], why)
    for name, least in (limit.get("min") or {}).items():
        if quantity(requests.get(name, least)) < quantity(least):
            why = f"minimum {name} usage per Container is {least}, but request is {requests[name]}"
            raise forbidden(PODS, pod["metadata"]["name"], why)


def check_security(store: Store, pod: Json) -> None:
    """The level ``restricted`` of pod security, where the namespace asks for it. Raises ``ApiError`` 403."""
    namespace = store.get(NAMESPACES, "", pod["metadata"]["namespace"])
    labels = (namespace or {}).get("metadata", {}).get("labels") or {}
    if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        return
    version = labels.get("pod-security.kubernetes.io/enforce-version", "latest")
    if found := list(_violations(pod["spec"])):
        why = f'violates PodSecurity "restricted:{version}": {", ".join(found)}'
        raise forbidden(PODS, pod["metadata"]["name"], why)


def _violations(spec: Json) -> Iterator[str]:
    whole = spec.get("securityContext") or {}
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"host namespaces ({name}=true)"
    for volume in spec.get("volumes") or ():
        allowed = {
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        }
        for kind in set(volume) - allowed - {"name"}:
            yield f'restricted volume types (volume "{volume["name"]}" uses restricted volume type "{kind}")'
    for container in spec["containers"]:
        own = container.get("securityContext") or {}
        who = f'container "{container["name"]}" must set securityContext'
        if own.get("privileged"):
            yield f'privileged (container "{container["name"]}" must not set securityContext.privileged=true)'
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"allowPrivilegeEscalation != false ({who}.allowPrivilegeEscalation=false)"
        capabilities = own.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()) or set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
            yield f'unrestricted capabilities ({who}.capabilities.drop=["ALL"])'
        if not own.get("runAsNonRoot", whole.get("runAsNonRoot")):
            yield f"runAsNonRoot != true (pod or {who}.runAsNonRoot=true)"
        if own.get("runAsUser", whole.get("runAsUser")) == 0:
            yield f'runAsUser=0 (container "{container["name"]}" must not set runAsUser=0)'
        if (own.get("seccompProfile") or whole.get("seccompProfile") or {}).get("type") not in (
            "RuntimeDefault",
            "Localhost",
        ):
            yield f'seccompProfile (pod or {who}.seccompProfile.type to "RuntimeDefault" or "Localhost")'


def check_quota(store: Store, resource: Resource, thing: Json) -> None:
    """Raises ``ApiError`` 403 where one object more would be too many, in the words that a ReplicaSet repeats."""
    namespace, name = thing["metadata"].get("namespace", ""), thing["metadata"]["name"]
    asked = _usage(resource, thing)
    for quota in store.all_of(RESOURCE_QUOTAS, namespace) if namespace else ():
        hard = (quota.get("spec") or {}).get("hard") or {}
        if resource is PODS:
            missing = [one for one in hard if one in _COMPUTE and one not in asked]
            if missing:
                why = f"failed quota: {quota['metadata']['name']}: must specify {','.join(sorted(missing))}"
                raise forbidden(resource, name, why)
        used = used_of(store, namespace, list(hard))
        over = sorted(one for one in hard if asked.get(one) and used[one] + asked[one] > quantity(hard[one]))
        if over:
            told = (
                (word, ",".join(f"{one}={to_text(amounts[one])}" for one in over))
                for word, amounts in (("requested", asked), ("used", used))
            )
            limited = ",".join(f"{one}={hard[one]}" for one in over)
            parts = ", ".join(f"{word}: {text}" for word, text in (*told, ("limited", limited)))
            raise forbidden(resource, name, f"exceeded quota: {quota['metadata']['name']}, {parts}")


def used_of(store: Store, namespace: str, names: list[str]) -> dict[str, Decimal]:
    """What the objects of a namespace use of each resource that a quota names."""
    totals = dict.fromkeys(names, Decimal(0))
    wanted = {_COUNTED[name] for name in names if name in _COUNTED} | {PODS, DEPLOYMENTS, REPLICA_SETS}
    for resource in wanted:
        for thing in store.all_of(resource, namespace):
            for name, amount in _usage(resource, thing).items():
                if name in totals:
                    totals[name] += amount
    return totals


def _usage(resource: Resource, thing: Json) -> dict[str, Decimal]:
    used = {f"count/{resource.qualified}": Decimal(1)}
    if resource is PODS and (thing.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return used
    if not resource.group:
        used[resource.plural] = Decimal(1)
    if resource is PODS:
        for container in thing["spec"]["containers"]:
            for kind in ("requests", "limits"):
                for name, amount in ((container.get("resources") or {}).get(kind) or {}).items():
                    for key in (f"{kind}.{name}", *((name,) if kind == "requests" else ())):
                        used[key] = used.get(key, Decimal(0)) + quantity(amount)
    return used
