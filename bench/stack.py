"""A local stack of a measurement's own, and how long its state machines take.

Times are Step Functions' own, from the start of an execution to its stop: neither the request that starts a run is in
them, nor the event by which its end becomes known.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.graphs import Shape
from bench.report import Progress
from chalicelib.foundation.clock import parse_timestamp
from examples.api_client import ApiClient
from infra.environment import function_name
from tests.stack.conftest import LocalStack, bring_up, new_home, run

_POLL = 0.05  # seconds
_ROLE = "arn:aws:iam::000000000000:role/bench"


@contextmanager
def local_stack(progress: Progress) -> Iterator[LocalStack]:
    """A stack that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        home = new_home(Path(folder))
        try:
            progress("bringing up a local stack")
            yield bring_up(home)
        finally:
            run(home, "infra.local.down")


class Machines:
    """Step Functions of a stack."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._client = stack.client("stepfunctions")
        self._api = ApiClient(stack.api_url, stack.api_key)

    def of_workflow(self, shape: Shape) -> Callable[[], str]:
        """Starts a run of a new workflow through the API, and returns the ARN of its execution."""
        workflow = self._api.create_workflow({"name": "bench", **shape})

        def start() -> str:
            return self._found(self._api.execute(workflow, {}))

        return start

    def by_hand(self, name: str, definition: Mapping[str, Any]) -> Callable[[], str]:
        """Starts an execution of a state machine that is not ours, and returns its ARN."""
        text = json.dumps({"QueryLanguage": "JSONata", **definition})
        arn = self._client.create_state_machine(name=name, definition=text, roleArn=_ROLE)["stateMachineArn"]
        return lambda: str(self._client.start_execution(stateMachineArn=arn, input="{}")["executionArn"])

    def function(self, name: str, code: str, **environment: str) -> str:
        """The ARN of a new function of Python ``code``, which defines ``handler``."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("code.py", code)
        created = self._stack.client("lambda").create_function(
            FunctionName=name, Runtime="python3.13", Role=_ROLE, Handler="code.handler", MemorySize=512,
            Code={"ZipFile": packed.getvalue()}, Environment={"Variables": environment},
        )  # fmt: skip
        return str(created["FunctionArn"])

    def seconds(self, execution: str, within: float, every: float = _POLL) -> float:
        """From start to stop, looked for ``every`` so often. Raises ``TimeoutError``; fails where the run does."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            found: dict[str, Any] = self._client.describe_execution(executionArn=execution)
            if found["status"] != "RUNNING":
                assert found["status"] == "SUCCEEDED", found
                return float((found["stopDate"] - found["startDate"]).total_seconds())
            time.sleep(every)
        raise TimeoutError(f"{execution} did not end within {within} s")

    def nodes_took(self, execution: str) -> dict[str, float]:
        """Seconds from start to end of each node of a run, as its records tell them."""
        tasks = self._api.execution(execution.rpartition(":")[2])["tasks"]
        return {
            task["taskId"]: (parse_timestamp(task["finishedAt"]) - parse_timestamp(task["startedAt"])).total_seconds()
            for task in tasks
        }

    def tasks(self, execution: str) -> int:
        """How often a Task was begun, by the history of an execution: each state, and each further try."""
        pages = self._client.get_paginator("get_execution_history").paginate(executionArn=execution)
        begun = ("TaskScheduled", "LambdaFunctionScheduled")
        return sum(event["type"] in begun for page in pages for event in page["events"])

    def told_transitions(self, execution: str) -> int:
        """What the run itself says to have come to, once its end is known."""
        for _ in range(100):
            cost = self._api.execution(execution.rpartition(":")[2])["execution"]["cost"]
            if cost is not None:
                return int(cost["stateTransitions"])
            time.sleep(_POLL)
        raise TimeoutError(f"what {execution} has come to was not told")

    def _found(self, execution_id: str) -> str:
        return next(
            str(found["executionArn"])
            for page in self._client.get_paginator("list_state_machines").paginate()
            for machine in page["stateMachines"]
            if machine["name"].startswith(function_name("local", ""))
            for found in self._client.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]
            if found["name"] == execution_id
        )
