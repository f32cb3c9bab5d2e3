"""The emulator's process: find it, start it, end it; and what it has in common with those of the other programs.

Ours is the process that the process file names, and only while its start time and its command line agree with it:
process ids are given out again, and ending somebody else's process is the worst that ``make down`` could do.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import psutil

from infra.local import ports
from infra.local.home import Home
from infra.packaging import PROJECT

_START_TIMEOUT = 60.0  # seconds until it answers
_STOP_TIMEOUT = 60.0  # seconds; it saves its state before it ends
_POLL = 0.05  # seconds
_PROGRAM = "infra.local.emulator"
#: What the emulator, and so each function in it, sees of the caller's environment. No proxies, profiles or keys.
_PASSED_ON = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ"),
    *("SFN_WAIT_SCALE", "LAMBDA_ACCOUNT_CONCURRENCY", "MILLRACE_EMULATOR_PATCHES"),
)
#: Those that this program has started.
_started: list[subprocess.Popen[bytes]] = []
#: Of a connection that its program has closed; the system keeps it for a minute at the most.
_ENDING = (
    *(psutil.CONN_FIN_WAIT1, psutil.CONN_FIN_WAIT2, psutil.CONN_CLOSING, psutil.CONN_LAST_ACK),
    psutil.CONN_TIME_WAIT,
)
Found = TypeVar("Found")


class LocalError(Exception):
    """The local stack cannot be brought up or down; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Emulator:
    """One that runs."""

    process: psutil.Process
    port: int
    fingerprint: str  #: of the code that it runs


def fingerprint() -> str:
    """Changes with the emulator's release and with what we do to it: then a running one must be started anew."""
    here = Path(__file__).parent
    texts = [version("ministack"), *((here / name).read_text() for name in ("emulator.py", "patches.py", "home.py"))]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def find(home: Home) -> Emulator | None:
    """The emulator of this home, if it runs."""
    found = recorded(home.process_file, _PROGRAM)
    return Emulator(found[0], found[1]["port"], found[1]["fingerprint"]) if found else None


def recorded(file: Path, program: str) -> tuple[psutil.Process, dict[str, Any]] | None:
    """The process that a file names, with what else the file says, if it runs and is that program of ours."""
    try:
        record: dict[str, Any] = json.loads(file.read_text())
        process = psutil.Process(record["pid"])
        ours = abs(process.create_time() - record["started"]) < 2 and program in process.cmdline()
        if not ours or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process, record
    except (FileNotFoundError, ValueError, KeyError, psutil.Error):
        return None


def introduce(file: Path, fingerprint: str) -> None:
    """Note in a file that this very process is the program that runs, as ``recorded`` reads it."""
    me = psutil.Process()
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"pid": me.pid, "started": me.create_time(), "fingerprint": fingerprint}))
    fresh.replace(file)


def remember(child: subprocess.Popen[bytes]) -> None:
    """Python complains of a child that is forgotten while it runs."""
    _started.append(child)


def forget_ended() -> None:
    _started[:] = [child for child in _started if child.poll() is None]


def start(home: Home, environ: Mapping[str, str] = os.environ) -> Emulator:
    """Start it and wait until it answers. Raises ``LocalError``."""
    require_port(home.port)
    home.root.mkdir(parents=True, exist_ok=True)
    if home.log.exists():
        home.log.replace(home.log.with_suffix(".log.1"))
    passed_on = {name: environ[name] for name in _PASSED_ON if name in environ}
    ours = {"MILLRACE_HOME": str(home.root), "MILLRACE_PORT_BASE": str(home.port), "PYTHONUNBUFFERED": "1"}
    child = launch(_PROGRAM, fingerprint(), passed_on | ours, home.log)

    def look() -> Emulator | None:
        return find(home) if answers(f"{home.endpoint}/_ministack/health") else None

    return await_answer(child, "the emulator", home.log, look, _START_TIMEOUT)


def launch(program: str, fingerprint: str, environ: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a module of ours that outlives this process. Killed here, whoever comes next finds it by its file."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", program, fingerprint],
            cwd=PROJECT,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is not meant for it
        )
    remember(child)
    return child


def await_answer(
    child: subprocess.Popen[bytes], what: str, log: Path, look: Callable[[], Found | None], timeout_s: float
) -> Found:
    """What ``look`` finds, as soon as it finds something. Raises ``LocalError`` with the end of the log where the
    program has ended, or where it does not answer in time, which ends it.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise LocalError(f"{what} ended at once; the end of {log}:\n{_tail(log)}")
        if (found := look()) is not None:
            return found
        time.sleep(_POLL)
    child.terminate()
    raise LocalError(f"{what} did not answer within {timeout_s:.0f} s; the end of {log}:\n{_tail(log)}")


def stop(home: Home) -> bool:
    """End the emulator of this home and wait until it has saved its state. ``False`` where none ran."""
    emulator = find(home)
    if emulator is not None:
        workers = _children(emulator.process)
        emulator.process.terminate()
        try:
            emulator.process.wait(_STOP_TIMEOUT)
        except psutil.TimeoutExpired:
            emulator.process.kill()
            raise LocalError(
                f"the emulator did not end within {_STOP_TIMEOUT:.0f} s and was killed: what it held is lost"
            ) from None
        for worker in psutil.wait_procs(workers, timeout=5)[1]:  # they end by themselves when their pipe closes
            worker.kill()
        forget_ended()
    home.process_file.unlink(missing_ok=True)
    return emulator is not None


def answers(url: str, timeout: float = 5.0) -> bool:
    """Whether a GET of the URL gives 200 within the time-out (seconds)."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:  # noqa: S310 (our own http URL)
            return bool(response.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def require_port(port: int) -> None:
    """Raises ``LocalError`` where nobody can listen there now; the message says why, and what to do."""
    if not ports.is_free(port):
        why = _in_the_way(port)
        raise LocalError(f"port {port} on 127.0.0.1 {why}, or choose another port: MILLRACE_PORT_BASE=14566 make up")


def _in_the_way(port: int) -> str:
    """Who has a port, and how it comes to be free."""
    try:
        found = [one for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port]
    except psutil.AccessDenied:  # macOS shows other processes' sockets to root only
        found = []
    holders = {one.status: one.pid for one in found}
    if psutil.CONN_LISTEN in holders:
        return f"is taken by {_name(holders[psutil.CONN_LISTEN])}: end it"
    for status, pid in holders.items():
        if status not in _ENDING:
            return f"is that of a connection of {_name(pid)}: end it"
    if holders:
        return "was that of a connection that has just ended: try again in a minute"
    return "is taken by another process: end it"


def _name(pid: int | None) -> str:
    try:
        return f"process {pid} ({' '.join(psutil.Process(pid).cmdline())[:120]})" if pid else "another process"
    except psutil.Error:
        return f"process {pid}"


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
