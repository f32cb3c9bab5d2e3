"""A node that was visited before all is decided that it waits for: how long its visit stays for that.

What runs beside a node often ends within moments of what runs before it. Then it is cheaper to look again, here in the
function, than to send the node to its gate, which takes two transitions; and how long it stays cheaper follows from the
prices (``compiler.prices``). Nobody stays for a node that itself waits for a time, an event or a person, or that has
failed and ends the run. A node that has a time limit does not wait at all, as that would be taken from its time.

Nothing is written. What if the process is killed: the engine tries again, and it begins anew.
"""

from __future__ import annotations

from datetime import timedelta

from chalicelib.compiler import prices
from chalicelib.compiler.plan import Plan, PlanNode
from chalicelib.engines.inputs import path_at
from chalicelib.engines.visit import NotReady, StepRequest, is_decided
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.graph.executions import Execution, ExecutionStatus, StepStatus
from chalicelib.store.executions import ExecutionRepository


def patience_s(node: PlanNode, awaited: int) -> float:
    """The seconds that a visit of a node stays at most that waits for so many others."""
    return 0 if node.timeout_s is not None else prices.patience_s(awaited)


class Patience:
    def __init__(self, executions: ExecutionRepository, clock: Clock) -> None:
        self._executions = executions
        self._clock = clock

    def wait(self, plan: Plan, request: StepRequest) -> float:
        """Returns when all is decided that the node of ``request`` waits for, or when its run goes on no more: after so
        many seconds. Raises ``NotReady`` where that does not pay.
        """
        node = plan.by_key[request.node]
        awaited = [(name, path_at(request.path, plan, name)) for name in plan.late_joins[request.node]]
        if node.timeout_s is not None:
            raise NotReady(node.key)
        began = self._clock.now()
        end = began + timedelta(seconds=patience_s(node, len(awaited)))
        for pause in prices.pauses(len(awaited)):
            self._clock.sleep(pause)
            found = self._executions.load_steps(request.organization_id, request.execution_id, awaited)
            awaited = [key for key in awaited if not is_decided(plan.nodes[key[0]], found.steps.get(key))]
            if not awaited or not self._goes_on(found.execution, request):
                return (self._clock.now() - began) / timedelta(seconds=1)
            known = [found.steps[key].status for key in awaited if key in found.steps]
            is_vain = any(status is StepStatus.WAITING or status.is_final for status in known)
            if is_vain or self._clock.now() >= end:  # looks take their time, too
                break
        raise NotReady(node.key)

    def _goes_on(self, execution: Execution | None, request: StepRequest) -> bool:
        if execution is None or execution.status.is_final or execution.status is ExecutionStatus.PAUSED:
            return False
        is_over = execution.deadline is not None and execution.deadline <= timestamp(self._clock.now())
        return execution.round == request.round and not is_over
