"""The parent's side: start the child, feed it, read what it says until the deadline, leave nothing of it behind.

``handle`` is the body of the script Lambda; ``run_script`` is what it calls. The child is hostile by assumption, so
everything that comes from it is cut while reading, parsed with care, and only then believed. A fault of the user's code
is an answer, never an exception; an exception from here means that the sandbox itself could not be set up.

This module imports the standard library only, because the function that runs it should hold nothing worth stealing.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import platform
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO, Any

from chalicelib.sandbox.syscalls import filter_program

DEFAULT_TIMEOUT_S = 60
MAX_TIMEOUT_S = 840  #: a minute less than a Lambda may take
MIN_MEMORY_MB = 128
OWN_MEMORY_MB = 192  #: of a function's memory, what the parent keeps for itself and the answer
MAX_STDOUT_BYTES = 16 * 1024
MAX_ANSWER_BYTES = 5 * 1024 * 1024
MAX_NAME_CHARACTERS = 100
MAX_MESSAGE_CHARACTERS = 2000
MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_OPEN_FILES = 64

_CHILD = Path(__file__).with_name("child.py")
_READ_BYTES = 64 * 1024
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True)
class ScriptError:
    name: str  #: class of the exception, or one of ours: ``ScriptTimeout``, ``ScriptMemory``, ``MissingMain``, ...
    message: str
    line: int | None = None  #: in the user's code


@dataclass(frozen=True)
class ScriptResult:
    """``output`` where ``error`` is ``None``."""

    output: Any
    error: ScriptError | None
    stdout: str  #: the first 16 KB of what it printed, errors of the interpreter included
    layers: tuple[str, ...]  #: of isolation that held; see ``chalicelib.sandbox``

    def answer(self) -> dict[str, Any]:
        """``{ok, output, stdout}`` or ``{ok, error: {name, message, line}, stdout}``."""
        if self.error is None:
            return {"ok": True, "output": self.output, "stdout": self.stdout}
        error = {"name": self.error.name, "message": self.error.message, "line": self.error.line}
        return {"ok": False, "error": error, "stdout": self.stdout}


class SandboxFailed(RuntimeError):
    """The child ended before it reached the user's code."""


def handle(event: Mapping[str, Any]) -> dict[str, Any]:
    """The script Lambda: ``{code, data, timeoutSeconds?}`` to ``ScriptResult.answer()``, at most 5 MB however it is
    written.

    Raises ``SandboxFailed``, which is worth another try, and nothing that the user's code could cause.
    """
    code, timeout_s = event.get("code"), event.get("timeoutSeconds", DEFAULT_TIMEOUT_S)
    if not isinstance(code, str) or not isinstance(timeout_s, int | float) or not timeout_s > 0:
        error = ScriptError("InvalidScript", "A script has code, a text, and timeoutSeconds, a positive number.")
        return ScriptResult(None, error, "", ()).answer()
    result = run_script(code, json.dumps(event.get("data")), min(timeout_s, MAX_TIMEOUT_S), _memory_mb())
    _tell(result.layers)
    if len(json.dumps(result.answer())) > MAX_ANSWER_BYTES:  # the longest way to write it: all ASCII, with spaces
        result = replace(result, output=None, error=_TOO_LARGE)
    return result.answer()


@cache
def _tell(layers: tuple[str, ...]) -> None:
    """Which layers hold here, in the log: once per cold start, and once more should they ever differ."""
    sys.stderr.write(json.dumps({"message": "layers of the sandbox", "layers": layers}) + "\n")


def _memory_mb() -> int:
    return max(MIN_MEMORY_MB, int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 512)) - OWN_MEMORY_MB)


def run_script(code: str, data_json: str, timeout_s: float, memory_mb: int) -> ScriptResult:
    """Run ``main(data)`` of ``code`` in a sandbox of its own, for at most ``timeout_s``, its start included.

    ``data_json`` is JSON text. ``memory_mb`` bounds the child's address space, of which the interpreter itself takes 30
    MB. Raises ``SandboxFailed``, or ``OSError`` where no process can be started.
    """
    hidden = _hide_from_other_processes()
    request = _order(code, timeout_s, memory_mb) + b"\n" + data_json.encode()
    with tempfile.TemporaryDirectory(prefix="script-", ignore_cleanup_errors=True) as folder:
        heard = _converse(folder, request, time.monotonic() + timeout_s)
    result = _judged(heard, timeout_s)
    return replace(result, layers=("hidden-parent", *result.layers)) if hidden else result


@cache
def _hide_from_other_processes() -> bool:
    """Close ``/proc/<this>/environ`` and the like to other processes of the same user. It lasts; nothing here needs it
    open.
    """
    return sys.platform == "linux" and bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)


def _order(code: str, timeout_s: float, memory_mb: int) -> bytes:
    program = filter_program(platform.machine()) or b""
    order = {
        "code": code,
        "filter": program.hex(),
        "parent": os.getpid(),
        "memory_bytes": memory_mb * 1024 * 1024,
        "cpu_s": math.ceil(timeout_s) + 1,
        "file_bytes": MAX_FILE_BYTES,
        "files": MAX_OPEN_FILES,
        "output_bytes": MAX_ANSWER_BYTES,
    }
    return json.dumps(order).encode()


# ---------------------------------------------------------------------------------------------------- the conversation


