"""Probes of containers: one look (HTTP, TCP or a command), and what a row of looks means."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.cluster.environment import expand
from infra.local.cluster.errors import Json
from infra.local.cluster.http_client import HttpClient, Unreachable

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Surroundings:
    """Where a container is, for who looks at it."""

    container: Json
    ports: Mapping[str, int]  #: container port -> port of this machine
    environ: Mapping[str, str]
    cwd: Path


async def look(client: HttpClient, handler: Json, where: Surroundings, timeout_s: float) -> str | None:
    """``None`` where it succeeds, else why it does not, in the words of the kubelet."""
    try:
        if "httpGet" in handler:
            return await _get(client, handler["httpGet"], where, timeout_s)
        if "tcpSocket" in handler:
            return await _connect(handler["tcpSocket"], where, timeout_s)
        if "exec" in handler:
            return await execute(handler["exec"]["command"], where, timeout_s)
    except TimeoutError:
        return "context deadline exceeded"
    return "the local cluster does not know this kind of probe"


async def _get(client: HttpClient, handler: Json, where: Surroundings, timeout_s: float) -> str | None:
    port = _port(handler["port"], where)
    if port is None:
        return f"the container has no port {handler['port']!r}"
    path = handler.get("path") or "/"
    url = f"http://{handler.get('host') or HOST}:{port}{path}"
    if handler.get("scheme") == "HTTPS":
        return f'Get "{url}": the local cluster probes plain HTTP'
    headers = [(b"user-agent", b"kube-probe/1.34"), (b"accept", b"*/*"), (b"connection", b"close")]
    headers += [(one["name"].encode(), one["value"].encode()) for one in handler.get("httpHeaders") or ()]
    try:
        answer = await client.request((HOST, port), "GET", path, headers, timeout_s=timeout_s)
    except Unreachable as error:
        return f'Get "{url}": {error}'
    return None if 200 <= answer.status < 400 else f"HTTP probe failed with statuscode: {answer.status}"


async def _connect(handler: Json, where: Surroundings, timeout_s: float) -> str | None:
    port = _port(handler["port"], where)
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(HOST, port)
    except (OSError, ssl.SSLError) as error:
        return f"dial tcp {HOST}:{port}: {error}"
    writer.close()
    return None


async def execute(command: list[str], where: Surroundings, timeout_s: float) -> str | None:
    """Run a command as in the container. Raises ``TimeoutError``; then it has been killed."""
    try:
        running = await asyncio.create_subprocess_exec(
            *(expand(word, where.environ) for word in command),
            cwd=where.cwd,
            env=dict(where.environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        return f"exec: {error}"
    try:
        async with asyncio.timeout(timeout_s):
            code = await running.wait()
    except BaseException:
        running.kill()
        await running.wait()
        raise
    return None if code == 0 else f"command exited with {code}"


def _port(told: int | str, where: Surroundings) -> int | None:
    """A port of the container, by number or name, as one of this machine."""
    for port in where.container.get("ports") or ():
        if told in (port.get("name"), port["containerPort"]):
            return where.ports.get(str(port["containerPort"]))
    return int(told) if isinstance(told, int) else None


class Verdict:
    """Counts looks in a row; turns only after as many as the probe says."""

    def __init__(self, probe: Json, good: bool) -> None:
        self._needed = {True: probe.get("successThreshold", 1), False: probe.get("failureThreshold", 3)}
        self.is_good = good
        self._row, self._last = 0, good

    def take(self, good: bool) -> bool:
        """Whether it has turned, or is once more as bad as it was."""
        self._row = self._row + 1 if good == self._last else 1
        self._last = good
        if self._row >= self._needed[good] and (good != self.is_good or (not good and self._row == self._needed[good])):
            self.is_good = good
            return True
        return False
