"""Until when a node may take that lasts longer than its function: a wait, a loop, and whatever stands in a loop.

Where a node is one Task, Step Functions keeps its limit. Here it is kept by the runner: it answers with the earlier
moment, and refuses what comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from chalicelib.compiler.plan import Plan, PlanNode
from chalicelib.engines.inputs import path_within
from chalicelib.foundation.clock import parse_timestamp, timestamp
from chalicelib.graph.executions import Execution, StepError, StepRecord

TIMED_OUT = "States.Timeout"  # Step Functions' own name for it


def limit(node: PlanNode, record: StepRecord | None, execution: Execution) -> str | None:
    """When the time of a node is over that has begun; None where it has no limit.

    It is counted anew from the moment at which the run was taken up again.
    """
    if node.timeout_s is None or record is None or not record.attempts:
        return None
    begun = parse_timestamp(max(record.attempts[-1].started_at, execution.taken_up_at or ""))
    return timestamp(begun + timedelta(seconds=node.timeout_s))


def limits_around(
    plan: Plan, node: PlanNode, path: str, steps: Mapping[tuple[str, str], StepRecord], execution: Execution
) -> Iterator[str]:
    """When the time of each loop around a node is over."""
    for name in node.loops:
        loop = plan.nodes[name]
        if moment := limit(loop, steps.get((name, path_within(path, loop))), execution):
            yield moment


def too_late(node: PlanNode) -> StepError:
    return StepError(TIMED_OUT, f"It took longer than {node.timeout_s} s.")
