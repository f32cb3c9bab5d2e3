"""The four requests that the demo makes, as functions of Python.

Thin on purpose: a reader should see the published API through it. Only what may safely happen twice is sent again
after a broken answer: reads, and ``execute``, which carries an ``Idempotency-Key``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import urllib3

TIMEOUT = urllib3.Timeout(connect=3, read=30)  # seconds; the first request after a deployment starts a Lambda
RETRIES = urllib3.Retry(
    3, allowed_methods=None, status_forcelist=(429, 502, 503, 504), backoff_factor=0.3, raise_on_status=False
)


class ApiError(Exception):
    """The API refused a request, or did not answer. The message is for people."""


class ApiClient:
    """Raises ``ApiError`` from every method."""

    def __init__(self, api_url: str, api_key: str) -> None:
        self._api_url = api_url.rstrip("/")
        self._headers = {"X-API-Key": api_key, "Content-Type": "application/json"}
        self._http = urllib3.PoolManager(timeout=TIMEOUT)

    def create_workflow(self, workflow: Mapping[str, Any]) -> str:
        """Its id."""
        return str(self._call("POST", "/api/v1/workflows", workflow)["workflowId"])

    def validate(self, workflow_id: str) -> dict[str, Any]:
        """``{valid, errors, warnings, nodeCount, connectionCount}``"""
        return self._call("POST", f"/api/v1/workflows/{workflow_id}/validate", {}, repeatable=True)

    def execute(self, workflow_id: str, trigger_inputs: Mapping[str, Any]) -> str:
        """The id of the execution."""
        path = f"/api/v1/workflows/{workflow_id}/execute"
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return str(self._call("POST", path, {"triggerInputs": trigger_inputs}, key, repeatable=True)["executionId"])

    def execution(self, execution_id: str) -> dict[str, Any]:
        """``{"execution": {...}, "tasks": [...]}``"""
        return self._call("GET", f"/api/v1/executions/{execution_id}", repeatable=True)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeatable: bool = False,
    ) -> dict[str, Any]:
        try:
            response = self._http.request(
                method,
                self._api_url + path,
                body=None if body is None else json.dumps(body),
                headers={**self._headers, **(headers or {})},
                retries=RETRIES if repeatable else False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(f"{self._api_url} does not answer: {error}") from error
        if response.status >= 400:
            raise ApiError(f"{method} {path}: {_problem(response)}")
        try:
            answer = json.loads(response.data)
        except ValueError as error:
            raise ApiError(f"{method} {path}: the answer is not JSON: {response.data[:256]!r}") from error
        if not isinstance(answer, dict):
            raise ApiError(f"{method} {path}: the answer is not an object: {response.data[:256]!r}")
        return answer


def _problem(response: urllib3.BaseHTTPResponse) -> str:
    """The API's own words: ``application/problem+json`` in one line; of anything else the beginning."""
    try:
        problem = json.loads(response.data)
        faults = [
            f"{fault.get('path') or fault.get('nodeId') or 'request'}: {fault['message']}"
            for fault in problem.get("errors", ())
        ]
        return f"{response.status}: " + "; ".join([problem["detail"], *faults])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{response.status}: {response.data[:256].decode(errors='replace')}"
