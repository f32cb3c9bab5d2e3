"""Steps that wait to be told something: what is written when one begins to wait, and what it hears in the end.

A step comes to wait in one transaction: its record, and the item by which it will be found (an approval, a
subscription; the run of another workflow knows by itself). Where it waits is its *gate*: its name in the state machine
and the round since which it is decided anew. So a step that is cut off and called again, in whatever round, waits there
again, for the same run as before. Whoever has something to tell makes the *reply*, opens the gate and wakes what waits
there, in this order; then the step leaves by the reply.

What if the process is killed ...

==============================  =====================================================================================
before the step waits           nobody can find it; the engine tries again
after that                      the engine is answered from the record
after the reply is made         who made it does the rest again; failing that, a read of the run does
==============================  =====================================================================================
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from chalicelib.compiler.plan import PlanNode
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.ids import derived
from chalicelib.graph.approvals import Approval, ApprovalStatus
from chalicelib.graph.executions import Execution, Payload, StepRecord, StepStatus
from chalicelib.nodes.spec import Await, ChildRun, Decision, Event
from chalicelib.store.approvals import approval_write, close_write
from chalicelib.store.gates import GateRepository
from chalicelib.store.replies import ReplyRepository, StoredReply, WaitingAt
from chalicelib.store.subscriptions import Subscription, subscription_writes, unsubscribe_write
from chalicelib.store.table import Write


def gate_of(node: PlanNode, record: StepRecord | None) -> str:
    """The name of the gate at which a node waits, or would; those of late joins have two parts."""
    return record.gate if record and record.gate else f"{node.key}.{record.since if record else 1}.told"


def child_id(execution_id: str, gate: str, path: str) -> str:
    """The id of the run that a node starts which waits, or would, at ``gate``."""
    return derived("exec", execution_id, gate, path)


class Waiting:
    def __init__(self, replies: ReplyRepository, gates: GateRepository, clock: Clock) -> None:
        self._replies = replies
        self._gates = gates
        self._clock = clock

    def begin(
        self, execution: Execution, node: PlanNode, record: StepRecord, wanted: Await, data: Payload
    ) -> tuple[StepRecord, list[Write]]:
        """The record of a step that begins to wait, and what has to be written with it; ``data`` is its input."""
        now = self._clock.now()
        until = None if wanted.limit_s is None else timestamp(now + timedelta(seconds=wanted.limit_s))
        gate = gate_of(node, record)
        waits = replace(record, status=StepStatus.WAITING, gate=gate, until=until, output=data)
        match wanted.what:
            case Decision(message):
                approval = Approval(
                    id=derived("appr", execution.id, gate, record.path),
                    organization_id=execution.organization_id,
                    workflow_id=execution.workflow_id,
                    execution_id=execution.id,
                    node_id=node.id,
                    path=record.path,
                    gate=gate,
                    started_by=execution.started_by,
                    message=message,
                    created_at=timestamp(now),
                    expires_at=until,
                )
                return replace(waits, approval=approval.id), [approval_write(approval)]
            case Event(pattern):
                waits = replace(waits, event=pattern)
                subscription = subscription_of(execution, waits)
                return waits, subscription_writes(subscription, timestamp(now)) if subscription else []
            case ChildRun(child):
                return replace(waits, child=child), []

    def hear(self, execution: Execution, record: StepRecord) -> StoredReply:
        """What a step was told that has waited; where that is nothing, then nobody can tell it any more."""
        place = place_of(execution, record)
        reply = self._replies.get(place)
        if reply is None:
            silence = StoredReply()
            reply = silence if self._replies.make(place, silence, self._now(), closing(execution, record)) else None
        return reply or self._replies.get(place) or StoredReply()

    def was_told(self, execution: Execution, gate: str, path: str) -> bool:
        """Whether there is a reply for a step that waits."""
        return self._replies.get(WaitingAt(execution.organization_id, execution.id, gate, path)) is not None

    def open(self, execution: Execution, gate: str, path: str) -> None:
        """Opens the gate of a step that need not wait, before anybody comes to it."""
        self._gates.arrive(execution.organization_id, execution.id, gate, path, "decided", 1)

    def _now(self) -> str:
        return timestamp(self._clock.now())


def place_of(execution: Execution, record: StepRecord) -> WaitingAt:
    """Where a step waits that has begun to."""
    assert record.gate is not None
    return WaitingAt(execution.organization_id, execution.id, record.gate, record.path)


def subscription_of(execution: Execution, record: StepRecord) -> Subscription | None:
    return Subscription(record.event, place_of(execution, record)) if record.event else None


def closing(execution: Execution, record: StepRecord, status: ApprovalStatus = ApprovalStatus.EXPIRED) -> list[Write]:
    """The writes after which a step that waits is found no more."""
    writes = []
    if record.approval:
        writes.append(close_write(execution.organization_id, record.approval, status))
    if subscription := subscription_of(execution, record):
        writes.append(unsubscribe_write(subscription))
    return writes
