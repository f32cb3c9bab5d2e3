"""Endpoints and endpoint slices: where a service leads. Only pods that are ready, and not about to end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from infra.local.cluster import selectors
from infra.local.cluster.errors import Json
from infra.local.cluster.kubelet import ADDRESS, NODE, is_ready, ports_of
from infra.local.cluster.objects import Objects
from infra.local.cluster.replica_sets import reference
from infra.local.cluster.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, Resource

_SERVICE = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Target:
    """A pod behind a service."""

    pod: Json
    ports: tuple[tuple[str, int, str], ...]  #: name of the service's port, port of this machine, protocol
    is_ready: bool

    @property
    def reference(self) -> Json:
        metadata = self.pod["metadata"]
        return {"kind": "Pod", "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]}


def targets(objects: Objects, service: Json) -> list[Target]:
    """The pods that a service selects, those left out that end or have no address yet."""
    selector, namespace = service["spec"].get("selector"), service["metadata"]["namespace"]
    if not selector:
        return []
    return [
        Target(pod, ports, is_ready(pod))
        for pod in objects.store.all_of(PODS, namespace)
        if selectors.matches({"matchLabels": selector}, pod["metadata"].get("labels") or {})
        and not pod["metadata"].get("deletionTimestamp")
        and (pod.get("status") or {}).get("phase") in ("Pending", "Running")
        and (ports := _ports(service, pod))
    ]


def _ports(service: Json, pod: Json) -> tuple[tuple[str, int, str], ...]:
    return tuple(
        (port.get("name") or "", number, port["protocol"])
        for port in service["spec"].get("ports") or ()
        if (number := local_port(pod, port["targetPort"])) is not None
    )


def local_port(pod: Json, told: int | str) -> int | None:
    """A port of a pod, by number or name, as one of this machine."""
    ports = ports_of(pod)
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if told in (port.get("name"), port["containerPort"]):
                return ports.get(str(port["containerPort"]))
    return None


def sync(objects: Objects, service: Json) -> None:
    """Write what the service leads to, where it differs."""
    found = targets(objects, service)
    metadata = {
        "name": service["metadata"]["name"],
        "namespace": service["metadata"]["namespace"],
        "labels": dict(service["metadata"].get("labels") or {}),
    }
    groups: dict[tuple[tuple[str, int, str], ...], list[Target]] = {}
    for target in found:
        groups.setdefault(target.ports, []).append(target)
    subsets = []
    for ports, group in sorted(groups.items()):
        subset: Json = {"ports": [_port(port) for port in ports]}
        for name, ready in (("addresses", True), ("notReadyAddresses", False)):
            if listed := [one for one in group if one.is_ready is ready]:
                subset[name] = [{"ip": ADDRESS, "nodeName": NODE, "targetRef": one.reference} for one in listed]
        subsets.append(subset)
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
    _keep(objects, ENDPOINTS, service, {**endpoints, **({"subsets": subsets} if subsets else {})})
    _sync_slices(objects, service, groups)


def _sync_slices(objects: Objects, service: Json, groups: dict[tuple[tuple[str, int, str], ...], list[Target]]) -> None:
    """One slice for each set of ports: each pod here has ports of its own."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    wanted = set()
    for ports, group in groups.items():
        slice_name = f"{name[:200]}-{hashlib.sha256(repr(ports).encode()).hexdigest()[:5]}"
        wanted.add(slice_name)
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": slice_name, "namespace": namespace, "labels": {_SERVICE: name}},
            "addressType": "IPv4",
            "ports": [{"name": "", **_port(port)} for port in ports],  # a slice's port has a name, if an empty one
            "endpoints": [
                {
                    "addresses": [ADDRESS],
                    "nodeName": NODE,
                    "targetRef": one.reference,
                    "conditions": {"ready": one.is_ready, "serving": one.is_ready, "terminating": False},
                }
                for one in group
            ],
        }
        _keep(objects, ENDPOINT_SLICES, service, body)
    for one in objects.store.all_of(ENDPOINT_SLICES, namespace):
        labels = one["metadata"].get("labels") or {}
        if labels.get(_SERVICE) == name and one["metadata"]["name"] not in wanted:
            objects.store.remove(ENDPOINT_SLICES, namespace, one["metadata"]["name"])


def _port(port: tuple[str, int, str]) -> Json:
    name, number, protocol = port
    return {**({"name": name} if name else {}), "port": number, "protocol": protocol}


def _keep(objects: Objects, resource: Resource, service: Json, body: Json) -> None:
    """Put what a service leads to, owned by it, unless that is there already."""
    metadata = body["metadata"]
    owned = {**metadata, "ownerReferences": [reference(service)]}
    before = objects.store.get(resource, metadata["namespace"], metadata["name"])
    if before is None:
        objects.create(resource, metadata["namespace"], {**body, "metadata": owned})
        return
    kept = {**before["metadata"], **owned}
    fresh = {**body, "metadata": kept}
    if fresh != before:
        objects.store.put(resource, fresh)


def services_of(objects: Objects) -> list[Json]:
    return [one for one in objects.store.all_of(SERVICES) if not one["metadata"].get("deletionTimestamp")]
