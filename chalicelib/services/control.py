"""What a person does to a run that is under way: cancel it."""

from __future__ import annotations

from chalicelib.engines.stepfunctions import StepFunctionsEngine
from chalicelib.foundation.errors import Conflict
from chalicelib.graph.executions import ExecutionStatus
from chalicelib.services.access import Principal
from chalicelib.services.executions import ExecutionDetail, ExecutionService
from chalicelib.services.lifecycle import Lifecycle


class RunControl:
    def __init__(self, executions: ExecutionService, lifecycle: Lifecycle, engine: StepFunctionsEngine) -> None:
        self._executions = executions
        self._lifecycle = lifecycle
        self._engine = engine

    def cancel(self, principal: Principal, execution_id: str) -> ExecutionDetail:
        """Stops a run. Raises ``Conflict`` where it has ended."""
        execution, run = self._executions.load(principal, execution_id)
        if not self._lifecycle.finish(execution, run, ExecutionStatus.CANCELLED, None):
            ended, _ = self._executions.load(principal, execution_id)
            raise Conflict(f"The execution is {ended.status} already: it cannot be cancelled.")
        # The record comes first: a node that starts in between reads it and stops by itself.
        self._engine.stop(execution, "cancelled")
        return self._executions.find(principal, execution_id)
