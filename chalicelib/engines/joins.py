"""Late joins: a node that is decided tells the gates behind which others wait for it.

The state machine has one order of nodes in its structure; where a node waits for one that runs beside it, there is a
gate (``store.gates``). The runner calls this when a record is final, and before it answers: stored, told, woken,
answered. Whatever of it is repeated changes nothing, so whoever dies on the way is followed by a delivery that is
answered from the record and tells all again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from chalicelib.cloud.state_machines import StateMachines
from chalicelib.compiler.plan import PlanNode
from chalicelib.graph.executions import Execution
from chalicelib.store.gates import GateRepository


class Joins(Protocol):
    def tell(self, execution: Execution, decided: Iterable[PlanNode], path: str) -> None:
        """Says that nodes are decided in the iteration ``path``. Harmless to repeat. Raises ``Downstream``."""


class NoJoins:
    """For engines that know by themselves who is ready."""

    def tell(self, execution: Execution, decided: Iterable[PlanNode], path: str) -> None:
        pass


class GatedJoins:
    """Joins of state machines, at gates of the present round: in each round all is told anew."""

    def __init__(self, gates: GateRepository, machines: StateMachines) -> None:
        self._gates = gates
        self._machines = machines

    def tell(self, execution: Execution, decided: Iterable[PlanNode], path: str) -> None:
        run = (execution.organization_id, execution.id)
        for node in decided:
            for told in node.tells:
                gate = f"{execution.round}.{told.gate}"
                if token := self._gates.arrive(*run, gate, path, node.key, told.needed):
                    self._machines.wake(token)
