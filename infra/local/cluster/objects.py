"""What can be done with objects: create, change in one of five ways, delete.

The way of a write, as in a real API server: shape (``schemas``), what the way of writing means (``patches`` and
``apply``), fields that only the server may set, ``defaults``, ``validation``, ``admission``, the store. Everything
happens in one go on one thread, so nobody sees half of it.
"""

from __future__ import annotations

import copy
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from infra.local.cluster import admission, apply, clock, defaults, patches, schemas, selectors, validation
from infra.local.cluster.clock import Clock
from infra.local.cluster.errors import (
    ApiError,
    Cause,
    Json,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
)
from infra.local.cluster.resources import (
    BY_PATH,
    NAMESPACES,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)
from infra.local.cluster.store import Store

PatchKind = Literal["apply", "strategic", "merge", "json"]
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words
_SERVER_METADATA = (
    *("uid", "creationTimestamp", "generation", "selfLink"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "resourceVersion"),
)
_DEFAULT_NAMESPACES = ("default", "kube-system")


@dataclass(frozen=True)
class Options:
    """What a request says beside its body."""

    manager: str = "unknown"
    field_validation: str = "Warn"
    force: bool = False
    dry_run: bool = False


@dataclass
class Answer:
    object: Json
    is_new: bool = False
    warnings: list[str] = field(default_factory=list)


def new_uid() -> str:
    return str(uuid.uuid4())


def new_suffix() -> str:
    return "".join(secrets.choice(_SUFFIX) for _ in range(5))


