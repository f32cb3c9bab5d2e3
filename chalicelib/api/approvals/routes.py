"""Approvals: what runs ask of people, and what they decide."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint

from chalicelib.api.approvals.schemas import ApprovalPageShape, ApprovalShape, DecisionBody
from chalicelib.api.endpoint import Answer, Call, Router
from chalicelib.api.paging import QueryReader
from chalicelib.api.parameters import PAGE
from chalicelib.graph.approvals import Approval, ApprovalStatus
from chalicelib.services.access import EXECUTE, READ

blueprint = Blueprint(__name__)
route = Router(blueprint, "Approvals").route

BASE = "/api/v1/approvals"
ONE = f"{BASE}/{{approval_id}}"


@route(
    "GET",
    BASE,
    "List what waits for a decision",
    scope=READ,
    answer=ApprovalPageShape,
    parameters=PAGE,
    statuses=(400,),
)
def list_approvals(call: Call) -> Answer:
    reader = QueryReader(call.query)
    page = reader.page()
    reader.check()
    found = call.services.approvals.list(call.principal, page.limit, page.offset)
    return Answer(
        {
            "count": found.total,
            "limit": page.limit,
            "offset": page.offset,
            "approvals": list(map(_approval_json, found.approvals)),
        }
    )


@route("GET", ONE, "Get an approval", scope=READ, answer=ApprovalShape, statuses=(404,))
def get_approval(call: Call, approval_id: str) -> Answer:
    return Answer(_approval_json(call.services.approvals.find(call.principal, approval_id)))


@route(
    "POST",
    f"{ONE}/approve",
    "Approve",
    scope=EXECUTE,
    answer=ApprovalShape,
    body=DecisionBody,
    statuses=(400, 404, 409),
)
def approve(call: Call, approval_id: str) -> Answer:
    return _decide(call, approval_id, ApprovalStatus.APPROVED)


@route(
    "POST",
    f"{ONE}/reject",
    "Reject",
    scope=EXECUTE,
    answer=ApprovalShape,
    body=DecisionBody,
    statuses=(400, 404, 409),
)
def reject(call: Call, approval_id: str) -> Answer:
    return _decide(call, approval_id, ApprovalStatus.REJECTED)


def _decide(call: Call, approval_id: str, status: ApprovalStatus) -> Answer:
    approvals = call.services.approvals
    approval = approvals.find(call.principal, approval_id)
    comment = call.body(DecisionBody).comment
    return Answer(_approval_json(approvals.decide(call.principal, approval, status, comment)))


def _approval_json(approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.id,
        "status": approval.status.upper(),
        "message": approval.message,
        "workflowId": approval.workflow_id,
        "executionId": approval.execution_id,
        "taskId": approval.node_id + approval.path,
        "createdAt": approval.created_at,
        "expiresAt": approval.expires_at,
        "decidedAt": approval.decided_at,
        "decidedBy": approval.decided_by,
        "comment": approval.comment,
    }
