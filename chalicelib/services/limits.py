"""How many runs of a workflow are under way at the same time: ``settings.maxConcurrentRuns``, or the default of the
deployment. Who comes then waits in line, as ``queued``: the highest priority first, and who came first within one.

Runs are lined up with the record that makes them, and admitted one by one as there is room: when one comes, when
another ends or is held, and by upkeep, should whoever was to do it have died. ``store.lines`` says why no run is
counted twice and none is left in line. A workflow without a limit has no line and pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.graph.executions import Execution
from chalicelib.graph.model import Workflow
from chalicelib.store.due import Due
from chalicelib.store.executions import ExecutionRepository
from chalicelib.store.lines import Line, LineRepository, entering
from chalicelib.store.table import Write
from chalicelib.store.workflows import WorkflowRepository

#: When upkeep looks at a line, and at a run that was admitted, for the first time, and again.
LOOK_EVERY = timedelta(minutes=1)
#: A run in line is looked after with its line; by itself it is for the sake of what it has stored only.
WAITING_LOOK = timedelta(days=1)
ADMITTED_AT_ONCE = 25  # by one who makes room; a limit that was raised by more fills within some minutes


class Limits:
    """``default`` is the limit of workflows that have none of their own; None for no limit."""

    def __init__(
        self,
        lines: LineRepository,
        executions: ExecutionRepository,
        workflows: WorkflowRepository,
        default: int | None,
        clock: Clock,
    ) -> None:
        self._lines = lines
        self._executions = executions
        self._workflows = workflows
        self._default = default
        self._clock = clock

    def of(self, workflow: Workflow) -> int | None:
        """How many runs of a workflow may be under way at the same time; None for any number."""
        own = workflow.settings.get("maxConcurrentRuns")
        return self._default if own is None else int(own)

    def line_up(self, execution: Execution, limit: int, timeout_s: int | None) -> list[Write]:
        """What lines a run up, in the transaction that makes it wait."""
        return entering(execution, limit, timeout_s, timestamp(self._clock.now() + LOOK_EVERY))

    def line_up_again(self, execution: Execution, taken_up_at: str, timeout_s: int | None) -> list[Write]:
        """The same for a run that is taken up again; nothing where its workflow has no limit, or is gone."""
        workflow = self._workflows.get(execution.organization_id, execution.workflow_id)
        limit = None if workflow is None else self.of(workflow)
        if limit is None:
            return []
        return self.line_up(replace(execution, taken_up_at=taken_up_at), limit, timeout_s)

    def admitted(self, organization_id: str, workflow_id: str, *, anew: bool = False) -> Iterator[Execution]:
        """Admits runs as long as there is room, and hands out each once it counts: to be brought under way.

        A line that is full by the limit of the last one who came counts as full, unless it is to be looked at ``anew``:
        so whoever comes to a full line pays one read.
        """
        left = ADMITTED_AT_ONCE
        while left:
            line = self._lines.read(organization_id, workflow_id, left)
            if not line.first or (line.active >= line.allowed and not anew):
                return
            limit = self._present_limit(organization_id, workflow_id, line)
            room = left if limit is None else limit - line.active
            if room <= 0:
                return
            for entry in line.first[:room]:
                now = self._clock.now()
                deadline = None if entry.timeout_s is None else timestamp(now + timedelta(seconds=entry.timeout_s))
                if self._lines.admit(entry, limit, timestamp(now + LOOK_EVERY), deadline):
                    left -= 1
                    execution = self._executions.get(organization_id, entry.execution_id)
                    assert execution is not None, "it counts"
                    yield execution

    def due(self, limit: int) -> list[Due]:
        """Lines that upkeep has to look at."""
        return self._lines.due(timestamp(self._clock.now()), limit)

    def look_at(self, due: Due) -> Iterator[Execution]:
        """Admits what there is room for in a line that is due, as ``admitted`` does. An empty line rests."""
        line = self._lines.look_again(due, timestamp(self._clock.now() + LOOK_EVERY))
        if line is None:
            return
        yield from self.admitted(line.organization_id, line.workflow_id, anew=True)
        if not self._lines.read(line.organization_id, line.workflow_id, 1).first:
            self._lines.rest(line)

    def _present_limit(self, organization_id: str, workflow_id: str, line: Line) -> int | None:
        """As the workflow has it now, not as it was when the runs came."""
        workflow = self._workflows.get(organization_id, workflow_id)
        return line.allowed if workflow is None else self.of(workflow)
