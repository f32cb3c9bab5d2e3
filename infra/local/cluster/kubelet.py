"""The node: runs each pod's containers as processes of this machine and writes what becomes of them in its status."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from infra.local.cluster import clock, environment, logs, processes
from infra.local.cluster.containers import Runner, Setting
from infra.local.cluster.errors import Json
from infra.local.cluster.events import Recorder
from infra.local.cluster.http_client import HttpClient
from infra.local.cluster.objects import Objects
from infra.local.cluster.resources import PODS
from infra.local.cluster.store import Change
from infra.local.ports import FOR_PODS, HOST, is_free, lasting

NODE = "local"
ADDRESS = HOST
PORTS = "millrace.dev/local-ports"  # annotation: container port -> port of this machine
_CHOICE = lasting(FOR_PODS)
_OVER = ("Succeeded", "Failed")
_LOG_CHECK_S = 5.0  # seconds
_KILLED_AFTER_S = 5.0  # seconds after its grace period
_LONGEST_SHUTDOWN_S = 60.0  # seconds that a pod has when the cluster is stopped, whatever it asks for


def ports_of(pod: Json) -> dict[str, int]:
    text = (pod["metadata"].get("annotations") or {}).get(PORTS)
    return dict(json.loads(text)) if text else {}


def is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


class Kubelet:
    def __init__(
        self, objects: Objects, recorder: Recorder, root: Path, platform: Mapping[str, str], now: clock.Clock
    ) -> None:
        """``platform`` is what containers get from where they run: region, endpoint and credentials of AWS."""
        self.objects = objects
        self.recorder = recorder
        self.root = root
        self.platform = platform
        self.now = now
        self.client = HttpClient()
        self._workers: dict[str, Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        objects.store.listen(self._take)

    def begin(self) -> None:
        """Go on with the pods that are there; end processes whose pods are not."""
        known = {pod["metadata"]["uid"] for pod in self.objects.store.all_of(PODS)}
        for folder in self.root.glob("*"):
            if folder.name not in known:
                _end_folder(folder)
        for pod in self.objects.store.all_of(PODS):
            self._start(pod)
        self._keep(self._bound_logs())

    async def close(self) -> None:
        """End every container gently. The pods stay, for the next start."""
        self._is_closing = True
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.client.close()

    def log_folder(self, pod: Json, container: str) -> Path:
        return self.root / str(pod["metadata"]["uid"]) / container

    def _take(self, change: Change) -> None:
        if change.resource is not PODS or self._is_closing:
            return
        uid = change.object["metadata"]["uid"]
        if change.type == "ADDED":
            self._start(change.object)
        elif worker := self._workers.get(uid):
            if change.type == "DELETED":
                worker.kill()
            elif change.object["metadata"].get("deletionTimestamp"):
                worker.end(change.object["metadata"]["deletionGracePeriodSeconds"])

    def _start(self, pod: Json) -> None:
        worker = Worker(self, pod)
        self._workers[pod["metadata"]["uid"]] = worker
        self._keep(self._work(worker))

    async def _work(self, worker: Worker) -> None:
        try:
            await worker.run()
        finally:
            if not self._is_closing:
                self._workers.pop(worker.uid, None)

    def _keep(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_CHECK_S)
            for folder in self.root.glob("*/*"):
                logs.bound(folder)

    def taken_ports(self) -> set[int]:
        return {port for pod in self.objects.store.all_of(PODS) for port in ports_of(pod).values()}


def _end_folder(folder: Path) -> None:
    for note in folder.glob("*/pid"):
        if container := processes.adopt(note.parent):
            container.kill()
            container.forget()
    processes.forget_folder(folder)


class Worker:
    """One pod."""

    def __init__(self, node: Kubelet, pod: Json) -> None:
        self._node = node
        self._pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self._folder = node.root / self.uid
        self._runners: list[Runner] = []
        self._ends = asyncio.Event()
        self._grace_s: float = 0
        self._is_gone = self._is_closing = False
        self._stopping: set[asyncio.Task[None]] = set()
        if pod["metadata"].get("deletionTimestamp"):
            self.end(pod["metadata"]["deletionGracePeriodSeconds"])

    async def run(self) -> None:
        if (self._pod.get("status") or {}).get("phase") in _OVER:
            await self._ends.wait()
        else:
            await self._live()
        if self._is_closing:
            return
        await self._ends.wait()
        if not self._is_gone:
            self._is_gone = True
            self._node.objects.amend(PODS, self._pod, _without_finalizers)
            self._node.objects.store.remove(PODS, self._pod["metadata"]["namespace"], self._pod["metadata"]["name"])
        processes.forget_folder(self._folder)

    def end(self, grace_s: float) -> None:
        """The pod is being deleted, and has so many seconds for it. Said again, as with every change of a pod that
        ends, it counts only where it leaves less: a program is asked to end once.
        """
        if self._ends.is_set() and grace_s >= self._grace_s:
            return
        self._ends.set()
        self._grace_s = grace_s
        self._stop_all(grace_s)

    def kill(self) -> None:
        """The pod is deleted already."""
        self._is_gone = True
        self._ends.set()
        for runner in self._runners:
            runner.kill()

    async def close(self) -> None:
        """The cluster stops: end the containers, keep the pod."""
        self._is_closing = True
        grace_s = min(self._pod["spec"]["terminationGracePeriodSeconds"], _LONGEST_SHUTDOWN_S)
        self._stop_all(grace_s)
        self._ends.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s + _KILLED_AFTER_S):
                while any(not runner.is_over for runner in self._runners):
                    await asyncio.sleep(0.02)
        for runner in self._runners:
            runner.kill()

    def _stop_all(self, grace_s: float) -> None:
        for runner in self._runners:
            task = asyncio.create_task(runner.stop(grace_s))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    async def _live(self) -> None:
        ports = self._bind()
        spec = self._pod["spec"]
        known = {one["name"]: one for one in (self._pod.get("status") or {}).get("containerStatuses") or ()}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._runners = [
            Runner(container, spec["restartPolicy"], self._setting(container, ports), known.get(container["name"]))
            for container in spec["containers"]
        ]
        running = [asyncio.create_task(runner.run()) for runner in self._runners]
        self._write()
        if self._ends.is_set():
            self._stop_all(self._grace_s)
        try:
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()

    def _setting(self, container: Json, ports: dict[str, int]) -> Setting:
        node = self._node
        base = environment.image_environment(self._folder) | dict(node.platform)

        def environ() -> dict[str, str]:
            return environment.environment(node.objects.store, self._pod, container, base, ports)

        def tell(reason: str, message: str, warning: bool) -> None:
            if not self._is_gone:
                node.recorder.tell(self._pod, reason, message, component="kubelet", warning=warning)

        def settle() -> None:
            self._settle(container, ports)

        folder = self._folder / container["name"]
        return Setting(node.client, node.now, folder, settle, environ, ports, self._write, tell)

    def _settle(self, container: Json, ports: dict[str, int]) -> None:
        """Another port, in ``ports`` and in the pod's annotation, for each of a container's that somebody has taken
        since it was chosen.
        """
        own = [str(port["containerPort"]) for port in container.get("ports") or ()]
        lost = [port for port in own if not is_free(ports[port])]
        for port in lost:
            ports[port] = _free_port(self._node.taken_ports() | set(ports.values()))
        if lost:
            self._pod = self._node.objects.amend(PODS, self._pod, lambda pod: _note_ports(pod, ports)) or self._pod

    def _bind(self) -> dict[str, int]:
        """Give the pod its node, its address and its ports; it keeps those that it has if they are free."""
        wanted = [
            str(port["containerPort"])
            for container in self._pod["spec"]["containers"]
            for port in container.get("ports") or ()
        ]
        known = ports_of(self._pod)
        lives = any(processes.adopt(folder) for folder in self._folder.glob("*"))
        if set(known) != set(wanted) or not (lives or all(is_free(port) for port in known.values())):
            known = {}
            for port in wanted:
                known[port] = _free_port(self._node.taken_ports() | set(known.values()))

        def bind(pod: Json) -> None:
            pod["spec"]["nodeName"] = NODE
            if known:
                _note_ports(pod, known)
            pod["status"] = {
                **(pod.get("status") or {}),
                "hostIP": ADDRESS,
                "hostIPs": [{"ip": ADDRESS}],
                "podIP": ADDRESS,
                "podIPs": [{"ip": ADDRESS}],
            }
            pod["status"].setdefault("startTime", clock.text(self._node.now()))

        self._pod = self._node.objects.amend(PODS, self._pod, bind) or self._pod
        self._node.recorder.tell(
            self._pod, "Scheduled", f"Successfully assigned {self._pod['metadata']['namespace']}/"
            f"{self._pod['metadata']['name']} to {NODE}", component="default-scheduler",
        )  # fmt: skip
        return known

    def _write(self) -> None:
        """Tell the API what the containers are doing."""
        current = self._node.objects.store.get(PODS, self._pod["metadata"]["namespace"], self._pod["metadata"]["name"])
        if self._is_gone or not self._runners or current is None or current["metadata"]["uid"] != self.uid:
            return
        status = dict(current.get("status") or {})
        status["phase"] = self._phase()
        status["containerStatuses"] = [runner.status() for runner in self._runners]
        status["conditions"] = self._conditions(status.get("conditions") or [])
        self._node.objects.set_status(PODS, current, status)

    def _phase(self) -> str:
        over = [runner for runner in self._runners if runner.is_over and "terminated" in runner.state]
        if len(over) == len(self._runners):
            failed = any(runner.state["terminated"]["exitCode"] for runner in over)
            return "Failed" if failed else "Succeeded"
        begun = any("waiting" not in runner.state or runner.last_state for runner in self._runners)
        return "Running" if begun else "Pending"

    def _conditions(self, before: list[Json]) -> list[Json]:
        late = [runner.spec["name"] for runner in self._runners if not runner.ready]
        why = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{' '.join(late)}]"}
        told: list[Json] = [
            {"type": "PodReadyToStartContainers", "status": "True"},
            {"type": "Initialized", "status": "True"},
            *({"type": kind, "status": "False", **why} if late else {"type": kind, "status": "True"}
              for kind in ("Ready", "ContainersReady")),
            {"type": "PodScheduled", "status": "True"},
        ]  # fmt: skip
        times = {(one["type"], one["status"]): one["lastTransitionTime"] for one in before}
        moment = clock.text(self._node.now())
        return [
            {**one, "lastProbeTime": None, "lastTransitionTime": times.get((one["type"], one["status"]), moment)}
            for one in told
        ]


def _note_ports(pod: Json, ports: Mapping[str, int]) -> None:
    pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), PORTS: json.dumps(ports)}


def _without_finalizers(pod: Json) -> None:
    pod["metadata"].pop("finalizers", None)


def _free_port(taken: set[int]) -> int:
    """At random, so that the clusters of one machine seldom meet. Raises ``RuntimeError`` where none is free."""
    candidates = sorted(set(_CHOICE) - taken)
    for port in secrets.SystemRandom().sample(candidates, len(candidates)):
        if is_free(port):
            return port
    raise RuntimeError(f"no port for a container is free in {_CHOICE}")
