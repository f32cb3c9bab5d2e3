"""Runs from end to end, as a client sees them: API Gateway, Lambda, Step Functions, node runner, and back."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from chalicelib.store.keys import BY_WORKFLOW, executions_of_workflow
from tests.fakes import graph, node
from tests.stack.api import Api, Run, eventually
from tests.stack.conftest import LocalStack, run
from tests.stack.upstream import Upstream, upstream
from tests.stack.workers import caller, kill, workers

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.json"))


@pytest.fixture(scope="module")
def api(stack: LocalStack) -> Api:
    return Api(stack)


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


def call(name: str, url: str, **more: Any) -> dict[str, Any]:
    """An ``http-request`` node."""
    return node(name, "http-request", method="GET", url=url, **more)


# ------------------------------------------------------------------------------------------------------- the whole way


def test_a_run_goes_through_step_functions(stack: LocalStack, api: Api) -> None:
    """A run is an execution of a state machine of ours: under its id, with a Task per node, and with no data in it."""
    alone = {"retry": {"maxAttempts": 2}}  # or they would share a state
    shape = graph(
        [
            node("a", "set-fields", fields={"n": "{{ data.n + 1 }}"}, settings=alone),
            node("b", expression="data.n * 10", settings=alone),
        ],
        "a -> b",
    )
    finished = api.run(shape, {"n": 1, "secret": "payload"})
    assert (finished.status, finished.output) == ("SUCCESS", 20)
    assert [(task["taskId"], task["status"], task["attempts"]) for task in finished.tasks.values()] == [
        ("a", "SUCCESS", 1),
        ("b", "SUCCESS", 1),
    ]
    (machine_run,) = api.machine_runs(finished.id)
    assert machine_run["status"] == "SUCCEEDED"
    assert "payload" not in json.dumps([machine_run["input"], machine_run["output"]])
    states = api.definition(machine_run)["States"]
    assert set(states) == {"a", "b"}
    assert {state["Resource"].rpartition(":")[2] for state in states.values()} == {"millrace-local-node"}
    entered = [
        event["stateEnteredEventDetails"]["name"]
        for event in stack.client("stepfunctions").get_execution_history(executionArn=machine_run["executionArn"])[
            "events"
        ]
        if event["type"] == "TaskStateEntered"
    ]
    assert entered == ["a", "b"]


def test_a_long_loop_has_executions_of_its_own(api: Api) -> None:
    """More items than one execution is planned for: nested executions run them, and nobody who looks can tell."""
    shape = graph(
        [
            node("l", "loop", items="[1..data.n]"),
            node("b", expression="data = 399 and trigger.bad ? $error('no more') : data"),
            node("d", expression="$sum(data)"),
        ],
        "l:item -> b",
        "l:done -> d",
    )
    finished = api.start(shape, {"n": 400, "bad": False})
    finished.wait(within=300)
    assert (finished.status, finished.output) == ("SUCCESS", 80_200)
    assert sum(task.startswith("b[") for task in finished.tasks) == 400
    assert len(api.machine_runs(finished.id)) == 1
    failed = api.start(shape, {"n": 400, "bad": True})
    failed.wait(within=300)
    assert failed.status == "FAILED"
    assert "no more" in json.dumps(failed.execution["error"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(stack: LocalStack, api: Api, path: Path) -> None:
    """Each example gives the very output that its file promises."""
    example = json.loads(path.read_text().replace("<api_url>", stack.api_url))
    execution = api.run(example["workflow"], example["triggerInputs"]).execution
    assert execution["status"] == "SUCCESS", execution["error"]
    assert execution["output"] == example["expect"]
    assert execution["tasksExecuted"] == execution["tasksTotal"]


def test_the_demo(stack: LocalStack) -> None:
    """``make demo`` ends in success, and leaves the record of its run and a picture of it."""
    done = run(stack.home, "examples.demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Seattle weather, 2012 to 2015" in done.stdout
    folder = stack.home.root / "demo"
    assert json.loads((folder / "execution.json").read_text())["execution"]["status"] == "SUCCESS"
    assert (folder / "run.svg").read_text().startswith("<svg")


# ------------------------------------------------------------------------------------------- what reaches out of a run


def test_scripts(api: Api) -> None:
    """A script puts out what main returns; its own error comes with its line; one without an end is ended."""
    bodies = {
        "value": "return {'sum': sum(data['numbers'])}",
        "error": "return 1 / 0",
        "endless": "\n    while True: pass",
    }
    runs = {
        name: api.start(
            graph([node("s", "script", code=f"def main(data):\n    {body}", timeoutSeconds=2)]), {"numbers": [1, 2, 3]}
        )
        for name, body in bodies.items()
    }
    told = {name: started.wait()["execution"] for name, started in runs.items()}
    assert (told["value"]["status"], told["value"]["output"]) == ("SUCCESS", {"sum": 6})
    assert told["error"]["status"] == "FAILED"
    assert told["error"]["error"] == {
        "name": "ZeroDivisionError",
        "message": "division by zero (line 2)",
        "nodeId": "s",
    }
    assert (told["endless"]["status"], told["endless"]["error"]["name"]) == ("FAILED", "ScriptTimeout")


def test_scripts_see_nothing_of_ours(api: Api) -> None:
    """No variable of the function's environment, and no network: not even the loopback that the stack itself is on."""
    code = (
        "import os, socket\n"
        "def main(data):\n"
        "    try:\n        socket.create_connection(('127.0.0.1', data['port']), 1)\n"
        "    except OSError as error:\n        return [dict(os.environ), type(error).__name__]\n"
    )
    with upstream() as server:
        finished = api.run(graph([node("s", "script", code=code)]), {"port": server.port})
    assert finished.status == "SUCCESS", finished.execution["error"]
    environment, refusal = finished.output
    assert not [name for name in environment if name.startswith(("AWS", "MILLRACE"))]
    assert refusal


