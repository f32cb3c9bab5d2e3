"""A local stack for what the pages say can be done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack.conftest import LocalStack, bring_up, new_home, run


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A fresh one: pages are read from their beginning."""
    home = new_home(tmp_path_factory.mktemp("docs"))
    try:
        yield bring_up(home)
    finally:
        done = run(home, "infra.local.down")
        assert done.returncode == 0, done.stderr