class Objects:
    def __init__(
        self, store: Store, now: Clock, uid: Callable[[], str] = new_uid, suffix: Callable[[], str] = new_suffix
    ) -> None:
        self.store = store
        self._now = now
        self._uid = uid
        self._suffix = suffix
        for name in _DEFAULT_NAMESPACES:
            if store.get(NAMESPACES, "", name) is None:
                self.create(NAMESPACES, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Raises ``ApiError`` 404."""
        found = self.store.get(resource, namespace, name)
        if found is None:
            raise not_found(resource, name)
        return found

    def select(self, resource: Resource, namespace: str, predicate: selectors.Predicate) -> list[Json]:
        return [thing for thing in self.store.all_of(resource, namespace) if predicate(thing)]

    # --- Create ------------------------------------------------------------------------------------------------------

    def create(self, resource: Resource, namespace: str, body: Json, options: Options = Options()) -> Answer:
        """Raises ``ApiError``."""
        thing, warnings = _decoded(resource, body, options.field_validation)
        metadata = thing["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][:58] + self._suffix()
        self._place(resource, namespace, thing)
        if self.store.get(resource, namespace, metadata["name"]) is not None:
            raise already_exists(resource, metadata["name"])
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        self._born(resource, thing)
        self._complete(resource, thing, None)
        apply.record_update(resource.definition, None, thing, options.manager, self._time())
        return Answer(self._keep(resource, thing, options), True, warnings)

    def _born(self, resource: Resource, thing: Json) -> None:
        for name in _SERVER_METADATA:
            thing["metadata"].pop(name, None)
        thing["metadata"] |= {"uid": self._uid(), "creationTimestamp": self._time()}
        if resource.has_generation:
            thing["metadata"]["generation"] = 1
        if resource.has_status:
            thing.pop("status", None)

    def _place(self, resource: Resource, namespace: str, thing: Json) -> None:
        metadata = thing["metadata"]
        if not metadata.get("name"):
            raise invalid(resource, "", [validation.required("metadata.name", "name or generateName is required")])
        if not resource.namespaced:
            metadata.pop("namespace", None)
            return
        if metadata.setdefault("namespace", namespace) != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        home = self.store.get(NAMESPACES, "", namespace)
        if home is None:
            raise not_found(NAMESPACES, namespace)
        if home["metadata"].get("deletionTimestamp"):
            cause = Cause("metadata.namespace", "NamespaceTerminating", f"namespace {namespace} is being terminated")
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(resource, metadata["name"], why, [cause])

    # --- Change ------------------------------------------------------------------------------------------------------

    def replace(
        self, resource: Resource, namespace: str, name: str, body: Json, options: Options, subresource: str = ""
    ) -> Answer:
        """``PUT``. Raises ``ApiError``."""
        thing, warnings = _decoded(resource, body, options.field_validation)
        _check_name(thing, name)
        before = self.get(resource, namespace, name)
        return self._change(resource, before, thing, options, subresource, warnings)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        kind: PatchKind,
        body: Any,
        options: Options,
        subresource: str = "",
    ) -> Answer:
        """Raises ``ApiError``."""
        if kind == "apply":
            return self._apply(resource, namespace, name, body, options, subresource)
        before = self.get(resource, namespace, name)
        if kind == "json":
            patched = patches.json_patch(before, body)
        elif not isinstance(body, dict):
            raise bad_request("the patch is no object")
        elif kind == "merge":
            patched = patches.merge(before, body)
        else:
            patched = patches.strategic(resource.definition, before, body)
        thing, warnings = _decoded(resource, patched, options.field_validation)
        _check_name(thing, name)
        return self._change(resource, before, thing, options, subresource, warnings)

    def _apply(
        self, resource: Resource, namespace: str, name: str, body: Any, options: Options, subresource: str
    ) -> Answer:
        if subresource:
            raise bad_request("the local cluster applies whole objects, no subresources")
        if not options.manager:
            raise bad_request(
                "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            )
        if not isinstance(body, dict):
            raise bad_request("the applied configuration is no object")
        config, warnings = _decoded(resource, body, options.field_validation, partial=True)
        metadata = config["metadata"]
        if metadata.get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        metadata.setdefault("name", name)
        _check_name(config, name)
        if resource.namespaced:
            metadata.setdefault("namespace", namespace)
        if resource.has_status:
            config.pop("status", None)
        before = self.store.get(resource, namespace, name)
        if before is not None:
            _check_version(resource, before, config)
        elif metadata.get("resourceVersion"):
            raise conflict(resource, name)
        for field_name in ("resourceVersion", "uid", "creationTimestamp", "generation"):
            metadata.pop(field_name, None)
        thing = apply.apply(resource.definition, before, config, options.manager, options.force, self._time())
        fields = thing["metadata"]["managedFields"]
        _require(resource, thing)
        if before is None:
            self._place(resource, namespace, thing)
            self._born(resource, thing)
            self._complete(resource, thing, None)
        else:
            self._continue(resource, before, thing)
        thing["metadata"]["managedFields"] = fields
        if before is not None and _same(before, thing):
            return Answer(before, False, warnings)
        return Answer(self._keep(resource, thing, options), before is None, warnings)

    def _change(
        self, resource: Resource, before: Json, thing: Json, options: Options, subresource: str, warnings: list[str]
    ) -> Answer:
        _check_version(resource, before, thing)
        if subresource == "status":
            thing = {**copy.deepcopy(before), "status": thing.get("status") or {}}
            thing["status"] = thing["status"] or {}
        elif resource.has_status:
            thing.pop("status", None)
            if "status" in before:
                thing["status"] = copy.deepcopy(before["status"])
        self._continue(resource, before, thing)
        told = "status" if subresource == "status" else ""
        apply.record_update(resource.definition, before, thing, options.manager, self._time(), told)
        if _same(before, thing):
            return Answer(before, False, warnings)
        return Answer(self._keep(resource, thing, options), False, warnings)

    def _continue(self, resource: Resource, before: Json, thing: Json) -> None:
        """Fields that only the server sets stay as they were."""
        old, new = before["metadata"], thing["metadata"]
        for name in _SERVER_METADATA:
            new.pop(name, None)
            if name in old:
                new[name] = copy.deepcopy(old[name])
        if resource.namespaced:
            if new.get("namespace", old["namespace"]) != old["namespace"]:
                raise bad_request("the namespace of the object does not match the namespace on the request")
            new["namespace"] = old["namespace"]
        if resource is SERVICES and before["spec"].get("clusterIP") and not thing["spec"].get("clusterIP"):
            for name in ("clusterIP", "clusterIPs"):
                thing["spec"][name] = copy.deepcopy(before["spec"][name])
        self._complete(resource, thing, before)
        if resource.has_generation and thing.get("spec") != before.get("spec"):
            new["generation"] = old.get("generation", 0) + 1

    def scale(
        self, resource: Resource, namespace: str, name: str, replicas: int, version: str, options: Options
    ) -> Json:
        """Set ``spec.replicas``. Raises ``ApiError``."""
        before = self.get(resource, namespace, name)
        thing = copy.deepcopy(before)
        thing["spec"]["replicas"] = replicas
        thing["metadata"]["resourceVersion"] = version or before["metadata"]["resourceVersion"]
        return self._change(resource, before, thing, options, "scale", []).object

    def set_status(self, resource: Resource, thing: Json, status: Json) -> Json:
        """What a controller has seen; written only where it differs. ``thing`` may be an old version of the object."""
        current = self.store.get(resource, thing["metadata"].get("namespace", ""), thing["metadata"]["name"])
        if current is None or current["metadata"]["uid"] != thing["metadata"]["uid"] or current.get("status") == status:
            return current or thing
        return self.store.put(resource, {**current, "status": status})

    def amend(self, resource: Resource, thing: Json, change: Callable[[Json], None]) -> Json | None:
        """A controller's own change of an object; ``None`` where it is gone."""
        current = self.store.get(resource, thing["metadata"].get("namespace", ""), thing["metadata"]["name"])
        if current is None or current["metadata"]["uid"] != thing["metadata"]["uid"]:
            return None
        fresh = copy.deepcopy(current)
        change(fresh)
        if fresh == current:
            return current
        if resource is PODS:
            return self.store.put(resource, fresh)
        if resource.has_generation and fresh.get("spec") != current.get("spec"):
            fresh["metadata"]["generation"] = current["metadata"].get("generation", 0) + 1
        if fresh["metadata"].get("deletionTimestamp") and not self._is_held(resource, fresh):
            return self.store.remove(resource, fresh["metadata"].get("namespace", ""), fresh["metadata"]["name"])
        return self.store.put(resource, fresh)

    # --- Delete ------------------------------------------------------------------------------------------------------

    def delete(self, resource: Resource, namespace: str, name: str, told: Json, dry_run: bool = False) -> Json | None:
        """Returns the object where it goes on for a while, ``None`` where it is gone. Raises ``ApiError``."""
        thing = self.get(resource, namespace, name)
        _check_preconditions(resource, thing, told.get("preconditions") or {})
        policy = told.get("propagationPolicy") or ("Orphan" if told.get("orphanDependents") else "Background")
        if policy not in ("Background", "Foreground", "Orphan"):
            raise bad_request(f"invalid propagationPolicy {policy!r}")
        grace = 0
        if resource is PODS:
            grace = told.get("gracePeriodSeconds")  # type: ignore[assignment]
            grace = thing["spec"]["terminationGracePeriodSeconds"] if grace is None else max(grace, 0)
        fresh = copy.deepcopy(thing)
        metadata = fresh["metadata"]
        if policy != "Background":
            word = FOREGROUND if policy == "Foreground" else ORPHAN
            metadata["finalizers"] = sorted({*(metadata.get("finalizers") or ()), word})
        if "deletionTimestamp" not in metadata or (
            resource is PODS and grace < metadata.get("deletionGracePeriodSeconds", 0)
        ):
            metadata["deletionTimestamp"] = clock.text(self._now() + timedelta(seconds=grace))
            metadata["deletionGracePeriodSeconds"] = grace
            if resource.has_generation:
                metadata["generation"] = metadata.get("generation", 0) + 1
        if resource is NAMESPACES:
            fresh["status"] = {**fresh.get("status", {}), "phase": "Terminating"}
        if self._is_held(resource, fresh) or (resource is PODS and grace > 0):
            if dry_run or fresh == thing:
                return fresh
            return self.store.put(resource, fresh)
        if not dry_run:
            self.store.remove(resource, namespace, name)
        return None

    @staticmethod
    def _is_held(resource: Resource, thing: Json) -> bool:
        return bool(thing["metadata"].get("finalizers")) or (
            resource is NAMESPACES and bool(thing["spec"].get("finalizers"))
        )

    # --- Both --------------------------------------------------------------------------------------------------------

    def _complete(self, resource: Resource, thing: Json, before: Json | None) -> None:
        """Defaults, validation and, for what is new, admission. Raises ``ApiError``."""
        used = [
            service["spec"].get("clusterIP", "")
            for service in (self.store.all_of(SERVICES) if resource is SERVICES else ())
        ]
        _require(resource, thing)
        defaults.fill(resource.kind, thing, used)
        if resource is PODS and before is None:
            admission.apply_limits(self.store, thing)
        if found := validation.causes(resource, thing, before):
            raise invalid(resource, thing["metadata"]["name"], found)
        if before is None:
            if resource is PODS:
                self._check_account(thing)
                admission.check_security(self.store, thing)
            admission.check_quota(self.store, resource, thing)

    def _check_account(self, pod: Json) -> None:
        namespace, account = pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]
        if self.store.get(SERVICE_ACCOUNTS, namespace, account) is None:
            why = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
            raise forbidden(PODS, pod["metadata"]["name"], why)

    def _keep(self, resource: Resource, thing: Json, options: Options) -> Json:
        if options.dry_run:
            return thing
        if thing["metadata"].get("deletionTimestamp") and not self._is_held(resource, thing) and resource is not PODS:
            namespace, name = thing["metadata"].get("namespace", ""), thing["metadata"]["name"]
            return self.store.remove(resource, namespace, name) or thing
        kept = self.store.put(resource, thing)
        if resource is NAMESPACES and self.store.get(SERVICE_ACCOUNTS, thing["metadata"]["name"], "default") is None:
            self._welcome(thing["metadata"]["name"])
        return kept

    def _welcome(self, namespace: str) -> None:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        if not (self.store.get(NAMESPACES, "", namespace) or {})["metadata"].get("deletionTimestamp"):
            self.create(SERVICE_ACCOUNTS, namespace, account, Options(manager="kube-controller-manager"))

    def _time(self) -> str:
        return clock.text(self._now())


