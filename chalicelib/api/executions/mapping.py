"""Executions on the wire: the shape and the words in which those of every API are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.foundation.clock import parse_timestamp
from chalicelib.foundation.json_types import dumps, loads
from chalicelib.graph.executions import Attempt, Execution, ExecutionStatus, Payload, RunCost, StepRecord, StepStatus

if TYPE_CHECKING:  # what runs workflows is imported when one runs
    from chalicelib.engines.payloads import Payloads
    from chalicelib.services.executions import ExecutionDetail

#: Lambda answers with 6 MB at most; what does not fit is told by a link.
MAX_INLINE_BYTES = 4 * 1024 * 1024
LINK_VALID_S = 3600

EXECUTION_WORDS = {
    ExecutionStatus.QUEUED: "QUEUED",
    ExecutionStatus.RUNNING: "RUNNING",
    ExecutionStatus.WAITING: "WAITING",
    ExecutionStatus.PAUSED: "PAUSED",
    ExecutionStatus.SUCCEEDED: "SUCCESS",
    ExecutionStatus.FAILED: "FAILED",
    ExecutionStatus.CANCELLED: "CANCELLED",
    ExecutionStatus.TIMED_OUT: "TIMED_OUT",
}
STATUSES = {word: status for status, word in EXECUTION_WORDS.items()}

STEP_WORDS = {
    StepStatus.PENDING: "PENDING",
    StepStatus.RUNNING: "RUNNING",
    StepStatus.WAITING: "WAITING",
    StepStatus.SUCCEEDED: "SUCCESS",
    StepStatus.FAILED: "FAILED",
    StepStatus.SKIPPED: "SKIPPED",
    StepStatus.CANCELLED: "CANCELLED",
}


def summary_json(execution: Execution) -> dict[str, Any]:
    """An execution without its payloads, as lists show it."""
    return {
        "id": execution.id,
        "workflowId": execution.workflow_id,
        "flowId": execution.workflow_id,
        "status": EXECUTION_WORDS[execution.status],
        "tasksTotal": execution.tasks_total,
        "tasksExecuted": execution.tasks_executed,
        "startedAt": execution.started_at,
        "finishedAt": execution.finished_at,
        "durationMs": _duration_ms(execution),
        "trigger": {"type": execution.trigger.type, "source": execution.trigger.source},
        "error": execution.error,
    }


def detail_json(detail: ExecutionDetail, payloads: Payloads) -> dict[str, Any]:
    """An execution with its tasks.

    Payloads are told in full while there is room, then by a link that is valid for an hour.
    """
    execution = detail.execution
    room = Room(payloads, execution.organization_id)
    output = room.take("output", execution.output, parsed=True)
    trigger = room.take("payload", execution.trigger.payload, parsed=True)
    summary = summary_json(execution)
    return {
        "execution": {
            **summary,
            "trigger": {**summary["trigger"], **trigger},
            **output,
            "cost": _cost(execution.cost) if execution.cost else None,
        },
        "tasks": [_task(step, room) for step in detail.steps],
        **({} if detail.next_offset is None else {"nextOffset": detail.next_offset}),
    }


def _cost(cost: RunCost) -> dict[str, Any]:
    """What the run has come to, beside what it was estimated at."""
    from chalicelib.compiler.estimate import Cost, price

    counted = Cost(cost.transitions, cost.invocations)
    return {
        "stateTransitions": cost.transitions,
        "lambdaInvocations": cost.invocations,
        "lambdaMilliseconds": cost.milliseconds,
        "priceUsd": round(price(counted, cost.milliseconds / 1000), 9),
        "estimate": Cost(cost.estimated_transitions, cost.estimated_invocations).to_json(),
    }


class Room:
    """How much an answer may still hold."""

    def __init__(self, payloads: Payloads, organization_id: str) -> None:
        self._payloads = payloads
        self._organization_id = organization_id
        self._left = MAX_INLINE_BYTES

    def take(self, name: str, payload: Payload | None, *, parsed: bool) -> dict[str, Any]:
        """``{name: value}``, or ``{name: None, nameUrl: link}`` for what does not fit any more."""
        if payload is None:
            return {name: None}
        if payload.size <= self._left:
            text = self._payloads.text(payload) or ""
            value = loads(text) if parsed else text
            size = len(dumps(value).encode())  # a text within a text is longer than it was
            if size <= self._left:
                self._left -= size
                return {name: value}
        return {name: None, f"{name}Url": self._payloads.link(self._organization_id, payload, LINK_VALID_S)}


def _task(step: StepRecord, room: Room) -> dict[str, Any]:
    return {
        "taskId": step.task_id,
        "taskName": step.label,
        "taskType": step.node_type,
        "status": STEP_WORDS[step.status],
        "attempts": len(step.attempts),
        **({"pinned": True} if step.pinned else {}),
        "attemptHistory": [_attempt(attempt) for attempt in step.attempts],
        **room.take("outputs", step.output if step.status.is_final else None, parsed=False),
        "error": step.error.to_json() if step.error else None,
        "approvalId": step.approval,
        "childExecutionId": step.child,
        "startedAt": step.started_at,
        "finishedAt": step.finished_at,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "round": attempt.round,
        "startedAt": attempt.started_at,
        "finishedAt": attempt.finished_at,
        "error": attempt.error.to_json() if attempt.error else None,
    }


def _duration_ms(execution: Execution) -> int | None:
    if execution.started_at is None or execution.finished_at is None:
        return None
    span = parse_timestamp(execution.finished_at) - parse_timestamp(execution.started_at)
    return round(span.total_seconds() * 1000)
