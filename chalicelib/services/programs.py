"""Runs that only compute, of the version of a workflow that this process serves: computed at once, by a program of the
plan, and recorded whole, in one write.

Such a run has no life of its own, which anybody could follow, hold or take up: it is there when it is over. Whatever
does not go so well is left to ``services.in_process``, which begins it anew.

What if the process is killed ... before the write is done, there is no run, and nobody was answered; after it, whoever
asks again with its id is told its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from chalicelib.engines.payloads import INLINE_BYTES
from chalicelib.engines.program import Given, Program
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.json_types import Json, dumps
from chalicelib.graph.deployments import Deployed
from chalicelib.graph.executions import Payload, Trigger
from chalicelib.services.costs import cost_so_far
from chalicelib.services.recording import Started, new_execution
from chalicelib.store.group_commit import Commits
from chalicelib.store.run_form import RunForm
from chalicelib.store.table import Item, Write


class Finished(NamedTuple):
    """A run that is over, and what records it."""

    output: str | None  # JSON text
    finished_at: str
    seconds: float
    write: Write


class Programs:
    """Within one event loop. ``machine`` is the name of the state machine of the plan; ``encoded`` gives the text of an
    item in DynamoDB's own JSON.
    """

    def __init__(
        self,
        program: Program,
        deployed: Deployed,
        machine: str,
        commits: Commits,
        encoded: Callable[[Item], str],
        clock: Clock,
    ) -> None:
        plan = program.plan
        specimen = new_execution(
            Started.of("", deployed), plan, machine, Trigger("", "api", Payload(), plan.trigger), None, clock.now()
        )
        self._program = program
        self._workflow_id = deployed.workflow_id
        self._timeout = None if plan.timeout_s is None else timedelta(seconds=plan.timeout_s)
        self._form = RunForm(specimen, cost_so_far(plan, specimen, (), by_machine=False), program.steps, encoded)
        self._commits = commits
        self._clock = clock

    def finished(self, execution_id: str, trigger_type: str, inputs: Json) -> Finished | None:
        """A run, computed here and now. None where it is for visits: it fails, is large, or takes long."""
        text = dumps(inputs)
        if len(text) > INLINE_BYTES // 4:  # no character takes more bytes than four
            return None
        began = self._clock.now()
        names = {"id": execution_id, "workflowId": self._workflow_id, "startedAt": timestamp(began)}
        passage = self._program.run(Given(inputs, text), names, began)
        if passage is None:
            return None
        write = self._form.write(execution_id, trigger_type, text, passage, self._deadline(began))
        if write is None:
            return None
        return Finished(passage.output, passage.finished_at, (self._clock.now() - began).total_seconds(), write)

    def record(self, run: Finished) -> Awaitable[None]:
        """What is awaited raises ``ConditionFailed`` where there is a run of this id, and ``Downstream``."""
        return self._commits.commit([run.write])

    def _deadline(self, began: datetime) -> str | None:
        return None if self._timeout is None else timestamp(began + self._timeout)
