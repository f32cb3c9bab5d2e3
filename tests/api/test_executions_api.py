"""Executions over HTTP: started, shown while they run and when they have ended, listed and cancelled."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chalice.test import Client

from app import app
from chalicelib.bootstrap import Services
from chalicelib.foundation.clock import parse_timestamp
from chalicelib.graph.executions import StepRecord, StepStatus
from tests.api.client import Api
from tests.fakes import graph, node
from tests.runs import OWNER
from tests.state_machines import StepFunctions

WORKFLOWS = "/api/v1/workflows"
EXECUTIONS = "/api/v1/executions"
GRAPH = graph(
    [node("t", "manual-trigger"), node("c", "condition", expression="data.n > 1"), node("y", label="Yes"), node("n")],
    "t -> c",
    "c:true -> y",
    "c:false -> n",
)
SUMMARY_KEYS = {
    "id", "workflowId", "flowId", "status", "tasksTotal", "tasksExecuted", "startedAt", "finishedAt", "durationMs",
    "trigger", "error",
}  # fmt: skip
TASK_KEYS = {
    "taskId", "taskName", "taskType", "status", "attempts", "attemptHistory", "outputs", "error",
    "approvalId", "childExecutionId", "startedAt", "finishedAt",
}  # fmt: skip


def create(api: Api, shape: dict[str, Any] = GRAPH, **fields: Any) -> str:
    return f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w', **shape, **fields}).json['workflowId']}"


def execute(api: Api, path: str, body: Any = None, **headers: str) -> str:
    answer = api.post(f"{path}/execute", body, **headers)
    assert answer.status == 201, answer.text
    assert answer.json.keys() == {"executionId"}
    return str(answer.json["executionId"])


def run(execution_id: str, step_functions: StepFunctions) -> None:
    """Runs the state machine over the node Lambda, and delivers the event of its end to the other one."""
    client = Client(app)
    step_functions.run(execution_id, lambda event: client.lambda_.invoke("node", event).payload)
    client.lambda_.invoke("run_status", step_functions.status_event(execution_id))


def test_from_start_to_end(api: Api, step_functions: StepFunctions) -> None:
    """A run is there from its start on; when it has ended, every node is told as a task, and the output in full."""
    path = create(api)
    execution_id = execute(api, path, {"triggerInputs": {"n": 5}})
    begun = api.get(f"{EXECUTIONS}/{execution_id}").json
    assert begun.keys() == {"execution", "tasks"}
    assert begun["execution"].keys() == SUMMARY_KEYS | {"output", "cost"}
    assert begun["execution"]["status"] == "RUNNING"
    assert (begun["execution"]["tasksTotal"], begun["execution"]["tasksExecuted"]) == (4, 0)
    assert (begun["execution"]["finishedAt"], begun["execution"]["durationMs"]) == (None, None)
    assert begun["tasks"] == []

    run(execution_id, step_functions)
    ended = api.get(f"{EXECUTIONS}/{execution_id}").json
    execution = ended["execution"]
    assert (execution["id"], execution["status"], execution["error"]) == (execution_id, "SUCCESS", None)
    assert execution["workflowId"] == execution["flowId"] == path.rpartition("/")[2]
    assert (execution["tasksTotal"], execution["tasksExecuted"]) == (4, 4)
    assert execution["output"] == {"n": 5}
    assert execution["trigger"] == {"type": "manual", "source": "api", "payload": {"n": 5}}
    span = parse_timestamp(execution["finishedAt"]) - parse_timestamp(execution["startedAt"])
    assert begun["execution"]["cost"] is None
    assert execution["cost"].keys() == {
        "lambdaMilliseconds",
        *(counted := execution["cost"]["estimate"].keys()),
        "estimate",
    }
    assert {name: execution["cost"][name] for name in counted - {"priceUsd"}} == {
        "stateTransitions": 4, "lambdaInvocations": 2,
    }  # fmt: skip
    assert execution["durationMs"] == round(span.total_seconds() * 1000)
    tasks = {task["taskId"]: task for task in ended["tasks"]}
    assert all(task.keys() == TASK_KEYS for task in tasks.values())
    assert {name: task["status"] for name, task in tasks.items()} == {
        "t": "SUCCESS", "c": "SUCCESS", "y": "SUCCESS", "n": "SKIPPED",
    }  # fmt: skip
    assert (tasks["y"]["taskName"], tasks["y"]["taskType"], tasks["y"]["attempts"]) == ("Yes", "transform", 1)
    assert json.loads(tasks["y"]["outputs"]) == {"n": 5}
    assert (tasks["n"]["outputs"], tasks["n"]["attempts"]) == (None, 0)


def test_a_run_that_fails(api: Api, step_functions: StepFunctions) -> None:
    """The error is told of the run and of the task."""
    shape = graph([node("l", "loop", items="[1, 2]"), node("f", "fail", error="Sold", message="out")], "l:item -> f")
    execution_id = execute(api, create(api, shape))
    run(execution_id, step_functions)
    ended = api.get(f"{EXECUTIONS}/{execution_id}").json
    assert ended["execution"]["status"] == "FAILED"
    assert ended["execution"]["error"] == {"name": "Sold", "message": "out", "nodeId": "f[0]"}
    (failed,) = [task for task in ended["tasks"] if task["status"] == "FAILED"]
    assert (failed["taskId"], failed["error"]) == ("f[0]", {"name": "Sold", "message": "out"})


def test_a_definition_in_place_of_the_workflows_own(api: Api, step_functions: StepFunctions) -> None:
    """``definition`` is what runs, once; the workflow stays as it is."""
    path = create(api, graph([node("a", "no-such-type")]))
    other = graph([node("x", expression="trigger.v & '!'")])
    execution_id = execute(api, path, {"definition": other, "triggerInputs": {"v": "hi"}})
    run(execution_id, step_functions)
    assert api.get(f"{EXECUTIONS}/{execution_id}").json["execution"]["output"] == "hi!"
    assert api.get(path).json["nodes"][0]["nodeId"] == "no-such-type"
    broken = {"definition": graph([node("x")], "x -> x")}
    refused = api.post(f"{create(api)}/execute", broken)
    assert (refused.status, refused.json["errors"][0]["type"]) == (409, "cycle")


@pytest.mark.parametrize("definition", [{}, {"nodes": []}, {"nodes": [], "connections": []}])
def test_an_empty_definition_does_not_run(api: Api, definition: Any) -> None:
    """A definition without nodes is a definition, and an empty workflow."""
    refused = api.post(f"{create(api)}/execute", {"definition": definition})
    assert (refused.status, refused.json["errors"][0]["type"]) == (409, "empty-workflow")


def test_an_archived_workflow_does_not_run(api: Api) -> None:
    """Any other status does."""
    path = create(api)
    for status, expected in (("active", 201), ("paused", 201), ("draft", 201), ("archived", 409)):
        api.put(f"{path}/status", {"status": status})
        assert api.post(f"{path}/execute").status == expected


def test_a_repeated_start_is_one_start(api: Api, step_functions: StepFunctions) -> None:
    """The same Idempotency-Key and body give the first answer again, also when the workflow has changed since."""
    path = create(api)
    body = {"triggerInputs": {"n": 1, "m": 2}}
    first = execute(api, path, body, Idempotency_Key="k")
    assert execute(api, path, {"triggerInputs": {"m": 2, "n": 1}}, Idempotency_Key="k") == first
    api.put(f"{path}/status", {"status": "archived"})
    assert execute(api, path, body, Idempotency_Key="k") == first
    assert list(step_functions.executions()) == [first]
    assert api.get(EXECUTIONS).json["count"] == 1


def test_a_key_for_another_request(api: Api) -> None:
    """422 for other inputs, another definition and another workflow."""
    path, other = create(api), create(api)
    execute(api, path, {"triggerInputs": {"n": 1}}, Idempotency_Key="k")
    for where, body in (
        (path, {"triggerInputs": {"n": 2}}),
        (path, {"triggerInputs": {"n": 1}, "definition": GRAPH}),
        (path, None),
        (other, {"triggerInputs": {"n": 1}}),
    ):
        assert api.post(f"{where}/execute", body, Idempotency_Key="k").status == 422
    assert api.get(EXECUTIONS).json["count"] == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b", "a\nb"])
def test_keys_that_cannot_be(api: Api, key: str) -> None:
    """An Idempotency-Key is 1 to 255 printable characters."""
    refused = api.post(f"{create(api)}/execute", {}, Idempotency_Key=key)
    assert (refused.status, refused.json["errors"][0]["path"]) == (400, "Idempotency-Key")


def test_list(api: Api, step_functions: StepFunctions) -> None:
    """Newest first, without payloads, by workflow and by status."""
    path, other = create(api), create(api)
    first, second, third = execute(api, path), execute(api, other), execute(api, path)
    run(first, step_functions)
    page = api.get(EXECUTIONS).json
    assert page.keys() == {"count", "limit", "offset", "executions"}
    assert (page["count"], page["limit"], page["offset"]) == (3, 20, 0)
    assert all(entry.keys() == SUMMARY_KEYS for entry in page["executions"])
    assert {entry["id"] for entry in page["executions"]} == {first, second, third}

    def listed(query: str) -> set[str]:
        found = api.get(f"{EXECUTIONS}?{query}").json
        assert found["count"] == len(found["executions"])
        return {entry["id"] for entry in found["executions"]}

    workflow = path.rpartition("/")[2]
    assert listed(f"workflowId={workflow}") == {first, third}
    assert listed("status=SUCCESS") == {first}
    assert listed(f"status=RUNNING&workflowId={workflow}") == {third}
    assert listed("status=FAILED") == set()
    assert api.get(f"{EXECUTIONS}?limit=1&offset=1").json["count"] == 3
    (done,) = api.get(f"{EXECUTIONS}?status=SUCCESS").json["executions"]
    assert (done["tasksTotal"], done["tasksExecuted"]) == (4, 4)


def test_cancel(api: Api, step_functions: StepFunctions) -> None:
    """A run that is cancelled is told so, its state machine is stopped; a run that has ended is not cancelled."""
    execution_id = execute(api, create(api))
    cancelled = api.post(f"{EXECUTIONS}/{execution_id}/cancel")
    assert (cancelled.status, cancelled.json["execution"]["status"]) == (200, "CANCELLED")
    assert step_functions.executions()[execution_id].status == "ABORTED"
    again = api.post(f"{EXECUTIONS}/{execution_id}/cancel")
    assert again.status == 409
    assert "cancelled" in again.json["detail"]
    client = Client(app)
    for _ in range(2):
        client.lambda_.invoke("run_status", step_functions.status_event(execution_id))
    assert api.get(f"{EXECUTIONS}/{execution_id}").json == cancelled.json


def test_large_payloads_are_told_by_link(api: Api, step_functions: StepFunctions) -> None:
    """What an answer cannot hold is told by a URL; what it holds stays under what Lambda can answer."""
    nodes = [node(f"n{index}", expression="$pad('', 1500000, 'x')") for index in range(6)]
    execution_id = execute(api, create(api, graph(nodes)))
    run(execution_id, step_functions)
    tasks = api.get(f"{EXECUTIONS}/{execution_id}").json["tasks"]
    linked = [task for task in tasks if "outputsUrl" in task]
    assert linked
    assert all(task["outputs"] is None and task["outputsUrl"].startswith("https://") for task in linked)
    assert any(task["outputs"] for task in tasks)


def test_tasks_by_pages(api: Api, step_functions: StepFunctions) -> None:
    """Pages tell every task once, those outside of loops first; the last says that there is no other."""
    nodes = [node("l", "loop", items="[1..12]"), node("x"), node("y")]
    execution_id = execute(api, create(api, graph(nodes, "l:item -> x", "l:done -> y")))
    run(execution_id, step_functions)
    path = f"{EXECUTIONS}/{execution_id}"
    assert [len(api.get(path).json["tasks"]), api.get(path).json.get("nextOffset")] == [14, None]
    told, offset = [], 0
    while offset is not None:
        page = api.get(f"{path}?limit=5&offset={offset}").json
        told.append([task["taskId"] for task in page["tasks"]])
        offset = page.get("nextOffset")
    assert [len(page) for page in told] == [5, 5, 4]
    assert {"l", "y"} < set(told[0])
    assert sorted(task for page in told for task in page) == sorted(["l", "y", *(f"x[{index}]" for index in range(12))])


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1"])
def test_pages_that_cannot_be(api: Api, step_functions: StepFunctions, query: str) -> None:
    """They are refused, of a run that there is."""
    execution_id = execute(api, create(api, graph([node("a")])))
    assert api.get(f"{EXECUTIONS}/{execution_id}?{query}").status == 400
    assert api.get(f"{EXECUTIONS}/exec_0000?{query}").status == 404


def test_many_small_payloads_fit(api: Api, deployed: Services) -> None:
    """Outputs that stand in their records count too, as long as they are when quoted: an answer can be sent."""
    execution_id = execute(api, create(api, graph([node("l", "loop", items="[1..110]"), node("x")], "l:item -> x")))
    run = deployed.executions.find(OWNER, execution_id).execution
    output = deployed.payloads.put("acme", '"' * 16_000)
    assert output.key is None
    deployed._executions.write_step(run, StepRecord("l", "", StepStatus.RUNNING, items=output, count=110))
    for index in range(110):
        deployed._executions.write_step(
            run, StepRecord("x", f"[{index}]", StepStatus.SUCCEEDED, port="output", output=output)
        )
    tasks = api.get(f"{EXECUTIONS}/{execution_id}").json["tasks"]
    assert len(tasks) == 111
    assert sum("outputsUrl" in task for task in tasks) > 30
