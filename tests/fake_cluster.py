"""A cluster in memory: pods come up when they are let, fail with a reason, take triggers, and end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chalicelib.cloud.cluster import Observed, PodActivity, PodAnswer
from chalicelib.foundation.errors import Unavailable
from chalicelib.foundation.json_types import dumps, loads
from chalicelib.graph.deployments import Deployed

STARTED_AT = "2026-01-05T09:00:00.000Z"


@dataclass
class Objects:
    """What there is of one workflow."""

    deployed: Deployed  # of the pod template
    replicas: int
    is_ready: bool = False  # as many as wanted, of that template
    looks: int = 0  # since it last changed
    in_flight: int = 0
    last_ended_at: str | None = None


@dataclass
class FakeCluster:
    """Its interface is that of ``cloud.cluster.Cluster``.

    ``comes_up_after``: how often a change is looked at until its pods are ready; None until ``ready`` says so.
    ``before`` is called before each call, with its name, and may raise what that is to raise; ``after`` likewise when
    it has taken effect.
    """

    comes_up_after: int | None = 0
    failure: str | None = None
    lingers: int = 0  # how often objects that were removed are found to be still there
    is_silent: bool = False  # pods do not tell what they do
    objects: dict[str, Objects] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)  # names of calls
    triggers: list[tuple[bytes, Mapping[str, str], float]] = field(default_factory=list)
    before: Callable[[str], None] = lambda name: None
    after: Callable[[str], None] = lambda name: None
    answer: Callable[[Deployed, Mapping[str, str], bytes], PodAnswer] | None = None
    _turn: threading.RLock = field(default_factory=threading.RLock)

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.made)

    def apply(self, deployed: Deployed, replicas: int) -> None:
        with self._turn:
            self._begin("apply")
            present = self.objects.get(deployed.workflow_id)
            if present is None or (present.deployed, present.replicas) != (deployed, replicas):
                self.objects[deployed.workflow_id] = Objects(deployed, replicas)
            self.after("apply")

    def remove(self, workflow_id: str) -> bool:
        with self._turn:
            self._begin("remove")
            if workflow_id in self.objects and self.lingers:
                self.lingers -= 1
                return False
            self.objects.pop(workflow_id, None)
            self.after("remove")
            return True

    def scale(self, workflow_id: str, replicas: int) -> bool:
        with self._turn:
            self._begin("scale")
            present = self.objects.get(workflow_id)
            if present is None:
                return False
            if present.replicas != replicas:
                self.objects[workflow_id] = Objects(present.deployed, replicas)
            self.after("scale")
            return True

    def observe(self, workflow_id: str) -> Observed:
        with self._turn:
            self._begin("observe")
            present = self.objects.get(workflow_id)
            if present is None:
                return Observed(False, 0, 0, False, None)
            present.looks += 1
            if self.comes_up_after is not None and present.looks > self.comes_up_after and not self.failure:
                present.is_ready = True
            self.after("observe")
            ready = present.replicas if present.is_ready else 0
            return Observed(True, present.replicas, ready, present.is_ready, self.failure)

    def activity(self, workflow_id: str) -> list[PodActivity] | None:
        with self._turn:
            self._begin("activity")
            present = self.objects.get(workflow_id)
            if self.is_silent:
                return None
            if present is None or not present.is_ready:
                return []
            pods = [PodActivity(present.in_flight, STARTED_AT, present.last_ended_at)]
            return pods + [PodActivity(0, STARTED_AT, None)] * (present.replicas - 1)

    def trigger(self, workflow_id: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> PodAnswer:
        with self._turn:
            self._begin("trigger")
            present = self.objects.get(workflow_id)
            if present is None or not present.replicas or not present.is_ready:
                raise Unavailable("no pod is ready")
            self.triggers.append((body, headers, timeout_s))
        answer = (self.answer or echoed)(present.deployed, headers, body)
        self.after("trigger")
        return answer

    def ready(self, workflow_id: str) -> None:
        """Its pods are ready."""
        self.objects[workflow_id].is_ready = True

    def _begin(self, name: str) -> None:
        self.made.append(name)
        self.before(name)


def echoed(deployed: Deployed, headers: Mapping[str, str], body: bytes) -> PodAnswer:
    """A run whose output is what it was started with."""
    asked = loads(body)
    assert isinstance(asked, Mapping)
    told = {
        "status": "succeeded" if asked["sync"] else "started",
        "execution_id": headers["Millrace-Execution-Id"],
        "workflow_id": deployed.workflow_id,
        "output": asked["inputs"] if asked["sync"] else {},
    }
    return PodAnswer(200, {"content-type": "application/json"}, dumps(told).encode())
