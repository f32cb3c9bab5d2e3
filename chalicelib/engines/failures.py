"""Which of the failures in a run nothing has caught: what ends a run, or a loop, when they do."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.compiler.plan import Plan
from chalicelib.engines.inputs import path_within
from chalicelib.graph.executions import StepRecord, StepStatus


def uncaught(plan: Plan, steps: Mapping[tuple[str, str], StepRecord], within: str | None = None) -> list[StepRecord]:
    """The steps that failed for good and took the run with them, or the loop ``within``; the first to fail first.

    A failure is caught by a loop that goes on when an item fails, and by one that failed itself and whose settings let
    the run go on. ``steps`` are by node id and path; of the loops those that have ended are enough.
    """
    found = [step for step in steps.values() if step.status is StepStatus.FAILED and step.port is None]
    return sorted(
        (step for step in found if _reaches(step, plan, steps, within)), key=lambda step: step.finished_at or ""
    )


def _reaches(step: StepRecord, plan: Plan, steps: Mapping[tuple[str, str], StepRecord], within: str | None) -> bool:
    node = plan.nodes[step.node_id]
    if within is not None and within not in node.loops:
        return False
    while not node.contained:
        if not node.loops or node.loops[-1] == within:
            return True
        node = plan.nodes[node.loops[-1]]
        around = steps.get((node.id, path_within(step.path, node)))
        if around is not None and around.port is not None:
            return False
    return False
