"""The objects of the cluster, in memory and in a journal.

Each change is a line of the journal before it is answered, so a killed server comes back with all that it has said;
a line that was cut off in the middle is as if it had not been. At each start, and now and then, the journal is written
anew with one line for each object. Objects are never changed in place: who changes one puts a new one.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.local.cluster.errors import Json, expired
from infra.local.cluster.resources import BY_KIND, Resource

Key = tuple[Resource, str, str]  # with namespace (empty where the kind has none) and name

_HISTORY = 4096  # changes that a watch can begin behind
_COMPACT_EVERY = 5000  # lines
_WATCHER_BACKLOG = 2048  # changes that one watcher may be behind


@dataclass(frozen=True)
class Change:
    version: int
    resource: Resource
    type: str  #: ADDED, MODIFIED or DELETED
    object: Json
    before: Json | None


class Watcher:
    """Takes changes, at most so many; one that is too slow is ended, and its reader begins anew."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Change | None] = asyncio.Queue(_WATCHER_BACKLOG + 1)
        self.is_over = False

    def take(self, change: Change) -> None:
        if self.is_over:
            return
        if self.queue.qsize() >= _WATCHER_BACKLOG:
            self.end()
        else:
            self.queue.put_nowait(change)

    def end(self) -> None:
        self.is_over = True
        self.queue.put_nowait(None)


class Store:
    def __init__(self, journal: Path) -> None:
        """Raises ``OSError`` where the folder cannot be written."""
        self._path = journal
        self._objects: dict[Key, Json] = {}
        self._history: deque[Change] = deque(maxlen=_HISTORY)
        self._watchers: set[Watcher] = set()
        self._listeners: list[Callable[[Change], None]] = []
        self.version = 1
        self._load()
        self._first = self.version
        self._lines = 0
        self._compact()

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return self._objects.get((resource, namespace, name))

    def all_of(self, resource: Resource, namespace: str = "") -> list[Json]:
        """Of one namespace, or of all; in the order of their names."""
        found = (
            (key, thing)
            for key, thing in self._objects.items()
            if key[0] is resource and (not namespace or key[1] == namespace)
        )
        return [thing for _, thing in sorted(found, key=lambda pair: pair[0][1:])]

    def all_in(self, namespace: str) -> list[tuple[Resource, Json]]:
        return [(key[0], thing) for key, thing in self._objects.items() if key[1] == namespace]

    def everything(self) -> list[tuple[Resource, Json]]:
        return [(key[0], thing) for key, thing in self._objects.items()]

    def put(self, resource: Resource, thing: Json) -> Json:
        """Keep an object under its name, with a new resource version."""
        key = self._key(resource, thing)
        before = self._objects.get(key)
        stored = self._stamp(thing)
        self._write({"put": stored})
        self._objects[key] = stored
        self._tell(Change(self.version, resource, "MODIFIED" if before else "ADDED", stored, before))
        return stored

    def remove(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """Forget an object; what it was, or ``None`` where there was none."""
        before = self._objects.get((resource, namespace, name))
        if before is None:
            return None
        last = self._stamp(before)
        self._write({"removed": [resource.api_version, resource.kind, namespace, name], "version": self.version})
        del self._objects[(resource, namespace, name)]
        self._tell(Change(self.version, resource, "DELETED", last, before))
        return last

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Call the function with each change, at once."""
        self._listeners.append(listener)

    def watch(self, since: int | None) -> Watcher:
        """What changes from now on, or since a version. Raises ``ApiError`` 410 where that is too long ago."""
        watcher = Watcher()
        if since is not None:
            oldest = self._history[0].version - 1 if len(self._history) == _HISTORY else self._first
            if since < oldest or since > self.version:
                raise expired(since)
            for change in self._history:
                if change.version > since:
                    watcher.take(change)
        self._watchers.add(watcher)
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    def end_watches(self) -> None:
        for watcher in self._watchers:
            if not watcher.is_over:
                watcher.end()

    def close(self) -> None:
        self.end_watches()
        self._journal.close()

    def _stamp(self, thing: Json) -> Json:
        self.version += 1
        return {**thing, "metadata": {**thing["metadata"], "resourceVersion": str(self.version)}}

    def _tell(self, change: Change) -> None:
        self._history.append(change)
        for watcher in tuple(self._watchers):
            watcher.take(change)
        for listener in self._listeners:
            listener(change)

    def _write(self, entry: Json) -> None:
        self._journal.write(json.dumps(entry, separators=(",", ":")) + "\n")
        self._journal.flush()  # to the system: it outlives this process
        self._lines += 1
        if self._lines >= _COMPACT_EVERY + len(self._objects):
            self._journal.close()
            self._compact(pending=entry)

    def _load(self) -> None:
        try:
            lines = self._path.read_text().split("\n")
        except FileNotFoundError:
            return
        for line in lines[:-1]:  # what follows the last end of a line was cut off
            entry = json.loads(line)
            if "put" in entry:
                thing = entry["put"]
                self._objects[self._key(BY_KIND[(thing["apiVersion"], thing["kind"])], thing)] = thing
                self.version = max(self.version, int(thing["metadata"]["resourceVersion"]))
            elif "removed" in entry:
                api_version, kind, namespace, name = entry["removed"]
                self._objects.pop((BY_KIND[(api_version, kind)], namespace, name), None)
            self.version = max(self.version, entry.get("version", 0))

    def _compact(self, pending: Json | None = None) -> None:
        """``pending`` is in the journal and not yet among the objects."""
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            for entry in ({"version": self.version}, *({"put": one} for one in self._objects.values()), pending):
                if entry is not None:
                    file.write(json.dumps(entry, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self._journal = self._path.open("a")
        self._lines = 0

    @staticmethod
    def _key(resource: Resource, thing: Json) -> Key:
        metadata = thing["metadata"]
        return resource, metadata.get("namespace", "") if resource.namespaced else "", metadata["name"]
