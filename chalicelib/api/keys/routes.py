"""API keys: made, listed, revoked."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Router
from chalicelib.api.keys.schemas import CreateKeyBody, KeyList, NewKeyShape
from chalicelib.graph.api_keys import ApiKey
from chalicelib.services.access import KEYS_ADMIN

blueprint = Blueprint(__name__)
route = Router(blueprint, "Keys").route


@route("GET", "/api/v1/keys", "List keys", scope=KEYS_ADMIN, answer=KeyList)
def list_keys(call: Call) -> Answer:
    found = list(map(_key_json, call.services.keys.list(call.principal)))
    return Answer({"count": len(found), "keys": found})


@route(
    "POST",
    "/api/v1/keys",
    "Create a key",
    scope=KEYS_ADMIN,
    body=CreateKeyBody,
    answer=NewKeyShape,
    status=201,
    statuses=(400,),
)
def create_key(call: Call) -> Answer:
    body = call.body(CreateKeyBody)
    made = call.services.keys.create(
        organization_id=call.principal.organization_id,
        user_id=body.user_id or call.principal.user_id,
        scopes=body.scopes,
        name=body.name or "",
        by=call.principal,
    )
    return Answer({**_key_json(made.key), "key": made.secret})


@route("DELETE", "/api/v1/keys/{key_id}", "Revoke a key", scope=KEYS_ADMIN, answer=None, status=204, statuses=(404,))
def revoke_key(call: Call, key_id: str) -> Answer:
    call.services.keys.revoke(call.principal, key_id)
    return Answer()


def _key_json(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "userId": key.user_id,
        "scopes": key.scopes,
        "createdAt": key.created_at,
        "lastUsedAt": key.last_used_at,
    }
