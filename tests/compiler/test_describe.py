"""Plans for people say what will be done."""

from __future__ import annotations

import pytest

from chalicelib.compiler.describe import describe
from chalicelib.compiler.estimate import estimate
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.nodes.registry import CATALOG
from tests.compiler.golden import GOLDENS, Golden, emitted
from tests.compiler.test_growth import chain
from tests.notation import graph


@pytest.mark.parametrize("golden", GOLDENS, ids=str)
def test_it_agrees_with_the_estimate_and_the_machine(golden: Golden) -> None:
    """The same transitions as the estimate, every node once, and about the bytes that are emitted."""
    told = describe(golden.plan)
    assert (told.run, told.at_most) == (estimate(golden.plan).run, estimate(golden.plan).at_most)
    assert told.at_most.transitions == told.run.transitions + 2 * told.late_joins
    assert told.nodes == len(golden.plan.nodes)
    assert sum(weight.bytes for weight in told.executions.values()) == pytest.approx(
        len(golden.definition.text), rel=0.25, abs=400
    )


def test_what_is_told_of_a_plan() -> None:
    """Branches, ports, gates and loops, indented; ids that are no plain words as JSON."""
    shape = graph('a -> x; a, b -> y; x, y -> c=condition; c.true -> l=loop; l.item -> i; c.false -> "odd id"')
    text = "\n".join(describe(compile_plan(shape, CATALOG)).lines)
    assert text.startswith("8 nodes in 1 execution of at most ")
    assert "\nat most 14 transitions: 1 node may have to wait for what runs beside it\n" in text
    for part in ("parallel", "waits for", "choice by the port of c", "true:", "loop l: ", '"odd id"'):
        assert part in text


def test_executions_are_told() -> None:
    """Of a plan that one cannot hold, each of them."""
    plan = compile_plan(chain(3_000), CATALOG)
    told = describe(plan)
    assert len(told.executions) == 1 + len(emitted(plan).children)
    assert all(weight.events < 12_000 for weight in told.executions.values())
