"""The parts of the store, each over the table and the bucket on moto. Backing off takes no time."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.store.blobs import Blobs
from chalicelib.store.executions import ExecutionRepository
from chalicelib.store.table import Table
from chalicelib.store.workflows import WorkflowRepository
from tests.conftest import BUCKET, TABLE


@pytest.fixture
def naps() -> list[float]:
    """How long was backed off, in seconds."""
    return []


@pytest.fixture
def table(dynamodb: Any, naps: list[float]) -> Table:
    return Table(dynamodb, TABLE, sleep=naps.append)


@pytest.fixture
def blobs(s3: Any) -> Blobs:
    return Blobs(s3, BUCKET)


@pytest.fixture
def workflows(table: Table, blobs: Blobs) -> WorkflowRepository:
    return WorkflowRepository(table, blobs)


@pytest.fixture
def executions(table: Table) -> ExecutionRepository:
    return ExecutionRepository(table)
