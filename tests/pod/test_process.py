"""The pod as a process: signals, exit codes, and what it imports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import packages_distributions
from typing import Any

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.foundation.settings import Settings
from chalicelib.graph.executions import ExecutionStatus
from infra.packaging import PROJECT
from tests.fakes import CountingIds, FakeClock, graph, node
from tests.moto_port import moto_port
from tests.pod.conftest import deploy
from tests.ports import free_ports
from tests.runs import OWNER, Runs

WAITS = "t -> w -> z"


def waiting(seconds: float) -> dict[str, Any]:
    return graph([node("t", "manual-trigger"), node("w", "wait", seconds=seconds), node("z")], WAITS)


@pytest.fixture
def clock() -> FakeClock:
    """Of this process: an hour later than that of the pods, which is the machine's."""
    return FakeClock(datetime.now(UTC) + timedelta(hours=1))


@pytest.fixture
def app_services(settings: Settings, clock: FakeClock) -> Services:
    return services(settings, clock=clock, ids=CountingIds())


class Pod:
    """A process of the pod's program."""

    def __init__(self, child: subprocess.Popen[str], port: int, pool: ThreadPoolExecutor) -> None:
        self.child = child
        self._url = f"http://127.0.0.1:{port}"
        self._pool = pool

    def status(self, path: str) -> int:
        """0 where nobody listens."""
        try:
            with urllib.request.urlopen(self._url + path, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def trigger(self, execution_id: str) -> Future[Any]:
        """A sync one; its answer."""
        body = b'{"sync": true, "inputs": {"n": 1}}'
        request = urllib.request.Request(
            f"{self._url}/trigger", body, {"Millrace-Execution-Id": execution_id, "Content-Type": "application/json"}
        )

        def ask() -> Any:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())

        return self._pool.submit(ask)

    def is_at(self, number: int) -> bool:
        with urllib.request.urlopen(f"{self._url}/activity", timeout=10) as answer:
            return bool(json.loads(answer.read())["inFlight"] == number)


def until(holds: Callable[[], bool], within_s: float = 90) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.05)


@pytest.fixture
def start(environment: dict[str, str], runs: Runs) -> Iterator[Callable[..., Pod]]:
    """Starts a pod that serves a graph, and waits until it is ready; ``more`` is for its environment."""
    with moto_port() as url, ThreadPoolExecutor(4) as pool, ExitStack() as stack:

        def begin(shape: dict[str, Any], **more: str) -> Pod:
            deployed = deploy(runs.services, runs.workflow(shape))
            port = free_ports()
            own = {
                "MILLRACE_DEPLOYED": json.dumps(deployed.to_json()),
                "MILLRACE_PORT": str(port),
                "MILLRACE_HOST": "127.0.0.1",
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "POD_NAME": "pod-1",
            }
            child = stack.enter_context(running(environment | own | more))
            pod = Pod(child, port, pool)
            until(lambda: pod.status("/readyz") == 200)
            return pod

        yield begin


