"""The processes in which a stack's functions run: found, and ended the hard way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress

import psutil

from infra.environment import function_name
from infra.local import process
from infra.local.home import Home


def workers(home: Home, function: str) -> list[psutil.Process]:
    """Of the stack's own emulator, those that run ``function``, ``node`` for instance."""
    emulator = process.find(home)
    assert emulator, "the stack is down"
    mark = f"-{function_name('local', function)}-"
    return [child for child in emulator.process.children() if any(mark in part for part in _command(child))]


def caller(home: Home, function: str, client_port: int) -> psutil.Process | None:
    """The worker that holds the connection whose local port this is."""
    for worker in workers(home, function):
        with suppress(psutil.Error):
            if any(client_port in _local_ports(connection) for connection in worker.net_connections(kind="tcp")):
                return worker
    return None


def kill(worker: psutil.Process) -> None:
    worker.send_signal(signal.SIGKILL)


def _local_ports(connection: object) -> Iterator[int]:
    address = getattr(connection, "laddr", None)
    if address:
        yield address.port


def _command(child: psutil.Process) -> list[str]:
    try:
        return child.cmdline()
    except psutil.Error:  # it has just ended
        return []
