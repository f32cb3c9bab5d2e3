"""Which process is our emulator, and what is said when there can be none."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local import mail_port, process
from infra.local.home import Home
from infra.local.ports import is_free
from infra.local.process import LocalError
from tests.ports import free_ports


def test_only_the_process_that_up_started_is_ended(tmp_path: Path) -> None:
    """A process id that was given out again does not make another process ours."""
    home = Home(tmp_path, 1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        started = psutil.Process(stranger.pid).create_time()
        record = {"pid": stranger.pid, "started": started, "port": 1, "fingerprint": ""}
        home.process_file.write_text(json.dumps(record))
        assert process.find(home) is None
        assert process.stop(home) is False
        assert stranger.poll() is None
        assert stranger.stdin
        stranger.stdin.write(b"\n")


def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    """Nothing is started on a port where something listens; the message says which, by whom and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LocalError, match=rf"port {port} .* process {os.getpid()} .*MILLRACE_PORT_BASE"):
            process.start(Home(tmp_path, port))


@pytest.fixture
def outgoing() -> Iterator[socket.socket]:
    """A connection of this process to itself; it has its own port of the system, as has each that a program opens.
    Its other end closes when it does.
    """
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        following = threading.Thread(target=_follow, args=(theirs,))
        following.start()
        yield ours
    following.join()


def _follow(theirs: socket.socket) -> None:
    with theirs:
        theirs.recv(1)  # nothing comes but the end


def test_a_port_of_a_connection_is_told(outgoing: socket.socket, tmp_path: Path) -> None:
    """Nobody can listen at the own port of a connection that is open: nothing is started, and who has it is told."""
    port = outgoing.getsockname()[1]
    home = Home(tmp_path, port - 1)
    assert home.smtp_port == port
    why = rf"port {port} .* of a connection of process {os.getpid()} .*MILLRACE_PORT_BASE"
    with pytest.raises(LocalError, match=why):
        mail_port.ensure(home, {})
    assert not home.mail_log.exists()


def test_a_port_of_a_connection_that_has_ended_is_told(outgoing: socket.socket) -> None:
    """Nor at that of one that has ended, for a minute (TIME_WAIT)."""
    port = outgoing.getsockname()[1]
    outgoing.close()
    assert not is_free(port)
    with pytest.raises(LocalError, match=rf"port {port} .* ended: try again in a minute, or .*MILLRACE_PORT_BASE"):
        process.require_port(port)


@pytest.mark.parametrize(
    ("module", "offset"), [("infra.local.emulator", 0), ("infra.local.smtp", 1), ("infra.local.cluster", 2)]
)
def test_a_program_without_its_port_ends_at_once(
    outgoing: socket.socket, tmp_path: Path, module: str, offset: int
) -> None:
    """Where a port is taken between the look at it and the start, the program ends, and its last words are told."""
    environ = {
        "PATH": os.environ["PATH"],
        "MILLRACE_HOME": str(tmp_path),
        "MILLRACE_PORT_BASE": str(outgoing.getsockname()[1] - offset),
        "MILLRACE_BUCKET": "bucket",
        "MILLRACE_INBOUND_DOMAIN": "inbound.test",
    }
    log = tmp_path / "log"
    child = process.launch(module, "", environ, log)
    with pytest.raises(LocalError, match=re.compile("it ended at once; .*address already in use", re.I | re.S)):
        process.await_answer(child, "it", log, lambda: None, timeout_s=25)


def test_a_program_that_does_not_answer_is_ended(tmp_path: Path) -> None:
    """Its log is named and shown."""
    log = tmp_path / "log"
    child = process.launch("timeit", "import time; time.sleep(600)", {"PATH": os.environ["PATH"]}, log)
    log.write_text("still at it\n")
    with pytest.raises(LocalError, match=rf"it did not answer within 0 s; the end of {log}:\nstill at it"):
        process.await_answer(child, "it", log, lambda: None, timeout_s=0)
    assert child.wait(30) == -signal.SIGTERM


def test_an_emulator_that_was_killed_is_not_found(mended: Home, tmp_path: Path) -> None:
    """After a kill -9 the process file is still there, and nobody is taken for the dead."""
    assert process.find(mended)
    home = Home(tmp_path, free_ports())
    emulator = process.start(home)
    os.kill(emulator.process.pid, signal.SIGKILL)
    emulator.process.wait(10)
    assert process.find(home) is None
    assert process.start(home).process.pid != emulator.process.pid
    assert process.stop(home) is True


def test_functions_see_nothing_of_the_callers_environment(mended: Home) -> None:
    """The emulator, from which a function has its environment, has no variable of ours but the few that it needs."""
    emulator = process.find(mended)
    assert emulator
    names = set(emulator.process.environ())
    assert names <= {*process._PASSED_ON, "MILLRACE_HOME", "MILLRACE_PORT_BASE", "PYTHONUNBUFFERED", "LC_CTYPE"}
