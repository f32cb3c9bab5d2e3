"""The app on moto, exactly as a Lambda has it: settings from the environment, the clock and ids of the machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from chalice.test import Client

from app import app
from chalicelib.bootstrap import Services, lambda_services
from tests.api.client import Api
from tests.fake_cluster import FakeCluster

MakeKey = Callable[..., str]


def run_node(event: Mapping[str, Any]) -> dict[str, Any]:
    """What the node runner answers: a call of its Lambda, with JSON there and back."""
    answer: dict[str, Any] = json.loads(json.dumps(Client(app).lambda_.invoke("node", dict(event)).payload))
    return answer


@pytest.fixture
def deployed(environment: dict[str, str]) -> Iterator[Services]:
    """The services of this Lambda, made of this test's environment. The node runner is called in this process, and so
    are pods.
    """
    lambda_services.cache_clear()
    services = lambda_services()
    services.run_node = run_node
    services.cluster = FakeCluster()
    yield services
    lambda_services.cache_clear()


@pytest.fixture
def cluster(deployed: Services) -> FakeCluster:
    found = deployed.cluster
    assert isinstance(found, FakeCluster)
    return found


@pytest.fixture
def make_key(deployed: Services) -> MakeKey:
    def make(user: str = "ann", *scopes: str, organization: str = "acme") -> str:
        return deployed.keys.create(organization_id=organization, user_id=user, scopes=scopes or ("*",)).secret

    return make


@pytest.fixture
def api(make_key: MakeKey) -> Api:
    """A client of ann, who may do everything that is no administrator's."""
    scopes = ("workflows:read", "workflows:write", "workflows:execute")
    return Api(app, make_key("ann", *scopes))


@pytest.fixture
def client_of(api: Api, make_key: MakeKey) -> Callable[..., Api]:
    """Clients of others, with the same scopes unless named."""

    def make(user: str, *scopes: str, organization: str = "acme") -> Api:
        wanted = scopes or ("workflows:read", "workflows:write", "workflows:execute")
        return api.with_key(make_key(user, *wanted, organization=organization))

    return make
