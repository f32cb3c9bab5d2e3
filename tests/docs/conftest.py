"""A local stack for what the pages say can be done."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from rich.console import Console

from infra.local import process
from infra.local.home import Home
from infra.local.up import Progress, up


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """What ``make up`` leaves, in a folder and on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    home = Home(tmp_path_factory.mktemp("home"), port)
    try:
        with home.locked():
            up(home, Progress(Console(stderr=True)))
        yield home
    finally:
        process.stop(home)
