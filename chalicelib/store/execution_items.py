"""The items of executions and steps: what stands in the table for them, and back.

Attributes of an execution: those of ``graph.executions.Execution``, in camelCase; payloads as ``{text}`` or ``{key,
size}``. One that was recorded whole may have ``steps``, and then no step has an item: see ``whole_runs``.

Attributes of a step: those of ``StepRecord``; ``attempts`` is a list of ``{startedAt, finishedAt?, error?, round,
ms}``, which only ever grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from chalicelib.graph.executions import (
    Attempt,
    Execution,
    ExecutionStatus,
    Parent,
    Payload,
    Place,
    RunCost,
    StepError,
    StepRecord,
    StepStatus,
    Trigger,
)
from chalicelib.graph.retention import DEFAULT_DAYS, end_of_record
from chalicelib.store import keys
from chalicelib.store.table import Item


def expires_at(execution: Execution, written_at: str | None) -> int:
    """When a record of a run may go: not before the run itself."""
    own = end_of_record(written_at or execution.created_at, execution.retention_days)
    return max(own, execution.expires_at or 0)


def execution_item(execution: Execution) -> Item:
    return {
        **keys.execution(execution.organization_id, execution.id),
        "orgList": keys.executions_of_organization(execution.organization_id),
        "workflowList": keys.executions_of_workflow(execution.organization_id, execution.workflow_id),
        "listKey": f"{execution.created_at}#{execution.id}",
        "executionId": execution.id,
        "organizationId": execution.organization_id,
        "workflowId": execution.workflow_id,
        "status": str(execution.status),
        "plan": execution.plan,
        "machine": execution.machine,
        "triggerType": execution.trigger.type,
        "triggerSource": execution.trigger.source,
        "triggerNode": execution.trigger.node_id,
        "triggerPayload": execution.trigger.payload.to_json(),
        "tasksTotal": execution.tasks_total,
        "tasksExecuted": execution.tasks_executed,
        "createdAt": execution.created_at,
        "startedAt": execution.started_at,
        "finishedAt": execution.finished_at,
        "output": execution.output.to_json() if execution.output else None,
        "error": execution.error,
        "startedBy": execution.started_by,
        "deadline": execution.deadline,
        "leasedBy": execution.leased_by,
        "leasedUntil": execution.leased_until,
        "parent": _parent_item(execution.parent) if execution.parent else None,
        "ancestors": list(execution.ancestors) or None,
        "round": execution.round,
        "retentionDays": execution.retention_days,
        "expiresAt": execution.expires_at,
        "dueList": keys.due_runs(execution.id) if execution.look_at else None,
        "dueAt": execution.look_at,
        "takenUpAt": execution.taken_up_at,
        "pinned": {node: payload.to_json() for node, payload in execution.pinned.items()} or None,
        "cost": cost_item(execution.cost) if execution.cost else None,
        "place": str(execution.place) if execution.place else None,
        "priority": execution.priority or None,
        "reopening": list(execution.reopening) if execution.reopening is not None else None,
    }


def execution_of(item: Item) -> Execution:
    return Execution(
        id=item["executionId"],
        organization_id=item["organizationId"],
        workflow_id=item["workflowId"],
        status=ExecutionStatus(item["status"]),
        plan=item["plan"],
        machine=item["machine"],
        trigger=Trigger(
            type=item["triggerType"],
            source=item["triggerSource"],
            payload=Payload.from_json(item["triggerPayload"]),
            node_id=item.get("triggerNode"),
        ),
        tasks_total=item["tasksTotal"],
        tasks_executed=item.get("tasksExecuted"),
        created_at=item["createdAt"],
        started_at=item.get("startedAt"),
        finished_at=item.get("finishedAt"),
        output=Payload.from_json(item["output"]) if "output" in item else None,
        error=item.get("error"),
        started_by=item.get("startedBy", ""),
        deadline=item.get("deadline"),
        leased_by=item.get("leasedBy"),
        leased_until=item.get("leasedUntil"),
        parent=_parent(item["parent"]) if "parent" in item else None,
        ancestors=tuple(item.get("ancestors", ())),
        follow_up=item.get("followUp", False),
        round=item["round"],
        retention_days=item.get("retentionDays", DEFAULT_DAYS),
        expires_at=item.get("expiresAt"),
        look_at=item.get("dueAt"),
        taken_up_at=item.get("takenUpAt"),
        pinned={node: Payload.from_json(raw) for node, raw in item.get("pinned", {}).items()},
        cost=RunCost(**item["cost"]) if "cost" in item else None,
        place=Place(item["place"]) if "place" in item else None,
        priority=item.get("priority", 0),
        reopening=tuple(item["reopening"]) if "reopening" in item else None,
    )


def step_item(execution: Execution, record: StepRecord) -> Item:
    return {
        **keys.step(execution.organization_id, execution.id, record.path, record.node_id),
        **step_attributes(record),
        "expiresAt": expires_at(execution, record.finished_at or record.started_at),
    }


def step_attributes(record: StepRecord) -> Item:
    """What is known of a step, whatever item it stands in; None for what is not."""
    return {
        "nodeId": record.node_id,
        "path": record.path,
        "nodeType": record.node_type,
        "label": record.label,
        "status": str(record.status),
        "port": record.port,
        "output": record.output.to_json() if record.output else None,
        "items": record.items.to_json() if record.items else None,
        "count": record.count,
        "until": record.until,
        "gate": record.gate,
        "approval": record.approval,
        "event": record.event,
        "child": record.child,
        "error": record.error.to_json() if record.error else None,
        "attempts": [attempt_item(attempt) for attempt in record.attempts],
        "startedAt": record.started_at,
        "finishedAt": record.finished_at,
        "pinned": record.pinned or None,
        "since": record.since,
        "late": record.late,
        "order": record.order or None,
    }


#: What is read of a step where what it works on and puts out is not wanted.
WITHOUT_PAYLOADS = (
    "sk", "nodeId", "path", "nodeType", "label", "status", "port", "count", "until", "gate", "approval", "event",
    "child", "error", "attempts", "startedAt", "finishedAt", "pinned", "since", "late", "order",
)  # fmt: skip


def step_of(item: Item) -> StepRecord:
    return StepRecord(
        node_id=item["nodeId"],
        path=item["path"],
        node_type=item["nodeType"],
        label=item["label"],
        status=StepStatus(item["status"]),
        port=item.get("port"),
        output=Payload.from_json(item["output"]) if "output" in item else None,
        items=Payload.from_json(item["items"]) if "items" in item else None,
        count=item.get("count"),
        until=item.get("until"),
        gate=item.get("gate"),
        approval=item.get("approval"),
        event=item.get("event"),
        child=item.get("child"),
        error=StepError(**item["error"]) if "error" in item else None,
        attempts=tuple(_attempt(raw) for raw in item.get("attempts", ())),
        started_at=item.get("startedAt"),
        finished_at=item.get("finishedAt"),
        pinned=item.get("pinned", False),
        since=item["since"],
        late=item.get("late"),
        order=item.get("order", 0),
    )


def attempt_item(attempt: Attempt) -> Item:
    optional = {"finishedAt": attempt.finished_at, "error": attempt.error.to_json() if attempt.error else None}
    return {
        "startedAt": attempt.started_at,
        "round": attempt.round,
        "ms": attempt.ms,
        **{k: v for k, v in optional.items() if v is not None},
    }


def _attempt(raw: Mapping[str, Any]) -> Attempt:
    error = StepError(**raw["error"]) if "error" in raw else None
    return Attempt(raw["startedAt"], raw.get("finishedAt"), error, raw["round"], raw["ms"])


_COSTS = tuple(field.name for field in fields(RunCost))


def cost_item(cost: RunCost) -> Item:
    return {field: int(getattr(cost, field)) for field in _COSTS}


def _parent_item(parent: Parent) -> Item:
    return {"executionId": parent.execution_id, "gate": parent.gate, "path": parent.path}


def _parent(item: Item) -> Parent:
    return Parent(item["executionId"], item["gate"], item["path"])
