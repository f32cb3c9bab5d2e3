"""Mails that another service has received and taken apart: SendGrid, Mailgun and their like."""

from __future__ import annotations

from collections.abc import Mapping

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Router
from chalicelib.api.parameters import IDEMPOTENCY_KEY, idempotency_key
from chalicelib.api.workflows import answers
from chalicelib.api.workflows.routes import ONE, find
from chalicelib.api.workflows.schemas import EmailBody
from chalicelib.foundation.json_types import Json
from chalicelib.services.access import EXECUTE

blueprint = Blueprint(__name__)
route = Router(blueprint, "Triggers").route

TRIGGER_TYPE = "email"


@route(
    "POST",
    f"{ONE}/email-trigger",
    "Start a run with a mail",
    scope=EXECUTE,
    body=EmailBody,
    answer=answers.Triggered,
    status=201,
    parameters=(IDEMPOTENCY_KEY,),
    statuses=(400, 404, 409, 422),
)
def trigger_by_email(call: Call, workflow_id: str) -> Answer:
    workflow = find(call, workflow_id)
    payload = _payload(call.body(EmailBody))
    execution_id = call.services.inbound_email.post(call.principal, workflow, payload, idempotency_key(call))
    return Answer({"executionId": execution_id, "trigger_type": TRIGGER_TYPE})


def _payload(body: EmailBody) -> dict[str, Json]:
    """The mail as a trigger sees every mail."""
    headers = body.email_headers or {}
    return {
        "from": body.sender or "",
        "to": body.to or "",
        "cc": body.cc or _header(headers, "cc"),
        "subject": body.subject or "",
        "body_text": body.body_text or "",
        "body_html": body.body_html or "",
        "headers": headers,
        "message_id": _header(headers, "message-id"),
        "attachments": body.attachments or [],
    }


def _header(headers: Mapping[str, Json], name: str) -> str:
    """The value of a header, which services spell in any case."""
    found = next((value for key, value in headers.items() if key.lower() == name), "")
    return found.strip() if isinstance(found, str) else ""
