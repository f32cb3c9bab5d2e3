"""Credentials: stored, replaced, listed and deleted; never shown."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint

from chalicelib.api.credentials.schemas import (
    ChangeCredentialBody,
    CreateCredentialBody,
    CredentialList,
    CredentialShape,
)
from chalicelib.api.endpoint import Answer, Call, Router
from chalicelib.graph.credentials import Credential
from chalicelib.services.access import CREDENTIALS_READ, CREDENTIALS_WRITE

blueprint = Blueprint(__name__)
route = Router(blueprint, "Credentials").route


@route("GET", "/api/v1/credentials", "List credentials", scope=CREDENTIALS_READ, answer=CredentialList)
def list_credentials(call: Call) -> Answer:
    found = list(map(_credential_json, call.services.credentials.list(call.principal)))
    return Answer({"count": len(found), "credentials": found})


@route(
    "POST",
    "/api/v1/credentials",
    "Store a credential",
    scope=CREDENTIALS_WRITE,
    body=CreateCredentialBody,
    answer=CredentialShape,
    status=201,
    statuses=(400, 409),
)
def create_credential(call: Call) -> Answer:
    body = call.body(CreateCredentialBody)
    made = call.services.credentials.create(call.principal, body.name, body.value, body.description or "")
    return Answer(_credential_json(made))


@route(
    "GET",
    "/api/v1/credentials/{credential_id}",
    "Get what is known of a credential",
    scope=CREDENTIALS_READ,
    answer=CredentialShape,
    statuses=(404,),
)
def get_credential(call: Call, credential_id: str) -> Answer:
    return Answer(_credential_json(call.services.credentials.get(call.principal, credential_id)))


@route(
    "PUT",
    "/api/v1/credentials/{credential_id}",
    "Replace a credential's value or description",
    scope=CREDENTIALS_WRITE,
    body=ChangeCredentialBody,
    answer=CredentialShape,
    statuses=(400, 404),
)
def change_credential(call: Call, credential_id: str) -> Answer:
    credentials = call.services.credentials
    known = credentials.get(call.principal, credential_id)
    body = call.body(ChangeCredentialBody)
    return Answer(_credential_json(credentials.change(call.principal, known.name, body.value, body.description)))


@route(
    "DELETE",
    "/api/v1/credentials/{credential_id}",
    "Delete a credential",
    scope=CREDENTIALS_WRITE,
    answer=None,
    status=204,
    statuses=(404,),
)
def delete_credential(call: Call, credential_id: str) -> Answer:
    call.services.credentials.delete(call.principal, credential_id)
    return Answer()


def _credential_json(credential: Credential) -> dict[str, Any]:
    return {
        "id": credential.name,
        "name": credential.name,
        "description": credential.description,
        "createdAt": credential.created_at,
        "updatedAt": credential.updated_at,
        "updatedBy": credential.updated_by,
    }
