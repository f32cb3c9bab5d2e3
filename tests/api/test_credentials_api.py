"""Credentials over HTTP: stored, named, replaced, deleted, and shown to nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.foundation.clock import parse_timestamp
from tests.api.client import Api
from tests.conftest import TABLE

CREDENTIALS = "/api/v1/credentials"
TOKEN = {"name": "TOKEN", "value": "s3cr3t-value", "description": "of the shop"}


@pytest.fixture
def root(client_of: Callable[..., Api]) -> Api:
    return client_of("root", "*")


def value_of(services: Services, name: str = "TOKEN", organization: str = "acme") -> str:
    """What a node would read: the one way to a value."""
    return services.steps._credentials.read(organization, name)


def test_a_credential_is_stored(root: Api, deployed: Services, dynamodb: Any) -> None:
    """All is told but the value, which is in no answer and nowhere in the table; a node can read it."""
    made = root.post(CREDENTIALS, TOKEN)
    assert made.status == 201
    assert parse_timestamp(made.json["createdAt"])
    told = {name: made.json[name] for name in ("id", "name", "description", "updatedBy")}
    assert told == {"id": "TOKEN", "name": "TOKEN", "description": "of the shop", "updatedBy": "root"}
    answers = (made, root.get(CREDENTIALS), root.get(f"{CREDENTIALS}/TOKEN"))
    assert answers[1].json == {"count": 1, "credentials": [made.json]}
    assert answers[2].json == made.json
    everything = json.dumps(dynamodb.scan(TableName=TABLE)["Items"], default=repr)
    for text in (*(answer.text for answer in answers), everything):
        assert TOKEN["value"] not in text
    assert value_of(deployed) == TOKEN["value"]


def test_a_name_is_taken_once(root: Api, deployed: Services, client_of: Callable[..., Api]) -> None:
    """A second credential of the name is 409 and changes nothing; another organisation has names of its own."""
    root.post(CREDENTIALS, TOKEN)
    assert root.post(CREDENTIALS, {**TOKEN, "value": "other"}).status == 409
    assert client_of("eve", "*", organization="other").post(CREDENTIALS, {**TOKEN, "value": "theirs"}).status == 201
    assert (value_of(deployed), value_of(deployed, organization="other")) == (TOKEN["value"], "theirs")


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A.B", "é", "A" * 65, "${A}"])
def test_names_are_what_a_config_can_say(root: Api, name: str) -> None:
    """Anything else is 400."""
    answer = root.post(CREDENTIALS, {**TOKEN, "name": name})
    assert (answer.status, [fault["path"] for fault in answer.json["errors"]]) == (400, ["name"])


def test_a_value_is_replaced(root: Api, deployed: Services) -> None:
    """PUT changes what it names: value, description, or both; and never the name."""
    root.post(CREDENTIALS, TOKEN)
    changed = root.put(f"{CREDENTIALS}/TOKEN", {"value": "new", "name": "OTHER"})
    assert (changed.status, changed.json["name"], changed.json["description"]) == (200, "TOKEN", "of the shop")
    assert value_of(deployed) == "new"
    assert root.put(f"{CREDENTIALS}/TOKEN", {"description": ""}).json["description"] == ""
    assert value_of(deployed) == "new"


def test_a_deleted_credential_is_gone(root: Api) -> None:
    """Neither listed nor found; its name is free again."""
    root.post(CREDENTIALS, TOKEN)
    assert root.delete(f"{CREDENTIALS}/TOKEN").status == 204
    assert root.get(CREDENTIALS).json["credentials"] == []
    assert root.delete(f"{CREDENTIALS}/TOKEN").status == 404
    assert root.post(CREDENTIALS, TOKEN).status == 201


def test_changes_are_in_the_audit(root: Api) -> None:
    """Who did what to which name; whether the value changed, and never what it is."""
    root.post(CREDENTIALS, TOKEN)
    root.put(f"{CREDENTIALS}/TOKEN", {"value": "new-value"})
    root.delete(f"{CREDENTIALS}/TOKEN")
    answer = root.get("/api/v1/audit?subject=TOKEN")
    assert [(entry["action"], entry["detail"]) for entry in answer.json["entries"]] == [
        ("credential.deleted", {}),
        ("credential.updated", {"value": True}),
        ("credential.created", {}),
    ]
    assert "value" not in answer.text.replace('"value":true', "")


def test_scopes(root: Api, client_of: Callable[..., Api]) -> None:
    """Who may read the names may not write, and the other way round."""
    root.post(CREDENTIALS, TOKEN)
    reader, writer = client_of("ann", "credentials:read"), client_of("ann", "credentials:write")
    assert reader.get(CREDENTIALS).status == 200
    assert reader.put(f"{CREDENTIALS}/TOKEN", {"value": "x"}).status == 403
    assert writer.get(CREDENTIALS).status == 403
    assert writer.put(f"{CREDENTIALS}/TOKEN", {"value": "x"}).status == 200
