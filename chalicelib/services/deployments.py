"""Deployments: workflows that pods keep warm. Deployed, stopped, started and undeployed by those who may, and looked
after by upkeep.

What is wanted is recorded first, then the cluster is brought to it, then that it was is noted: everything in the
cluster follows from the record, and bringing it there again changes nothing. What is told of a deployment is what the
cluster said after that.

What if the process is killed ...

=====================================  ==============================================================================
before what is wanted is recorded      nothing has happened; a plan and a state machine are left that the next one uses
after that, before the cluster is      a minute after the record upkeep brings it there; whoever asks for the same
brought to it, or half way             again, does so at once
after that, before it is noted         the same, and nothing changes
while it waits for the pods            upkeep asks the cluster each minute, and makes the workflow active
before the workflow is active, or a    the same: that its status has to change is noted with what is wanted
draft again
while everything of it is removed      upkeep removes the rest, also of a workflow that is deleted by then
after a stop was decided, before the   upkeep, or the next trigger that finds it so; one that was let in meanwhile
pods are told                          keeps it from being decided
=====================================  ==============================================================================

Between the record and the cluster stands ``services.reconciler``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from chalicelib.foundation.clock import Clock, parse_timestamp, timestamp
from chalicelib.foundation.errors import Conflict, Downstream, Forbidden, PreconditionFailed
from chalicelib.foundation.logs import logger
from chalicelib.graph.deployment_records import Deployment, Desired
from chalicelib.graph.deployments import Deployed, DeploymentStatus, StoppedReason
from chalicelib.graph.lifecycle import (
    LOOK_EVERY,
    Policy,
    Wanted,
    decide,
    start_refusal,
    trigger_refusal,
)
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.services.access import ADMIN, Principal
from chalicelib.services.audit import AuditService
from chalicelib.services.executions import ExecutionService
from chalicelib.services.reconciler import Cluster, Reconciler
from chalicelib.services.workflows import WorkflowService, check_if_match, require_owner
from chalicelib.store.apps import AppRepository
from chalicelib.store.deployments import DeploymentRepository, moved_write
from chalicelib.store.due import Due
from chalicelib.store.table import ConditionFailed, Write
from chalicelib.store.workflows import WorkflowRepository

DEPLOYMENTS_AT_ONCE = 100  # looked after in one call of upkeep; a look is two or three requests to the cluster
ANSWER_MARGIN = timedelta(seconds=3)  # of the time for an answer: for what is left to do when waiting is over
_UPKEEP_TIME = timedelta(seconds=20)
_HEAL_EVERY = timedelta(minutes=5)  # what runs is looked at
_TRIES = 10  # at a deployment that others change at the same moment
#: A trigger that was let in such a short time ago is fence enough for another one: see ``graph.lifecycle.LETTING_IN``.
_FENCED_FOR = timedelta(seconds=10)


@dataclass(frozen=True)
class Outcome:
    """What became of a request: the workflow and its deployment as they are then."""

    workflow: Workflow
    deployment: Deployment


class DeploymentService:
    """``answer_limit_s``: seconds after which whoever has sent a request gives up waiting."""

    def __init__(
        self,
        *,
        deployments: DeploymentRepository,
        apps: AppRepository,
        repository: WorkflowRepository,
        workflows: WorkflowService,
        executions: ExecutionService,
        cluster: Callable[[], Cluster],
        reconciler: Reconciler,
        audit: AuditService,
        clock: Clock,
        answer_limit_s: int,
    ) -> None:
        self._deployments = deployments
        self._apps = apps
        self._repository = repository
        self._workflows = workflows
        self._executions = executions
        self._cluster = cluster
        self._reconciler = reconciler
        self._audit = audit
        self._clock = clock
        self._answer_limit = timedelta(seconds=answer_limit_s)

    def deploy(self, principal: Principal, workflow: Workflow, if_match: str | None = None) -> Outcome:
        """Rolls out the graph as it stands, and waits until it is ready to run, or there is no more time to: then
        upkeep makes the workflow active. Outside of its window nothing runs, and it is active at once.

        Raises ``Forbidden`` for who does not own it, ``PreconditionFailed`` as ``WorkflowService.edit`` does,
        ``Conflict`` for an archived workflow, a graph with errors, and where there is no cluster; ``Downstream`` that
        says why it will not come to run.
        """
        until = self._until()
        require_owner(principal, workflow)
        check_if_match(workflow, if_match)
        self._cluster()
        plan = self._executions.prepare(workflow)
        deployed = Deployed(
            organization_id=workflow.organization_id,
            workflow_id=workflow.id,
            owner_id=workflow.owner_id,
            version=workflow.version,
            revision=workflow.revision,
            plan=plan.hash,
            retention_days=workflow.retention_days,
            max_concurrent_runs=workflow.settings.get("maxConcurrentRuns"),
        )

        def wanted(present: Deployment) -> Deployment:
            is_open = start_refusal(present.policy, self._clock.now()) is None
            return replace(
                present,
                desired=Desired.RUNNING if is_open else Desired.STOPPED,
                stopped_reason=None if is_open else StoppedReason.OUTSIDE_WINDOW,
                deployed=deployed,
                started_at=self._now(),
                applied=None,
                moves_from=None if workflow.status is WorkflowStatus.ACTIVE else workflow.status,
            )

        detail = {"version": workflow.version, "revision": workflow.revision}
        entry = partial(self._audit.entry, principal, "workflow.deployed", workflow.id, **detail)
        deployment = self._reconciler.carry_out_by(self._want(workflow, wanted, lambda: [entry()]), until)
        deployment = self._reconciler.wait(deployment, until)
        if deployment.status is DeploymentStatus.FAILED:
            raise _failed(deployment)
        return self._settled(principal, workflow, deployment)

    def undeploy(self, principal: Principal, workflow: Workflow, if_match: str | None = None) -> Outcome:
        """Removes everything of a workflow from the cluster, and makes it a draft. What takes longer than there is
        time for an answer, upkeep goes on with: the deployment ``is_applied`` where nothing is left.

        Raises ``Forbidden`` and ``PreconditionFailed`` as ``deploy`` does, ``Conflict`` where it was never deployed.
        """
        until = self._until()
        require_owner(principal, workflow)
        check_if_match(workflow, if_match)

        def wanted(present: Deployment) -> Deployment:
            if present.desired is None:
                raise Conflict("The workflow was never deployed.")
            if present.desired is Desired.REMOVED:
                return present
            stays = (WorkflowStatus.DRAFT, WorkflowStatus.ARCHIVED)
            moves_from = None if workflow.status in stays else workflow.status
            return _removed(present, moves_from)

        entry = partial(self._audit.entry, principal, "workflow.undeployed", workflow.id)
        deployment = self._want(workflow, wanted, lambda: [entry()])
        outcome = self._settled(principal, workflow, deployment)
        return replace(outcome, deployment=self._reconciler.removed(outcome.deployment, until))

    def stop(self, principal: Principal, workflow: Workflow, if_match: str | None = None) -> Deployment:
        """Scales a deployment to zero, at once: runs that its pods have not finished in their grace go on elsewhere.

        Raises ``Forbidden`` for who may not edit it, ``PreconditionFailed`` as ``deploy`` does, ``Conflict`` where it
        is not deployed.
        """
        self._check_change(principal, workflow, if_match)

        def wanted(present: Deployment) -> Deployment:
            _check_deployed(present)
            if present.desired is Desired.STOPPED and present.stopped_reason is StoppedReason.USER:
                return present
            return replace(present, desired=Desired.STOPPED, stopped_reason=StoppedReason.USER)

        entry = partial(self._audit.entry, principal, "workflow.stopped", workflow.id)
        return self._reconciler.carry_out(self._want(workflow, wanted, lambda: [entry()]))

    def start(
        self, principal: Principal, workflow: Workflow, replicas: int | None = None, if_match: str | None = None
    ) -> Deployment:
        """Starts what is stopped, with one pod unless ``replicas`` says otherwise, or changes how many there are; waits
        as ``deploy`` does.

        Raises as ``stop`` does, ``Conflict`` also for an archived workflow and for one outside of its window, and
        ``Downstream`` that says why it will not come to run.
        """
        until = self._until()
        self._check_change(principal, workflow, if_match)

        def wanted(present: Deployment) -> Deployment:
            _check_deployed(present)
            if workflow.status is WorkflowStatus.ARCHIVED:
                raise Conflict("The workflow is archived: it is not started.")
            if refusal := start_refusal(present.policy, self._clock.now()):
                raise Conflict(refusal)
            runs = present.desired is Desired.RUNNING
            count = replicas or (present.replicas if runs else 1)
            return present if runs and count == present.replicas else self._running(present, count)

        entry = partial(self._audit.entry, principal, "workflow.started", workflow.id)
        deployment = self._reconciler.carry_out_by(self._want(workflow, wanted, lambda: [entry()]), until)
        deployment = self._reconciler.wait(deployment, until)
        if deployment.status is DeploymentStatus.FAILED:
            raise _failed(deployment)
        return self._settled(principal, workflow, deployment).deployment

    def lifecycle(self, workflow: Workflow) -> Deployment:
        """How a deployment stands, as the cluster says now, or said last where it does not answer."""
        deployment = self._get(workflow)
        if deployment.desired is not Desired.RUNNING:
            return deployment
        try:
            return self._reconciler.see(deployment)
        except Downstream as error:
            logger().warning("cluster not asked", extra={"workflow": workflow.id, "reason": error.detail})
            return deployment

    def set_policy(
        self, principal: Principal, workflow: Workflow, policy: Policy, if_match: str | None = None
    ) -> Deployment:
        """Gives a workflow another lifecycle policy, be it deployed or not; what follows from it, upkeep does at its
        next look.

        Raises ``Forbidden`` and ``PreconditionFailed`` as ``stop`` does.
        """
        self._check_change(principal, workflow, if_match)

        def wanted(present: Deployment) -> Deployment:
            if present.policy == policy and present.revision:
                return present
            look_at = self._now() if present.look_at else None
            is_applied = present.is_applied and present.revision
            # It changes nothing in the cluster: what was brought there and seen, is.
            return replace(
                present,
                policy=policy,
                look_at=look_at,
                applied=present.revision + 1 if is_applied else present.applied,
            )

        entry = partial(
            self._audit.entry, principal, "workflow.lifecycle-changed", workflow.id, policy=str(policy.type)
        )
        return self._want(workflow, wanted, lambda: [entry()], changes_pods=False)

    def discover(self, principal: Principal, app_id: str) -> list[Workflow]:
        """The active workflows of an app that are deployed, and that the caller may see, by their names."""
        organization = principal.organization_id
        found = self._repository.get_many(organization, self._apps.workflow_ids(organization, app_id))
        wanted = [
            workflow
            for workflow in found
            if workflow.status is WorkflowStatus.ACTIVE
            and principal.may_see(workflow)
            and workflow.settings.get("appId") == app_id
        ]
        deployed = self._deployments.get_many(organization, [workflow.id for workflow in wanted])
        there = [workflow for workflow in wanted if workflow.id in deployed and deployed[workflow.id].is_deployed]
        return sorted(there, key=lambda workflow: (workflow.name, workflow.id))

    def let_in(self, workflow: Workflow, deployment: Deployment) -> Deployment:
        """Lets a trigger in: starts what is stopped, and keeps it from being stopped until the trigger is there.

        One of many who come at the same time starts it. Raises ``Conflict`` that says why it is not let in.
        """
        for _ in range(_TRIES):
            _check_deployed(deployment)
            now = self._clock.now()
            if workflow.status in (WorkflowStatus.PAUSED, WorkflowStatus.ARCHIVED):
                raise Conflict(f"The workflow is {workflow.status}: it is not triggered.")
            if refusal := trigger_refusal(deployment.policy, deployment.stopped_reason, now):
                raise Conflict(refusal)
            if deployment.desired is Desired.STOPPED:
                try:
                    woken = self._deployments.replace(
                        deployment, self._unseen(self._running(deployment, deployment.replicas))
                    )
                except PreconditionFailed:
                    deployment = self._get(workflow)
                    continue
                deployment = self._reconciler.carry_out_if_possible(woken)
            last = deployment.triggered_at
            if last is not None and now < parse_timestamp(last) + _FENCED_FOR:
                return deployment
            if noted := self._deployments.let_in(deployment, timestamp(now)):
                return noted
            deployment = self._get(workflow)
        raise PreconditionFailed("The deployment changes too fast; try again.")

    def help_along(self, deployment: Deployment, after: timedelta) -> Deployment:
        """Looks how a deployment comes up, and brings the cluster to it where whoever was to do that since ``after``
        has not.
        """
        if not deployment.is_applied:
            begun = deployment.started_at
            if begun is not None and self._clock.now() < parse_timestamp(begun) + after:
                return deployment
            deployment = self._reconciler.carry_out(deployment)
        return self._reconciler.see(deployment)

    def find(self, workflow: Workflow) -> Deployment:
        """Of any workflow; a blank one where it was never deployed."""
        return self._get(workflow)

    def due(self) -> Iterator[Callable[[], None]]:
        """What upkeep has to do now; no longer than its part of the time, for a cluster may take long to answer."""
        until = self._clock.now() + _UPKEEP_TIME
        for due in self._deployments.due(self._now(), DEPLOYMENTS_AT_ONCE):
            if self._clock.now() >= until:
                return
            yield partial(self._look_after, due)

    def _look_after(self, due: Due) -> None:
        now = self._clock.now()
        deployment = self._deployments.claim(due, timestamp(now + LOOK_EVERY))
        if deployment is None:
            return
        workflow = self._repository.get(deployment.organization_id, deployment.workflow_id)
        if workflow is None and deployment.desired is not Desired.REMOVED:
            deployment = self._deployments.replace(deployment, self._unseen(_removed(deployment, None)))
        if deployment.desired is not Desired.REMOVED:
            deployment = self._reconciler.healed(deployment, now)
        if workflow is not None:
            deployment = self._settled_for_owner(workflow, deployment)
        if deployment.desired is Desired.REMOVED:
            self._remove_rest(deployment)
            return
        deployment, look_at = self._follow_policy(deployment, now)
        if deployment.desired is Desired.RUNNING:
            is_well = deployment.status is DeploymentStatus.RUNNING
            look_at = min(look_at, now + (_HEAL_EVERY if is_well else LOOK_EVERY))
        self._deployments.look_next(deployment, timestamp(look_at))

    def _remove_rest(self, deployment: Deployment) -> None:
        """Removes what there is. Once it was seen that nothing is left, it is looked at for one more time: somebody who
        was about to deploy may have been late.
        """
        if not self._cluster().remove(deployment.workflow_id):
            return
        if deployment.is_applied:
            self._deployments.cleared(deployment)
        else:
            self._reconciler.gone(deployment)

    def _follow_policy(self, deployment: Deployment, now: datetime) -> tuple[Deployment, datetime]:
        """Does what its policy wants, and says when to look next."""
        soon = now + LOOK_EVERY
        decision = decide(deployment.policy, deployment.life, now)
        if decision.wanted is Wanted.STOPPED:
            activity = self._cluster().activity(deployment.workflow_id)
            if activity is None:
                return deployment, soon  # what nobody knows of may have a run in flight
            ends = [parse_timestamp(pod.last_ended_at) for pod in activity if pod.last_ended_at]
            life = deployment.life.with_activity(sum(pod.in_flight for pod in activity), max(ends, default=None))
            decision = decide(deployment.policy, life, now)
        if decision.wanted is Wanted.UNCHANGED:
            return deployment, decision.look_at
        if decision.wanted is Wanted.STOPPED:
            after = replace(deployment, desired=Desired.STOPPED, stopped_reason=decision.reason)
        else:
            after = self._running(deployment, deployment.replicas)
        is_stop = decision.wanted is Wanted.STOPPED
        try:
            changed = self._deployments.replace(deployment, self._unseen(after), unless_triggered=is_stop)
        except PreconditionFailed:  # a trigger, or a user, came first
            return self._deployments.get(deployment.organization_id, deployment.workflow_id), soon
        logger().info("lifecycle followed", extra={"workflow": deployment.workflow_id, "wanted": decision.wanted})
        return self._reconciler.carry_out(changed), soon

    def _want(
        self,
        workflow: Workflow,
        change: Callable[[Deployment], Deployment],
        also: Callable[[], Sequence[Write]],
        *,
        changes_pods: bool = True,
    ) -> Deployment:
        """Records what ``change`` makes of a deployment, and of what others made of it meanwhile. What gives back the
        very one that it was given is no change.
        """
        for _ in range(_TRIES):
            present = self._get(workflow)
            after = change(present)
            if after is present:
                return present
            try:
                return self._deployments.replace(present, self._unseen(after) if changes_pods else after, also())
            except PreconditionFailed:
                continue
        raise PreconditionFailed("The deployment changes too fast; try again.")

    def _settled(self, principal: Principal, workflow: Workflow, deployment: Deployment) -> Outcome:
        """Gives the workflow the status that it is to have now. Raises ``Conflict`` where it cannot have it."""
        status, moves_from = deployment.next_status, deployment.moves_from
        if status is None:
            return Outcome(workflow, deployment)

        def moved(present: Workflow) -> Workflow:
            return replace(present, status=status) if present.status is moves_from else present

        try:
            changed = self._workflows.edit(
                principal,
                workflow,
                moved,
                "workflow.status-changed",
                also=lambda _: [moved_write(deployment)],
                detail={"status": str(status)},
            )
        except ConditionFailed:  # something else is wanted of it by now
            return Outcome(self._workflows.find(principal, workflow.id), self._again(deployment))
        if changed.status is not status:  # somebody has given it another one meanwhile
            self._deployments.moved(deployment)
        return Outcome(changed, replace(deployment, moves_from=None))

    def _settled_for_owner(self, workflow: Workflow, deployment: Deployment) -> Deployment:
        """The same, where nobody is there to be told: a workflow that cannot have the status keeps its own."""
        owner = Principal(workflow.organization_id, workflow.owner_id, frozenset())
        try:
            return self._settled(owner, workflow, deployment).deployment
        except Conflict as error:
            logger().warning("status not changed", extra={"workflow": workflow.id, "reason": error.detail})
            return self._deployments.moved(deployment) or self._again(deployment)

    def _running(self, deployment: Deployment, replicas: int) -> Deployment:
        return replace(
            deployment,
            desired=Desired.RUNNING,
            replicas=replicas,
            stopped_reason=None,
            started_at=self._now(),
        )

    def _unseen(self, deployment: Deployment) -> Deployment:
        """What is wanted anew, of which nothing was seen yet. Upkeep looks soon whether whoever wants it has died."""
        return replace(deployment, observed=None, look_at=timestamp(self._clock.now() + LOOK_EVERY))

    def _check_change(self, principal: Principal, workflow: Workflow, if_match: str | None) -> None:
        if not principal.may_edit(workflow):
            raise Forbidden(ADMIN)
        check_if_match(workflow, if_match)

    def _get(self, workflow: Workflow) -> Deployment:
        return self._deployments.get(workflow.organization_id, workflow.id)

    def _again(self, deployment: Deployment) -> Deployment:
        return self._deployments.get(deployment.organization_id, deployment.workflow_id)

    def _now(self) -> str:
        return timestamp(self._clock.now())

    def _until(self) -> datetime:
        return self._clock.now() + self._answer_limit - ANSWER_MARGIN


def _removed(deployment: Deployment, moves_from: WorkflowStatus | None) -> Deployment:
    return replace(
        deployment, desired=Desired.REMOVED, stopped_reason=None, started_at=None, applied=None, moves_from=moves_from
    )


def _check_deployed(deployment: Deployment) -> None:
    if not deployment.is_deployed:
        raise Conflict(f"The workflow is {DeploymentStatus.NOT_DEPLOYED}: deploy it first.")


def _failed(deployment: Deployment) -> Downstream:
    assert deployment.observed is not None
    return Downstream(f"The deployment failed: {deployment.observed.failure}")
