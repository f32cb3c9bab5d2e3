"""What goes when something else goes: dependents of an owner, and all that a namespace holds."""

from __future__ import annotations

from infra.local.cluster.errors import Json
from infra.local.cluster.objects import FOREGROUND, ORPHAN, Objects
from infra.local.cluster.resources import NAMESPACES, Resource


def sync(objects: Objects) -> None:
    """One pass: each call brings deletions one step further."""
    everything = objects.store.everything()
    uids = {thing["metadata"]["uid"] for _, thing in everything}
    waiting = [(resource, thing) for resource, thing in everything if thing["metadata"].get("deletionTimestamp")]
    for resource, thing in waiting:
        finalizers = thing["metadata"].get("finalizers") or ()
        if ORPHAN in finalizers:
            _orphan(objects, resource, thing, everything)
        elif FOREGROUND in finalizers:
            _foreground(objects, resource, thing, everything)
        elif resource is NAMESPACES:
            _empty(objects, thing)
    for resource, thing in everything:
        owners = thing["metadata"].get("ownerReferences") or ()
        if owners and not any(owner["uid"] in uids for owner in owners):
            _delete(objects, resource, thing, "Background")


def _dependents(everything: list[tuple[Resource, Json]], owner: Json) -> list[tuple[Resource, Json]]:
    uid = owner["metadata"]["uid"]
    return [
        (resource, thing)
        for resource, thing in everything
        if any(one["uid"] == uid for one in thing["metadata"].get("ownerReferences") or ())
    ]


def _orphan(objects: Objects, resource: Resource, owner: Json, everything: list[tuple[Resource, Json]]) -> None:
    uid = owner["metadata"]["uid"]

    def let_go(thing: Json) -> None:
        thing["metadata"]["ownerReferences"] = [
            one for one in thing["metadata"]["ownerReferences"] if one["uid"] != uid
        ]

    for kind, thing in _dependents(everything, owner):
        objects.amend(kind, thing, let_go)
    _release(objects, resource, owner, ORPHAN)


def _foreground(objects: Objects, resource: Resource, owner: Json, everything: list[tuple[Resource, Json]]) -> None:
    dependents = _dependents(everything, owner)
    for kind, thing in dependents:
        _delete(objects, kind, thing, "Foreground")
    uid = owner["metadata"]["uid"]
    blocking = [
        thing
        for _, thing in dependents
        if any(one["uid"] == uid and one.get("blockOwnerDeletion") for one in thing["metadata"]["ownerReferences"])
    ]
    if not blocking:
        _release(objects, resource, owner, FOREGROUND)


def _empty(objects: Objects, namespace: Json) -> None:
    name = namespace["metadata"]["name"]
    held = objects.store.all_in(name)
    for resource, thing in held:
        _delete(objects, resource, thing, "Background")
    if not objects.store.all_in(name):

        def finish(thing: Json) -> None:
            thing["spec"].pop("finalizers", None)

        objects.amend(NAMESPACES, namespace, finish)


def _delete(objects: Objects, resource: Resource, thing: Json, policy: str) -> None:
    metadata = thing["metadata"]
    if metadata.get("deletionTimestamp"):
        return
    current = objects.store.get(resource, metadata.get("namespace", ""), metadata["name"])
    if current is not None and current["metadata"]["uid"] == metadata["uid"]:
        told = {"propagationPolicy": policy}
        objects.delete(resource, metadata.get("namespace", ""), metadata["name"], told)


def _release(objects: Objects, resource: Resource, thing: Json, finalizer: str) -> None:
    def release(one: Json) -> None:
        one["metadata"]["finalizers"] = [word for word in one["metadata"].get("finalizers") or () if word != finalizer]

    objects.amend(resource, thing, release)
