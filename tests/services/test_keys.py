"""API keys: made, known for half a minute without asking, and refused."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.foundation.errors import InvalidInput, Unauthenticated
from chalicelib.foundation.settings import Settings
from chalicelib.services.access import EVERYTHING, SCOPES, Principal
from chalicelib.services.keys import NewKey
from tests.conftest import TABLE
from tests.fakes import Calls, FakeClock


@pytest.fixture
def made(app_services: Services) -> NewKey:
    return app_services.keys.create(organization_id="acme", user_id="ann@x.org", scopes=["keys:admin", "keys:admin"])


def test_a_new_key(made: NewKey) -> None:
    """256 random bits behind a prefix; what is kept of it is a hash and its first letters."""
    assert made.secret.startswith("mr_")
    assert len(made.secret) == 3 + 43
    assert made.key.digest == hashlib.sha256(made.secret.encode()).hexdigest()
    assert made.key.prefix == made.secret[:10]
    assert made.key.scopes == ("keys:admin",)
    assert made.key.created_at == "2026-01-05T09:00:00.000Z"


def test_no_two_keys_are_alike(app_services: Services, made: NewKey) -> None:
    """The same user may have several."""
    other = app_services.keys.create(organization_id="acme", user_id="ann@x.org", scopes=["keys:admin"])
    assert other.secret != made.secret
    assert other.key.id != made.key.id


@pytest.mark.parametrize(
    ("organization", "user", "scopes", "paths"),
    [
        ("", "ann", ["*"], ["organizationId"]),
        ("a#b", "ann", ["*"], ["organizationId"]),
        ("acme", "-ann", ["*"], ["userId"]),
        ("acme", "a" * 65, ["*"], ["userId"]),
        ("acme\n", "ann", ["*"], ["organizationId"]),
        ("acme", "ann", [], ["scopes"]),
        ("#", "#", ["all", "*", "none"], ["organizationId", "userId", "scopes[0]", "scopes[2]"]),
    ],
)
def test_every_fault_is_told(
    app_services: Services, organization: str, user: str, scopes: list[str], paths: list[str]
) -> None:
    """Names that could mean something in a key of the table, and scopes that there are not, are refused at once."""
    with pytest.raises(InvalidInput) as raised:
        app_services.keys.create(organization_id=organization, user_id=user, scopes=scopes)
    assert [fault.path for fault in raised.value.faults] == paths


@pytest.mark.parametrize("secret", [None, "", "mr_", "mr_nobody", "\udcff", "x" * 100_000])
def test_a_key_that_nobody_has(app_services: Services, made: NewKey, secret: str | None) -> None:
    """401, whatever it looks like."""
    with pytest.raises(Unauthenticated):
        app_services.keys.authenticate(secret)


def test_the_hash_is_no_key(app_services: Services, made: NewKey) -> None:
    """Who has read the table cannot use what is there."""
    for text in (made.key.digest, made.key.prefix, f"KEY#{made.key.digest}"):
        with pytest.raises(Unauthenticated):
            app_services.keys.authenticate(text)


def test_a_key_is_known_for_half_a_minute(
    app_services: Services, made: NewKey, clock: FakeClock, dynamodb: Any, dynamodb_calls: Calls
) -> None:
    """One read for many requests; a key that was taken away is refused 30 seconds later at the latest."""
    dynamodb_calls.clear()
    for _ in range(3):
        assert app_services.keys.authenticate(made.secret).user_id == "ann@x.org"
        clock.advance(9.9)
    assert dynamodb_calls.operations == ["UpdateItem"]
    dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": f"KEY#{made.key.digest}"}, "sk": {"S": "KEY"}})
    app_services.keys.authenticate(made.secret)
    clock.advance(0.3)
    with pytest.raises(Unauthenticated):
        app_services.keys.authenticate(made.secret)


def test_a_key_that_is_made_is_known_at_once(settings: Settings, app_services: Services, clock: FakeClock) -> None:
    """That a key was unknown is not remembered, and other processes know it too."""
    other = services(settings, clock=clock)
    with pytest.raises(Unauthenticated):
        other.keys.authenticate("mr_x")
    made = app_services.keys.create(organization_id="acme", user_id="ann", scopes=["*"])
    assert other.keys.authenticate(made.secret).organization_id == "acme"


def test_what_is_remembered_is_bounded(app_services: Services, made: NewKey, dynamodb_calls: Calls) -> None:
    """Beyond a thousand keys all are forgotten, and read again."""
    app_services.keys.authenticate(made.secret)
    remembered = app_services.keys._seen
    remembered |= {str(number): remembered[made.key.digest] for number in range(1000)}
    other = app_services.keys.create(organization_id="acme", user_id="bob", scopes=["*"])
    app_services.keys.authenticate(other.secret)
    assert len(remembered) == 1


@pytest.mark.parametrize("scope", SCOPES)
def test_scopes(scope: str) -> None:
    """A scope is for itself; ``*`` is every one."""
    assert Principal("acme", "ann", frozenset({scope})).has(scope)
    assert Principal("acme", "ann", frozenset({EVERYTHING})).has(scope)
    assert not Principal("acme", "ann", frozenset(set(SCOPES) - {scope, EVERYTHING})).has(scope)
