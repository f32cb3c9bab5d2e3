"""The public API of a stack, and what stands behind a run there, for tests that look at runs from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import urllib3

from chalicelib.foundation.json_types import Json
from infra.environment import function_name
from tests.stack.conftest import LocalStack

FINAL = {"SUCCESS", "FAILED", "CANCELLED", "TIMED_OUT"}
_POLL = 0.05  # seconds
_TIMEOUT = urllib3.Timeout(connect=3, read=40)  # seconds

T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str, within: float = 30) -> T:
    """The first answer of ``look`` that is something. Fails after ``within`` seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(_POLL)
    raise AssertionError(f"not within {within} s: {what}")


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


class Api:
    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=False, maxsize=8)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {"X-API-Key": self._stack.api_key, "Content-Type": "application/json", **headers}
        response = self._http.request(
            method, self._stack.api_url + path, body=None if body is None else json.dumps(body).encode(), headers=sent
        )
        return Answer(response.status, json.loads(response.data) if response.data else None)

    def create(self, graph: Mapping[str, Any], **fields: Any) -> str:
        """The id of a new workflow."""
        answer = self.send("POST", "/api/v1/workflows", {"name": "a test's", **graph, **fields})
        assert answer.status == 201, answer
        return str(answer.body["workflowId"])

    def execute(self, workflow_id: str, inputs: Json = None, **headers: str) -> Answer:
        path = f"/api/v1/workflows/{workflow_id}/execute"
        return self.send("POST", path, {"triggerInputs": inputs} if inputs else {}, **headers)

    def start(self, graph: Mapping[str, Any], inputs: Json = None, **fields: Any) -> Run:
        """A run of a new workflow."""
        answer = self.execute(self.create(graph, **fields), inputs)
        assert answer.status == 201, answer
        return Run(self, answer.body["executionId"])

    def run(self, graph: Mapping[str, Any], inputs: Json = None, **fields: Any) -> Run:
        """A run that has ended."""
        run = self.start(graph, inputs, **fields)
        run.wait()
        return run

    def detail(self, execution_id: str) -> dict[str, Any]:
        answer = self.send("GET", f"/api/v1/executions/{execution_id}")
        assert answer.status == 200, answer
        body: dict[str, Any] = answer.body
        return body

    @cached_property
    def _step_functions(self) -> Any:
        return self._stack.client("stepfunctions")

    def machine_runs(self, execution_id: str) -> list[dict[str, Any]]:
        """The executions in Step Functions of this name, as ``DescribeExecution`` tells them."""
        machines = self._step_functions.get_paginator("list_state_machines").paginate()
        return [
            self._step_functions.describe_execution(executionArn=found["executionArn"])
            for page in machines
            for machine in page["stateMachines"]
            if machine["name"].startswith(function_name("local", ""))
            for found in self._step_functions.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]
            if found["name"] == execution_id
        ]

    def definition(self, machine_run: Mapping[str, Any]) -> dict[str, Any]:
        machine = self._step_functions.describe_state_machine(stateMachineArn=machine_run["stateMachineArn"])
        found: dict[str, Any] = json.loads(machine["definition"])
        return found


@dataclass(frozen=True)
class Run:
    api: Api
    id: str

    def wait(self, within: float = 60) -> dict[str, Any]:
        """What the API tells of it once it has ended."""
        return eventually(lambda: self._ended(), f"the end of {self.id}", within)

    def _ended(self) -> dict[str, Any] | None:
        told = self.api.detail(self.id)
        return told if told["execution"]["status"] in FINAL else None

    @property
    def execution(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.detail(self.id)["execution"]
        return found

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """By task id; fails where two have the same."""
        listed = self.api.detail(self.id)["tasks"]
        found = {task["taskId"]: task for task in listed}
        assert len(found) == len(listed), listed
        return found

    @property
    def status(self) -> str:
        return str(self.execution["status"])

    @property
    def output(self) -> Any:
        return self.execution["output"]