def resource_at(group: str, version: str, plural: str) -> Resource | None:
    return BY_PATH.get((group, version, plural))


def _decoded(resource: Resource, body: Any, validation_level: str, *, partial: bool = False) -> tuple[Json, list[str]]:
    """The object that a body holds, without what its kind does not have, and warnings of that. Raises ``ApiError``."""
    if not isinstance(body, dict):
        raise bad_request("the body is no object")
    what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
    body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    for name, wanted in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        if body[name] != wanted:
            raise bad_request(f"the {name} in the data ({body[name]}) does not match the expected {name} ({wanted})")
    body["metadata"] = body.get("metadata") or {}
    found = schemas.problems(resource.definition, body)
    mistyped = [problem for problem in found if problem.what == "type"]
    if mistyped:
        raise bad_request(f"{what}: {mistyped[0].path}: {mistyped[0].message}")
    unknown = [problem.path for problem in found if problem.what == "unknown"]
    if unknown and partial:
        told = "; ".join(f".{path}: field not declared in schema" for path in unknown)
        raise bad_request(f"failed to create typed patch object ({resource.api_version}, Kind={resource.kind}): {told}")
    warnings = [f'unknown field "{path}"' for path in unknown]
    if warnings and validation_level == "Strict":
        raise bad_request(f"{what}: strict decoding error: {', '.join(warnings)}")
    pruned: Json = copy.deepcopy(schemas.prune(resource.definition, body))
    return pruned, warnings if validation_level != "Ignore" else []


