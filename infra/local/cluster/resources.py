"""The kinds that the local cluster knows: how each is called in a path, in a kubectl command and in the schemas."""

from __future__ import annotations

from dataclasses import dataclass, field

_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_DEFINITIONS = {
    "": "io.k8s.api.core",
    "apps": "io.k8s.api.apps",
    "policy": "io.k8s.api.policy",
    "networking.k8s.io": "io.k8s.api.networking",
    "rbac.authorization.k8s.io": "io.k8s.api.rbac",
    "discovery.k8s.io": "io.k8s.api.discovery",
}


@dataclass(frozen=True)
class Resource:
    group: str  #: empty for the core group
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    has_generation: bool = False  #: whether a change of its spec counts up ``metadata.generation``
    version: str = "v1"
    categories: tuple[str, ...] = field(default=())

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As messages name it: ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """As messages of validation name it: ``Deployment.apps``."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def definition(self) -> str:
        """The name of its schema."""
        return f"{_DEFINITIONS[self.group]}.{self.version}.{self.kind}"

    @property
    def verbs(self) -> tuple[str, ...]:
        return tuple(sorted(_READ + _WRITE))

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources


NAMESPACES = Resource("", "namespaces", "Namespace", False, ("ns",), ("status", "finalize"))
PODS = Resource("", "pods", "Pod", True, ("po",), ("status", "log", "proxy"), True, categories=("all",))
SERVICES = Resource("", "services", "Service", True, ("svc",), ("status", "proxy"), categories=("all",))
CONFIG_MAPS = Resource("", "configmaps", "ConfigMap", True, ("cm",))
SECRETS = Resource("", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource("", "serviceaccounts", "ServiceAccount", True, ("sa",))
ENDPOINTS = Resource("", "endpoints", "Endpoints", True, ("ep",))
EVENTS = Resource("", "events", "Event", True, ("ev",))
RESOURCE_QUOTAS = Resource("", "resourcequotas", "ResourceQuota", True, ("quota",), ("status",))
LIMIT_RANGES = Resource("", "limitranges", "LimitRange", True, ("limits",))
DEPLOYMENTS = Resource(
    "apps", "deployments", "Deployment", True, ("deploy",), ("status", "scale"), True, categories=("all",)
)
REPLICA_SETS = Resource(
    "apps", "replicasets", "ReplicaSet", True, ("rs",), ("status", "scale"), True, categories=("all",)
)
DISRUPTION_BUDGETS = Resource(
    "policy", "poddisruptionbudgets", "PodDisruptionBudget", True, ("pdb",), ("status",), True
)
NETWORK_POLICIES = Resource("networking.k8s.io", "networkpolicies", "NetworkPolicy", True, ("netpol",), (), True)
ROLES = Resource("rbac.authorization.k8s.io", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "rolebindings", "RoleBinding")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "endpointslices", "EndpointSlice", True, (), (), True)

RESOURCES = (
    NAMESPACES,
    *(PODS, SERVICES, CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS, ENDPOINTS, EVENTS, RESOURCE_QUOTAS, LIMIT_RANGES),
    *(DEPLOYMENTS, REPLICA_SETS, DISRUPTION_BUDGETS, NETWORK_POLICIES, ROLES, ROLE_BINDINGS, ENDPOINT_SLICES),
)
GROUPS = tuple(dict.fromkeys(resource.group for resource in RESOURCES if resource.group))
BY_PATH = {(resource.group, resource.version, resource.plural): resource for resource in RESOURCES}
BY_KIND = {(resource.api_version, resource.kind): resource for resource in RESOURCES}
