"""How long it pays to wait for what a node is not ready without."""

from __future__ import annotations

import pytest

from chalicelib.compiler import prices
from chalicelib.compiler.retries import NOT_READY
from chalicelib.engines.visit import NotReady

MISS = prices.of(prices.MISS_TRANSITIONS, prices.MISS_INVOCATIONS, 0)


@pytest.mark.parametrize("items", [1, 2, 5, 20, 99])
def test_waiting_never_costs_more_than_a_gate(items: int) -> None:
    """Nor much less: one pause more, with its look, would have. So nobody pays more than twice what was needed."""
    pauses = list(prices.pauses(items))
    looks = len(pauses) + 1
    assert prices.of(0, 0, sum(pauses), len(pauses) * (items + 1)) <= MISS
    assert prices.of(0, 0, sum(pauses) + 0.1, looks * (items + 1)) > MISS
    assert prices.patience_s(items) == sum(pauses)


def test_pauses_grow() -> None:
    """From moments to a tenth of a second: what is waited for is noticed soon, and few looks are taken."""
    pauses = list(prices.pauses())
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.02, 0.1)
    assert 2 < prices.patience_s() < MISS / prices.of(0, 0, 1)


def test_state_machines_know_the_error_by_its_name() -> None:
    """Lambda tells the name of its class."""
    assert NOT_READY.errors == (NotReady.__name__,)
