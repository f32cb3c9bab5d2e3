"""A pod on moto: its server is asked as uvicorn would ask it, in this process, in an event loop of real time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.compiler.pipeline import MANUAL, compile_plan
from chalicelib.foundation.settings import Settings
from chalicelib.graph.deployments import Deployed
from chalicelib.graph.model import Workflow
from chalicelib.nodes.registry import CATALOG
from chalicelib.pod.server import Pod
from chalicelib.pod.settings import PodSettings
from chalicelib.store.group_commit import GroupCommit
from tests.fakes import CountingIds, FakeClock, TableWire, World
from tests.runs import Runs

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """What speaks ASGI to a pod."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod

    async def trigger(self, inputs: Any = None, *, sync: bool = True, **headers: str) -> Answer:
        return await self.post(json.dumps({"inputs": inputs or {}, "sync": sync}).encode(), **headers)

    async def post(self, body: bytes, **headers: str) -> Answer:
        return await self.ask("POST", "/trigger", body, **headers)

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", path)

    async def until_at(self, number: int) -> None:
        """Returns when the pod is at so many runs."""
        while (await self.get("/activity")).json["inFlight"] != number:
            await asyncio.sleep(0.02)

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": named, "http_version": "1.1", "scheme": "http", "server": ("pod", 80), "client": ("c", 1),
            "root_path": "",
        }  # fmt: skip
        chunks = [body[at : at + 1_000_000] for at in range(0, len(body), 1_000_000)] or [b""]
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.pod.app(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


def deploy(services: Services, workflow: Workflow) -> Deployed:
    """What a deployment leaves for its pods."""
    plan = compile_plan(
        workflow.graph,
        CATALOG,
        trigger=MANUAL,
        default_retry=workflow.default_retry,
        timeout_s=workflow.settings.get("timeout"),
    )
    services._plans.put(plan)
    return Deployed(
        organization_id=workflow.organization_id,
        workflow_id=workflow.id,
        owner_id=workflow.owner_id,
        version=1,
        revision=1,
        plan=plan.hash,
        retention_days=workflow.retention_days,
        max_concurrent_runs=workflow.settings.get("maxConcurrentRuns"),
    )


@pytest.fixture
def process(settings: Settings, clock: FakeClock, world: World) -> Callable[..., Services]:
    """Another process, that shares nothing but AWS with the others."""
    ids = CountingIds()

    def start(lease: timedelta | None = None) -> Services:
        commits = GroupCommit(TableWire(services(settings, clock=clock)._table))
        return services(
            settings, clock=clock, ids=ids, capabilities=world.capabilities, commits=commits, lease=lease,
            leave_within=timedelta(seconds=0.2),
        )  # fmt: skip

    return start


@pytest.fixture
def app_services(process: Callable[..., Services]) -> Services:
    return process()


PodOf = Callable[..., Client]


@pytest.fixture
def pod(runs: Runs, process: Callable[..., Services]) -> PodOf:
    """A client of a pod that serves a graph; ``own`` are fields of ``PodSettings``, and settings of the workflow."""

    def make(
        shape: Mapping[str, Any],
        own: Mapping[str, Any] | None = None,
        lease: timedelta | None = None,
        **of_workflow: Any,
    ) -> Client:
        deployed = deploy(runs.services, runs.workflow(shape, **of_workflow))
        return another(deployed, process(lease=lease), own or {})

    return make


def another(deployed: Deployed, own_services: Services, own: Mapping[str, Any] | None = None) -> Client:
    """A client of one more pod of a deployment."""
    environ = {"MILLRACE_DEPLOYED": json.dumps(deployed.to_json()), "MILLRACE_GRACE_S": "60"}
    settings = replace(PodSettings.from_environment(environ), **(own or {}))
    return Client(Pod(own_services, settings))


def play(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns, which may take a minute and a half."""

    async def bounded() -> T:
        async with asyncio.timeout(90):
            return await work

    return asyncio.run(bounded())
