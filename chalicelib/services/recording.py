"""The record of a run as it begins, whoever starts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from chalicelib.compiler.plan import Plan
from chalicelib.foundation.clock import timestamp
from chalicelib.graph.deployments import Deployed
from chalicelib.graph.executions import Execution, ExecutionStatus, Parent, Payload, Place, Trigger
from chalicelib.graph.retention import end_of_record
from chalicelib.services.lifecycle import FIRST_LOOK
from chalicelib.services.limits import WAITING_LOOK


@dataclass(frozen=True)
class Started:
    """What is started, of which workflow and for whom."""

    id: str  # of the run
    organization_id: str
    workflow_id: str
    retention_days: int
    user_id: str
    parent: Parent | None = None
    ancestors: tuple[str, ...] = ()
    pinned: Mapping[str, Payload] = field(default_factory=dict)
    priority: int = 0

    @classmethod
    def of(cls, execution_id: str, deployed: Deployed) -> Self:
        """A run of a deployed workflow."""
        return cls(
            execution_id, deployed.organization_id, deployed.workflow_id, deployed.retention_days, deployed.owner_id
        )


def new_execution(
    started: Started, plan: Plan, machine: str, trigger: Trigger, limit: int | None, now: datetime
) -> Execution:
    """A run that is queued; in line where its workflow has a ``limit`` of runs at the same time.

    ``machine`` is the name of the state machine of ``plan``.
    """
    ends_by = None
    if plan.timeout_s is not None and limit is None:  # of a run in line it is set when the run is admitted
        ends_by = timestamp(now + timedelta(seconds=plan.timeout_s))
    return Execution(
        id=started.id,
        organization_id=started.organization_id,
        workflow_id=started.workflow_id,
        status=ExecutionStatus.QUEUED,
        plan=plan.hash,
        machine=machine,
        trigger=trigger,
        tasks_total=plan.tasks_total,
        created_at=timestamp(now),
        deadline=ends_by,
        started_by=started.user_id,
        retention_days=started.retention_days,
        expires_at=end_of_record(timestamp(now), started.retention_days),
        look_at=timestamp(now + (FIRST_LOOK if limit is None else WAITING_LOOK)),
        parent=started.parent,
        ancestors=started.ancestors,
        pinned=started.pinned,
        place=None if limit is None else Place.WAITING,
        priority=started.priority,
    )