def test_addresses(api: Api, server: Upstream) -> None:
    """The local stack's http-request may call loopback, and nothing else that only this machine can see."""
    allowed = api.start(graph([call("h", server.url("/fine"))]))
    refused = api.start(graph([call("h", "http://169.254.169.254/latest/meta-data/")]))
    assert allowed.wait()["execution"]["output"]["body"] == {"fine": True}
    execution = refused.wait()["execution"]
    assert (execution["status"], execution["error"]["name"]) == ("FAILED", "AddressRefused")


@pytest.mark.parametrize("size", [1_000_000, 10_000_000])
def test_large_payloads(stack: LocalStack, api: Api, size: int) -> None:
    """A text of one or ten megabytes goes through nodes unchanged, and the API tells it in full or by a link."""
    text = "".join(f"{index:07},ü\n" for index in range(size // 11))
    stack.client("s3").put_object(
        Bucket=stack.bucket, Key=f"large-{size}", Body=text.encode(), ContentType="text/plain; charset=utf-8"
    )
    nodes = [
        node("read", "s3-read", bucket=stack.bucket, key=f"large-{size}"),
        node("set", "set-fields", fields={"text": "{{ data }}"}),
        node("out", "transform", expression="data.text"),
    ]
    finished = api.run(graph(nodes, "read -> set -> out"))
    execution = finished.execution
    assert execution["status"] == "SUCCESS", execution["error"]
    output = execution["output"]
    if output is None:
        with urllib.request.urlopen(execution["outputUrl"], timeout=30) as response:
            output = json.load(response)
    assert hashlib.sha256(output.encode()).digest() == hashlib.sha256(text.encode()).digest()


def test_a_hundred_megabytes(stack: LocalStack, api: Api) -> None:
    """As much goes through a graph unread, is joined with a value from elsewhere, and is written byte for byte."""
    text = b'Sing, O goddess, "the anger" of Achilles.\n' * (100_000_000 // 43)
    s3 = stack.client("s3")
    s3.put_object(Bucket=stack.bucket, Key="hundred", Body=text, ContentType="text/plain; charset=utf-8")
    nodes = [
        node("read", "s3-read", bucket=stack.bucket, key="hundred"),
        node("pass", "condition", expression="nodes.size"),
        node("size", "transform", expression="'' = ''"),
        node("both", "merge", mode="list"),
        node("write", "s3-write", bucket=stack.bucket, key="hundred-again", body="{{ nodes.pass }}"),
        node("look", "transform", expression="$length(data)", settings={"onError": "continue"}),
    ]
    shape = graph(nodes, "size -> read -> pass", "pass:true -> both -> write", "size -> both", "pass:true -> look")
    finished = api.run(shape)
    assert finished.status == "SUCCESS", finished.execution["error"]
    written = s3.get_object(Bucket=stack.bucket, Key="hundred-again")["Body"].read()
    assert hashlib.sha256(written).digest() == hashlib.sha256(text).digest()
    assert finished.tasks["look"]["error"]["name"] == "PayloadTooLarge"
    with urllib.request.urlopen(finished.tasks["both"]["outputsUrl"], timeout=30) as response:
        joined = hashlib.sha256(response.read()).digest()
    assert joined == hashlib.sha256(json.dumps([text.decode(), True], separators=(",", ":")).encode()).digest()


# ------------------------------------------------------------------------------------------------------ when it fails


def test_retries(api: Api, server: Upstream) -> None:
    """A node that fails twice and then succeeds has three attempts, the later the longer apart."""
    server.answers["/flaky"] = [500, 500]
    retry = {"maxAttempts": 3, "intervalSeconds": 1, "backoffRate": 2}
    finished = api.run(graph([call("h", server.url("/flaky"), settings={"retry": retry}), node("after")], "h -> after"))
    assert (finished.status, finished.output["status"]) == ("SUCCESS", 200)
    assert finished.tasks["h"]["attempts"] == 3
    assert finished.tasks["h"]["error"] is None
    first, second, third = (seen.at for seen in server.calls("/flaky"))
    assert second - first >= 1
    assert third - second >= 2


def test_errors_that_do_not_end_the_run(api: Api, server: Upstream) -> None:
    """``port``: the error leaves by its port. ``continue``: it is the output. The tasks show both as failed."""
    server.answers |= {"/port": [404], "/continue": [404]}
    nodes = [
        call("port", server.url("/port"), settings={"onError": "port"}),
        node("never"),
        node("told"),
        call("continue", server.url("/continue"), settings={"onError": "continue"}),
        node("onward"),
    ]
    finished = api.run(graph(nodes, "port -> never", "port:error -> told", "continue -> onward"))
    assert finished.status == "SUCCESS"
    assert {task: told["status"] for task, told in finished.tasks.items()} == {
        "port": "FAILED",
        "never": "SKIPPED",
        "told": "SUCCESS",
        "continue": "FAILED",
        "onward": "SUCCESS",
    }
    assert {name: output["error"]["name"] for name, output in finished.output.items()} == {
        "told": "HttpStatus",
        "onward": "HttpStatus",
    }


def test_a_node_that_takes_too_long(api: Api, server: Upstream) -> None:
    """After ``timeoutSeconds`` Step Functions ends the node: it has failed, and so has the run."""
    server.hold("/slow")
    finished = api.run(graph([call("h", server.url("/slow"), settings={"timeoutSeconds": 1}), node("b")], "h -> b"))
    assert (finished.status, finished.execution["error"]["name"]) == ("FAILED", "States.Timeout")
    assert (finished.tasks["h"]["status"], finished.tasks["h"]["error"]["name"]) == ("FAILED", "States.Timeout")
    assert "b" not in finished.tasks


# ----------------------------------------------------------------------------------------------------- when it is ended


def test_cancelling_a_run_that_waits(api: Api) -> None:
    """The state machine's execution is stopped, the wait ends at once, and what follows never runs."""
    started = api.start(graph([node("w", "wait", seconds=60), node("after")], "w -> after"))
    eventually(lambda: started.tasks.get("w", {}).get("status") == "WAITING", "the wait")
    answer = api.send("POST", f"/api/v1/executions/{started.id}/cancel")
    assert (answer.status, answer.body["execution"]["status"]) == (200, "CANCELLED")
    eventually(lambda: api.machine_runs(started.id)[0]["status"] == "ABORTED", "the end of the state machine")
    assert {task: told["status"] for task, told in started.tasks.items()} == {"w": "CANCELLED"}
    assert api.send("POST", f"/api/v1/executions/{started.id}/cancel").status == 409


def test_cancelling_a_run_that_works(api: Api, server: Upstream) -> None:
    """A node that is at work when its run is cancelled changes nothing any more, and nothing follows it."""
    release = server.hold("/slow")
    shape = graph([call("h", server.url("/slow")), call("after", server.url("/after"))], "h -> after")
    started = api.start(shape)
    eventually(lambda: server.calls("/slow"), "the request")
    assert api.send("POST", f"/api/v1/executions/{started.id}/cancel").status == 200
    release.set()
    # By the time that a whole other run has ended, this one would long have gone on.
    assert api.run(graph([node("a"), node("b")], "a -> b")).status == "SUCCESS"
    assert (started.status, api.machine_runs(started.id)[0]["status"]) == ("CANCELLED", "ABORTED")
    assert {task: told["status"] for task, told in started.tasks.items()} == {"h": "CANCELLED"}
    assert server.calls("/after") == []


# -------------------------------------------------------------------------------------------------- when a process dies


def test_a_killed_node_runner(stack: LocalStack, api: Api, server: Upstream) -> None:
    """The node runner is killed in the middle of a node: Step Functions tries the node again, the run succeeds, and no
    step is recorded twice.
    """
    release = server.hold("/work")
    shape = graph([node("a"), call("h", server.url("/work")), call("after", server.url("/after"))], "a -> h -> after")
    started = api.start(shape)
    (seen,) = eventually(lambda: server.calls("/work"), "the first attempt")
    worker = caller(stack.home, "node", seen.client_port)
    assert worker, "no node runner holds the connection"
    kill(worker)
    release.set()

    assert started.wait()["execution"]["status"] == "SUCCESS"
    assert len(server.calls("/work")) == 2
    assert len(server.calls("/after")) == 1
    attempts = {task: told["attempts"] for task, told in started.tasks.items()}
    assert attempts == {"a": 1, "h": 2, "after": 1}
    records = stack.client("dynamodb").query(
        TableName=stack.table_name,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"ORG#{stack.org_id}#EXEC#{started.id}"}},
    )["Items"]
    assert sorted(record["sk"]["S"] for record in records) == ["EXECUTION", "STEP##a", "STEP##after", "STEP##h"]
    (h,) = [record for record in records if record["sk"]["S"] == "STEP##h"]
    ended = ["finishedAt" in attempt["M"] for attempt in h["attempts"]["L"]]
    assert ended == [False, True]


@pytest.mark.parametrize("moment", ["before anything", "once the run is recorded"])
def test_a_killed_api_handler(stack: LocalStack, api: Api, moment: str) -> None:
    """The API's handler is killed while it starts a run: the client repeats its request under the same Idempotency-Key
    until it is answered, and there is exactly one run, which succeeds.
    """
    workflow = api.create(graph([node("a"), node("b")], "a -> b"))
    key = {"Idempotency-Key": f"once {moment}"}
    handlers = workers(stack.home, "api_handler")
    assert handlers
    if moment == "before anything":
        for handler in handlers:
            handler.suspend()
    answers: list[int] = []
    request = threading.Thread(target=lambda: answers.append(api.execute(workflow, **key).status))
    request.start()
    if moment == "once the run is recorded":
        eventually(lambda: _recorded(stack, workflow), "the record of the run")
    for handler in handlers:
        with suppress(psutil.NoSuchProcess):
            kill(handler)
    request.join(30)
    assert len(answers) == 1

    answer = eventually(
        lambda: again if (again := api.execute(workflow, **key)).status == 201 else None, "an answer to the repetition"
    )
    started = Run(api, answer.body["executionId"])
    assert started.wait()["execution"]["status"] == "SUCCESS"
    assert api.send("GET", f"/api/v1/executions?workflowId={workflow}").body["count"] == 1
    assert len(api.machine_runs(started.id)) == 1
    assert api.execute(workflow, **key).body["executionId"] == started.id


def _recorded(stack: LocalStack, workflow: str) -> Any:
    return stack.client("dynamodb").query(
        TableName=stack.table_name,
        IndexName=BY_WORKFLOW,
        KeyConditionExpression="workflowList = :of",
        ExpressionAttributeValues={":of": {"S": executions_of_workflow(stack.org_id, workflow)}},
    )["Items"]
