"""The life of one container: wait for what it needs, run, be looked at, end, and begin again after a pause."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.cluster import clock, environment, logs, probes, processes
from infra.local.cluster.environment import IMAGE, ConfigError
from infra.local.cluster.errors import Json
from infra.local.cluster.http_client import HttpClient
from infra.local.cluster.probes import Surroundings, Verdict
from infra.local.cluster.processes import Container
from infra.packaging import PROJECT

_POLL_S = 0.05  # seconds between two looks at a process
_FIRST_BACK_OFF_S, _LONGEST_BACK_OFF_S = 0.5, 10.0  # seconds; Kubernetes takes 10 and 300
_FORGIVEN_AFTER_S = 60.0  # seconds of running; then the pauses begin anew
_CONFIG_RETRY_S = 0.5  # seconds
_AFTER_PRE_STOP_S = 2.0  # seconds that are left when preStop has used up the grace period

_IMAGE_NAME = re.compile(
    r"([a-zA-Z0-9.-]+(:\d+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?", re.ASCII
)

Tell = Callable[[str, str, bool], None]  #: reason, message, whether it is a warning


@dataclass(frozen=True)
class Setting:
    """What a container needs of the node."""

    client: HttpClient
    now: clock.Clock
    folder: Path
    settle: Callable[[], None]  #: to be called before each start: sees to it that the ports are free
    environ: Callable[[], dict[str, str]]  #: raises ``ConfigError``
    ports: dict[str, int]
    changed: Callable[[], None]  #: to be called when the status may have changed
    tell: Tell


class Runner:
    """One container of a pod. ``state``, ``ready`` and the like are what ``containerStatuses`` shows."""

    def __init__(self, spec: Json, restart_policy: str, setting: Setting, known: Json | None) -> None:
        """``known`` is what the pod's status said of it before this server was started."""
        self.spec = spec
        self._policy = restart_policy
        self._on = setting
        self.state: Json = {"waiting": {"reason": "ContainerCreating"}}
        self.last_state: Json = (known or {}).get("lastState") or {}
        self.restarts: int = (known or {}).get("restartCount", 0)
        self._was_running = bool(known and "running" in known.get("state", {}))
        self.ready = False
        self.started = False
        self.is_over = False
        self._process: Container | None = None
        self._where: Surroundings | None = None  # as the process was started, whatever has been deleted since
        self._stop = asyncio.Event()
        self._failures = 0

    def status(self) -> Json:
        told: Json = {
            "name": self.spec["name"],
            "image": self.spec["image"],
            "imageID": self.spec["image"] if self._process or self.last_state else "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }
        return told | ({"containerID": f"process://{self._process.pid}"} if self._process else {})

    async def run(self) -> None:
        """Until it is over: stopped, or ended in a way that its restart policy accepts."""
        adopted = processes.adopt(self._on.folder)
        if adopted is None and self._was_running:
            self.restarts += 1  # it ended with the server before, as with a node
        while not self._stop.is_set():
            if adopted is None and self.spec["image"] != IMAGE:
                await self._no_image()
                break
            code = await self._once(adopted)
            adopted = None
            if code is None or self._stop.is_set():
                continue
            if self._policy == "Never" or (self._policy == "OnFailure" and code == 0):
                break
            await self._back_off()
        self.ready = self.started = False
        self.is_over = True
        self._on.changed()

    async def stop(self, grace_s: float) -> None:
        """End it: preStop, SIGTERM, and SIGKILL when the grace period is over. Whoever asks for less time has it."""
        self._stop.set()
        running = self._process
        if running is None or running.exit_code() is not None:
            return
        deadline = time.monotonic() + grace_s
        if grace_s > 0 and (hook := (self.spec.get("lifecycle") or {}).get("preStop")):
            await self._pre_stop(hook, grace_s)
            deadline = max(deadline, time.monotonic() + _AFTER_PRE_STOP_S)
        if grace_s > 0:
            running.terminate()
        while time.monotonic() < deadline and running.exit_code() is None:
            await asyncio.sleep(_POLL_S)
        if running.exit_code() is None:
            running.kill()

    def kill(self) -> None:
        self._stop.set()
        if self._process is not None:
            self._process.kill()

    async def _no_image(self) -> None:
        image = self.spec["image"]
        bad = not _IMAGE_NAME.fullmatch(image)
        reason, again = ("InvalidImageName",) * 2 if bad else ("ErrImagePull", "ImagePullBackOff")
        said = f'Failed to pull image "{image}": the local cluster has the image {IMAGE} alone'
        self._wait_for(reason, said)
        self._on.tell("Failed", said, True)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), _FIRST_BACK_OFF_S)
            return
        self._wait_for(again, f'Back-off pulling image "{image}"' if not bad else said)
        self._on.tell("BackOff", f'Back-off pulling image "{image}"', True)
        await self._stop.wait()

    async def _once(self, adopted: Container | None) -> int | None:
        """Run it to its end. The exit code; ``None`` where it could not be made yet."""
        if adopted is None:
            self._on.settle()
        environ, missing = self._environment()
        if missing and adopted is None:
            self._wait_for("CreateContainerConfigError", missing)
            self._on.tell("Failed", f"Error: {missing}", True)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _CONFIG_RETRY_S)
            return None
        cwd = Path(self.spec.get("workingDir") or PROJECT)
        started_at = clock.text(self._on.now())
        try:
            running = adopted or processes.start(
                environment.command(self.spec, environ), environ, cwd, self._on.folder, logs.begin(self._on.folder)
            )
        except OSError as error:
            self._ended(128, started_at, "StartError", str(error))
            return 128
        self._process = running
        self.state = {"running": {"startedAt": started_at}}
        self.started = "startupProbe" not in self.spec
        self.ready = self.started and "readinessProbe" not in self.spec
        self._on.changed()
        self._on.tell("Started", f"Started container {self.spec['name']}", False)
        began = time.monotonic()
        self._where = Surroundings(self.spec, self._on.ports, environ, cwd)
        watching = asyncio.create_task(self._watch(self._where))
        try:
            while (code := running.exit_code()) is None:
                await asyncio.sleep(_POLL_S)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        running.forget()
        self._failures = 0 if time.monotonic() - began > _FORGIVEN_AFTER_S else self._failures
        self._ended(code, started_at, "Completed" if code == 0 else "Error", "")
        return code

    def _environment(self) -> tuple[dict[str, str], str]:
        """... and what is missing for it, where something is. An adopted process does without: it has its own."""
        try:
            return self._on.environ(), ""
        except ConfigError as error:
            return {}, str(error)

    def _ended(self, code: int, started_at: str, reason: str, message: str) -> None:
        told: dict[str, Any] = {"exitCode": code, "reason": reason, "startedAt": started_at}
        told |= {"finishedAt": clock.text(self._on.now())} | ({"message": message} if message else {})
        self.state = {"terminated": told}
        self.ready = self.started = False
        self._on.changed()

    async def _back_off(self) -> None:
        """The first restart is at once; each that follows soon waits twice as long."""
        self.last_state = self.state
        if self._failures:
            pause = min(_FIRST_BACK_OFF_S * 2 ** (self._failures - 1), _LONGEST_BACK_OFF_S)
            message = f"back-off {pause:g}s restarting failed container={self.spec['name']}"
            self._wait_for("CrashLoopBackOff", message)
            self._on.tell("BackOff", f"Back-off restarting failed container {self.spec['name']}", True)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
        self._failures += 1
        if not self._stop.is_set():
            self.restarts += 1

    def _wait_for(self, reason: str, message: str) -> None:
        self.state = {"waiting": {"reason": reason, "message": message}}
        self._on.changed()

    async def _pre_stop(self, hook: Json, grace_s: float) -> None:
        assert self._where is not None
        if "sleep" in hook:
            await asyncio.sleep(min(hook["sleep"]["seconds"], grace_s))
        elif said := await probes.look(self._on.client, hook, self._where, grace_s):
            self._on.tell("FailedPreStopHook", f"PreStopHook failed: {said}", True)

    # --- Probes ------------------------------------------------------------------------------------------------------

    async def _watch(self, where: Surroundings) -> None:
        if startup := self.spec.get("startupProbe"):
            if not await self._until_started(startup, where):
                return
            self.started = True
            self.ready = "readinessProbe" not in self.spec
            self._on.changed()
        async with asyncio.TaskGroup() as group:
            if probe := self.spec.get("readinessProbe"):
                group.create_task(self._keep_ready(probe, where))
            if probe := self.spec.get("livenessProbe"):
                group.create_task(self._keep_alive(probe, where))

    async def _until_started(self, probe: Json, where: Surroundings) -> bool:
        verdict = Verdict(probe, good=False)
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        while True:
            said = await probes.look(self._on.client, probe, where, probe["timeoutSeconds"])
            if said is not None:
                self._unhealthy("Startup", said)
            if verdict.take(said is None):
                if verdict.is_good:
                    return True
                self._end_for(probe, "startup")
                return False
            await asyncio.sleep(probe["periodSeconds"])

    async def _keep_ready(self, probe: Json, where: Surroundings) -> None:
        verdict = Verdict(probe, good=False)
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        while True:
            said = await probes.look(self._on.client, probe, where, probe["timeoutSeconds"])
            if said is not None:
                self._unhealthy("Readiness", said)
            verdict.take(said is None)
            if self.ready != verdict.is_good:
                self.ready = verdict.is_good
                self._on.changed()
            await asyncio.sleep(probe["periodSeconds"])

    async def _keep_alive(self, probe: Json, where: Surroundings) -> None:
        verdict = Verdict(probe, good=True)
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        while True:
            said = await probes.look(self._on.client, probe, where, probe["timeoutSeconds"])
            if said is not None:
                self._unhealthy("Liveness", said)
            if verdict.take(said is None) and not verdict.is_good:
                self._end_for(probe, "liveness")
                return
            await asyncio.sleep(probe["periodSeconds"])

    def _unhealthy(self, kind: str, said: str) -> None:
        if not self._stop.is_set():
            self._on.tell("Unhealthy", f"{kind} probe failed: {said}", True)

    def _end_for(self, probe: Json, kind: str) -> None:
        """A probe has failed as often as it may: end the process, and let ``run`` begin a new one."""
        running = self._process
        assert running is not None
        name = self.spec["name"]
        self._on.tell("Killing", f"Container {name} failed {kind} probe, will be restarted", False)
        running.terminate()
        grace = probe.get("terminationGracePeriodSeconds", 30)
        asyncio.get_running_loop().call_later(grace, _kill_late, running)


def _kill_late(running: Container) -> None:
    if running.exit_code() is None:
        running.kill()
