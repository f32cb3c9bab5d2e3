"""Webhooks: a request to an address that only its key leads to starts a run.

The key is all that the sender needs, unless the trigger has a secret: then the request has to be signed with it. What
has been started under the id of a message, or an Idempotency-Key, is not started again: a sender that repeats itself
hears the first answer.

Killed in between, a request has started nothing or a run that is recorded; its repetition finds it by the same id.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, repeat

from chalicelib.foundation.clock import Clock
from chalicelib.foundation.errors import (
    Conflict,
    InvalidInput,
    LimitReached,
    NotFound,
    Unauthenticated,
)
from chalicelib.foundation.ids import Ids, derived
from chalicelib.foundation.json_types import Json, loads
from chalicelib.foundation.signatures import MAX_ID_CHARS, is_signed_by, signed_message
from chalicelib.graph.executions import Execution
from chalicelib.graph.model import Node, Workflow, WorkflowStatus
from chalicelib.graph.triggers import WEBHOOK_TRIGGER, is_webhook_key
from chalicelib.services.executions import ExecutionService, Origin
from chalicelib.services.signatures import Call, ask
from chalicelib.store.claims import Claim, ClaimRepository, request_hash
from chalicelib.store.executions import ExecutionRepository
from chalicelib.store.rates import RateRepository
from chalicelib.store.triggers import TriggerRepository
from chalicelib.store.workflows import WorkflowRepository

#: By these senders say who they are. A workflow has no use for that, and its records are read by others.
HIDDEN_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "x-amz-security-token"})

_POLLS_S = (0.1, 0.2, 0.3, 0.5)  # between two looks at a run that is waited for; then a second, again and again


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    method: str
    headers: Mapping[str, str]  # names in lower case
    query: Mapping[str, Json]  # a text, or a list of texts for what stands there more than once
    body: bytes
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Received:
    execution_id: str
    execution: Execution | None  # as it stands, where it was waited for


class WebhookService:
    """``per_minute``: of requests that one webhook takes; ``call_runner`` is the node runner."""

    def __init__(
        self,
        *,
        triggers: TriggerRepository,
        rates: RateRepository,
        claims: ClaimRepository,
        workflows: WorkflowRepository,
        repository: ExecutionRepository,
        executions: ExecutionService,
        call_runner: Call,
        per_minute: int,
        ids: Ids,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._triggers = triggers
        self._rates = rates
        self._claims = claims
        self._workflows = workflows
        self._repository = repository
        self._executions = executions
        self._call_runner = call_runner
        self._per_minute = per_minute
        self._ids = ids
        self._clock = clock
        self._sleep = sleep

    def receive(self, key: str, request: WebhookRequest, wait_s: float = 0) -> Received:
        """Starts a run, and waits for its end, no longer than ``wait_s`` from now on.

        Raises ``NotFound`` for a key that nobody has, ``LimitReached``, ``Unauthenticated`` for a bad signature,
        ``InvalidInput`` for a body that is not what it says, ``Conflict`` for a workflow that is not active, and
        ``IdempotencyMismatch``.
        """
        until = self._clock.now() + timedelta(seconds=wait_s)
        workflow, node = self._find(key)
        retry_after = self._rates.count(key, self._per_minute, self._clock.now())
        if retry_after is not None:
            raise LimitReached(f"This webhook takes {self._per_minute} requests in a minute.", retry_after)
        self._check_signature(workflow, node, request)
        payload = _payload(request)
        execution_id = self._execution_id(workflow, node, request)
        origin = Origin(workflow.owner_id, "webhook", node.id, execution_id, node.id)
        if workflow.status is WorkflowStatus.ACTIVE:
            self._executions.start_once(workflow, payload, origin)
        elif not self._executions.begin(workflow.organization_id, workflow.id, execution_id):
            raise Conflict(f"The workflow is {workflow.status}: its webhook starts nothing.")
        return Received(execution_id, self._wait(workflow.organization_id, execution_id, until) if wait_s else None)

    def _wait(self, organization_id: str, execution_id: str, until: datetime) -> Execution | None:
        """A run when it has ended, or as it stands at ``until``."""
        pauses = chain(_POLLS_S, repeat(1.0))
        while True:
            execution = self._repository.get(organization_id, execution_id)
            left = (until - self._clock.now()).total_seconds()
            if execution is None or execution.status.is_final or left <= 0:
                return execution
            self._sleep(min(next(pauses), left))

    def _find(self, key: str) -> tuple[Workflow, Node]:
        found = self._triggers.for_webhook(key) if is_webhook_key(key) else None
        workflow = self._workflows.get(found.organization_id, found.workflow_id) if found else None
        node = workflow.graph.by_id().get(found.node_id) if workflow and found else None
        if workflow is None or node is None or node.type != WEBHOOK_TRIGGER or node.config.get("key") != key:
            raise NotFound("webhook", f"{key[:6]}...")
        return workflow, node

    def _check_signature(self, workflow: Workflow, node: Node, request: WebhookRequest) -> None:
        secret = node.config.get("secret")
        if secret is None:
            return
        message = signed_message(request.headers, self._clock.now())
        try:
            if "${" in str(secret):
                good = ask(self._call_runner, workflow.organization_id, str(secret), message, request.body)
            else:
                good = is_signed_by(str(secret), message, request.body)
        except ValueError as error:
            raise Conflict("The webhook's secret cannot be used: it is no base64.") from error
        if not good:
            raise Unauthenticated("The signature is not one of the webhook's secret.")

    def _execution_id(self, workflow: Workflow, node: Node, request: WebhookRequest) -> str:
        """The id of the run that this request starts, or that it has started before."""
        organization, message_id = workflow.organization_id, request.headers.get("webhook-id")
        if message_id and len(message_id) <= MAX_ID_CHARS:
            return derived("exec", "webhook", organization, workflow.id, node.id, message_id)
        fresh = self._ids.new("exec")
        if request.idempotency_key is None:
            return fresh
        digest = request_hash([request.method, request.query], request.body)
        own = f"{workflow.id}/{node.id}/{request.idempotency_key}"  # strangers' keys are apart from the organisation's
        return self._claims.claim(Claim(organization, own, digest, fresh), self._clock.now()).subject


def _payload(request: WebhookRequest) -> dict[str, Json]:
    """What expressions know as ``trigger``. Raises ``InvalidInput``."""
    body = request.body
    told: dict[str, Json] = {
        "method": request.method,
        "headers": {name: value for name, value in request.headers.items() if name not in HIDDEN_HEADERS},
        "query": request.query,
    }
    if not body:
        return {**told, "body": None}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return {**told, "body": loads(body)}
        except ValueError as error:
            raise InvalidInput.at("", f"The body is not the JSON that it says it is: {error}") from None
    try:
        return {**told, "body": body.decode()}
    except UnicodeDecodeError:
        return {**told, "body": base64.b64encode(body).decode(), "isBase64": True}