@contextmanager
def running(environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "chalicelib.pod"]
    given = {"PATH": os.environ["PATH"], **environ}
    with subprocess.Popen(command, cwd=PROJECT, env=given, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


@dataclass(frozen=True)
class Gate:
    """A server on loopback that answers a request when it is told to, and not before."""

    url: str
    opened: threading.Event


@pytest.fixture
def gate() -> Iterator[Gate]:
    opened = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            opened.wait()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Gate(f"http://127.0.0.1:{server.server_port}", opened)
        finally:
            opened.set()
            server.shutdown()
            thread.join()


def test_it_finishes_and_ends(start: Callable[..., Pod], runs: Runs, gate: Gate) -> None:
    """After SIGTERM it is not ready at once and lives on, the run under way is answered, and it ends with 0."""
    shape = graph([node("t", "manual-trigger"), node("h", "http-request", method="GET", url=gate.url)], "t -> h")
    pod = start(shape, MILLRACE_GRACE_S="300", MILLRACE_ALLOW_LOOPBACK="true")
    answer = pod.trigger("exec_mine")
    until(lambda: pod.is_at(1))
    pod.child.send_signal(signal.SIGTERM)
    until(lambda: pod.status("/readyz") == 503)
    assert pod.status("/healthz") == 200
    gate.opened.set()
    assert answer.result(60)["status"] == "succeeded"
    assert pod.child.wait(60) == 0
    assert runs.detail("exec_mine").execution.status is ExecutionStatus.SUCCEEDED


def test_it_hands_over_and_ends(start: Callable[..., Pod], runs: Runs) -> None:
    """What does not end in the grace period has gone to Step Functions when the process ends, with 0 and in time."""
    pod = start(waiting(200), MILLRACE_GRACE_S="10")  # three seconds of it to hand over
    answer = pod.trigger("exec_mine")
    until(lambda: pod.is_at(1))
    began = time.monotonic()
    pod.child.send_signal(signal.SIGTERM)
    assert answer.result(60)["status"] in ("running", "waiting")
    assert pod.child.wait(60) == 0
    assert time.monotonic() - began < 100  # where the wait takes 200
    assert [*runs.step_functions.executions()] == ["exec_mine"]
    assert runs.end("exec_mine").status == "succeeded"


def test_a_second_signal_ends_it_at_once(start: Callable[..., Pod], runs: Runs) -> None:
    """With 1: somebody else takes up what it leaves, when its lease is over."""
    pod = start(waiting(200), MILLRACE_GRACE_S="300")
    pod.trigger("exec_mine")
    until(lambda: pod.is_at(1))
    pod.child.send_signal(signal.SIGTERM)
    until(lambda: pod.status("/readyz") == 503)
    pod.child.send_signal(signal.SIGTERM)
    assert pod.child.wait(60) == 1
    taken_up(runs)


def test_one_that_is_killed(start: Callable[..., Pod], runs: Runs) -> None:
    """With SIGKILL in the middle of a run: Step Functions brings it to its end."""
    pod = start(waiting(200))
    pod.trigger("exec_mine")
    until(lambda: pod.is_at(1))
    until(lambda: runs.services._executions.get(OWNER.organization_id, "exec_mine") is not None)
    pod.child.kill()
    assert pod.child.wait(60) == -signal.SIGKILL
    taken_up(runs)


def taken_up(runs: Runs) -> None:
    assert runs.step_functions.executions() == {}
    runs.detail("exec_mine")  # an hour later: its lease is over
    assert runs.end("exec_mine").status == "succeeded"


@pytest.mark.parametrize("lacks", ["MILLRACE_DEPLOYED", "MILLRACE_TABLE"])
def test_an_environment_that_is_wrong(environment: dict[str, str], lacks: str) -> None:
    """It ends with 1 and says what it lacks, in its log: that is what a failed rollout shows."""
    deployed = {"organizationId": "o", "workflowId": "w", "ownerId": "u", "version": 1, "revision": 1, "plan": "p",
                "retentionDays": 7}  # fmt: skip
    environ = environment | {"MILLRACE_DEPLOYED": json.dumps(deployed)}
    del environ[lacks]
    with running(environ) as child:
        told, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert lacks in told


def test_what_it_imports() -> None:
    """Neither Chalice nor the Kubernetes client, and nothing that is not in requirements-pod.txt."""
    program = (
        "import sys; before = {*sys.modules}; import chalicelib.pod.__main__, uvloop, httptools\n"
        "from chalicelib.services import in_process, deployed\n"
        "from chalicelib.nodes import registry\n"
        "print(*sorted({name.partition('.')[0] for name in {*sys.modules} - before} - sys.stdlib_module_names))"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    modules = {*told.stdout.split()} - {"chalicelib"}
    assert {"starlette", "uvicorn", "uvloop", "pydantic"} <= modules
    assert not modules & {"chalice", "kubernetes", "moto", "ministack"}
    known = packages_distributions()
    needed = {known[module][0].lower().replace("_", "-") for module in modules if module in known}
    lines = (PROJECT / "requirements-pod.txt").read_text(encoding="utf-8").splitlines()
    assert needed <= {re.split(r"[=; ]", line, maxsplit=1)[0].lower() for line in lines if line}
