"""Brings the cluster to what is wanted of a deployment, and notes what the cluster then says.

Everything may be done again at any time: what is wanted is a record with a revision (``graph.deployment_records``), and
what was brought to the cluster is noted with the revision that it was. Two who want different things at the same time:
the record has an order, the cluster has none. So whoever has brought the cluster to something and finds that another
thing is recorded by then, brings it to that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import Protocol

from chalicelib.cloud.cluster import Observed, PodActivity, PodAnswer
from chalicelib.foundation.clock import Clock, parse_timestamp, timestamp
from chalicelib.foundation.errors import Downstream, Unavailable
from chalicelib.foundation.logs import logger
from chalicelib.graph.deployment_records import Deployment, Desired, Observation
from chalicelib.graph.deployments import Deployed, DeploymentStatus
from chalicelib.graph.lifecycle import LOOK_AT_LEAST_EVERY
from chalicelib.store.deployments import DeploymentRepository

_SAID_AGAIN = timedelta(minutes=1)  # when it is written once more that nothing has changed
_POLLS_S = (0.25, 0.5, 0.5)
_TRIES = 10  # at a deployment that others change at the same moment


class Cluster(Protocol):
    """What is asked of ``cloud.cluster``."""

    def apply(self, deployed: Deployed, replicas: int) -> None: ...

    def remove(self, workflow_id: str) -> bool: ...

    def scale(self, workflow_id: str, replicas: int) -> bool: ...

    def observe(self, workflow_id: str) -> Observed: ...

    def activity(self, workflow_id: str) -> list[PodActivity] | None: ...

    def trigger(self, workflow_id: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> PodAnswer: ...


class Reconciler:
    """Whatever asks the cluster raises ``Downstream`` where it does not answer as it should."""

    def __init__(
        self,
        deployments: DeploymentRepository,
        cluster: Callable[[], Cluster],
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._deployments = deployments
        self._cluster = cluster
        self._clock = clock
        self._sleep = sleep

    def carry_out(self, deployment: Deployment) -> Deployment:
        """Brings the cluster to what is wanted, unless it was. Raises ``Downstream``."""
        for _ in range(_TRIES):
            if deployment.is_applied:
                return deployment
            if deployment.desired is Desired.REMOVED:
                self._cluster().remove(deployment.workflow_id)
                return deployment
            assert deployment.deployed is not None
            # A pod template that was brought there needs but another number of pods.
            is_known = deployment.applied is not None and deployment.applied == deployment.revision - 1
            if not is_known or not self._cluster().scale(deployment.workflow_id, deployment.wanted_replicas):
                self._cluster().apply(deployment.deployed, deployment.wanted_replicas)
            noted = self._deployments.mark_applied(deployment, timestamp(self._clock.now()))
            if noted is not None:
                return noted
            # Something else is wanted by now, and it may have been brought there before what was done here.
            deployment = replace(self._again(deployment), applied=None)
        raise Downstream("The deployment changes too fast to be brought to the cluster.")

    def carry_out_by(self, deployment: Deployment, until: datetime) -> Deployment:
        """The same; a cluster that does not take it yet is asked again ``until`` then, and what is left upkeep does."""
        pauses = chain(_POLLS_S, repeat(1.0))
        while True:
            try:
                return self.carry_out(deployment)
            except Unavailable as error:
                left = (until - self._clock.now()).total_seconds()
                if left <= 0:
                    told = {"workflow": deployment.workflow_id, "reason": error.detail}
                    logger().warning("deployment left to upkeep", extra=told)
                    return deployment
                self._sleep(min(next(pauses), left))

    def carry_out_if_possible(self, deployment: Deployment) -> Deployment:
        """The same; what the cluster does not take now is left to who waits for it, and to upkeep."""
        try:
            return self.carry_out(deployment)
        except Downstream as error:
            told = {"workflow": deployment.workflow_id, "reason": error.detail}
            logger().warning("deployment left to upkeep", extra=told)
            return deployment

    def wait(self, deployment: Deployment, until: datetime) -> Deployment:
        """A deployment when it has come up, or will not, or as it stands at ``until``."""
        pauses = chain(_POLLS_S, repeat(1.0))
        while True:
            deployment = self.see(deployment)
            left = (until - self._clock.now()).total_seconds()
            if deployment.status is not DeploymentStatus.DEPLOYING or left <= 0:
                return deployment
            self._sleep(min(next(pauses), left))

    def see(self, deployment: Deployment) -> Deployment:
        """Asks the cluster how it stands. Raises ``Downstream``."""
        if deployment.desired is not Desired.RUNNING or not deployment.is_applied:
            return deployment
        return self._noted(deployment, self._cluster().observe(deployment.workflow_id))

    def healed(self, deployment: Deployment, now: datetime) -> Deployment:
        """Brings the cluster to what is wanted where it is not, and now and then anyway: who looks only at what they
        see, does not see everything.
        """
        applied_at = deployment.applied_at
        is_old = applied_at is None or parse_timestamp(applied_at) + LOOK_AT_LEAST_EVERY <= now
        if is_old or not deployment.is_applied:
            deployment = self.carry_out(deployment)
        observed = self._cluster().observe(deployment.workflow_id)
        if not observed.exists or observed.replicas != deployment.wanted_replicas:
            deployment = self.carry_out(replace(deployment, applied=None))
            observed = self._cluster().observe(deployment.workflow_id)
        return self._noted(deployment, observed)

    def removed(self, deployment: Deployment, until: datetime) -> Deployment:
        """Removes all of it from the cluster; what is left at ``until`` goes all the same, and upkeep sees to it."""
        if deployment.is_applied:
            return deployment
        pauses = chain(_POLLS_S, repeat(1.0))
        while not self._cluster().remove(deployment.workflow_id):
            left = (until - self._clock.now()).total_seconds()
            if left <= 0:
                return deployment
            self._sleep(min(next(pauses), left))
        return self.gone(deployment)

    def gone(self, deployment: Deployment) -> Deployment:
        """Notes that nothing of a removed one is left."""
        self._deployments.look_next(deployment, timestamp(self._clock.now() + LOOK_AT_LEAST_EVERY))
        return self._deployments.mark_applied(deployment, timestamp(self._clock.now())) or self._again(deployment)

    def _noted(self, deployment: Deployment, observed: Observed) -> Deployment:
        """Notes what the cluster says, where that is news."""
        if deployment.desired is not Desired.RUNNING:
            return deployment
        now, before = self._clock.now(), deployment.observed
        if observed.failure is not None:
            status = DeploymentStatus.FAILED
        elif observed.is_rolled_out and observed.replicas == deployment.replicas:
            status = DeploymentStatus.RUNNING
        else:
            status = DeploymentStatus.DEPLOYING
        since = before.since if before and before.status is status else timestamp(now)
        seen = Observation(status, observed.ready, observed.failure, timestamp(now), since)
        if (
            before is not None
            and replace(before, at=seen.at) == seen
            and now < parse_timestamp(before.at) + _SAID_AGAIN
        ):
            return deployment
        return self._deployments.observe(deployment, seen) or self._again(deployment)

    def _again(self, deployment: Deployment) -> Deployment:
        return self._deployments.get(deployment.organization_id, deployment.workflow_id)
