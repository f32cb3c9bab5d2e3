"""Requests to a pod: sync ``/trigger`` of five nodes that only compute, each run recorded, beside a bare handler.

On a local stack of its own, whose DynamoDB is the emulator's; and once more with a DynamoDB that answers at once and
does nothing, which shows what of the time is the emulator's. With few connections that are kept alive, and with many.
All of it shares the machine: look at the ratios, and at the processor time of the serving process, into which that of
the others does not count.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from bench.aws import aws_in_process, sdk
from bench.report import Cell, Figures, Progress
from bench.stack import local_stack
from chalicelib.bootstrap import Services, services
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.foundation.settings import Settings
from chalicelib.graph.deployments import Deployed
from chalicelib.graph.model import Graph
from chalicelib.nodes.registry import CATALOG
from chalicelib.services.deployed import Asked, Observer, Told
from chalicelib.store.group_commit import GroupCommit
from chalicelib.store.table import Table
from infra.environment import LOCAL_STAGE, base_stack, function_environment
from infra.packaging import PROJECT
from infra.stacks import Stacks
from tests.fakes import TableWire, graph, node, watched
from tests.ports import free_ports

CONNECTIONS = (16, 64, 192)  # the last is nearly as many as a pod takes at once
SECONDS = 4.0
ROUNDS = 3
MAX_CALLS = 2  # to DynamoDB, of one run
GOAL = 0.25  # of the bare handler's requests per second
SHAPE = graph(
    [
        node("start", "manual-trigger"),
        node("greet", "set-fields", fields={"greeting": "Hello, {{ trigger.name }}!", "n": "{{ trigger.n }}"}),
        node("double", expression='{"greeting": data.greeting, "n": data.n * 2}'),
        node("large", "condition", expression="data.n > 10"),
        node("end", expression='{"text": data.greeting & "!", "n": data.n}'),
    ],
    "start -> greet -> double -> large",
    "large:true -> end",
)
COLUMNS = ("server", "requests/s", "of bare", "p50, ms", "p99, ms", "µs of its processor", "calls/run")


@dataclass(frozen=True)
class _Figure:
    """One server under load for a while."""

    per_second: float
    p50: float  # ms
    p99: float  # ms
    cpu_us: float  # of the server's process, per request
    calls: float | None  # to DynamoDB per run


def measure(progress: Progress) -> Sequence[Figures]:
    """A table for each number of connections; ``broken`` where a run takes more calls to DynamoDB than it may."""
    progress("counting calls")
    alone = calls_of_one_run()
    with local_stack(progress) as stack:
        outputs = Stacks(stack.client("cloudformation")).outputs(base_stack(LOCAL_STAGE))
        environ = {**stack.home.environment(), **function_environment(LOCAL_STAGE, outputs), "LOG_LEVEL": "WARNING"}
        deployed = deploy(services(Settings.from_environment(environ)), stack.home.environment())
        environ["MILLRACE_DEPLOYED"] = json.dumps(deployed.to_json())
        with (
            _served("bench.servers", "bare") as bare,
            _served("bench.servers", "starlette") as by_hand,
            _served("bench.servers", "wire") as wire,
            _pod(environ) as on_emulator,
            _pod(environ | {"AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{wire.port}"}) as on_wire,
        ):
            servers = {
                "bare uvicorn handler": bare,
                "Starlette, JSON in and out": by_hand,
                "pod, DynamoDB of the emulator": on_emulator,
                "pod, DynamoDB that does nothing": on_wire,
            }
            tables = []
            for connections in CONNECTIONS:
                found: dict[str, list[_Figure]] = {name: [] for name in servers}
                for number in range(ROUNDS):
                    for name, server in servers.items():
                        progress(f"{connections} connections, {number + 1} of {ROUNDS}: {name}")
                        found[name].append(_loaded(server, connections))
                tables.append(_figures(found, alone, connections))
    return tables


def calls_of_one_run() -> int:
    """To DynamoDB, of one sync trigger that comes alone; on moto, where every call is seen."""
    with aws_in_process():
        settings = Settings.from_environment(os.environ)
        own = services(settings, commits=GroupCommit(TableWire(Table(sdk("dynamodb"), settings.table))))
        deployed = deploy(own, {})

        async def run() -> Told:
            runs = await asyncio.to_thread(own.deployed_runs, deployed, at_once=1, observer=Observer())
            return await runs.trigger(Asked({"name": "Ada", "n": 21}, sync=True))

        asyncio.run(run())
        with watched(sdk("dynamodb")) as calls:
            told = asyncio.run(run())
            assert str(told.status) == "succeeded"
        return len([operation for operation in calls.operations if operation != "GetItem"])  # that is the readiness


def deploy(own: Services, environ: Mapping[str, str]) -> Deployed:
    """Puts the plan where pods find it."""
    os.environ |= environ
    connections = [{"id": f"c{index}", **each} for index, each in enumerate(SHAPE["connections"])]
    plan = compile_plan(Graph.from_json({"nodes": SHAPE["nodes"], "connections": connections}), CATALOG)
    own._plans.put(plan)
    return Deployed("org_bench", "wf_bench", "user_bench", 1, 1, plan.hash, 7)


@dataclass(frozen=True)
class _Server:
    port: int
    process: psutil.Process

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def counted(self, name: str) -> float:
        """A counter of its metrics."""
        lines = self.get("/metrics").splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


@contextmanager
def _served(module: str, *arguments: str, environ: Mapping[str, str] = os.environ) -> Iterator[_Server]:
    """A process of ours that listens."""
    port = free_ports()
    given = {"PATH": os.environ["PATH"], **environ, "MILLRACE_PORT": str(port), "MILLRACE_HOST": "127.0.0.1"}
    command = [sys.executable, "-m", module, *arguments, *([str(port)] if arguments else [])]
    with subprocess.Popen(command, cwd=PROJECT, env=given) as child:
        try:
            _listens(port, child)
            yield _Server(port, psutil.Process(child.pid))
        finally:
            child.terminate()
            child.wait(60)


@contextmanager
def _pod(environ: Mapping[str, str]) -> Iterator[_Server]:
    with _served("chalicelib.pod", environ=environ) as server:
        deadline = time.monotonic() + 30
        while True:
            try:
                server.get("/readyz")
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                yield server
                return


def _listens(port: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert child.poll() is None, "it ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("it does not listen")


def _loaded(server: _Server, connections: int) -> _Figure:
    is_pod = "chalicelib.pod" in server.process.cmdline()
    command = [sys.executable, "-m", "bench.load", str(server.port), str(connections), str(SECONDS)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        assert load.stdout.readline() == "begin\n"  # it is warm
        before, calls, runs = _cpu_s(server), 0.0, 0.0
        if is_pod:
            calls, runs = (server.counted(f"millrace_{name}_total") for name in ("commit_calls", "runs_started"))
        told: dict[str, Any] = json.loads(load.stdout.readline())
        used = _cpu_s(server) - before
        if is_pod:
            calls = server.counted("millrace_commit_calls_total") - calls
            runs = server.counted("millrace_runs_started_total") - runs
    number = told["requests"]
    return _Figure(
        number / told["seconds"], told["p50"], told["p99"], used / number * 1e6, calls / runs if is_pod else None
    )


def _cpu_s(server: _Server) -> float:
    times = server.process.cpu_times()
    return float(times.user + times.system)


def _figures(found: Mapping[str, Sequence[_Figure]], alone: int, connections: int) -> Figures:
    bare = found["bare uvicorn handler"]
    rows: list[list[Cell]] = []
    broken = [] if alone <= MAX_CALLS else [f"a run that comes alone makes {alone} calls to DynamoDB"]
    for name, figures in found.items():
        middle = sorted(figures, key=lambda figure: figure.per_second)[len(figures) // 2]
        rows.append(
            [name, round(middle.per_second), _share(figures, bare), middle.p50, middle.p99, round(middle.cpu_us),
             middle.calls]
        )  # fmt: skip
        if middle.calls is not None and middle.calls > MAX_CALLS:
            broken.append(f"{name}: {middle.calls:.2f} calls to DynamoDB per run")
    rows.append(["pod, one run that comes alone", None, None, None, None, None, alone])
    return Figures(
        f"Sync triggers of five nodes, {connections} connections; goal {GOAL} of the bare handler",
        COLUMNS,
        rows,
        broken,
    )


def _share(figures: Sequence[_Figure], of: Sequence[_Figure]) -> float:
    """Requests per second as a share of another server's, round by round: a machine is not as fast at all times."""
    return statistics.median(one.per_second / other.per_second for one, other in zip(figures, of, strict=True))
