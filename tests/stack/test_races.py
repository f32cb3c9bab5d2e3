"""Late joins, raced on a stack."""

from __future__ import annotations

from tests.stack.api import Api
from tests.stack.conftest import LocalStack
from tests.stack.races import race


def test_no_race_is_lost(stack: LocalStack) -> None:
    """100 runs: each ends, with every node run once, none before its predecessors had ended, and nothing missed."""
    assert race(Api(stack), runs=10) == 100
