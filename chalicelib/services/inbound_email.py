"""Runs that mails start: those that SES hands on, and those that another service has taken apart and posts to the API.

Of every mail there come the runs that it starts, an audit entry that says why it starts none, or both: it may have
several recipients. What it is refused for, or dropped, goes no further; nobody is sent a reply, which might start the
same once more, or reach somebody who has sent nothing.

The id of a run follows from the workflow and the Message-ID (of a mail that has none: from what SES calls it). So a
mail that comes twice starts one run: delivered again by a sender who missed the answer, handed on again by SES, or sent
to two addresses of one workflow.

What concerns no workflow stands in the audit of those who run the stage (``OPERATORS``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from chalicelib.foundation.clock import Clock
from chalicelib.foundation.errors import Conflict
from chalicelib.foundation.ids import Ids, derived, is_id
from chalicelib.foundation.json_types import Json
from chalicelib.foundation.mail import Mail, parse_mail
from chalicelib.graph.model import Workflow
from chalicelib.graph.triggers import EMAIL_TRIGGER, normal_address, refusal
from chalicelib.services.access import Principal
from chalicelib.services.audit import AuditService
from chalicelib.services.executions import ExecutionService, Origin
from chalicelib.store.claims import Claim, ClaimRepository, request_hash
from chalicelib.store.mailbox import Mailbox
from chalicelib.store.triggers import TriggerRepository
from chalicelib.store.workflows import WorkflowRepository

TRIGGER = "email"  # what a run says of who started it
OPERATORS = "millrace"  # the organisation of those who run the stage
ROBOT = "email"  # stands in the audit for who did it

MAX_RECIPIENTS = 50  # of one mail, as SES has it
_SHOWN_CHARS = 254


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """What SES says of a mail that it has put into the data bucket."""

    id: str  # that SES gave it
    sender: str  # of the envelope
    recipients: tuple[str, ...]  # of the envelope, at our domain
    message_id: str  # as SES has read it; empty where there is none
    refused_as: str | None  # "spam" or "virus"

    @classmethod
    def from_event(cls, raw: Mapping[str, Any]) -> Self:
        """Raises ``ValueError`` for an id that is none: it names an object in S3."""
        mail, receipt = raw["mail"], raw["receipt"]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", mail["messageId"]):
            raise ValueError(f"{mail['messageId']!r} is no id of a mail")
        failed = (kind for kind in ("virus", "spam") if receipt.get(f"{kind}Verdict", {}).get("status") == "FAIL")
        return cls(
            id=mail["messageId"],
            sender=str(mail.get("source") or "")[:_SHOWN_CHARS],
            recipients=tuple(dict.fromkeys(map(normal_address, receipt["recipients"])))[:MAX_RECIPIENTS],
            message_id=str(mail.get("commonHeaders", {}).get("messageId") or ""),
            refused_as=next(failed, None),
        )


@dataclass(frozen=True, slots=True)
class _Addressee:
    """Whom an address leads to."""

    organization_id: str
    workflow_id: str
    trigger: str  # the node that fires, or the type of which the first one does


class InboundEmail:
    def __init__(
        self,
        *,
        domain: str,
        mailbox: Mailbox,
        triggers: TriggerRepository,
        claims: ClaimRepository,
        workflows: WorkflowRepository,
        executions: ExecutionService,
        audit: AuditService,
        ids: Ids,
        clock: Clock,
    ) -> None:
        """``domain``: of the addresses ``<workflow id>@<domain>``."""
        self._domain = domain
        self._mailbox = mailbox
        self._triggers = triggers
        self._claims = claims
        self._workflows = workflows
        self._executions = executions
        self._audit = audit
        self._ids = ids
        self._clock = clock

    def receive(self, received: ReceivedMail) -> list[str]:
        """Starts what a mail starts, and returns the ids of the runs. Raises ``Downstream``: it has to come again."""
        mail: Mail | None = None
        started = []
        for address in received.recipients:
            addressee = self._find(address)
            workflow = self._workflows.get(addressee.organization_id, addressee.workflow_id) if addressee else None
            if reason := _refusal(received, workflow, addressee):
                self._drop(received, address, workflow, reason)
                continue
            assert workflow is not None
            assert addressee is not None
            mail = mail or parse_mail(self._mailbox.read(received.id))
            try:
                started.append(self._start(workflow, addressee.trigger, mail, received))
            except Conflict as error:
                self._drop(received, address, workflow, str(error))
        return list(dict.fromkeys(started))

    def post(
        self, principal: Principal, workflow: Workflow, payload: Mapping[str, Json], idempotency_key: str | None = None
    ) -> str:
        """Starts a run with a mail that somebody else has received, as a trigger sees it, and returns its id.

        The same Message-ID, or the same again with the same key, is the same run. Raises ``Conflict`` for a workflow
        that no mail starts, and ``IdempotencyMismatch``.
        """
        message_id = str(payload["message_id"])
        execution_id = _execution_id(workflow, message_id) if message_id else self._ids.new("exec")
        if idempotency_key is not None:
            digest = request_hash({"workflow": workflow.id, "mail": payload})
            wanted = Claim(workflow.organization_id, idempotency_key, digest, execution_id)
            execution_id = self._claims.claim(wanted, self._clock.now()).subject
        if reason := refusal(workflow, EMAIL_TRIGGER, "a mail"):
            if self._executions.begin(workflow.organization_id, workflow.id, execution_id):
                return execution_id
            raise Conflict(reason)
        origin = Origin(principal.user_id, TRIGGER, _source(payload), execution_id, EMAIL_TRIGGER)
        return self._executions.start_once(workflow, dict(payload), origin)

    def _find(self, address: str) -> _Addressee | None:
        local, _, domain = address.rpartition("@")
        if domain == self._domain and is_id(local) and (organization := self._workflows.organization_of(local)):
            return _Addressee(organization, local, EMAIL_TRIGGER)
        found = self._triggers.for_address(address)
        return _Addressee(found.organization_id, found.workflow_id, found.node_id) if found else None

    def _start(self, workflow: Workflow, trigger: str, mail: Mail, received: ReceivedMail) -> str:
        organization = workflow.organization_id
        attachments: Sequence[Json] = [
            {
                "name": attachment.name,
                "type": attachment.type,
                "size": len(attachment.content),
                "bucket": self._mailbox.bucket,
                "key": self._mailbox.keep(organization, received.id, number, attachment),
            }
            for number, attachment in enumerate(mail.attachments)
        ]
        payload: dict[str, Json] = {
            "from": mail.sender,
            "to": mail.to,
            "cc": mail.cc,
            "subject": mail.subject,
            "body_text": mail.body_text,
            "body_html": mail.body_html,
            "headers": mail.headers,
            "message_id": mail.message_id,
            "attachments": attachments,
        }
        execution_id = _execution_id(workflow, mail.message_id or received.id)
        origin = Origin(workflow.owner_id, TRIGGER, _source(payload), execution_id, trigger)
        return self._executions.start_once(workflow, payload, origin)

    def _drop(self, received: ReceivedMail, address: str, workflow: Workflow | None, reason: str) -> None:
        """Tells in the audit that a mail starts nothing: in that of the workflow, or of nobody's."""
        organization, subject = (workflow.organization_id, workflow.id) if workflow else (OPERATORS, received.id)
        self._audit.note(
            Principal(organization, ROBOT, frozenset()),
            "email.refused" if received.refused_as else "email.dropped",
            subject,
            mail=received.id,
            sender=received.sender,
            recipient=address[:_SHOWN_CHARS],
            reason=reason[:1000],
        )


def _refusal(received: ReceivedMail, workflow: Workflow | None, addressee: _Addressee | None) -> str | None:
    """Why a mail starts nothing at an address; None where it does."""
    if received.refused_as:
        return f"SES takes it for {received.refused_as}."
    if workflow is None or addressee is None:
        return "Nobody has this address."
    return refusal(workflow, EMAIL_TRIGGER, "a mail")


def _execution_id(workflow: Workflow, message_id: str) -> str:
    return derived("exec", TRIGGER, workflow.organization_id, workflow.id, message_id)


def _source(payload: Mapping[str, Json]) -> str:
    return str(payload["from"])[:_SHOWN_CHARS] or "unknown"
