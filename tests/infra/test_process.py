"""Which process is our emulator, and what is said when there can be none."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.local import process
from infra.local.home import Home
from infra.local.process import LocalError


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


def test_an_emulator_that_was_killed_is_not_found(mended: Home, tmp_path: Path) -> None:
    """After a kill -9 the process file is still there, and nobody is taken for the dead."""
    assert process.find(mended)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = Home(tmp_path, port)
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
