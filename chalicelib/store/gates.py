"""Gates: where something waits until it is told.

A gate is one item beside the step records of its execution. Whoever has something to tell *arrives* at it; a state
machine that comes to the gate leaves a task token there, on the condition that not all have arrived (the state
``stepfn_templates/gate.json`` writes it, so nothing of ours runs while it waits). Both are updates of the same item, so
DynamoDB puts them in an order, and either order is right: who comes last finds what the other has left. If that is the
state machine, the condition fails and it goes on at once; if it is somebody who arrives, they are handed the token, and
wake it.

To arrive is idempotent: whoever dies between arriving and waking does both again, and is handed the token again. A
token that was used already, or that nobody waits for any more, wakes nothing.

Attributes: ``arrived``, a set of names; ``taskToken``; ``expiresAt``.
"""

from __future__ import annotations

from chalicelib.compiler.asl.quotas import GATE_KEPT_S
from chalicelib.foundation.clock import Clock
from chalicelib.store import keys
from chalicelib.store.table import Table, update


class GateRepository:
    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def arrive(
        self, organization_id: str, execution_id: str, name: str, path: str, who: str, needed: int
    ) -> str | None:
        """Notes that ``who`` has arrived at a gate that opens when ``needed`` have. Harmless to repeat.

        Returns the task token of what waits there, once the gate is open; None while it is not, or while nothing waits.
        """
        expires_at = int(self._clock.now().timestamp()) + GATE_KEPT_S
        gate = self._table.write(
            update(
                keys.gate(organization_id, execution_id, name, path),
                "ADD arrived :who SET expiresAt = if_not_exists(expiresAt, :expires)",
                who={who},
                expires=expires_at,
            )
        )
        token: str | None = gate.get("taskToken")
        return token if len(gate["arrived"]) >= needed else None

    def waiting(self, organization_id: str, execution_id: str) -> list[str]:
        """The task tokens of all that was left at gates of an execution, used ones among them."""
        pk = keys.execution(organization_id, execution_id)["pk"]
        gates = self._table.query(pk, prefix=("sk", keys.GATE_PREFIX), attributes=("taskToken",))
        return [gate["taskToken"] for gate in gates if "taskToken" in gate]
