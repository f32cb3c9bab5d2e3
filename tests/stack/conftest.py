"""A whole local stack for tests: the emulator, and the app deployed into it, as ``make up`` does it.

It has a folder and a port of its own, so that a stack that runs on this machine is never touched, and it is taken
down at the end. Tests that use it carry the mark ``stack``, which this file sets.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.local.home import Home
from infra.packaging import PROJECT
from tests.ports import free_ports

_TIMEOUT = 180  # seconds for one up or down


@dataclass(frozen=True)
class LocalStack:
    """What ``stack.json`` says, and what else a test needs to reach the stack."""

    home: Home
    api_url: str
    api_key: str = field(repr=False)
    org_id: str
    user_id: str
    region: str
    table_name: str
    bucket: str
    queue_url: str
    event_bus: str
    smtp: str
    inbound_domain: str
    kubeconfig: str
    namespace: str
    environment: Mapping[str, str]  #: turns AWS tools, and our own programs, towards this stack

    def client(self, service: str) -> Any:
        """A boto3 client of this stack."""
        return self.home.client(service)


def run(home: Home, *module: str) -> subprocess.CompletedProcess[str]:
    """Run one of our programs on the stack of this home, as make does."""
    environ = os.environ | {"MILLRACE_HOME": str(home.root), "MILLRACE_PORT_BASE": str(home.port)}
    command = [sys.executable, "-m", *module]
    return subprocess.run(
        command, cwd=PROJECT, env=environ, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )


def bring_up(home: Home) -> LocalStack:
    done = run(home, "infra.local.up")
    assert done.returncode == 0, done.stderr
    told = json.loads(home.stack_file.read_text())
    ours = {"MILLRACE_HOME": str(home.root), "MILLRACE_PORT_BASE": str(home.port)}
    names = set(LocalStack.__dataclass_fields__) & set(told)
    return LocalStack(home=home, environment=home.environment() | ours, **{name: told[name] for name in names})


def new_home(root: Path) -> Home:
    """Of a stack of its own: with ports for the emulator, for mail and for the cluster."""
    return Home(root, free_ports(3))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.stack)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The stack that all tests share; a test leaves alone what it did not make."""
    home = new_home(tmp_path_factory.mktemp("stack"))
    try:
        yield bring_up(home)
    finally:
        done = run(home, "infra.local.down")
        assert done.returncode == 0, done.stderr
