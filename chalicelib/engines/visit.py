"""A visit: one delivery of one node of a run, as an engine asks for it, with what the read has brought.

Nothing here writes or calls anybody: it answers what the records and the plan say together. ``engines.step`` acts on
it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from chalicelib.compiler.plan import Inbound, Plan, PlanNode
from chalicelib.engines.inputs import path_at
from chalicelib.engines.limits import limit, limits_around
from chalicelib.engines.prepared import PreparedNode
from chalicelib.engines.waiting import gate_of
from chalicelib.graph.executions import Attempt, Execution, Payload, StepError, StepRecord, StepStatus
from chalicelib.nodes.capabilities import Caller
from chalicelib.nodes.spec import NodeType
from chalicelib.store.executions import RunSnapshot


class NotReady(Exception):
    """Something is undecided that a node waits for: it is for its gate to wait until that has changed."""

    def __init__(self, node: str) -> None:
        super().__init__(f"node {node} waits for others")


@dataclass(frozen=True)
class StepRequest:
    """Which node of which run.

    ``phase`` is ``enter``, ``leave`` (of a wait, a loop, or what was told something) or ``settle`` (after ``error`` had
    cut the node off).
    """

    organization_id: str
    execution_id: str
    plan: str
    node: str  # key in the plan
    path: str
    phase: str = "enter"
    error: str = ""
    round: int = 1  # of the execution, see there
    late: bool = False  # the node has stood at its gate, which was opened
    waited_s: float = 0  # that a function has waited for the node to be ready, before this


@dataclass(frozen=True)
class StepAnswer:
    """What the engine has to know to go on."""

    path: str
    port: str  # empty where none was taken
    count: int = 0  # of a loop: how often its body runs
    until: str = ""  # of a wait
    gate: str = ""  # of what waits to be told something: where
    seconds: int = 0  # ... how long at most, for the engine that cannot wait until a moment
    decided: bool = False  # whether there is nothing to wait for any more

    def to_json(self) -> dict[str, Any]:
        """What the next state is given."""
        waits = {"gate": self.gate, "seconds": self.seconds} if self.gate else {}
        return {"path": self.path, "port": self.port, "count": self.count, "until": self.until, **waits}


class Visit:
    """One delivery of one node, with what the read has brought."""

    def __init__(
        self,
        execution: Execution,
        prepared: PreparedNode,
        kind: NodeType,
        path: str,
        snapshot: RunSnapshot,
        phase: str,
        began: datetime,
        late: bool = False,
    ) -> None:
        self.execution = execution
        self.prepared = prepared
        self.plan = prepared.plan
        self.node = prepared.node
        self.kind = kind
        self.path = path
        self.snapshot = snapshot
        self.phase = phase
        self.began = began
        self.late = late  # see StepRequest
        self.own: StepRecord | None = snapshot.steps.get((self.node.id, path))

    @property
    def caller(self) -> Caller:
        return Caller(
            organization_id=self.execution.organization_id,
            execution_id=self.execution.id,
            node_id=self.node.id,
            path=self.path,
            gate=gate_of(self.node, self.own),
        )

    @property
    def request(self) -> StepRequest:
        execution = self.execution
        return StepRequest(
            execution.organization_id,
            execution.id,
            execution.plan,
            self.node.key,
            self.path,
            self.phase,
            round=execution.round,
            late=self.late,
        )

    @property
    def limit(self) -> str | None:
        """When its time is over, if it has begun and lasts longer than its function."""
        return limit(self.node, self.own, self.execution) if self.kind.two_phase else None

    @property
    def limit_around(self) -> str | None:
        """When the time of the first loop around it is over."""
        if not self.node.loops:
            return None
        return min(limits_around(self.plan, self.node, self.path, self.snapshot.steps, self.execution), default=None)

    def until(self, record: StepRecord) -> str | None:
        """When a step that waits goes on by itself: its own time has come, or some limit has; None for never."""
        limits = (record.until, limit(self.node, record, self.execution), self.limit_around, self.execution.deadline)
        return min(filter(None, limits), default=None)

    @property
    def is_live(self) -> bool:
        """Whether anything leads here.

        A node without inbound connections begins the run, any other needs one that is live.
        """
        return not self.node.inbound or any(
            is_live(edge, self.plan, self.path, self.snapshot) for edge in self.node.inbound
        )

    @property
    def is_ready(self) -> bool:
        """Whether all is decided that the node waits for; what stands before it in the plan is so anyway."""
        if self.late or not self.prepared.awaited:
            return True
        at = [(self.plan.nodes[name], path_at(self.path, self.plan, name)) for name in self.prepared.awaited]
        return all(is_decided(node, self.snapshot.steps.get((node.id, path))) for node, path in at)

    @property
    def lost(self) -> StepError | None:
        """The error that something failed with on which this node depends: then it has nothing to work on.

        Only met within an item of a loop that goes on without it; anywhere else such a failure ends the run.
        """
        for edge in self.node.inbound:
            step = self.snapshot.steps.get((edge.source, path_at(self.path, self.plan, edge.source)))
            if step is not None and step.lost is not None:
                return step.lost
        return None

    def is_end_of_run(self, record: StepRecord) -> bool:
        """Whether the node has failed, and nothing says that the run goes on."""
        return ends_run(self.node, record)

    def closed_by(self, record: StepRecord) -> list[str]:
        """The nodes behind the ports that were not taken, as far as the plan closes them off."""
        if not self.node.guarded:
            return []
        return [name for port, nodes in self.node.guarded.items() if port != record.port for name in nodes]

    def record(self, status: StepStatus, now: str, attempts: tuple[Attempt, ...] = ()) -> StepRecord:
        return StepRecord(
            node_id=self.node.id,
            path=self.path,
            status=status,
            node_type=self.node.type,
            label=self.node.label,
            attempts=self.own.attempts if self.own else attempts,
            since=self.since,
            started_at=now,
            finished_at=now if status.is_final else None,
            late=self.execution.round if self.late else self.own.late if self.own else None,
            order=self.prepared.order,
        )

    @property
    def since(self) -> int:
        return self.own.since if self.own else 1

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts, until the step is begun anew by a person who wants another outcome."""
        return f"{self.execution.id}/{self.since}/{self.path}/{self.node.id}"