@dataclass
class _Heard:
    """Everything that the child said, cut to its bounds."""

    answer: bytearray = field(default_factory=bytearray)
    stdout: bytearray = field(default_factory=bytearray)
    timed_out: bool = False
    exit_status: int = 0  #: as ``Popen.returncode``: negative for a signal

    @property
    def answer_too_large(self) -> bool:
        return (
            len(self.answer) > MAX_ANSWER_BYTES + _READ_BYTES
        )  # the output's own bound, and room for what is around it


def _converse(folder: str, request: bytes, deadline: float) -> _Heard:
    answer_fd, child_fd = os.pipe()
    with open(answer_fd, "rb", buffering=0) as answer:
        try:
            child = _start(folder, child_fd)
        finally:
            os.close(child_fd)
        with child:
            try:
                return _listen(child, answer, request, deadline)
            finally:
                _end(child)


def _start(folder: str, answer_fd: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and file
        [sys.executable, "-I", "-S", "-B", "-u", "-X", "utf8", str(_CHILD), str(answer_fd)],
        env=_environment(),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        pass_fds=[answer_fd],
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """Nothing, but where the interpreter needs help to find its own library, as in AWS Lambda. The child drops even
    that.
    """
    return {"LD_LIBRARY_PATH": os.path.join(sys.base_prefix, "lib")} if "LD_LIBRARY_PATH" in os.environ else {}


def _listen(child: subprocess.Popen[bytes], answer: IO[bytes], request: bytes, deadline: float) -> _Heard:
    """Until both pipes end, which they do with the child, or until it has talked long enough."""
    heard = _Heard()
    unsent = memoryview(request)
    assert child.stdin is not None
    assert child.stdout is not None
    os.set_blocking(child.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdin, selectors.EVENT_WRITE)
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(answer, selectors.EVENT_READ)
        while selector.get_map() and not heard.answer_too_large:
            ready = selector.select(deadline - time.monotonic())
            if time.monotonic() >= deadline:
                heard.timed_out = True
                return heard
            for key, _ in ready:
                if key.fileobj is child.stdin:
                    unsent = _write(child.stdin, unsent)
                    if not unsent:
                        selector.unregister(child.stdin)
                        child.stdin.close()
                    continue
                said = os.read(key.fd, _READ_BYTES)
                if not said:
                    selector.unregister(key.fileobj)
                elif key.fileobj is answer:
                    heard.answer += said
                else:
                    heard.stdout += said[: MAX_STDOUT_BYTES - len(heard.stdout)]
    if not heard.answer_too_large:
        try:
            heard.exit_status = child.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:  # it closed its pipes and goes on
            heard.timed_out = True
    return heard


def _write(pipe: IO[bytes], unsent: memoryview) -> memoryview:
    try:
        return unsent[os.write(pipe.fileno(), unsent) :]
    except BrokenPipeError:  # it ended, or listens no more
        return unsent[:0]


def _end(child: subprocess.Popen[bytes]) -> None:
    """The whole group, so that nothing that it started goes on."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()


# ----------------------------------------------------------------------------------------------------------- judgement

_TOO_LARGE = ScriptError("ScriptOutputTooLarge", f"The answer exceeds {MAX_ANSWER_BYTES} bytes as JSON.")


def _judged(heard: _Heard, timeout_s: float) -> ScriptResult:
    head, arrived, body = bytes(heard.answer).partition(b"\n")
    layers = tuple(json.loads(head)) if arrived else ()  # written before the user's code could write
    stdout = heard.stdout.decode("utf-8", "replace")

    def failed(error: ScriptError) -> ScriptResult:
        return ScriptResult(None, error, stdout, layers)

    if heard.timed_out:
        return failed(ScriptError("ScriptTimeout", f"The script did not end within {timeout_s:g} seconds."))
    if heard.answer_too_large:
        return failed(_TOO_LARGE)
    if not arrived:
        raise SandboxFailed(
            f"The sandbox ended with status {heard.exit_status} before the script began: {stdout[-500:]}"
        )
    if not body:
        return failed(_ended(heard.exit_status))
    try:
        answer = _parsed(body)
    except (ValueError, RecursionError):
        return failed(ScriptError("ScriptOutputNotJson", "The script's answer is not JSON."))
    if isinstance(answer, dict) and answer.keys() == {"output"}:
        return ScriptResult(answer["output"], None, stdout, layers)
    return failed(_told(answer))


def _parsed(body: bytes) -> Any:
    """What can be written as JSON again. Raises ``ValueError``, ``RecursionError``."""
    answer = json.loads(body)
    json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()  # no half of a surrogate pair, no 1e999
    return answer


def _told(answer: Any) -> ScriptError:
    """The error in the child's answer, in bounds."""
    error = answer.get("error") if isinstance(answer, dict) else None
    fields = error if isinstance(error, dict) else {}
    name, message, line = fields.get("name"), fields.get("message"), fields.get("line")
    return ScriptError(
        name[:MAX_NAME_CHARACTERS] if isinstance(name, str) else "ScriptCrashed",
        message[:MAX_MESSAGE_CHARACTERS] if isinstance(message, str) else "",
        line if isinstance(line, int) else None,
    )


def _ended(exit_status: int) -> ScriptError:
    """Why there is no answer."""
    if exit_status == -signal.SIGXCPU:
        return ScriptError("ScriptTimeout", "The script used more processor time than it has.")
    if exit_status == -signal.SIGKILL:
        return ScriptError("ScriptMemory", "The system ended the script, most likely for want of memory.")
    how = f"by {signal.Signals(-exit_status).name}" if exit_status < 0 else f"with status {exit_status}"
    return ScriptError("ScriptCrashed", f"The interpreter ended {how} before main returned.")
