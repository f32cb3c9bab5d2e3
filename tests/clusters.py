"""A local cluster to test against, and the official client of it; or a real cluster, where one is named.

``MILLRACE_TEST_KUBECONFIG`` (or ``KUBECONFIG``) leads to a real one. Then ``MILLRACE_TEST_POD_IMAGE`` names an image
whose ``python`` serves, and each test has a namespace of its own in either.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config

from infra.local import cluster_process
from infra.local.cluster.environment import IMAGE
from infra.local.home import Home
from tests.ports import free_ports

TIMEOUT_S = (5, 30)  # of each call: to connect, and to read


@dataclass(frozen=True)
class TestCluster:
    kubeconfig: Path
    home: Home | None  #: of the local cluster; ``None`` for a real one
    image: str

    __test__ = False

    @property
    def is_local(self) -> bool:
        return self.home is not None

    def api_client(self) -> client.ApiClient:
        return config.new_client_from_config(config_file=str(self.kubeconfig))


@contextmanager
def local_cluster(root: Path) -> Iterator[TestCluster]:
    """A local cluster of its own in a folder; ended with all that it runs."""
    home = Home(root, free_ports(3))
    cluster_process.ensure(home)
    try:
        yield TestCluster(home.kubeconfig, home, IMAGE)
    finally:
        cluster_process.stop(home)


@contextmanager
def any_cluster(root: Path) -> Iterator[TestCluster]:
    """The real cluster that the environment names, else a local one."""
    real = os.environ.get("MILLRACE_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG")
    if real:
        yield TestCluster(Path(real), None, os.environ.get("MILLRACE_TEST_POD_IMAGE", "python:3.13-slim"))
    else:
        with local_cluster(root) as cluster:
            yield cluster


@contextmanager
def namespace(api: client.ApiClient) -> Iterator[str]:
    """A namespace with a name that is new."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    core = client.CoreV1Api(api)
    body: dict[str, Any] = {"metadata": {"name": name}}
    core.create_namespace(body, _request_timeout=TIMEOUT_S)
    try:
        yield name
    finally:
        core.delete_namespace(name, _request_timeout=TIMEOUT_S)
