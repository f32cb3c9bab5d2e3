"""Runs plans on Step Functions: one state machine per shape of plan, one execution of it per round of a run, both under
names that make repeating safe.

A state machine is named by the hash of its definition, so plans that differ in nothing but their nodes' configs share
one, and making it again changes nothing. One that is not used for long is deleted, and made again when it is needed. An
execution is named by the run's id and round, so a second start is the same start.
What one execution cannot hold has executions of other state machines, which are started by it and not from here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from chalicelib.cloud.state_machines import StateMachines, machine_prefix
from chalicelib.compiler.asl.emit import BUDGET, GATE_CLOSED, Definition, emit
from chalicelib.compiler.asl.layout import Budget
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
        error, cause = _of_child(error, cause)
        return cls(ended, StepError(error or status, (cause or f"The execution ended as {status}.")[:1000]))


def _of_child(error: str | None, cause: str | None) -> tuple[str | None, str | None]:
    """The error of the execution that failed first: where one fails, so do those that have it, and tell it as JSON."""
    while error == "States.TaskFailed" and cause:
        try:
            child = json.loads(cause)
        except ValueError:
            break
        if not isinstance(child, dict) or "ExecutionArn" not in child:
            break
        error, cause = child.get("Error"), child.get("Cause")
    return error, cause


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
        budget: Budget | None = None,
    ) -> None:
        self._machines = machines
        self._gates = gates
        self._uses = uses
        self._stage = stage
        self._node_function = node_function  # ARN of the Lambda that the states call
        self._table = table  # name of the table in which gates lie
        self._budget = budget or BUDGET  # of one execution

    def definition(self, plan: Plan) -> Definition:
        """The state machine that runs ``plan``. Raises ``Conflict`` where it cannot be made."""
        machines = self._machines.arn(machine_prefix(self._stage))
        return emit(plan, self._node_function, self._table, machines, self._budget)

    def prepare(self, definition: Definition) -> None:
        """Makes the state machines of a plan, before a run needs them. Harmless to repeat. Raises ``Downstream``."""
        self._make_parts(definition.name, definition)
        self._machines.create(definition.name, definition.text)

    def _make_parts(self, name: str, definition: Definition) -> None:
        for part in self._uses.note_use(name, [*definition.children]):
            self._machines.create(part, definition.children[part])
            self._uses.made(part)

    def start(self, execution: Execution, definition: Definition) -> None:
        """Starts a run whose record is written. Harmless to repeat. Raises ``Downstream``.

        State machines that are not there are made first, those of parts before the one that has executions of them.
        """
        run = {
            "organization": execution.organization_id,
            "execution": execution.id,
            "plan": execution.plan,
            "round": execution.round,
        }
        text = dumps({"run": run, "path": ""})
        name = _name(execution)
        self._make_parts(execution.machine, definition)
        if not self._machines.start(execution.machine, name, text):
            self._machines.create(execution.machine, definition.text)
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
