"""docs/api.md and docs/executions.md tell the API as it is registered."""

from __future__ import annotations

import re

import pytest

from app import app
from chalicelib.api import paging
from chalicelib.api.executions.mapping import EXECUTION_WORDS, STEP_WORDS, detail_json
from chalicelib.api.workflows.schemas import CreateWorkflowBody, ExecuteBody
from chalicelib.engines.payloads import Payloads
from chalicelib.foundation import errors
from chalicelib.foundation.problems import INTERNAL, STATUSES
from chalicelib.graph.executions import Execution, ExecutionStatus, Payload, StepRecord, StepStatus, Trigger
from chalicelib.graph.model import WorkflowStatus
from chalicelib.services.access import SCOPES
from chalicelib.services.executions import ExecutionDetail
from chalicelib.store.blobs import Blobs
from tests.docs.pages import page, sections, words

API = page("api.md")
RUNS = page("executions.md")


def test_table_of_routes_is_what_the_app_registers() -> None:
    """Each method and path stands in the table at the top, and no other."""
    told = set(re.findall(r"^\| ([A-Z]+) \| `(/[^`]*)` \|", API, re.M))
    assert told == {(method, path) for path, methods in app.routes.items() for method in methods}


def test_scopes_of_routes_are_known() -> None:
    """A route's scope is one that keys can have, or none."""
    told = {scope.strip("`") for scope in re.findall(r"^\| [A-Z]+ \| `/[^`]*` \| (\S+) \|", API, re.M)}
    assert told <= {*SCOPES, "none"}


def test_every_scope_is_explained() -> None:
    """What a key can be given stands in the table of scopes."""
    assert set(SCOPES) <= words(sections(API, 2)["Keys and scopes"])


def test_table_of_errors_is_the_table_of_statuses() -> None:
    """Status and code of each error, and of what is none of ours."""
    told = {(int(status), code) for status, code in re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", API, re.M)}
    assert told == {(status, code) for code, (status, _) in STATUSES.items()} | {(INTERNAL[0], "internal")}


def test_every_error_that_a_request_can_meet_has_a_status() -> None:
    """Codes of foundation.errors, those of nodes aside, are in the table; so no error is without an answer."""
    kinds = [errors.MillraceError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    ours = {kind.code for kind in kinds if kind.__module__ == errors.__name__}
    assert ours - {errors.MillraceError.code, errors.NodeError.code} == set(STATUSES)


@pytest.mark.parametrize(
    ("model", "heading"),
    [(CreateWorkflowBody, "Create a workflow"), (ExecuteBody, "Execute")],
    ids=["create", "execute"],
)
def test_every_field_of_a_body_is_explained(model: type[CreateWorkflowBody | ExecuteBody], heading: str) -> None:
    """The table of a request's fields is what its body takes."""
    cells = re.findall(r"^\| (`[^|]+) \|", sections(API, 2)[heading], re.M)
    assert {word for cell in cells for word in words(cell)} == set(model.model_json_schema(by_alias=True)["properties"])


def test_every_status_of_a_workflow_is_explained() -> None:
    """The table of statuses has the words that a workflow can be in."""
    assert set(re.findall(r"^\| `(\w+)` \|", sections(API, 2)["Status"], re.M)) == {
        str(word) for word in WorkflowStatus
    }


def test_page_size_is_what_is_told() -> None:
    """Default and greatest limit of a list."""
    assert f"1 to {paging.MAX_LIMIT}, {paging.DEFAULT_LIMIT} where it is absent" in API


@pytest.mark.parametrize(
    ("heading", "wire_words"),
    [("The execution", EXECUTION_WORDS.values()), ("The tasks", STEP_WORDS.values())],
    ids=["execution", "tasks"],
)
def test_every_status_of_a_run_is_explained(heading: str, wire_words: object) -> None:
    """The tables of statuses hold the words of the API."""
    assert isinstance(wire_words, type({}.values()))
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", sections(RUNS, 2)[heading], re.M)) == set(wire_words)


def test_every_field_of_a_run_is_explained() -> None:
    """What an answer holds, an execution with a task, is what the tables say."""
    payloads = Payloads(Blobs(None, "none"))  # what is small needs no S3
    execution = Execution(
        id="exec_1",
        organization_id="org",
        workflow_id="wf_1",
        status=ExecutionStatus.SUCCEEDED,
        plan="hash",
        machine="machine",
        trigger=Trigger("manual", "api", Payload(text="{}", size=2)),
        tasks_total=1,
        created_at="2026-01-01T00:00:00.000Z",
    )
    detail = ExecutionDetail(execution, (StepRecord("a", "", StepStatus.SUCCEEDED, pinned=True),))
    answer = detail_json(detail, payloads)
    for heading, shown in (("The execution", answer["execution"]), ("The tasks", answer["tasks"][0])):
        table = sections(RUNS, 2)[heading].partition("| field |")[2].partition("\n\n")[0]
        cells = re.findall(r"^\| (`[^|]+) \|", table, re.M)
        assert {word for cell in cells for word in words(cell)} == set(shown)
