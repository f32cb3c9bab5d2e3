"""Calls to DynamoDB, S3 and Step Functions of each request to the API, through the app's own routes.

The key of the caller is known already, as in a Lambda that is warm; the first row says what it costs when it is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from chalice.test import Client

from app import app
from bench import graphs
from bench.aws import ACCOUNT, REGION, aws_in_process, sdk
from bench.report import Figures, Progress
from chalicelib.bootstrap import lambda_services
from chalicelib.services.workflows import WorkflowChange
from tests.fakes import Calls, watched
from tests.runs import OWNER, Runs
from tests.state_machines import StepFunctions

COLUMNS = ("request", "DynamoDB reads", "writes", "limit of both", "S3", "Step Functions")

#: DynamoDB calls that a request may make. ``None``: counted, without a limit.
LIMITS: Mapping[str, int | None] = {
    "get workflow, key not seen before": 2,
    "create workflow": None,
    "get workflow": 1,
    "list workflows": None,
    "put workflow": None,
    "validate": 1,
    "execute, new state machine": None,
    "execute": None,
    "execute with Idempotency-Key": None,
    "get execution": 1,
    "list executions": None,
}


def measure(progress: Progress) -> Sequence[Figures]:
    """One table; ``broken`` where a request makes more calls than it may."""
    with aws_in_process():
        progress("requests through the routes of the app")
        rows = list(_Api().rows())
    broken = [f"{row[0]}: {row[1] + row[2]} calls to DynamoDB, {row[3]} at most" for row in rows if _exceeds(row)]
    return [Figures("Calls of one request", COLUMNS, rows, broken)]


def _exceeds(row: Sequence[Any]) -> bool:
    return row[3] is not None and row[1] + row[2] > row[3]


class _Api:
    def __init__(self) -> None:
        self._http = Client(app).http
        self._services = lambda_services()
        self._key = self._services.keys.create(organization_id=OWNER.organization_id, user_id="ann", scopes=["*"])

    def rows(self) -> Iterator[list[Any]]:
        shape = graphs.chain(10)
        body = {"name": "w", "nodes": shape["nodes"], "connections": shape["connections"]}
        first = self._services.workflows.create(OWNER, WorkflowChange(name="first")).id
        of = f"/api/v1/workflows/{first}"
        yield self._count("get workflow, key not seen before", lambda: self._send("GET", of))
        answers: list[Any] = []
        yield self._count("create workflow", lambda: answers.append(self._send("POST", "/api/v1/workflows", body)))
        of = f"/api/v1/workflows/{answers.pop()['workflowId']}"
        yield self._count("get workflow", lambda: self._send("GET", of))
        yield self._count("list workflows", lambda: self._send("GET", "/api/v1/workflows"))
        yield self._count("put workflow", lambda: self._send("PUT", of, {"name": "other"}))
        yield self._count("validate", lambda: self._send("POST", f"{of}/validate", {}))
        execute = f"{of}/execute"
        yield self._count("execute, new state machine", lambda: self._send("POST", execute, {}))
        yield self._count("execute", lambda: answers.append(self._send("POST", execute, {})))
        yield self._count("execute with Idempotency-Key", lambda: self._send("POST", execute, {}, "once"))
        execution = answers.pop()["executionId"]
        runs = Runs(self._services, StepFunctions(ACCOUNT, REGION))
        runs.walk(execution)
        runs.tell_end(execution)
        yield self._count("get execution", lambda: self._send("GET", f"/api/v1/executions/{execution}"))
        yield self._count("list executions", lambda: self._send("GET", "/api/v1/executions"))

    def _send(self, method: str, path: str, body: Any = None, idempotency_key: str | None = None) -> Any:
        headers = {"X-API-Key": self._key.secret, "Content-Type": "application/json"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        response = self._http.request(method, path, headers, b"" if body is None else json.dumps(body).encode())
        assert response.status_code < 300, (method, path, response.body)
        return json.loads(response.body)

    def _count(self, name: str, request: Callable[[], Any]) -> list[Any]:
        with ExitStack() as stack:
            seen: list[Calls] = [
                stack.enter_context(watched(sdk(service))) for service in ("dynamodb", "s3", "stepfunctions")
            ]
            request()
        table, objects, machines = seen
        return [name, table.reads, table.writes, LIMITS[name], len(objects.operations), len(machines.operations)]
