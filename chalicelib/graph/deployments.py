"""A deployed workflow: one version of it that pods keep warm, what is wanted of them, and what was seen.

What is *desired* is what somebody asked for, or what its lifecycle policy has decided. What is *observed* is what the
cluster said when it was last asked. A status is never guessed: it follows from the two.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from chalicelib.graph.retention import DEFAULT_DAYS

MAX_REPLICAS = 10
POD_PORT = 8080  # on which a pod's server listens, and its Service leads to


class DeploymentStatus(StrEnum):
    NOT_DEPLOYED = "not-deployed"
    DEPLOYING = "deploying"  # pods are wanted, and not all of them are ready
    RUNNING = "running"
    STOPPED = "stopped"  # deployed, with no pods
    FAILED = "failed"  # the cluster says that it will not come to run


class StoppedReason(StrEnum):
    """Who or what stopped a deployment."""

    USER = "user"
    IDLE = "idle"
    ON_DEMAND = "on-demand"
    OUTSIDE_WINDOW = "outside-window"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Deployed:
    """The version of a workflow that a deployment serves: all that a pod has to know of it, besides the plan itself."""

    organization_id: str
    workflow_id: str
    owner_id: str  # for whom runs are started
    version: int  # of the workflow
    revision: int  # ... and which change of it
    plan: str  # content hash
    retention_days: int = DEFAULT_DAYS
    max_concurrent_runs: int | None = None  # of the workflow; None where it says nothing

    def to_json(self) -> dict[str, Any]:
        return {
            "organizationId": self.organization_id,
            "workflowId": self.workflow_id,
            "ownerId": self.owner_id,
            "version": self.version,
            "revision": self.revision,
            "plan": self.plan,
            "retentionDays": self.retention_days,
            "maxConcurrentRuns": self.max_concurrent_runs,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            organization_id=raw["organizationId"],
            workflow_id=raw["workflowId"],
            owner_id=raw["ownerId"],
            version=raw["version"],
            revision=raw["revision"],
            plan=raw["plan"],
            retention_days=raw["retentionDays"],
            max_concurrent_runs=raw.get("maxConcurrentRuns"),
        )


def resource_name(workflow_id: str) -> str:
    """The name of everything in the cluster that belongs to a workflow: a DNS-1123 label, which an id is not.

    Ids as we make them keep their letters; of any other text, of which two might come to one name, it is a hash.

    >>> resource_name("wf_abc123")
    'workflow-wf-abc123'
    """
    if _PLAIN_ID.fullmatch(workflow_id):
        return f"workflow-{workflow_id.replace('_', '-')}"
    return f"workflow--{hashlib.sha256(workflow_id.encode()).hexdigest()[:40]}"  # no plain one has two hyphens


_PLAIN_ID = re.compile(r"[a-z]{1,8}_[a-z0-9]{1,32}")


def endpoint(workflow_id: str, namespace: str) -> str:
    """Where programs in the cluster trigger a workflow."""
    return f"http://{resource_name(workflow_id)}.{namespace}.svc.cluster.local/trigger"
