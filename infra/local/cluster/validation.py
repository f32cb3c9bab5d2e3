"""What a real API server refuses of an object that has the right shape: names, ranges, references, immutable fields.

The shape itself (unknown, missing and mistyped fields) is in ``schemas``. Each function returns one ``Cause`` for each
field that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from infra.local.cluster import selectors
from infra.local.cluster.errors import Cause, Json
from infra.local.cluster.quantities import quantity
from infra.local.cluster.resources import Resource

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_MAX_CONFIG = 1024 * 1024  # bytes
_MAX_ANNOTATIONS = 256 * 1024  # bytes

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    r" '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with"
    " an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character,"
    " and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is"
    " '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_KEY_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    " character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)

Causes = Iterator[Cause]


def wrong(field: str, value: Any, why: str) -> Cause:
    shown = json.dumps(value, separators=(",", ":"))
    return Cause(field, "FieldValueInvalid", f"Invalid value: {shown}: {why}")


def required(field: str, why: str = "") -> Cause:
    return Cause(field, "FieldValueRequired", f"Required value{': ' if why else ''}{why}")


def prohibited(field: str, why: str) -> Cause:
    return Cause(field, "FieldValueForbidden", f"Forbidden: {why}")


def unsupported(field: str, value: Any, allowed: tuple[str, ...]) -> Cause:
    words = ", ".join(f'"{word}"' for word in allowed)
    return Cause(field, "FieldValueNotSupported", f"Unsupported value: {json.dumps(value)}: supported values: {words}")


def duplicate(field: str, value: Any) -> Cause:
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {json.dumps(value)}")


def causes(resource: Resource, thing: Json, before: Json | None) -> list[Cause]:
    """All that is wrong with an object that is created (``before`` is ``None``) or changed."""
    found = list(_metadata(resource, thing["metadata"]))
    if resource.kind in _OF:
        found += _OF[resource.kind](thing)
    if before is not None:
        found += _immutable(resource.kind, before, thing)
    return found


def _metadata(resource: Resource, metadata: Json) -> Causes:
    name = metadata["name"]
    match resource.kind:
        case "Namespace":
            pattern, longest, rule = _DNS_LABEL, 63, _LABEL_RULE
        case "Service":
            pattern, longest, rule = _DNS_1035, 63, _1035_RULE
        case "Role" | "RoleBinding":
            pattern, longest, rule = re.compile(r"(?!\.{1,2}$)[^/%]+"), 253, "may not contain '/' or '%'"
        case _:
            pattern, longest, rule = _DNS_SUBDOMAIN, 253, _SUBDOMAIN_RULE
    if not pattern.fullmatch(name):
        yield wrong("metadata.name", name, rule)
    if len(name) > longest:
        yield wrong("metadata.name", name, f"must be no more than {longest} characters")
    yield from _labels("metadata.labels", metadata.get("labels"))
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        yield from _label_key("metadata.annotations", key)
    if sum(len(key) + len(value) for key, value in annotations.items()) > _MAX_ANNOTATIONS:
        yield Cause(
            "metadata.annotations", "FieldValueTooLong", f"Too long: may not be more than {_MAX_ANNOTATIONS} bytes"
        )


def _labels(field: str, labels: Mapping[str, str] | None) -> Causes:
    for key, value in (labels or {}).items():
        yield from _label_key(field, key)
        if len(value) > 63:
            yield wrong(field, value, "must be no more than 63 bytes")
        if value and not _QUALIFIED.fullmatch(value):
            yield wrong(field, value, _VALUE_RULE)


def _label_key(field: str, key: str) -> Causes:
    prefix, slash, name = key.rpartition("/")
    if slash and (not _DNS_SUBDOMAIN.fullmatch(prefix) or len(prefix) > 253):
        yield wrong(field, key, f"prefix part {_SUBDOMAIN_RULE}")
    if not _QUALIFIED.fullmatch(name):
        yield wrong(field, key, _KEY_RULE)
    elif len(name) > 63:
        yield wrong(field, key, "name part must be no more than 63 bytes")


def _selector(field: str, selector: Mapping[str, Any] | None) -> Causes:
    for key, value in ((selector or {}).get("matchLabels") or {}).items():
        yield from _labels(f"{field}.matchLabels", {key: value})
    for index, one in enumerate((selector or {}).get("matchExpressions") or ()):
        at, operator, values = f"{field}.matchExpressions[{index}]", one.get("operator"), one.get("values")
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            yield wrong(f"{at}.operator", operator, "not a valid selector operator")
        elif operator in ("In", "NotIn") and not values:
            yield required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and values:
            yield prohibited(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")


def _deployment(thing: Json) -> Causes:
    spec = thing["spec"]
    yield from _workload(spec)
    for name in ("minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit"):
        yield from _not_negative(f"spec.{name}", spec.get(name))
    if spec["progressDeadlineSeconds"] <= (spec.get("minReadySeconds") or 0):
        yield wrong(
            "spec.progressDeadlineSeconds", spec["progressDeadlineSeconds"], "must be greater than minReadySeconds"
        )
    strategy = spec["strategy"]
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        yield unsupported("spec.strategy.type", strategy["type"], ("Recreate", "RollingUpdate"))
    elif strategy["type"] == "Recreate" and strategy.get("rollingUpdate"):
        yield prohibited("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    elif strategy["type"] == "RollingUpdate":
        at, rolling = "spec.strategy.rollingUpdate", strategy["rollingUpdate"]
        for name in ("maxUnavailable", "maxSurge"):
            yield from _count_or_percent(f"{at}.{name}", rolling[name])
        if all(str(rolling[name]) in ("0", "0%") for name in ("maxUnavailable", "maxSurge")):
            yield wrong(f"{at}.maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0")


def _workload(spec: Json) -> Causes:
    yield from _not_negative("spec.replicas", spec.get("replicas"))
    selector, labels = spec["selector"], spec["template"]["metadata"].get("labels") or {}
    yield from _selector("spec.selector", selector)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield wrong("spec.selector", selector, "empty selector is invalid for deployment")
    elif not selectors.matches(selector, labels):
        yield wrong("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from _labels("spec.template.labels", labels)
    yield from _pod_spec("spec.template.spec", spec["template"]["spec"])
    policy = spec["template"]["spec"]["restartPolicy"]
    if policy != "Always":
        yield unsupported("spec.template.spec.restartPolicy", policy, ("Always",))


def _pod(thing: Json) -> Causes:
    yield from _pod_spec("spec", thing["spec"])


def _pod_spec(at: str, spec: Json) -> Causes:
    if spec["restartPolicy"] not in ("Always", "OnFailure", "Never"):
        yield unsupported(f"{at}.restartPolicy", spec["restartPolicy"], ("Always", "OnFailure", "Never"))
    yield from _not_negative(f"{at}.terminationGracePeriodSeconds", spec["terminationGracePeriodSeconds"])
    volumes = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        where = f"{at}.volumes[{index}]"
        if not _DNS_LABEL.fullmatch(volume["name"]):
            yield wrong(f"{where}.name", volume["name"], _LABEL_RULE)
        if volume["name"] in volumes:
            yield duplicate(f"{where}.name", volume["name"])
        volumes.add(volume["name"])
        kinds = [name for name in volume if name != "name"]
        if len(kinds) != 1:
            yield (
                required(where, "must specify a volume type")
                if not kinds
                else prohibited(f"{where}.{kinds[1]}", "may not specify more than 1 volume type")
            )
    for name in ("initContainers", "ephemeralContainers"):
        if spec.get(name):
            yield prohibited(f"{at}.{name}", "the local cluster runs plain containers only")
    containers = spec.get("containers") or []
    if not containers:
        yield required(f"{at}.containers")
    names: set[str] = set()
    for index, container in enumerate(containers):
        yield from _container(f"{at}.containers[{index}]", container, volumes)
        if container["name"] in names:
            yield duplicate(f"{at}.containers[{index}].name", container["name"])
        names.add(container["name"])
    for index, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        where = f"{at}.topologySpreadConstraints[{index}]"
        if spread["maxSkew"] <= 0:
            yield wrong(f"{where}.maxSkew", spread["maxSkew"], "must be greater than zero")
        if spread["whenUnsatisfiable"] not in ("DoNotSchedule", "ScheduleAnyway"):
            allowed = ("DoNotSchedule", "ScheduleAnyway")
            yield unsupported(f"{where}.whenUnsatisfiable", spread["whenUnsatisfiable"], allowed)


def _container(at: str, container: Json, volumes: set[str]) -> Causes:
    if not _DNS_LABEL.fullmatch(container["name"]) or len(container["name"]) > 63:
        yield wrong(f"{at}.name", container["name"], _LABEL_RULE)
    if not container.get("image"):
        yield required(f"{at}.image")
    elif container["image"] != container["image"].strip():
        yield wrong(f"{at}.image", container["image"], "must not have leading or trailing whitespace")
    if container["imagePullPolicy"] not in ("Always", "IfNotPresent", "Never"):
        yield unsupported(f"{at}.imagePullPolicy", container["imagePullPolicy"], ("Always", "IfNotPresent", "Never"))
    yield from _ports(at, container)
    yield from _environment(at, container)
    yield from _resources(at, container.get("resources") or {})
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount["name"] not in volumes:
            yield Cause(
                f"{at}.volumeMounts[{index}].name", "FieldValueNotFound", f"Not found: {json.dumps(mount['name'])}"
            )
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            yield from _probe(f"{at}.{name}", probe, name)
    for name, handler in (container.get("lifecycle") or {}).items():
        if name in ("preStop", "postStart"):
            yield from _handler(f"{at}.lifecycle.{name}", handler, ("exec", "httpGet", "tcpSocket", "sleep"))
    security = container.get("securityContext") or {}
    if security.get("privileged") and security.get("allowPrivilegeEscalation") is False:
        yield wrong(
            f"{at}.securityContext", security, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        )


def _ports(at: str, container: Json) -> Causes:
    names: set[str] = set()
    for index, port in enumerate(container.get("ports") or ()):
        where = f"{at}.ports[{index}]"
        yield from _port_number(f"{where}.containerPort", port["containerPort"])
        if port["protocol"] not in ("TCP", "UDP", "SCTP"):
            yield unsupported(f"{where}.protocol", port["protocol"], ("SCTP", "TCP", "UDP"))
        if name := port.get("name"):
            if not _PORT_NAME.fullmatch(name) or len(name) > 15:
                yield wrong(f"{where}.name", name, "must be no more than 15 characters of a-z, 0-9 and '-'")
            if name in names:
                yield duplicate(f"{where}.name", name)
            names.add(name)


def _environment(at: str, container: Json) -> Causes:
    for index, variable in enumerate(container.get("env") or ()):
        where = f"{at}.env[{index}]"
        if not re.fullmatch(r"[^=\x00-\x1f\x7f-\uffff]+", variable["name"]):
            yield wrong(
                f"{where}.name",
                variable["name"],
                "a valid environment variable name must consist only of printable ASCII characters other than '='",
            )
        if variable.get("value") and variable.get("valueFrom"):
            yield wrong(f"{where}.valueFrom", "", "may not be specified when `value` is not empty")
        source = variable.get("valueFrom")
        if source is not None and len(source) != 1:
            yield wrong(
                f"{where}.valueFrom",
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            )
    for index, source in enumerate(container.get("envFrom") or ()):
        where = f"{at}.envFrom[{index}]"
        if len([name for name in ("configMapRef", "secretRef") if name in source]) != 1:
            yield wrong(where, "", "must specify one of: `configMapRef` or `secretRef`")


def _resources(at: str, resources: Json) -> Causes:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for kind, amounts in (("requests", requests), ("limits", limits)):
        for name, amount in amounts.items():
            if quantity(amount) < 0:
                yield wrong(f"{at}.resources.{kind}[{name}]", amount, "must be greater than or equal to 0")
    for name in requests.keys() & limits.keys():
        if quantity(requests[name]) > quantity(limits[name]):
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            yield wrong(f"{at}.resources.requests", requests[name], why)


def _probe(at: str, probe: Json, kind: str) -> Causes:
    yield from _handler(at, probe, ("exec", "httpGet", "tcpSocket", "grpc"))
    for name, least in (
        *(("initialDelaySeconds", 0), ("timeoutSeconds", 1), ("periodSeconds", 1)),
        *(("successThreshold", 1), ("failureThreshold", 1)),
    ):
        if (value := probe.get(name)) is not None and value < least:
            yield wrong(f"{at}.{name}", value, f"must be greater than or equal to {least}")
    if kind != "readinessProbe" and probe["successThreshold"] != 1:
        yield wrong(f"{at}.successThreshold", probe["successThreshold"], "must be 1")


def _handler(at: str, handler: Json, kinds: tuple[str, ...]) -> Causes:
    given = [kind for kind in kinds if handler.get(kind) is not None]
    if not given:
        yield required(at, "must specify a handler type")
    for extra in given[1:]:
        yield prohibited(f"{at}.{extra}", "may not specify more than 1 handler type")
    if "httpGet" in given:
        if isinstance(handler["httpGet"].get("port"), int):
            yield from _port_number(f"{at}.httpGet.port", handler["httpGet"]["port"])
        if handler["httpGet"].get("scheme", "HTTP") not in ("HTTP", "HTTPS"):
            yield unsupported(f"{at}.httpGet.scheme", handler["httpGet"]["scheme"], ("HTTP", "HTTPS"))
    if "exec" in given and not handler["exec"].get("command"):
        yield required(f"{at}.exec.command")
    if "sleep" in given:
        yield from _not_negative(f"{at}.sleep.seconds", handler["sleep"].get("seconds"))


def _service(thing: Json) -> Causes:
    spec = thing["spec"]
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    if spec["type"] not in ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"):
        yield unsupported("spec.type", spec["type"], ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
    names: set[str] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        yield from _port_number(f"{at}.port", port["port"])
        if isinstance(port["targetPort"], int):
            yield from _port_number(f"{at}.targetPort", port["targetPort"])
        name = port.get("name") or ""
        if len(ports) > 1 and not name:
            yield required(f"{at}.name")
        if name and not _DNS_LABEL.fullmatch(name):
            yield wrong(f"{at}.name", name, _LABEL_RULE)
        if name in names:
            yield duplicate(f"{at}.name", name)
        names.add(name)
    yield from _labels("spec.selector", spec.get("selector"))


def _config_map(thing: Json) -> Causes:
    data, binary = thing.get("data") or {}, thing.get("binaryData") or {}
    for key in (*data, *binary):
        if not _CONFIG_KEY.fullmatch(key) or len(key) > 253 or key in (".", ".."):
            rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
            yield wrong(f"data[{key}]", key, rule)
    if sum(len(key) + len(value.encode()) for key, value in {**data, **binary}.items()) > _MAX_CONFIG:
        yield Cause("", "FieldValueTooLong", f"Too long: may not be more than {_MAX_CONFIG} bytes")


def _budget(thing: Json) -> Causes:
    spec = thing.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield wrong("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for name in ("minAvailable", "maxUnavailable"):
        if spec.get(name) is not None:
            yield from _count_or_percent(f"spec.{name}", spec[name])
    yield from _selector("spec.selector", spec.get("selector"))


def _network_policy(thing: Json) -> Causes:
    spec = thing["spec"]
    yield from _selector("spec.podSelector", spec.get("podSelector"))
    for index, word in enumerate(spec.get("policyTypes") or ()):
        if word not in ("Ingress", "Egress"):
            yield unsupported(f"spec.policyTypes[{index}]", word, ("Egress", "Ingress"))
    for kind, side in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(kind) or ()):
            for place, peer in enumerate(rule.get(side) or ()):
                at = f"spec.{kind}[{index}].{side}[{place}]"
                if not peer:
                    yield required(at, "must specify a peer")
                elif "ipBlock" in peer and len(peer) > 1:
                    yield prohibited(at, "may not specify both ipBlock and another peer")


def _role(thing: Json) -> Causes:
    for index, rule in enumerate(thing.get("rules") or ()):
        at = f"rules[{index}]"
        if not rule.get("verbs"):
            yield required(f"{at}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            yield wrong(
                f"{at}.nonResourceURLs", rule["nonResourceURLs"], "namespaced rules cannot apply to non-resource URLs"
            )
        else:
            for name in ("apiGroups", "resources"):
                if not rule.get(name):
                    yield required(f"{at}.{name}", f"resource rules must supply at least one {name[:-1]}")


def _role_binding(thing: Json) -> Causes:
    if thing["roleRef"].get("kind") not in ("Role", "ClusterRole"):
        yield unsupported("roleRef.kind", thing["roleRef"].get("kind"), ("ClusterRole", "Role"))
    for index, subject in enumerate(thing.get("subjects") or ()):
        if subject["kind"] not in ("ServiceAccount", "User", "Group"):
            yield unsupported(f"subjects[{index}].kind", subject["kind"], ("Group", "ServiceAccount", "User"))
        if subject["kind"] == "ServiceAccount" and not subject.get("namespace"):
            yield required(f"subjects[{index}].namespace")


def _quota(thing: Json) -> Causes:
    for name, amount in ((thing.get("spec") or {}).get("hard") or {}).items():
        if quantity(amount) < 0:
            yield wrong(f"spec.hard[{name}]", amount, "must be greater than or equal to 0")


def _limit_range(thing: Json) -> Causes:
    for index, limit in enumerate(thing["spec"]["limits"]):
        for name in (limit.get("default") or {}).keys() & (limit.get("defaultRequest") or {}).keys():
            if quantity(limit["defaultRequest"][name]) > quantity(limit["default"][name]):
                shown = limit["defaultRequest"][name]
                why = f"default request value {shown} is greater than default limit value {limit['default'][name]}"
                yield wrong(f"spec.limits[{index}].defaultRequest[{name}]", shown, why)


_OF: dict[str, Callable[[Json], Causes]] = {
    "Deployment": _deployment,
    "ReplicaSet": lambda thing: _workload(thing["spec"]),
    "Pod": _pod,
    "Service": _service,
    "ConfigMap": _config_map,
    "PodDisruptionBudget": _budget,
    "NetworkPolicy": _network_policy,
    "Role": _role,
    "RoleBinding": _role_binding,
    "ResourceQuota": _quota,
    "LimitRange": _limit_range,
}


def _not_negative(field: str, value: Any) -> Causes:
    if value is not None and value < 0:
        yield wrong(field, value, "must be greater than or equal to 0")


def _port_number(field: str, value: int) -> Causes:
    if not 0 < value < 65536:
        yield wrong(field, value, "must be between 1 and 65535, inclusive")


def _count_or_percent(field: str, value: Any) -> Causes:
    if isinstance(value, int):
        yield from _not_negative(field, value)
    elif not re.fullmatch(r"[0-9]+%", value):
        yield wrong(field, value, "a valid percent string must be a numeric string followed by an ending '%'")


_UNCHANGING = {
    "Deployment": ("spec.selector",),
    "ReplicaSet": ("spec.selector",),
    "Service": ("spec.clusterIP",),
    "Secret": ("type",),
}


def _immutable(kind: str, before: Json, after: Json) -> Causes:
    for path in _UNCHANGING.get(kind, ()):
        if _at(before, path) != _at(after, path):
            yield wrong(path, _at(after, path), "field is immutable")
    if kind == "RoleBinding" and before["roleRef"] != after["roleRef"]:
        yield wrong("roleRef", after["roleRef"], "cannot change roleRef")
    if kind in ("ConfigMap", "Secret") and before.get("immutable"):
        if any(before.get(name) != after.get(name) for name in ("data", "binaryData")):
            yield prohibited("data", "field is immutable when `immutable` is set")
        if not after.get("immutable"):
            yield prohibited("immutable", "field is immutable when `immutable` is set")
    if kind == "Pod" and _fixed(before["spec"]) != _fixed(after["spec"]):
        yield prohibited(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        )


def _fixed(spec: Json) -> Json:
    fixed = {name: value for name, value in spec.items() if name not in ("activeDeadlineSeconds", "tolerations")}
    return fixed | {"containers": [{**container, "image": ""} for container in spec["containers"]]}


def _at(thing: Any, path: str) -> Any:
    for name in path.split("."):
        thing = (thing or {}).get(name)
    return thing
