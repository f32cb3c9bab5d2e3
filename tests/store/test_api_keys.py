"""API keys in the store, and what is not there: the keys themselves."""

from __future__ import annotations

import json
from typing import Any

from chalicelib.bootstrap import Services
from tests.conftest import TABLE


def test_the_secret_is_nowhere(app_services: Services, dynamodb: Any) -> None:
    """Only the hash and the first letters of a key are stored: nobody who reads the whole table can use it."""
    made = app_services.keys.create(organization_id="acme", user_id="ann", scopes=["workflows:read"])
    everything = json.dumps(dynamodb.scan(TableName=TABLE)["Items"])
    assert made.key.digest in everything
    assert made.key.prefix in everything
    assert made.secret not in everything
    assert made.secret.removeprefix(made.key.prefix) not in everything


def test_a_key_is_found_by_its_secret(app_services: Services) -> None:
    """Whose key it is, and for what, come back as they were given."""
    made = app_services.keys.create(organization_id="acme", user_id="ann", scopes=["workflows:write", "workflows:read"])
    principal = app_services.keys.authenticate(made.secret)
    assert (principal.organization_id, principal.user_id) == ("acme", "ann")
    assert principal.scopes == {"workflows:read", "workflows:write"}
