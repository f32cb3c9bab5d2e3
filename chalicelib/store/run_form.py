"""The write that records a run whole, for runs of one deployment: all that differs is filled in.

It says what ``store.executions.whole`` would say of the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from chalicelib.foundation.json_types import dumps
from chalicelib.graph.executions import Execution, ExecutionStatus, Payload, RunCost
from chalicelib.graph.retention import end_of_retention
from chalicelib.store import keys
from chalicelib.store.execution_items import execution_item
from chalicelib.store.forms import Form, slot
from chalicelib.store.table import ABSENT, Item, Write


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A run of which nothing is recorded yet, and that has succeeded: what differs from one to the other."""

    execution_id: str
    trigger_type: str
    inputs: str  # JSON text, few enough to stand in the record
    steps: str  # their records, as ``store.whole_runs`` has them
    output: str | None  # JSON text, the same
    began_at: str
    finished_at: str
    deadline: str | None


class RunForm:
    """``specimen`` is any run of the deployment as it is when it begins, and ``cost`` what each of them comes to.

    ``encoded`` gives the text of an item in DynamoDB's own JSON.
    """

    def __init__(self, specimen: Execution, cost: RunCost, encoded: Callable[[Item], str]) -> None:
        self._organization_id = specimen.organization_id
        self._retention_days = specimen.retention_days
        began = slot("began")
        ended = replace(
            specimen,
            id=slot("id"),
            status=ExecutionStatus.SUCCEEDED,
            trigger=replace(specimen.trigger, type=slot("type"), payload=Payload(text=slot("inputs"))),
            tasks_executed=specimen.tasks_total,
            created_at=began,
            started_at=began,
            finished_at=slot("finished"),
            deadline=None if specimen.deadline is None else slot("deadline"),
            cost=cost,
            expires_at=None,
            look_at=None,
        )
        self._without_output = _form(ended, encoded)
        self._with_output = _form(replace(ended, output=Payload(text=slot("output"))), encoded)

    def write(self, run: Succeeded) -> Write:
        form = self._without_output if run.output is None else self._with_output
        texts = {
            "id": run.execution_id,
            "type": _escaped(run.trigger_type),
            "inputs": _escaped(run.inputs),
            "steps": _escaped(run.steps),
            "output": _escaped(run.output or ""),
            "began": run.began_at,
            "finished": run.finished_at,
            "deadline": run.deadline or "",
            "expires": str(end_of_retention(run.finished_at, self._retention_days)),
        }
        key = keys.execution(self._organization_id, run.execution_id)
        return Write("Put", key, text=form.filled(texts), condition=ABSENT)


def _form(ended: Execution, encoded: Callable[[Item], str]) -> Form:
    item = encoded({**execution_item(ended), "steps": slot("steps")})
    return Form(f'{item[:-1]},"expiresAt":{{"N":"{slot("expires")}"}}}}')


def _escaped(text: str) -> str:
    """As it stands within a string of JSON."""
    return dumps(text)[1:-1]
