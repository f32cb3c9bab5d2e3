"""What runs have come to: counted from their records when a round of theirs ends, and kept with them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from chalicelib.compiler.asl.emit import planned
from chalicelib.compiler.asl.layout import Layout
from chalicelib.compiler.estimate import Cost, estimate
from chalicelib.compiler.plan import Plan
from chalicelib.compiler.tally import milliseconds, tally
from chalicelib.graph.executions import Execution, RunCost, StepRecord


def cost_so_far(plan: Plan, execution: Execution, steps: Iterable[StepRecord], *, by_machine: bool) -> RunCost:
    """What a run has come to with its present round, which ends now; ``steps`` are all its records.

    ``by_machine``: whether a state machine has run this round. A process has no transitions.
    """
    steps = sorted(steps, key=lambda step: step.path)
    before = execution.cost or RunCost()
    layout, estimated = _estimated(plan)
    transitions, invocations = before.transitions, before.invocations
    if by_machine:
        counted = tally(plan, steps, execution.round, layout)
        transitions, invocations = transitions + counted.transitions, invocations + counted.invocations
    return RunCost(
        transitions=transitions,
        invocations=invocations,
        milliseconds=milliseconds(steps),
        estimated_transitions=estimated.transitions,
        estimated_invocations=estimated.invocations,
    )


_KEPT = 32  # plans
_kept: OrderedDict[str, tuple[Layout, Cost]] = OrderedDict()
_lock = threading.Lock()


def _estimated(plan: Plan) -> tuple[Layout, Cost]:
    """What is the same for every run of a plan; kept for the plans that were asked for last."""
    with _lock:
        if plan.hash in _kept:
            _kept.move_to_end(plan.hash)
            return _kept[plan.hash]
    layout = planned(plan)
    found = layout, estimate(plan, layout).run
    with _lock:
        _kept[plan.hash] = found
        while len(_kept) > _KEPT:
            _kept.popitem(last=False)
    return found
