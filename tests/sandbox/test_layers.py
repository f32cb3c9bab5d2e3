"""Each layer alone: it must hold without the others, or it would be no layer.

Of one that this system does not give it is asked that no run says it had it.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chalicelib.sandbox import child, runner
from chalicelib.sandbox.syscalls import filter_program

SANDBOX = Path(child.__file__).parent


class Layer(NamedTuple):
    name: str  # in what a run tells of itself
    code: str  # takes it, and is true if that came about


def alone(layer: Layer, action: str, expected: str) -> bool:
    """Whether ``action``, in a process that has taken only this layer, ends as expected: ``done``, or in an error."""
    code = f"""
import sys
sys.path.insert(0, {str(SANDBOX)!r})
import child, os, socket, subprocess
if not ({layer.code}):
    print("not given")
    sys.exit()
try:
    {action}
except OSError as error:
    print(type(error).__name__, error.errno or "")
else:
    print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    said = done.stdout.strip()
    if said == "not given":
        return layer.name not in _layers_of_a_run()
    return said.startswith(expected)


@cache
def _layers_of_a_run() -> tuple[str, ...]:
    return runner.run_script("def main(data): pass", "null", 20, 256).layers


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("secret")
    return file


NOTHING = Layer("", "True")
NO_PRIVILEGES = Layer("no-new-privileges", "child.give_up_privileges()")
NAMESPACES = Layer("namespaces", "child.leave_namespaces()")
LANDLOCK = Layer(
    "landlock", f"{NO_PRIVILEGES.code} and child.restrict_files(child.opened([*sys.path, *child.SYSTEM_FILES]))"
)
HOOK = Layer("audit-hook", "sys.addaudithook(child.refuse) is None")


def seccomp() -> Layer:
    program = filter_program(platform.machine()) or b""
    return Layer("seccomp", f"{NO_PRIVILEGES.code} and child.filter_calls(bytes.fromhex({program.hex()!r}))")


def test_without_a_layer_everything_is_possible(port: int, secret: Path) -> None:
    """What the tests below see refused is possible otherwise."""
    for action in (
        f"socket.create_connection(('127.0.0.1', {port}))",
        f"open({str(secret)!r})",
        "os.fork() or os._exit(0)",
    ):
        assert alone(NOTHING, action, "done")


def test_namespaces_hold_the_network(port: int) -> None:
    """There is no interface: not even loopback is reached."""
    assert alone(NAMESPACES, f"socket.create_connection(('127.0.0.1', {port}))", "OSError")


def test_landlock_holds_files(secret: Path, tmp_path: Path) -> None:
    """Files beside the libraries can neither be read nor made."""
    assert alone(LANDLOCK, f"open({str(secret)!r})", "PermissionError 13")
    assert alone(LANDLOCK, f"open({str(tmp_path / 'new')!r}, 'w')", "PermissionError 13")
    assert alone(LANDLOCK, f"open({json.__file__!r})", "done")


def test_seccomp_holds_the_network_and_processes(port: int) -> None:
    """No socket is made, no process started, no signal sent; what computing needs goes on."""
    for action in (
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "os.fork()",
        "os.kill(os.getppid(), 0)",
        "os.mkdir('x')",
    ):
        assert alone(seccomp(), action, "PermissionError 1")
    assert alone(seccomp(), "a, b = socket.socketpair(); a.send(b'x')", "done")
    assert alone(seccomp(), "__import__('threading').Thread(target=print).start()", "done")


def test_privileges_are_gone() -> None:
    """No capability is left, and none comes back by a setuid program."""
    wanted = "assert 'NoNewPrivs:\\t1' in status and 'CapEff:\\t' + 16 * '0' in status, status"
    assert alone(NO_PRIVILEGES, f"status = open('/proc/self/status').read(); {wanted}", "done")


def test_root_becomes_nobody_where_nobody_can_read_python() -> None:
    """The interpreter goes on working after the change, so it is made only where that is so."""
    library = Path(json.__file__)
    readable = all(folder.stat().st_mode & 0o001 for folder in library.parents) and library.stat().st_mode & 0o004
    result = runner.run_script("import os, colorsys\ndef main(data): return os.getuid()", "null", 20, 256)
    assert ("user" in result.layers) == bool(os.geteuid() == 0 and readable)
    assert result.error is None


def test_the_hook_holds_where_there_is_no_seccomp(port: int) -> None:
    """Python refuses by itself: the ordinary roads to the network, to processes and around the hook are closed."""
    for action in (
        f"socket.create_connection(('127.0.0.1', {port}))",
        "socket.getaddrinfo('localhost', 80)",
        "subprocess.run(['true'])",
        "os.fork()",
        "os.system('true')",
        "os.kill(os.getppid(), 0)",
        "open('/proc/1/environ')",
        "open(b'/proc/self/../1/environ')",
        "os.listdir('/proc/1/fd')",
        "__import__('ctypes').CDLL(None)",
        "child.libc().unshare",
    ):
        assert alone(HOOK, action, "PermissionError"), action


def without_seccomp(code: str) -> runner.ScriptResult:
    """A whole run as on a system that refuses the filter, as AWS Lambda is said to."""
    order: dict[str, Any] = json.loads(runner._order(code, 20, 256)) | {"filter": ""}
    with tempfile.TemporaryDirectory() as folder:
        heard = runner._converse(folder, json.dumps(order).encode() + b"\nnull", time.monotonic() + 20)
    return runner._judged(heard, 20)


def test_a_run_without_seccomp() -> None:
    """It works, says which layers it had, and the hook is in force while the user's code runs."""
    result = without_seccomp("import os, asyncio\nasync def one(): return 1\ndef main(data): return asyncio.run(one())")
    assert (result.output, result.error) == (1, None)
    assert "audit-hook" in result.layers
    assert "seccomp" not in result.layers
    refused = without_seccomp("import os\ndef main(data): os.fork()").error
    assert refused is not None
    assert (refused.name, refused.line) == ("PermissionError", 2)


def test_the_hook_has_no_handle_in_the_scripts_reach() -> None:
    """The C library that the child called is not lying about in its main module."""
    code = (
        "import sys\ndef main(data): return [n for n, v in vars(sys.modules['__main__']).items() if 'CDLL' in repr(v)]"
    )
    assert without_seccomp(code).output == []
