"""Deployments: one item of each workflow that was deployed, or has a lifecycle policy of its own.

What is wanted changes on the condition of the revision, which grows with it. What only tells how things stand (what the
cluster said, how far it was brought, when to look next) is written on the condition that the revision is still the one
that it tells of, and does not move it.

``triggeredAt`` is a fence between triggers and those who stop what rests: a trigger writes it, on the condition that
pods are wanted, before it goes to them; who stops a deployment does so on the condition that it is as they read it. So
either the trigger finds the deployment stopped, or the other one finds that there was a trigger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chalicelib.foundation.errors import PreconditionFailed
from chalicelib.graph.deployment_records import Deployment, Desired, Observation
from chalicelib.graph.deployments import Deployed, DeploymentStatus, StoppedReason
from chalicelib.graph.lifecycle import DEFAULT_POLICY, policy_from_json
from chalicelib.graph.model import WorkflowStatus
from chalicelib.store import keys
from chalicelib.store.due import Due, due_items, postpone
from chalicelib.store.table import ConditionFailed, Item, Table, Write, update

_NEW = "attribute_not_exists(pk)"
_SAME = "revision = :revision"
_NO_TRIGGER_SINCE = "attribute_not_exists(triggeredAt)", "triggeredAt = :seen"

#: What ``replace`` writes. ``triggeredAt`` is none of it: triggers write that, and whoever comes later keeps it.
_FIELDS = (
    "organizationId", "workflowId", "policy", "desired", "deployed", "replicas", "stoppedReason", "startedAt",
    "movesFrom", "applied", "appliedAt", "observed", "dueList", "dueAt",
)  # fmt: skip


class DeploymentRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, organization_id: str, workflow_id: str) -> Deployment:
        """The deployment of a workflow; a blank one where nothing is kept of it."""
        item = self._table.get(keys.deployment(organization_id, workflow_id))
        return deployment_of(item) if item else Deployment(organization_id, workflow_id)

    def get_many(self, organization_id: str, workflow_ids: Sequence[str]) -> dict[str, Deployment]:
        """Those that are kept, by the ids of their workflows."""
        items = self._table.get_many([keys.deployment(organization_id, each) for each in workflow_ids])
        return {item["workflowId"]: deployment_of(item) for item in items}

    def replace(
        self, before: Deployment, after: Deployment, also: Sequence[Write] = (), *, unless_triggered: bool = False
    ) -> Deployment:
        """Writes what is wanted from now on, with ``also``, and returns it with its new revision.

        Raises ``PreconditionFailed`` where the deployment is not ``before`` any more, and with ``unless_triggered``
        also where a trigger was let in since that was read.
        """
        after = replace(after, revision=before.revision + 1)
        condition = _SAME if before.revision else _NEW
        values: Item = {"revision": before.revision} if before.revision else {}
        if unless_triggered:
            condition += f" AND {_NO_TRIGGER_SINCE[before.triggered_at is not None]}"
            values |= {"seen": before.triggered_at} if before.triggered_at is not None else {}
        write = _set(after, {**_item(after), "revision": after.revision}, condition, values)
        try:
            self._table.transact([write, *also]) if also else self._table.write(write)
        except ConditionFailed as error:
            if error.index:
                raise  # one of `also`: its owner knows what it means
            raise PreconditionFailed("The deployment was changed meanwhile; try again.") from error
        return after

    def let_in(self, deployment: Deployment, at: str) -> Deployment | None:
        """Notes that a trigger goes to the pods; None where none are wanted any more."""
        key = keys.deployment(deployment.organization_id, deployment.workflow_id)
        try:
            item = self._table.write(
                update(key, "SET triggeredAt = :at", "desired = :running", at=at, running=str(Desired.RUNNING))
            )
        except ConditionFailed:
            return None
        return deployment_of(item)

    def mark_applied(self, deployment: Deployment, at: str) -> Deployment | None:
        """Notes that the cluster was brought to what is wanted; None where something else is by now."""
        return self._note(deployment, {"applied": deployment.revision, "appliedAt": at})

    def observe(self, deployment: Deployment, observed: Observation) -> Deployment | None:
        """Notes what the cluster said; None where something else is wanted by now."""
        return self._note(deployment, {"observed": _observation_item(observed)})

    def look_next(self, deployment: Deployment, at: str) -> Deployment | None:
        return self._note(deployment, {"dueAt": at})

    def cleared(self, deployment: Deployment) -> Deployment | None:
        """Notes that nobody has to look after a removed one any more."""
        return self._note(deployment, {"dueList": None, "dueAt": None})

    def moved(self, deployment: Deployment) -> Deployment | None:
        """Notes that the workflow's status stays as it is."""
        return self._note(deployment, {"movesFrom": None})

    def _note(self, deployment: Deployment, fields: Mapping[str, Any]) -> Deployment | None:
        write = _set(deployment, fields, _SAME, {"revision": deployment.revision})
        try:
            return deployment_of(self._table.write(write))
        except ConditionFailed:
            return None

    def due(self, now: str, limit: int) -> list[Due]:
        return due_items(self._table, keys.DUE_DEPLOYMENTS, now, limit)

    def claim(self, due: Due, next_try: str) -> Deployment | None:
        """None where somebody else looks after it, or has just done so."""
        item = postpone(self._table, due, next_try)
        return deployment_of(item) if item else None