def ends_run(node: PlanNode, record: StepRecord) -> bool:
    """Whether a node has failed, and nothing says that the run goes on."""
    return record.status is StepStatus.FAILED and record.port is None and not node.contained


def is_decided(node: PlanNode, record: StepRecord | None) -> bool:
    """Whether those may go on that wait for a node: as its late joins are told. With a failure that ends the run, they
    may not.
    """
    return record is not None and record.status.is_final and not ends_run(node, record)


def is_live(edge: Inbound, plan: Plan, path: str, snapshot: RunSnapshot) -> bool:
    """Whether a connection carries something in this run."""
    step = snapshot.steps.get((edge.source, path_at(path, plan, edge.source)))
    if step is None:
        return False
    if step.count is not None and not step.status.is_final:
        return True  # a loop that is under way: only its body asks
    return step.is_live(edge.source_port)


def decided_before(plan: Plan, execution: Execution, now: str) -> list[StepRecord]:
    """The records of the nodes that a run does not enter: those that its start does not lead to."""
    skipped = [skipped_record(node, "", now) for node in plan.dead]
    return skipped + [
        pinned_record(skipped_record(given.node, "", now), execution.pinned[given.node.id], given.port)
        for given in plan.given
    ]


def skipped_record(node: PlanNode, path: str, now: str, lost: StepError | None = None, order: int = 0) -> StepRecord:
    return StepRecord(
        node_id=node.id,
        path=path,
        status=StepStatus.SKIPPED,
        node_type=node.type,
        label=node.label,
        error=lost,
        finished_at=now,
        order=order,
    )


def pinned_record(record: StepRecord, output: Payload, port: str) -> StepRecord:
    """The record of a node whose output is given."""
    return replace(record, status=StepStatus.SUCCEEDED, port=port, output=output, pinned=True)
