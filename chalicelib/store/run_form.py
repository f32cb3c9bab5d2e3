"""The write that records a run whole, for runs of one deployment: all that differs is filled in.

It says what ``store.executions.whole`` would say of the same run. Runs that took the same ports at all of their nodes
have one form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from chalicelib.foundation.json_types import escaped
from chalicelib.graph.executions import Execution, ExecutionStatus, Payload, RunCost
from chalicelib.graph.retention import end_of_retention
from chalicelib.store import keys, whole_runs
from chalicelib.store.execution_items import execution_item
from chalicelib.store.forms import Form, slot
from chalicelib.store.table import ABSENT, Item, Write

_KEPT_FORMS = 64  # of one deployment: each has some kilobytes
_TO_SECONDS = len("2026-01-01T00:00:00")


class Passage(NamedTuple):
    """How a run has gone that has succeeded; what is of its nodes, by their places in the order of the plan."""

    ports: tuple[str | None, ...]  # that they took; None: skipped
    values: Sequence[str]  # JSON texts of what they put out
    times: Sequence[str]  # timestamps: when the run began, and when each of them had ended
    output: str | None  # JSON text; None where no sink ran

    @property
    def finished_at(self) -> str:
        return self.times[-1]


def value_slot(place: int) -> str:
    """Of the value that the node at a place has put out."""
    return slot(f"value{place}")


def time_slot(place: int) -> str:
    """Of a time of a passage: 0 is the beginning, and 1 the end of the first node."""
    return slot(f"time{place}")


class RunForm:
    """``specimen`` is any run of the deployment as it is when it begins, and ``cost`` what each of them comes to.

    ``steps`` gives the text of the records of a run by its ports, with the slots of its values and times.
    ``encoded`` gives the text of an item in DynamoDB's own JSON.
    """

    def __init__(
        self,
        specimen: Execution,
        cost: RunCost,
        steps: Callable[[Sequence[str | None]], str],
        encoded: Callable[[Item], str],
    ) -> None:
        self._specimen = specimen
        self._cost = cost
        self._steps = steps
        self._encoded = encoded
        nodes = range(specimen.tasks_total + 1)
        self._values = [f"value{place}" for place in nodes]
        self._times = [f"time{place}" for place in nodes]
        self._forms: dict[tuple[str | None, ...], tuple[Form, int]] = {}  # by ports; and the size of the steps' text

    def write(
        self, execution_id: str, trigger_type: str, inputs: str, passage: Passage, deadline: str | None = None
    ) -> Write | None:
        """``inputs`` is the JSON text of what the run was given. None where its steps are too large for its item."""
        form, size = self._forms.get(passage.ports) or self._form(passage)
        if not whole_runs.is_room_for(size, passage.values):
            return None
        texts = {
            "id": execution_id,
            "type": escaped(trigger_type),
            "inputs": escaped(inputs),
            "output": escaped(passage.output or ""),
            "finished": passage.finished_at,
            "deadline": deadline or "",
            "expires": _expires_at(passage.finished_at[:_TO_SECONDS], self._specimen.retention_days),
        }
        texts.update(zip(self._values, map(escaped, passage.values), strict=False))
        texts.update(zip(self._times, passage.times, strict=False))
        key = keys.execution(self._specimen.organization_id, execution_id)
        return Write("Put", key, text=form.filled(texts), condition=ABSENT)

    def _form(self, passage: Passage) -> tuple[Form, int]:
        if len(self._forms) >= _KEPT_FORMS:
            self._forms.clear()
        specimen = self._specimen
        began = time_slot(0)
        ended = replace(
            specimen,
            id=slot("id"),
            status=ExecutionStatus.SUCCEEDED,
            trigger=replace(specimen.trigger, type=slot("type"), payload=Payload(text=slot("inputs"))),
            tasks_executed=specimen.tasks_total,
            created_at=began,
            started_at=began,
            finished_at=slot("finished"),
            output=None if passage.output is None else Payload(text=slot("output")),
            deadline=None if specimen.deadline is None else slot("deadline"),
            cost=self._cost,
            expires_at=None,
            look_at=None,
        )
        steps = self._steps(passage.ports)
        item = self._encoded({**execution_item(ended), "steps": steps})
        form = Form(f'{item[:-1]},"expiresAt":{{"N":"{slot("expires")}"}}}}')
        times = dict(zip(self._times, passage.times, strict=False))
        without_values = Form(steps).filled(dict.fromkeys(self._values, "") | times)
        found = self._forms[passage.ports] = form, len(without_values.encode())
        return found


@lru_cache(maxsize=2)
def _expires_at(second: str, retention_days: int) -> str:
    return str(end_of_retention(f"{second}Z", retention_days))
