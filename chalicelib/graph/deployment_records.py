"""What is kept of the deployment of a workflow: what is wanted, what was seen, and how far what is wanted was carried
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chalicelib.foundation.clock import parse_timestamp
from chalicelib.graph.deployments import Deployed, DeploymentStatus, StoppedReason
from chalicelib.graph.lifecycle import DEFAULT_POLICY, LifeState, Policy
from chalicelib.graph.model import WorkflowStatus


class Desired(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"  # deployed, with no pods
    REMOVED = "removed"  # nothing of it is to be left in the cluster


@dataclass(frozen=True, slots=True)
class Observation:
    """What the cluster said when it was last asked, since what is wanted was carried out."""

    status: DeploymentStatus
    ready: int  # pods
    failure: str | None
    at: str  # when it was asked
    since: str  # when it said so for the first time


@dataclass(frozen=True, slots=True)
class Deployment:
    organization_id: str
    workflow_id: str
    policy: Policy = DEFAULT_POLICY
    desired: Desired | None = None  # None for one that was never deployed
    deployed: Deployed | None = None  # the version that is served, or was last
    replicas: int = 1  # while it runs
    stopped_reason: StoppedReason | None = None  # where it is stopped
    started_at: str | None = None  # since when pods are wanted
    triggered_at: str | None = None  # when a trigger was let in last; see ``store.deployments``
    #: The status that the workflow had when it was deployed or undeployed, as long as it has to become ``active`` (when
    #: the pods are ready) or ``draft`` by that: unless somebody gives it another one meanwhile.
    moves_from: WorkflowStatus | None = None
    applied: int | None = None  # the revision that the cluster was brought to
    applied_at: str | None = None
    observed: Observation | None = None  # None as long as nothing was seen of what is wanted now
    revision: int = 0  # counts changes of what is wanted; 0 for one that is not kept yet
    look_at: str | None = None  # when upkeep looks after it; None where nothing of it is in the cluster

    @property
    def status(self) -> DeploymentStatus:
        match self.desired:
            case Desired.STOPPED:
                return DeploymentStatus.STOPPED
            case Desired.RUNNING:
                return self.observed.status if self.observed else DeploymentStatus.DEPLOYING
        return DeploymentStatus.NOT_DEPLOYED

    @property
    def is_deployed(self) -> bool:
        return self.desired in (Desired.RUNNING, Desired.STOPPED)

    @property
    def is_applied(self) -> bool:
        return self.applied == self.revision

    @property
    def next_status(self) -> WorkflowStatus | None:
        """What the workflow's status has to become now."""
        if self.moves_from is None:
            return None
        if self.desired is Desired.REMOVED:
            return WorkflowStatus.DRAFT
        is_ready = self.status is DeploymentStatus.RUNNING or self.stopped_reason is StoppedReason.OUTSIDE_WINDOW
        return WorkflowStatus.ACTIVE if is_ready else None

    @property
    def wanted_replicas(self) -> int:
        return self.replicas if self.desired is Desired.RUNNING else 0

    @property
    def life(self) -> LifeState:
        """As policies see it, but for what its pods have in flight."""
        seen = self.observed
        return LifeState(
            is_stopped=self.desired is Desired.STOPPED,
            stopped_reason=self.stopped_reason,
            started_at=_moment(self.started_at),
            ready_at=_moment(seen.since) if seen and seen.status is DeploymentStatus.RUNNING else None,
            failing_since=_moment(seen.since) if seen and seen.status is DeploymentStatus.FAILED else None,
            triggered_at=_moment(self.triggered_at),
        )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else parse_timestamp(text)
