"""The address of a webhook, which takes whatever method and body the sender chooses.

The key in the path is all the authentication there is, beside the signature where the trigger has a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Parameter, Router
from chalicelib.api.executions.mapping import Room
from chalicelib.api.parameters import IDEMPOTENCY_KEY, idempotency_key
from chalicelib.api.webhooks.answers import WebhookAnswer

if TYPE_CHECKING:  # what starts runs is imported when one starts
    from chalicelib.engines.payloads import Payloads
    from chalicelib.graph.executions import Execution

blueprint = Blueprint(__name__)
route = Router(blueprint, "Webhooks").route

METHODS = ("POST", "GET", "PUT", "PATCH", "DELETE")
SYNC_S = 25  # the gateway gives up after 29

_SYNC = Parameter("sync", f"Whether to wait for the result, up to {SYNC_S} s.", {"enum": ["true", "false"]})


def take_webhook(call: Call, key: str) -> Answer:
    from chalicelib.services.webhooks import WebhookRequest

    request = WebhookRequest(
        method=call.method,
        headers=call.headers,
        query={name: values[0] if len(values) == 1 else values for name, values in call.query_values.items()},
        body=call.raw_body,
        idempotency_key=idempotency_key(call),
    )
    wait_s = SYNC_S if call.query.get("sync") == "true" else 0
    received = call.services.webhooks.receive(key, request, wait_s)
    if received.execution is None:
        return Answer({"executionId": received.execution_id})
    told = _result(received.execution, call.services.payloads)
    return Answer(told, status=200 if received.execution.status.is_final else None)


def _result(execution: Execution, payloads: Payloads) -> dict[str, Any]:
    told = {"executionId": execution.id, "status": str(execution.status)}
    if not execution.status.is_final:
        return told
    return {
        **told,
        **Room(payloads, execution.organization_id).take("output", execution.output, parsed=True),
        "error": execution.error,
    }


for method in METHODS:
    route(
        method,
        "/api/v1/webhook/{key}",
        "Call a webhook",
        scope=None,
        answer=WebhookAnswer,
        name=f"webhook_{method.lower()}",
        status=202,
        or_status=200,
        parameters=(_SYNC, IDEMPOTENCY_KEY),
        statuses=(400, 401, 404, 409, 422, 429),
    )(take_webhook)
