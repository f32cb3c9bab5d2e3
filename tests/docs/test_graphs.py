"""The graphs of docs/graphs.md are what the page says of them: valid or faulty, and what comes out of a run."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from chalicelib.api.workflows.mapping import change_of
from chalicelib.api.workflows.schemas import CreateWorkflowBody
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.foundation.expressions import NAMES
from chalicelib.graph.model import Graph, OnError
from chalicelib.graph.validate import ERROR_TYPES, WARNING_TYPES, validate
from chalicelib.nodes.registry import CATALOG
from tests.compiler.golden import emitted
from tests.docs.pages import page, words
from tests.stack.conftest import LocalStack

PAGE = page("graphs.md")

_EXAMPLE = re.compile(
    r"^<!-- graph: (?P<told>[^\n]+) -->\n```json\n(?P<graph>.*?)^```\n"
    r"(?:Started with `(?P<inputs>[^`\n]+)` it puts out `(?P<output>[^`\n]+)`\.\n)?",
    re.M | re.S,
)


@dataclass(frozen=True)
class Example:
    told: str  # valid, or "errors a b; warnings c"
    body: dict[str, Any]
    inputs: str | None
    output: str | None

    @property
    def graph(self) -> Graph:
        change = change_of(CreateWorkflowBody.model_validate({"name": "Example", **self.body}))
        return Graph(change.nodes or (), change.connections or ())

    @property
    def problems(self) -> set[str]:
        return set(re.sub(r"\b(errors|warnings|valid)(?= |$)|;", " ", self.told).split())


def examples() -> list[Any]:
    found = [
        Example(match["told"], json.loads(match["graph"]), match["inputs"], match["output"])
        for match in _EXAMPLE.finditer(PAGE)
    ]
    assert len(found) == PAGE.count("```json"), "an example without a word on what it is"
    return [pytest.param(example, id=f"{index}-{example.told.split(';')[0]}") for index, example in enumerate(found)]


@pytest.mark.parametrize("example", examples())
def test_graph_has_the_problems_that_are_told(example: Example) -> None:
    """The body has the right shape, and validate finds the errors and warnings named above it, no others."""
    assert {problem.type for problem in validate(example.graph, CATALOG)} == example.problems


@pytest.mark.parametrize("example", examples())
def test_graph_without_errors_compiles(example: Example) -> None:
    """Where the page names no error there is a state machine; where it names one, nothing is promised of the output."""
    if example.problems & set(ERROR_TYPES):
        assert example.output is None
    else:
        assert emitted(compile_plan(example.graph, CATALOG))


@pytest.mark.stack
def test_runs_put_out_what_is_told(local_stack: LocalStack) -> None:
    """Each example that names inputs and output, started with the one, ends with the other."""
    told = [example for (example,) in (param.values for param in examples()) if example.inputs is not None]
    assert len(told) > 7
    started = [(example, start(local_stack, example)) for example in told]
    for example, execution in started:
        assert output_of(local_stack, execution) == json.loads(example.output), example.inputs


def start(stack: LocalStack, example: Example) -> str:
    workflow = call(stack, "POST", "/api/v1/workflows", {"name": "Example", **example.body})["workflowId"]
    inputs = {"triggerInputs": json.loads(example.inputs or "{}")}
    return str(call(stack, "POST", f"/api/v1/workflows/{workflow}/execute", inputs)["executionId"])


def output_of(stack: LocalStack, execution: str) -> Any:
    deadline = time.monotonic() + 90
    while (found := call(stack, "GET", f"/api/v1/executions/{execution}")["execution"])["finishedAt"] is None:
        assert time.monotonic() < deadline, f"{execution} is still {found['status']}"
        time.sleep(0.2)  # between two looks, bounded by the deadline
    assert found["status"] == "SUCCESS", found["error"]
    return found["output"]


def call(stack: LocalStack, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        stack.api_url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-API-Key": stack.api_key, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=40) as response:
        return json.load(response)


def test_every_problem_type_is_explained() -> None:
    """Errors and warnings of validate are the rows of the two tables, in the same words."""
    assert rows("error") == set(ERROR_TYPES)
    assert rows("warning") == set(WARNING_TYPES)


def test_every_problem_type_has_an_example() -> None:
    """What validate can find, some example shows."""
    shown = {problem for (example,) in (param.values for param in examples()) for problem in example.problems}
    assert shown == {*ERROR_TYPES, *WARNING_TYPES}


def test_every_name_of_expressions_is_explained() -> None:
    """The table of names is the list that expressions know."""
    assert rows("name") == NAMES


def test_every_way_to_go_on_after_an_error_is_explained() -> None:
    """The table of onError holds its three words."""
    assert rows("`onError` | what follows") == {str(way) for way in OnError}


def test_every_setting_is_explained() -> None:
    """Settings of nodes and of workflows, as the bodies take them, stand on the page."""
    schema = CreateWorkflowBody.model_json_schema(by_alias=True)["$defs"]
    settings = {*schema["NodeSettingsBody"]["properties"], *schema["WorkflowSettingsBody"]["properties"]}
    settings |= {f"retry.{name}" for name in schema["RetryBody"]["properties"]}
    assert settings - {"retry"} <= words(PAGE)


def test_every_field_of_a_node_is_explained() -> None:
    """The table of a node's fields is what the body takes."""
    assert rows("field") == set(CreateWorkflowBody.model_json_schema(by_alias=True)["$defs"]["NodeBody"]["properties"])


def rows(heading: str) -> set[str]:
    """First cells of the table whose first heading is this."""
    return set(_cells(PAGE.partition(f"\n| {heading} |")[2]))


def _cells(table: str) -> Iterator[str]:
    for line in table.splitlines()[2:]:
        if not line.startswith("| `"):
            return
        yield line.split("`")[1]
