"""What each request to the API asks of DynamoDB, S3 and Step Functions, through the app's own routes: every route that
there is.

The key of the caller is known already, as in a Lambda that is warm; the first row says what it costs when it is not.
The workflow is one of ten nodes, owned by the caller; a run of it has ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from chalice.test import Client

from app import app
from bench import graphs
from bench.aws import ACCOUNT, REGION, aws_in_process, sdk
from bench.report import Figures, Progress
from chalicelib.api.endpoint import ROUTES
from chalicelib.bootstrap import lambda_services
from chalicelib.graph.changes import WorkflowChange
from chalicelib.services.access import EVERYTHING, READ
from tests.fake_cluster import FakeCluster
from tests.fakes import Calls, watched
from tests.runs import OWNER, Runs, parsed
from tests.state_machines import StepFunctions

COLUMNS = ("request", "DynamoDB reads", "writes", "limit of both", "items read", "S3", "Step Functions")
AUTHENTICATION = "GET /workflows/{workflow}, key not seen before"

BASE = "/api/v1"
ONE = "/workflows/{workflow}"


@dataclass(frozen=True)
class Request:
    """One request, and how many DynamoDB calls it may make: None where that has no limit."""

    name: str  #: ``METHOD path``, below ``/api/v1``; words behind a comma tell two of a kind apart
    body: Any = None
    limit: int | None = None
    keep: Mapping[str, str] | None = None  #: fields of the answer that later paths name, by that name
    idempotency_key: str | None = None
    as_user: bool = False  #: who owns and reads workflows, and does not administer them

    @property
    def method(self) -> str:
        return self.name.split()[0]

    @property
    def path(self) -> str:
        return BASE + self.name.split(",")[0].split()[1]


_SHAPE = graphs.chain(10)
_APPROVAL = {"nodes": [{"id": "ask", "nodeId": "approval", "config": {}}], "connections": []}
_LOG = {"nodeId": "log", "config": {"message": "hello"}}

_ON_ORDERS = {"nodeId": "event-trigger", "config": {"eventType": "order.*"}}

#: In an order in which each finds what it needs; what destroys comes last.
REQUESTS = (
    Request(f"GET {ONE}", limit=1),
    Request("GET /workflows", limit=1),
    Request("GET /workflows, as a user", limit=2, as_user=True),
    Request("GET /workflows?status=draft, by status", limit=2, as_user=True),
    Request("GET /workflows?tag=etl, by tag", limit=2, as_user=True),
    Request("GET /workflows?sort=name:asc, by name", limit=4, as_user=True),
    Request("GET /workflows?search=w, searched", limit=2, as_user=True),
    Request("GET /workflows/stats"),
    Request("GET /workflows/templates"),
    Request(
        "POST /workflows",
        {"name": "w", "nodes": _SHAPE["nodes"], "connections": _SHAPE["connections"], "tags": ["etl"]},
        limit=1,
        keep={"workflow": "workflowId"},
    ),
    Request(f"PUT {ONE}", {"name": "other"}, limit=2),
    Request(f"PUT {ONE}, of an app", {"settings": {"appId": "crm"}}, limit=2),
    Request(f"POST {ONE}/validate", {}, limit=1),
    Request(f"GET {ONE}/plan", limit=1),
    Request(f"GET {ONE}/nodes", limit=1),
    Request(f"POST {ONE}/nodes", _LOG, limit=2, keep={"node": "node.id"}),
    Request(f"PUT {ONE}/nodes/{{node}}", {"config": {"message": "other"}}, limit=2),
    Request(f"PUT {ONE}/nodes/{{node}}/input-mappings", {"mappings": {"x": "data.y"}}, limit=2),
    Request(f"PUT {ONE}/nodes/{{node}}/passthrough-values", {"values": {"x": "y"}}, limit=2),
    Request(
        f"POST {ONE}/connections",
        {"sourceNodeId": "n0", "targetNodeId": "{node}"},
        limit=2,
        keep={"connection": "connection.id"},
    ),
    Request(f"DELETE {ONE}/connections/{{connection}}", limit=2),
    Request(f"DELETE {ONE}/nodes/{{node}}", limit=2),
    Request(f"POST {ONE}/layout", limit=2),
    Request(f"POST {ONE}/compute-scopes", limit=2),
    Request(f"POST {ONE}/versions", {"versionTag": "v1"}, limit=3),
    Request(f"GET {ONE}/versions", limit=2),
    Request(f"POST {ONE}/share", {"userId": "ben"}, limit=2),
    Request(f"GET {ONE}/share", limit=1),
    Request(f"DELETE {ONE}/share/ben", limit=2),
    Request(f"POST {ONE}/duplicate", limit=2),
    Request(f"POST {ONE}/execute, new state machine", {}, limit=5),
    Request(f"POST {ONE}/execute", {}, limit=4, keep={"execution": "executionId"}),
    Request(f"POST {ONE}/execute, with Idempotency-Key", {}, limit=5, idempotency_key="once"),
    Request("GET /executions/{execution}", limit=1),
    Request("GET /executions"),
    Request("POST /executions/{execution}/cancel"),
    Request("POST /executions/{execution}/retry"),
    Request("POST /executions/{execution}/pause"),
    Request("POST /executions/{execution}/resume"),
    Request("POST /executions/{execution}/pause, again"),
    Request("POST /executions/{execution}/restart", {"fromStep": "n0"}),
    Request(f"POST {ONE}/execute, an approval", {"definition": _APPROVAL}, keep={"waiting": "executionId"}),
    Request("GET /approvals"),
    Request("GET /approvals/{approval}"),
    Request("POST /approvals/{approval}/approve", {}),
    Request("POST /approvals/{other}/reject", {}),
    Request("POST /credentials", {"name": "TOKEN", "value": "secret"}, limit=1),
    Request("GET /credentials", limit=1),
    Request("GET /credentials/TOKEN", limit=1),
    Request("PUT /credentials/TOKEN", {"value": "other"}),
    Request("DELETE /credentials/TOKEN"),
    Request("GET /audit", limit=2),
    Request("POST /keys", {"userId": "ben", "scopes": ["workflows:read"]}, limit=1, keep={"key": "id"}),
    Request("GET /keys", limit=2),
    Request("DELETE /keys/{key}", limit=2),
    Request(f"POST {ONE}/nodes, a webhook", {"nodeId": "webhook-trigger"}, limit=2, keep={"hook": "node.config.key"}),
    Request(f"POST {ONE}/nodes, an event trigger", _ON_ORDERS, limit=2),
    Request(f"POST {ONE}/nodes, an email trigger", {"nodeId": "email-trigger"}, limit=2),
    Request(f"POST {ONE}/nodes, a queue trigger", {"nodeId": "queue-trigger"}, limit=2),
    Request(f"PUT {ONE}/status, to active", {"status": "active"}, limit=2),
    Request(f"POST {ONE}/enqueue", {"message": {}}, limit=2),
    Request(f"POST {ONE}/email-trigger, new state machine", {"text": "t"}),
    Request(f"POST {ONE}/email-trigger", {"text": "t"}, limit=5),
    Request("POST /webhook/{hook}, new state machine", {}, limit=7),
    *(Request(f"{method} /webhook/{{hook}}", {}, limit=6) for method in ("POST", "GET", "PUT", "PATCH", "DELETE")),
    Request("POST /workflows/events, for nobody", {"event_type": "none"}, limit=4),
    Request("POST /workflows/events, new state machine", {"event_type": "order.paid"}),
    Request("POST /workflows/events, for one", {"event_type": "order.paid"}, limit=9),
    Request(f"PUT {ONE}/lifecycle", {"type": "on-demand"}, limit=3),
    Request(f"POST {ONE}/deploy", limit=5),
    Request(f"POST {ONE}/trigger", {}, limit=3),
    Request(f"POST {ONE}/trigger, at once again", {}, limit=2),
    Request(f"POST {ONE}/trigger, with Idempotency-Key", {}, limit=5, idempotency_key="triggered"),
    Request(f"GET {ONE}/lifecycle", limit=2),
    Request(f"POST {ONE}/stop", limit=4),
    Request(f"POST {ONE}/trigger, which starts it", {}, limit=6),
    Request(f"POST {ONE}/start", {"replicas": 2}, limit=5),
    Request("GET /workflows/discover?appId=crm", limit=3),
    Request(f"POST {ONE}/undeploy", limit=6),
    Request(f"PUT {ONE}/status", {"status": "archived"}, limit=2),
    Request(f"DELETE {ONE}", limit=2),
)

#: What asks nothing of the table: descriptions, and the trial of a node, which asks the node runner.
_OF_ITSELF = {"get_openapi", "get_docs", "get_health", "test_node"}


def measure(progress: Progress) -> Sequence[Figures]:
    """One table; ``broken`` where a request makes more calls than it may, and where a route has no row."""
    with aws_in_process():
        progress("requests through the routes of the app")
        rows = list(_Api().rows())
    broken = [f"{row[0]}: {row[1] + row[2]} calls to DynamoDB, {row[3]} at most" for row in rows if _exceeds(row)]
    return [Figures("What one request asks of AWS", COLUMNS, rows, [*broken, *_uncounted()])]


def _exceeds(row: Sequence[Any]) -> bool:
    return row[3] is not None and row[1] + row[2] > row[3]


def _uncounted() -> Iterator[str]:
    """Routes that no request here takes."""
    counted = [f"{request.method} {request.path.split('?')[0]}" for request in REQUESTS]
    for route in ROUTES:
        pattern = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(f"{route.method} {route.path}")))
        if route.name not in _OF_ITSELF and not any(map(pattern.fullmatch, counted)):
            yield f"{route.method} {route.path}: nothing counts what it asks"


class _Api:
    def __init__(self) -> None:
        self._http = Client(app).http
        self._services = lambda_services()
        self._services.cluster = FakeCluster()
        self._keys = {as_user: self._new_key(scopes) for as_user, scopes in ((True, [READ]), (False, [EVERYTHING]))}
        self._names: dict[str, str] = {}  # what the paths call things, and their ids

    def _new_key(self, scopes: list[str]) -> str:
        new = self._services.keys.create(organization_id=OWNER.organization_id, user_id=OWNER.user_id, scopes=scopes)
        return new.secret

    def rows(self) -> Iterator[list[Any]]:
        self._names["workflow"] = self._services.workflows.create(OWNER, WorkflowChange(name="first")).id
        yield self._count(Request(f"GET {ONE}", limit=2), AUTHENTICATION)
        for request in REQUESTS:
            self._services.keys.authenticate(self._keys[request.as_user])  # a key is forgotten after a while
            yield self._count(request, request.name)
            if "execution" in (request.keep or {}):
                self._run()
            if "waiting" in (request.keep or {}):
                self._names |= {"approval": self._ask(), "other": self._ask()}

    def _run(self) -> None:
        """The run that was started, to its last node; that it has ended is told to nobody."""
        Runs(self._services, StepFunctions(ACCOUNT, REGION)).walk(self._names["execution"])

    def _ask(self) -> str:
        """An approval that waits for its decision."""
        workflow = self._services.workflows.find(OWNER, self._names["workflow"])
        definition = parsed(_APPROVAL)
        run = self._services.executions.start(OWNER, workflow, inputs={}, definition=definition)
        runs = Runs(self._services, StepFunctions(ACCOUNT, REGION))
        runs.visit(run, "ask")
        return str(runs.steps(run)["ask"].approval)

    def _count(self, request: Request, name: str) -> list[Any]:
        with ExitStack() as stack:
            seen: list[Calls] = [
                stack.enter_context(watched(sdk(service))) for service in ("dynamodb", "s3", "stepfunctions")
            ]
            self._send(request)
        table, objects, machines = seen
        asked = (table.reads, table.writes, request.limit, table.items_read)
        return [name, *asked, len(objects.operations), len(machines.operations)]

    def _send(self, request: Request) -> None:
        path = request.path.format(**self._names)
        headers = {"X-API-Key": self._keys[request.as_user], "Content-Type": "application/json"}
        if request.idempotency_key:
            headers["Idempotency-Key"] = request.idempotency_key
        body = b"" if request.body is None else self._named(json.dumps(request.body)).encode()
        response = self._http.request(request.method, path, headers, body)
        assert response.status_code < 300, (request.name, response.body)
        for name, field in (request.keep or {}).items():
            found = json.loads(response.body)
            for part in field.split("."):
                found = found[part]
            self._names[name] = found

    def _named(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda match: self._names.get(match[1], match[0]), text)
