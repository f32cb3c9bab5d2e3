"""One cluster for all of these tests, and a namespace for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubernetes import client

from tests.clusters import TestCluster, any_cluster, namespace


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    with any_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture(scope="session")
def api(cluster: TestCluster) -> Iterator[client.ApiClient]:
    with cluster.api_client() as found:
        yield found


@pytest.fixture
def place(api: client.ApiClient) -> Iterator[str]:
    """A namespace of the test's own."""
    with namespace(api) as name:
        yield name
