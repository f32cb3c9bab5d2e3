"""Runs that wait to be told something, on a stack: Step Functions waits at a gate, and is woken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.cloud.sdk import client
from chalicelib.foundation.settings import Settings
from infra.environment import LOCAL_STAGE, base_stack, function_environment
from infra.stacks import Stacks
from tests.fakes import graph, node
from tests.stack.api import Api, Run, eventually
from tests.stack.conftest import LocalStack


@pytest.fixture(scope="module")
def api(stack: LocalStack) -> Api:
    return Api(stack)


@pytest.fixture
def deployed(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """What a Lambda of the stack has, in this process."""
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    client.cache_clear()
    outputs = Stacks(stack.client("cloudformation")).outputs(base_stack(LOCAL_STAGE))
    environment = function_environment(LOCAL_STAGE, outputs) | {"AWS_REGION": stack.region}
    yield services(Settings.from_environment(environment))
    client.cache_clear()


def waits(run: Run, task: str = "w") -> dict[str, object]:
    """The task of a run that waits, as soon as it does."""

    def look() -> dict[str, object] | None:
        told = run.api.detail(run.id)
        found = {each["taskId"]: each for each in told["tasks"]}.get(task)
        return found if found and found["status"] == "WAITING" and told["execution"]["status"] == "WAITING" else None

    return eventually(look, f"{task} of {run.id} waits")


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_an_approval(api: Api, decision: str) -> None:
    """A run waits for a person, and goes the way that they choose."""
    nodes = [node("w", "approval", message="Well?"), node("yes"), node("no")]
    run = api.start(graph(nodes, "w:approved -> yes", "w:rejected -> no"), {"n": 1})
    approval = f"/api/v1/approvals/{waits(run)['approvalId']}"
    assert api.send("GET", approval).body["message"] == "Well?"
    assert api.send("POST", f"{approval}/{decision}", {"comment": "so be it"}).status == 200
    execution = run.wait()["execution"]
    assert execution["status"] == "SUCCESS", execution
    told = execution["output"]["approval"]
    assert (told["decision"], told["comment"]) == ({"approve": "approved", "reject": "rejected"}[decision], "so be it")
    other = "reject" if decision == "approve" else "approve"
    assert api.send("POST", f"{approval}/{other}").status == 409


def test_an_approval_that_nobody_gives(api: Api) -> None:
    """Step Functions keeps the time that the node has."""
    run = api.run(graph([node("w", "approval", timeoutSeconds=1)]))
    assert run.execution["error"]["name"] == "ApprovalTimeout"


def test_an_event(stack: LocalStack, api: Api, deployed: Services) -> None:
    """Runs that wait for events of a kind hear of one that comes, all of them and at once."""
    shape = graph([node("w", "wait-for-event", eventType="stack.*.done"), node("z", expression="data.n")], "w -> z")
    runs = [api.start(shape) for _ in range(3)]
    for run in runs:
        waits(run)
    assert deployed.events.deliver(stack.org_id, "stack.x.done", {"n": 7}) == 3
    assert [run.wait()["execution"]["output"] for run in runs] == [7, 7, 7]


def test_a_sub_workflow(api: Api) -> None:
    """A run waits for another one, and has its output; where that fails, it fails too."""
    good = api.create(graph([node("c", expression="data.n * 2")]))
    bad = api.create(graph([node("f", "fail", error="E", message="m")]))
    run = api.run(graph([node("w", "sub-workflow", workflowId=good)]), {"n": 4})
    assert (run.status, run.output) == ("SUCCESS", 8)
    child = api.detail(run.tasks["w"]["childExecutionId"])["execution"]
    assert (child["status"], child["trigger"]["source"]) == ("SUCCESS", run.id)
    failed = api.run(graph([node("w", "sub-workflow", workflowId=bad)]), {"n": 4})
    assert failed.execution["error"]["name"] == "SubWorkflowFailed"


def test_cancel(api: Api) -> None:
    """A run that is cancelled while it waits takes the runs along that it waits for, and asks nobody any more."""
    asks = api.create(graph([node("w", "approval")]))
    run = api.start(graph([node("w", "sub-workflow", workflowId=asks)]))
    child = Run(api, str(waits(run)["childExecutionId"]))
    approval = waits(child)["approvalId"]
    assert api.send("POST", f"/api/v1/executions/{run.id}/cancel").status == 200
    assert child.wait()["execution"]["status"] == "CANCELLED"
    assert api.send("POST", f"/api/v1/approvals/{approval}/approve").status == 409
    for each in (run, child):
        (machine,) = api.machine_runs(each.id)
        # Stopped, or failed at the gate that was closed: whichever comes first, it runs no further.
        assert machine["status"] in {"ABORTED", "FAILED"}


def test_an_error_workflow(api: Api) -> None:
    """When a run fails, the workflow that its own one names is started by whoever hears of the end."""
    handler = api.create(graph([node("h", expression="data.error.name")]))
    failed = api.run(graph([node("f", "fail", error="E", message="m")]), settings={"errorWorkflowId": handler})

    def started() -> str | None:
        listed = api.send("GET", f"/api/v1/executions?workflowId={handler}").body["executions"]
        return str(listed[0]["id"]) if listed else None

    run = Run(api, eventually(started, "the error workflow is started"))
    told = run.wait()["execution"]
    assert (told["status"], told["output"], told["trigger"]["source"]) == ("SUCCESS", "E", failed.id)
