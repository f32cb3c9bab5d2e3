"""Triggers of deployed workflows: sent on to their pods, which are started where they are not there.

Nothing that is answered is lost. The run's id is chosen here and sent along, so a trigger that nobody has taken is sent
again, and one of which nobody knows whether a pod has taken it is one run all the same: in the end it is recorded here
under that id, with the version that is deployed, and Step Functions runs it; unless a pod has recorded it, which then
keeps it.

What if the process is killed ...

=====================================  ==============================================================================
after a claim, before anything else    whoever repeats the request with its key brings about the run of the same id
after pods were wanted, before they    others who wait do it after a few seconds, or upkeep
are started
after a pod has taken it               the run goes on there; a repetition is answered by its record
before it is recorded here             nobody was answered; the client sends it again
after that, before it is launched      upkeep launches it, as any run whose starter has died
=====================================  ==============================================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import Any

from chalicelib.cloud.cluster import PodAnswer
from chalicelib.engines.payloads import Payloads
from chalicelib.foundation.clock import Clock
from chalicelib.foundation.errors import Conflict, Downstream, InvalidInput, TooLarge, Unavailable
from chalicelib.foundation.ids import Ids
from chalicelib.foundation.json_types import Json, dumps, loads
from chalicelib.foundation.logs import logger
from chalicelib.graph.deployment_records import Deployment
from chalicelib.graph.deployments import Deployed, DeploymentStatus
from chalicelib.graph.executions import Execution
from chalicelib.graph.model import Workflow
from chalicelib.graph.retention import shelf
from chalicelib.services.deployments import ANSWER_MARGIN, DeploymentService
from chalicelib.services.executions import ExecutionService, Origin
from chalicelib.services.reconciler import Cluster
from chalicelib.store.claims import Claim, ClaimRepository, request_hash
from chalicelib.store.executions import ExecutionRepository

DEFAULT_TYPE = "api"
SOURCE = "api"  # what a run says of where it came in, as pods do
SYNC_LIMIT = timedelta(minutes=5)  # for the end of a run
ASYNC_LIMIT = timedelta(seconds=30)  # for a run to be accepted
STARTED, RUNNING = "started", "running"

MAX_ANSWER_BYTES = 4 * 1024 * 1024  # of what is told; Lambda answers with 6 MB at most
_PAUSES_S = (0.1, 0.2, 0.3, 0.5)  # then a second
_HELP_AFTER = timedelta(seconds=5)  # that whoever starts a deployment has for it before others do it


@dataclass(frozen=True)
class TriggerRequest:
    type: str = DEFAULT_TYPE
    inputs: Mapping[str, Json] | None = None
    sync: bool = False
    idempotency_key: str | None = None
    request_id: str | None = None  # by which the logs of the pod know it


@dataclass(frozen=True)
class TriggerAnswer:
    execution_id: str
    status: str  # ``started``, or that of the run
    output: Json = None
    error: Mapping[str, Any] | None = None
    output_url: str | None = None  # where it is too large to be told


class TriggerService:
    """``answer_limit_s``: seconds after which whoever has sent a request gives up waiting."""

    def __init__(
        self,
        *,
        deployments: DeploymentService,
        executions: ExecutionService,
        records: ExecutionRepository,
        claims: ClaimRepository,
        payloads: Payloads,
        cluster: Callable[[], Cluster],
        ids: Ids,
        clock: Clock,
        answer_limit_s: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._deployments = deployments
        self._executions = executions
        self._records = records
        self._claims = claims
        self._payloads = payloads
        self._cluster = cluster
        self._ids = ids
        self._clock = clock
        self._answer_limit = timedelta(seconds=answer_limit_s)
        self._sleep = sleep

    def trigger(self, workflow: Workflow, request: TriggerRequest) -> TriggerAnswer:
        """Starts a run of the version that is deployed; a ``sync`` one is waited for, as long as there is time.

        Raises ``Conflict`` that says why none is started: the workflow is not deployed, paused, archived, or its policy
        does not let it in; ``IdempotencyMismatch``.
        """
        limit = SYNC_LIMIT if request.sync else ASYNC_LIMIT
        until = self._clock.now() + min(limit, self._answer_limit - ANSWER_MARGIN)
        claim = self._claim(workflow, request)
        if claim is not None and claim.answer is not None:
            return _kept(claim, self._payloads.get(claim.answer))
        execution_id = claim.subject if claim else self._ids.new("exec")
        there = self._records.get(workflow.organization_id, execution_id) if claim else None
        if there is not None and there.workflow_id == workflow.id:
            answer = self._of_record(there, request)
        else:
            deployment = self._deployments.let_in(workflow, self._deployments.find(workflow))
            answer = self._run(_Sending(workflow, execution_id, request, until), deployment)
        if claim is not None:
            self._keep(workflow, claim, answer)
        return answer

    def _run(self, sending: _Sending, deployment: Deployment) -> TriggerAnswer:
        answer = self._send(sending, deployment)
        if answer is not None and (told := _told(sending, answer)) is not None:
            return told
        # Nobody has taken it, or nobody knows.
        assert deployment.deployed is not None
        self._executions.start_deployed(deployment.deployed, sending.inputs, _origin(deployment.deployed, sending))
        there = self._records.get(sending.workflow.organization_id, sending.execution_id)
        assert there is not None, "it is recorded by now"
        return self._of_record(there, sending.request)

    def _send(self, sending: _Sending, deployment: Deployment) -> PodAnswer | None:
        """What a pod answers; None where there was no time for one to take it, or it is not known whether one has."""
        pauses = chain(_PAUSES_S, repeat(1.0))
        while True:
            left = (sending.until - self._clock.now()).total_seconds()
            if left <= 0:
                return None
            try:
                return self._cluster().trigger(sending.workflow.id, sending.body, sending.headers(left), left + 1)
            except Unavailable:
                pass
            except Downstream as error:
                logger().warning("pod did not answer", extra={"execution": sending.execution_id, "why": error.detail})
                return None
            if not self._may_come_up(sending.workflow, deployment):
                return None
            self._sleep(min(next(pauses), left))
            deployment = self._deployments.let_in(sending.workflow, self._deployments.find(sending.workflow))

    def _may_come_up(self, workflow: Workflow, deployment: Deployment) -> bool:
        try:
            seen = self._deployments.help_along(deployment, _HELP_AFTER)
        except Downstream as error:
            logger().warning("cluster not asked", extra={"workflow": workflow.id, "reason": error.detail})
            return True
        return seen.status is not DeploymentStatus.FAILED

    def _of_record(self, execution: Execution, request: TriggerRequest) -> TriggerAnswer:
        if not request.sync:
            return TriggerAnswer(execution.id, STARTED)
        if not execution.status.is_final:
            return TriggerAnswer(execution.id, RUNNING)
        answer = TriggerAnswer(execution.id, str(execution.status), error=execution.error)
        if execution.output is None:
            return answer
        if execution.output.size > MAX_ANSWER_BYTES:
            url = self._payloads.link(execution.organization_id, execution.output, _LINK_VALID_S)
            return replace(answer, output_url=url)
        return replace(answer, output=self._payloads.get(execution.output))

    def _claim(self, workflow: Workflow, request: TriggerRequest) -> Claim | None:
        if request.idempotency_key is None:
            return None
        asked = {"trigger": workflow.id, "type": request.type, "inputs": request.inputs, "sync": request.sync}
        wanted = Claim(workflow.organization_id, request.idempotency_key, request_hash(asked), self._ids.new("exec"))
        return self._claims.claim(wanted, self._clock.now())

    def _keep(self, workflow: Workflow, claim: Claim, answer: TriggerAnswer) -> None:
        """Keeps what was answered, for who asks again."""
        told = {"status": answer.status, "output": answer.output, "error": answer.error}
        if answer.output_url is None:
            place = shelf(workflow.organization_id, workflow.retention_days)
            self._claims.answered(claim, self._payloads.put(place, told))


_LINK_VALID_S = 3600


@dataclass(frozen=True)
class _Sending:
    """A trigger on its way."""

    workflow: Workflow
    execution_id: str
    request: TriggerRequest
    until: datetime

    @property
    def inputs(self) -> Mapping[str, Json]:
        return self.request.inputs or {}

    @property
    def body(self) -> bytes:
        told = {"trigger_type": self.request.type, "inputs": self.inputs, "sync": self.request.sync}
        return dumps(told).encode()

    def headers(self, left_s: float) -> dict[str, str]:
        found = {"Content-Type": "application/json", "Millrace-Execution-Id": self.execution_id}
        if self.request.sync:
            found["Prefer"] = f"wait={max(1, int(left_s))}"
        if self.request.request_id:
            found["X-Request-Id"] = self.request.request_id
        return found


def _origin(deployed: Deployed, sending: _Sending) -> Origin:
    return Origin(deployed.owner_id, sending.request.type, SOURCE, sending.execution_id)


def _told(sending: _Sending, answer: PodAnswer) -> TriggerAnswer | None:
    """What a pod has answered; None where it does not tell what became of the run.

    Raises what it has refused.
    """
    if len(answer.body) > MAX_ANSWER_BYTES:
        return None
    try:
        body = loads(answer.body)
    except ValueError:
        return None
    if not isinstance(body, Mapping):
        return None
    detail = str(body.get("detail") or "The pod refused it.")
    match answer.status:
        case 200 if body.get("execution_id") == sending.execution_id:
            error, url = body.get("error"), body.get("output_url")
            status = str(body.get("status")) if sending.request.sync else STARTED
            return TriggerAnswer(
                sending.execution_id,
                status,
                body.get("output"),
                error if isinstance(error, Mapping) else None,
                url if isinstance(url, str) else None,
            )
        case 400 | 422:
            raise InvalidInput.at("", detail)
        case 409:
            raise Conflict(detail)
        case 413:
            raise TooLarge(detail)
    return None


def _kept(claim: Claim, told: Json) -> TriggerAnswer:
    assert isinstance(told, Mapping)
    error = told.get("error")
    return TriggerAnswer(
        claim.subject, str(told["status"]), told.get("output"), error if isinstance(error, Mapping) else None
    )