def _require(resource: Resource, thing: Json) -> None:
    """Raises ``ApiError`` 422 for each field that has to be there and is not."""
    missing = [
        validation.required(problem.path)
        for problem in schemas.problems(resource.definition, thing)
        if problem.what == "required"
    ]
    if missing:
        raise invalid(resource, thing["metadata"].get("name", ""), missing)


def _check_name(thing: Json, name: str) -> None:
    given = thing["metadata"].setdefault("name", name)
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def _check_version(resource: Resource, before: Json, thing: Json) -> None:
    old, new = before["metadata"], thing["metadata"]
    if new.get("resourceVersion") not in (None, "", "0", old["resourceVersion"]):
        raise conflict(resource, old["name"])
    if new.get("uid") not in (None, "", old["uid"]):
        why = f"Precondition failed: UID in precondition: {new['uid']}, UID in object meta: {old['uid']}"
        raise conflict(resource, old["name"], why)


def _check_preconditions(resource: Resource, thing: Json, told: Json) -> None:
    for name, words in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if told.get(name) and told[name] != thing["metadata"][name]:
            why = f"Precondition failed: {words} in precondition: {told[name]}, {words} in object meta: {thing['metadata'][name]}"  # noqa: E501
            raise conflict(resource, thing["metadata"]["name"], why)


def _same(before: Json, after: Json) -> bool:
    return before == {
        **after,
        "metadata": {**after["metadata"], "resourceVersion": before["metadata"]["resourceVersion"]},
    }


__all__ = ["FOREGROUND", "ORPHAN", "Answer", "ApiError", "Objects", "Options", "PatchKind", "resource_at"]
