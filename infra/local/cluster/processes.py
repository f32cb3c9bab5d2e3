"""Containers as processes: each in a session of its own, its output in a file, its process id on disk before it runs.

A small shell notes its own id in a file and then becomes the command. So whoever comes after a server that was killed
finds every process that it had started, and takes none for ours whose start time is not that of the note: ids are given
out again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from infra.local import process

_NOTE = 'echo "$$" > "$0" && exec "$@"'
_SAME_START_S = 2.0  # seconds between a note and the start of its process
_KILL_WAIT_S = 5.0  # seconds
UNKNOWN_EXIT = 137  # of an adopted process: only its parent could have asked


class Container:
    """One process, started here or by a server before."""

    def __init__(self, running: psutil.Process, child: subprocess.Popen[bytes] | None, note: Path) -> None:
        self._process = running
        self._child = child
        self._note = note
        self.started = running.create_time()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """``None`` while it runs; 128 and the number of the signal where one ended it."""
        if self._child is not None:
            code = self._child.poll()
            return code if code is None or code >= 0 else 128 - code
        return None if _runs(self._process) else UNKNOWN_EXIT

    def terminate(self) -> None:
        """Ask its main process to end."""
        if self.exit_code() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it with all that it has started in its session."""
        _kill_session(self.pid, self._process)
        if self._child is not None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(_KILL_WAIT_S)

    def forget(self) -> None:
        """After its end: end what it left behind, and the note."""
        _kill_session(self.pid, self._process)
        self._note.unlink(missing_ok=True)
        process.forget_ended()


def start(command: Sequence[str], environ: Mapping[str, str], cwd: Path, folder: Path, log: Path) -> Container:
    """Raises ``OSError`` where ``cwd`` cannot be entered. An unknown command ends with 127, as in a shell."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "pid"
    note.unlink(missing_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            ["/bin/sh", "-c", _NOTE, str(note), *command],
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.remember(child)
    return Container(psutil.Process(child.pid), child, note)


def adopt(folder: Path) -> Container | None:
    """The process of a container's folder, if it runs still."""
    note = folder / "pid"
    try:
        running = psutil.Process(int(note.read_text()))
        same = abs(running.create_time() - note.stat().st_mtime) < _SAME_START_S
        if not same or os.getsid(running.pid) != running.pid or not _runs(running):
            return None
    except (OSError, ValueError, psutil.Error):
        return None
    return Container(running, None, note)


def end_leftovers(root: Path, grace_s: float) -> int:
    """End every process that a server left behind in the folder of its pods, gently first. How many there were."""
    left = list(_leftovers(root))
    for container in left:
        container.terminate()
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(container.exit_code() is None for container in left):
        time.sleep(0.05)
    for container in left:
        container.kill()
        container.forget()
    return len(left)


def _leftovers(root: Path) -> Iterator[Container]:
    for note in sorted(root.glob("*/*/pid")):
        if container := adopt(note.parent):
            yield container
        else:
            note.unlink(missing_ok=True)


def forget_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _runs(one: psutil.Process) -> bool:
    try:
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _kill_session(leader: int, known: psutil.Process) -> None:
    """Its group is ours as long as the leader's id has not been given to somebody else."""
    with suppress(psutil.Error):
        if psutil.Process(leader).create_time() != known.create_time():
            return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
