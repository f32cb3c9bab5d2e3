"""Keys over HTTP: made, shown once, listed, revoked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chalicelib.foundation.clock import parse_timestamp
from tests.api.client import Api

KEYS = "/api/v1/keys"
WORKFLOWS = "/api/v1/workflows"


@pytest.fixture
def root(client_of: Callable[..., Api]) -> Api:
    return client_of("root", "*")


def test_a_key_is_shown_once(root: Api) -> None:
    """The answer that makes it has it; no list does, and it works at once."""
    made = root.post(KEYS, {"userId": "bob", "scopes": ["workflows:read", "keys:admin"], "name": "CI"})
    assert made.status == 201
    key = made.json["key"]
    assert key.startswith(made.json["prefix"])
    assert len(key) > 40
    told = {name: made.json[name] for name in ("name", "userId", "scopes", "lastUsedAt")}
    assert told == {"name": "CI", "userId": "bob", "scopes": ["keys:admin", "workflows:read"], "lastUsedAt": None}
    assert parse_timestamp(made.json["createdAt"])
    listed = root.get(KEYS)
    assert key not in listed.text
    assert made.json["id"] in [item["id"] for item in listed.json["keys"]]
    assert root.with_key(key).get(WORKFLOWS).status == 200
    assert root.with_key(key).post(WORKFLOWS, {"name": "w"}).status == 403


def test_a_key_is_ones_own_unless_said_otherwise(root: Api) -> None:
    """Without ``userId`` it is the caller's."""
    made = root.post(KEYS, {"scopes": ["workflows:write"]}).json
    assert (made["userId"], made["name"]) == ("root", "")
    assert root.with_key(made["key"]).post(WORKFLOWS, {"name": "w"}).status == 201
    assert root.get(WORKFLOWS).json["workflows"][0]["ownerId"] == "root"


def test_last_use_is_listed(root: Api) -> None:
    """When a key was used last, to half a minute; not of one that nobody has used."""
    used, unused = (root.post(KEYS, {"scopes": ["workflows:read"]}).json for _ in range(2))
    root.with_key(used["key"]).get(WORKFLOWS)
    listed = {item["id"]: item for item in root.get(KEYS).json["keys"]}
    assert listed[used["id"]]["lastUsedAt"] >= used["createdAt"]
    assert listed[unused["id"]]["lastUsedAt"] is None


def test_a_revoked_key_is_refused(root: Api, client_of: Callable[..., Api]) -> None:
    """Here at once (elsewhere within half a minute); a second time there is no such key. Others go on working."""
    made, other = (root.post(KEYS, {"scopes": ["workflows:read"]}).json for _ in range(2))
    client = root.with_key(made["key"])
    assert client.get(WORKFLOWS).status == 200
    assert root.delete(f"{KEYS}/{made['id']}").status == 204
    assert client.get(WORKFLOWS).status == 401
    assert root.with_key(other["key"]).get(WORKFLOWS).status == 200
    assert made["id"] not in [item["id"] for item in root.get(KEYS).json["keys"]]
    assert root.delete(f"{KEYS}/{made['id']}").status == 404
    assert root.delete(f"{KEYS}/{made['prefix']}").status == 404


def test_no_key_gives_more_than_it_has(client_of: Callable[..., Api]) -> None:
    """Who may make keys makes none with a scope of which they have none, least of all ``*``; 403 names it."""
    admin = client_of("ann", "keys:admin", "workflows:read")
    for scope in ("workflows:write", "*", "workflows:admin"):
        answer = admin.post(KEYS, {"scopes": ["workflows:read", scope]})
        assert answer.status == 403
        assert answer.json["detail"].endswith(f"{scope}.")
    assert admin.get(KEYS).json["count"] == len(admin.get(KEYS).json["keys"])
    assert admin.post(KEYS, {"scopes": ["workflows:read", "keys:admin"]}).status == 201
    assert client_of("root", "*").post(KEYS, {"scopes": ["*"]}).status == 201


def test_keys_of_an_organisation(root: Api, client_of: Callable[..., Api]) -> None:
    """All of it and nothing of another, oldest first; nobody else's can be revoked."""
    stranger = client_of("eve", "*", organization="other")
    theirs = stranger.get(KEYS).json
    assert (theirs["count"], theirs["keys"][0]["userId"]) == (1, "eve")
    mine = root.get(KEYS).json
    assert mine["count"] == len(mine["keys"])
    assert "eve" not in {item["userId"] for item in mine["keys"]}
    moments = [item["createdAt"] for item in mine["keys"]]
    assert moments == sorted(moments)
    assert root.delete(f"{KEYS}/{theirs['keys'][0]['id']}").status == 404
    assert stranger.get(KEYS).status == 200


def test_who_revokes_their_own_key_is_out(root: Api) -> None:
    """It is done, and the next request is refused."""
    made = root.post(KEYS, {"scopes": ["keys:admin"]}).json
    client = root.with_key(made["key"])
    assert client.delete(f"{KEYS}/{made['id']}").status == 204
    assert client.get(KEYS).status == 401
