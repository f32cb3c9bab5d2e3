"""Runs plans on Step Functions: one state machine per shape of plan, one execution of it per round of a run, both under
names that make repeating safe.

A state machine is named by the hash of its definition, so plans that differ in nothing but their nodes' configs share
one, and making it again changes nothing. One that is not used for long is deleted, and made again when it is needed. An
execution is named by the run's id and round, so a second start is the same start.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from chalicelib.cloud.state_machines import StateMachines, machine_prefix
from chalicelib.compiler.asl.emit import GATE_CLOSED, emit
from chalicelib.compiler.plan import Plan
from chalicelib.foundation.json_types import dumps
from chalicelib.graph.executions import Execution, ExecutionStatus, StepError
from chalicelib.store.gates import GateRepository
from chalicelib.store.machines import MachineRepository

#: Step Functions' words for the end of an execution, in ours.
_ENDS = {
    "SUCCEEDED": ExecutionStatus.SUCCEEDED,
    "FAILED": ExecutionStatus.FAILED,
    "TIMED_OUT": ExecutionStatus.TIMED_OUT,
    "ABORTED": ExecutionStatus.CANCELLED,
}


@dataclass(frozen=True)
class MachineRun:
    """How the execution of a state machine fares. ``status`` is None while it is under way."""

    status: ExecutionStatus | None
    error: StepError | None = None

    @classmethod
    def of(cls, status: str, error: str | None, cause: str | None) -> MachineRun:
        """From the words of ``DescribeExecution`` and of the status change event."""
        ended = _ENDS.get(status)
        if ended is None or ended is ExecutionStatus.SUCCEEDED:
            return cls(ended)
        return cls(ended, StepError(error or status, (cause or f"The execution ended as {status}.")[:1000]))


class StepFunctionsEngine:
    def __init__(
        self,
        machines: StateMachines,
        gates: GateRepository,
        uses: MachineRepository,
        *,
        stage: str,
        node_function: str,
        table: str,
    ) -> None:
        self._machines = machines
        self._gates = gates
        self._uses = uses
        self._stage = stage
        self._node_function = node_function  # ARN of the Lambda that the states call
        self._table = table  # name of the table in which gates lie

    def definition(self, plan: Plan) -> str:
        """The state machine that runs ``plan``. Raises ``Conflict`` where it would be too large."""
        return emit(plan, self._node_function, self._table)

    def machine_name(self, definition: str) -> str:
        return f"{machine_prefix(self._stage)}{hashlib.sha256(definition.encode()).hexdigest()[:40]}"

    def start(self, execution: Execution, definition: str) -> None:
        """Starts a run whose record is written. Harmless to repeat. Raises ``Downstream``."""
        run = {
            "organization": execution.organization_id,
            "execution": execution.id,
            "plan": execution.plan,
            "round": execution.round,
        }
        text = dumps({"run": run, "path": ""})
        name = _name(execution)
        self._uses.note_use(execution.machine)
        if not self._machines.start(execution.machine, name, text):
            self._machines.create(execution.machine, definition)
            if not self._machines.start(execution.machine, name, text, wait=True):
                raise self._machines.unavailable(execution.machine)

    def stop(self, execution: Execution, cause: str) -> None:
        """Stops a run, if it is under way."""
        self._machines.stop(execution.machine, _name(execution), cause)

    def close_gates(self, execution: Execution) -> None:
        """Fails whatever still waits at gates of a run that is over. Harmless to repeat.

        A state machine that fails or is stopped leaves nothing waiting: Step Functions ends all branches with it. This
        is for what it may leave running, the executions that a state machine has started for parts of itself.
        """
        for token in self._gates.waiting(execution.organization_id, execution.id):
            self._machines.abort(token, GATE_CLOSED, f"execution {execution.id} is over")

    def describe(self, execution: Execution) -> MachineRun | None:
        """None where the run was never started."""
        found = self._machines.describe(execution.machine, _name(execution))
        return MachineRun.of(found.status, found.error, found.cause) if found else None


def _name(execution: Execution) -> str:
    """Of the execution of the state machine: Step Functions keeps a name for 90 days, so each round has its own."""
    return execution.id if execution.round == 1 else f"{execution.id}-{execution.round}"
