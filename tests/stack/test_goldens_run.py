"""Every golden graph runs on the stack as its file says: created and executed through the API, read back from it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import urllib3

from tests.compiler.golden import GOLDENS, Golden
from tests.stack.conftest import LocalStack

AT_ONCE = 4  # runs; each takes Lambda workers of its own, which are processes of this machine
DEADLINE_S = 240  # fifty cold workers at once take a busy laptop a while
FINAL = {"SUCCESS", "FAILED", "CANCELLED", "TIMED_OUT"}
RUNS = [
    pytest.param(golden, number, id=f"{golden}-{number}") for golden in GOLDENS for number in range(len(golden.runs))
]


class Api:
    """The four requests that a run takes. Any answer but a good one fails the test."""

    def __init__(self, stack: LocalStack) -> None:
        self._url = stack.api_url
        self._headers = {"X-API-Key": stack.api_key, "Content-Type": "application/json"}
        self._http = urllib3.PoolManager(maxsize=AT_ONCE, timeout=urllib3.Timeout(connect=3, read=60))

    def create(self, golden: Golden) -> str:
        body = {"name": golden.name, "settings": golden.settings, **golden.graph.to_json()}
        return str(self._call("POST", "/api/v1/workflows", body)["workflowId"])

    def run(self, workflow_id: str, trigger: Mapping[str, Any]) -> dict[str, Any]:
        """The execution with its tasks, once it has ended."""
        path = f"/api/v1/workflows/{workflow_id}/execute"
        execution = f"/api/v1/executions/{self._call('POST', path, {'triggerInputs': trigger})['executionId']}"
        deadline = time.monotonic() + DEADLINE_S
        while (found := self._call("GET", execution))["execution"]["status"] not in FINAL:
            assert time.monotonic() < deadline, f"the run has not ended: {found}"
            time.sleep(0.3)
        return found

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        headers = self._headers | ({"Idempotency-Key": str(uuid.uuid4())} if body is not None else {})
        data = None if body is None else json.dumps(body)
        response = self._http.request(method, self._url + path, body=data, headers=headers, retries=False)
        assert response.status < 300, f"{method} {path}: {response.status} {response.data!r}"
        answer: dict[str, Any] = response.json()
        return answer


@pytest.fixture(scope="session")
def ended(stack: LocalStack) -> Iterator[Mapping[tuple[str, int], Future[dict[str, Any]]]]:
    """All runs, begun a few at a time; a test waits for its own."""
    api = Api(stack)

    def run(golden: Golden, number: int) -> dict[str, Any]:
        return api.run(api.create(golden), golden.runs[number]["trigger"])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            (golden.name, number): pool.submit(run, golden, number)
            for golden in GOLDENS
            for number in range(len(golden.runs))
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("golden", "number"), RUNS)
def test_golden_runs(golden: Golden, number: int, ended: Mapping[tuple[str, int], Future[dict[str, Any]]]) -> None:
    """It ends as expected, with the output that is expected, and every task is decided as expected."""
    found = ended[golden.name, number].result(2 * DEADLINE_S)
    expect = golden.runs[number]["expect"]
    statuses = {task["taskId"]: task["status"] for task in found["tasks"]}
    assert statuses == expect["tasks"]
    assert found["execution"]["status"] == expect["status"], found["execution"]["error"]
    assert found["execution"]["output"] == expect["output"]
    attempts = {task["taskId"]: _ended_attempts(task) for task in found["tasks"]}
    assert {name: attempts[name] for name in expect.get("attempts", ())} == expect.get("attempts", {})


def _ended_attempts(task: Mapping[str, Any]) -> int:
    """How often it was tried. What a busy machine cut off (a request to the emulator that took too long) is begun anew,
    and counts as little here as for the retries of the node.
    """
    return sum(attempt["finishedAt"] is not None for attempt in task["attemptHistory"])