def moved_write(deployment: Deployment) -> Write:
    """Notes, with the change that makes it so, that a workflow has the status that it was to have. Its condition is the
    revision.
    """
    return _set(deployment, {"movesFrom": None}, _SAME, {"revision": deployment.revision})


def undeployed_check(organization_id: str, workflow_id: str) -> Write:
    """Demands that a workflow is not deployed."""
    return Write(
        "ConditionCheck",
        keys.deployment(organization_id, workflow_id),
        condition="attribute_not_exists(desired) OR desired = :removed",
        values={"removed": str(Desired.REMOVED)},
    )


def _set(deployment: Deployment, fields: Mapping[str, Any], condition: str, values: Item) -> Write:
    """Sets fields, and removes those that are None."""
    given = {name: value for name, value in fields.items() if value is not None}
    gone = [f"#{name}" for name in fields if name not in given]
    parts = []
    if given:
        parts.append("SET " + ", ".join(f"#{name} = :new_{name}" for name in given))
    if gone:
        parts.append("REMOVE " + ", ".join(gone))
    return Write(
        "Update",
        keys.deployment(deployment.organization_id, deployment.workflow_id),
        update=" ".join(parts),
        condition=condition,
        values={**values, **{f"new_{name}": value for name, value in given.items()}},
        names={f"#{name}": name for name in fields},
    )


def _item(deployment: Deployment) -> Item:
    found: Item = {
        "organizationId": deployment.organization_id,
        "workflowId": deployment.workflow_id,
        "policy": deployment.policy.to_json(),
        "desired": deployment.desired and str(deployment.desired),
        "deployed": _without_none(deployment.deployed.to_json()) if deployment.deployed else None,
        "replicas": deployment.replicas,
        "stoppedReason": deployment.stopped_reason and str(deployment.stopped_reason),
        "startedAt": deployment.started_at,
        "movesFrom": deployment.moves_from and str(deployment.moves_from),
        "applied": deployment.applied,
        "appliedAt": deployment.applied_at,
        "observed": _observation_item(deployment.observed) if deployment.observed else None,
        "dueList": keys.DUE_DEPLOYMENTS if deployment.look_at else None,
        "dueAt": deployment.look_at,
    }
    assert tuple(found) == _FIELDS
    return found


def deployment_of(item: Item) -> Deployment:
    return Deployment(
        organization_id=item["organizationId"],
        workflow_id=item["workflowId"],
        policy=policy_from_json(item["policy"]) if "policy" in item else DEFAULT_POLICY,
        desired=Desired(item["desired"]) if "desired" in item else None,
        deployed=Deployed.from_json(item["deployed"]) if "deployed" in item else None,
        replicas=item["replicas"],
        stopped_reason=StoppedReason(item["stoppedReason"]) if "stoppedReason" in item else None,
        started_at=item.get("startedAt"),
        triggered_at=item.get("triggeredAt"),
        moves_from=WorkflowStatus(item["movesFrom"]) if "movesFrom" in item else None,
        applied=item.get("applied"),
        applied_at=item.get("appliedAt"),
        observed=_observation(item["observed"]) if "observed" in item else None,
        revision=item["revision"],
        look_at=item.get("dueAt"),
    )


def _observation_item(observed: Observation) -> Item:
    return _without_none(
        {
            "status": str(observed.status),
            "ready": observed.ready,
            "failure": observed.failure,
            "at": observed.at,
            "since": observed.since,
        }
    )


def _observation(item: Item) -> Observation:
    return Observation(DeploymentStatus(item["status"]), item["ready"], item.get("failure"), item["at"], item["since"])


def _without_none(item: Item) -> Item:
    return {name: value for name, value in item.items() if value is not None}
