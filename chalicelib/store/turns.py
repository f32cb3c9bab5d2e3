"""What agents have been told: each reply of a model and each result of a tool, written once and never changed.

They lie in a partition of their own beside the run's, because whoever reads a run does not want them, and under the
step record that they belong to, by the moment at which it began: a step that is set aside and begun anew starts without
any.
"""

from __future__ import annotations

from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.graph.executions import Execution, Payload, StepRecord
from chalicelib.store import keys
from chalicelib.store.execution_items import expires_at
from chalicelib.store.table import ABSENT, ConditionFailed, Table, put


class TurnRepository:
    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def load(self, execution: Execution, step: StepRecord) -> dict[str, Payload]:
        """What is recorded of a step, by its key, in the order of the keys: one Query."""
        first = keys.turn(execution.organization_id, execution.id, step, "")
        found = self._table.query(first["pk"], prefix=("sk", first["sk"]))
        # The id of another node may begin like a key of this one.
        own = (item for item in found if item["sk"] == first["sk"] + item["key"])
        return {item["key"]: Payload.from_json(item["payload"]) for item in own}

    def record(self, execution: Execution, step: StepRecord, key: str, payload: Payload) -> Payload:
        """Records something under a key. Returns what is recorded now: another delivery may have been first."""
        item = {
            **keys.turn(execution.organization_id, execution.id, step, key),
            "key": key,
            "payload": payload.to_json(),
            "expiresAt": expires_at(execution, timestamp(self._clock.now())),
        }
        try:
            self._table.write(put(item, ABSENT))
        except ConditionFailed as error:
            if error.old is None:
                raise
            return Payload.from_json(error.old["payload"])
        return payload
