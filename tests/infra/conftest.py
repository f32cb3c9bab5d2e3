"""Emulators to look at: one as ``make up`` starts it, one without our repairs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.local import process
from infra.local.home import Home
from tests.ports import free_ports


@contextmanager
def emulator(root: Path, **environ: str) -> Iterator[Home]:
    home = Home(root, free_ports())
    process.start(home, os.environ | environ)
    try:
        yield home
    finally:
        process.stop(home)


@pytest.fixture(scope="session")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with emulator(tmp_path_factory.mktemp("mended"), SFN_WAIT_SCALE="0.2") as home:
        yield home


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with emulator(tmp_path_factory.mktemp("stock"), SFN_WAIT_SCALE="0.2", MILLRACE_EMULATOR_PATCHES="off") as home:
        yield home
