"""What a trigger starts, what it answers, and how many calls that takes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from chalicelib.foundation.json_types import dumps
from chalicelib.graph.executions import ExecutionStatus
from chalicelib.services.in_process import InProcessRuns
from tests.fakes import World, graph, json_response, node, watched
from tests.pod.conftest import Answer, Client, PodOf, play
from tests.runs import OWNER, Runs
from tests.scenario import SCENARIOS, ScenarioRun, told

PURE = graph(
    [node("t", "manual-trigger"), node("a", expression="data.n * 2"), node("b", expression='{"twice": data}')],
    "t -> a -> b",
)
CALL = graph([node("t", "manual-trigger"), node("h", "http-request", method="GET", url="http://h")], "t -> h")


async def loaded(client: Client) -> Client:
    await client.pod.load(())
    return client


@pytest.mark.parametrize("headers", [{}, {"prefer": "wait=20"}, {"millrace_execution_id": "exec_mine"}])
def test_a_plan_that_only_computes_is_no_business_of_visits(
    pod: PodOf, monkeypatch: pytest.MonkeyPatch, headers: dict[str, Any]
) -> None:
    """Its program does it, also for those whom the API sends, who have less time and an id."""
    monkeypatch.setattr(InProcessRuns, "run_new", None)

    async def ask() -> Answer:
        client = await loaded(pod(PURE))
        return await client.trigger({"n": 4}, **headers)

    answer = play(ask())
    assert (answer.json["status"], answer.json["output"]) == ("succeeded", {"twice": 8})


def test_a_run_that_only_computes_is_one_call(pod: PodOf, runs: Runs, dynamodb: Any) -> None:
    """Sync or not: the run is recorded whole, with its steps and its end, in the one write before the answer."""

    async def ask() -> list[Answer]:
        client = await loaded(pod(PURE))
        with watched(dynamodb) as calls:
            answers = [await client.trigger({"n": 4}), await client.trigger({"n": 5}, sync=False)]
            assert calls.operations == ["PutItem"] * 2
        return answers

    sync, later = play(ask())
    assert (sync.status, sync.json["status"], sync.json["output"]) == (200, "succeeded", {"twice": 8})
    assert (later.status, later.json["status"], later.json["output"]) == (200, "started", {})
    for answer, output in ((sync, {"twice": 8}), (later, {"twice": 10})):
        found = runs.detail(answer.json["execution_id"])
        assert found.execution.status is ExecutionStatus.SUCCEEDED
        assert answer.json["workflow_id"] == found.execution.workflow_id
        assert runs.output(found.execution) == output
        assert {step.node_id: str(step.status) for step in found.steps} == dict.fromkeys("tab", "succeeded")
        assert (found.execution.trigger.type, found.execution.started_by) == ("api", OWNER.user_id)
        assert (found.execution.look_at, found.execution.leased_by) == (None, None)


def test_draining_waits_for_what_is_being_recorded(pod: PodOf, runs: Runs, dynamodb: Any) -> None:
    """A run that is computed, and whose record is on its way, counts as one that the pod is at."""
    reached, go_on = threading.Event(), threading.Event()

    def hold(_: int) -> None:
        reached.set()
        assert go_on.wait(20)

    async def ask() -> tuple[Answer, bool, int, bool]:
        client = await loaded(pod(PURE))
        with watched(dynamodb) as calls:
            calls.before = hold
            waiting = asyncio.create_task(client.trigger({"n": 4}))
            await asyncio.to_thread(reached.wait, 20)
            at_once = await client.pod._runs.drain(0, 0)  # type: ignore[union-attr]
            in_flight = client.pod._runs.in_flight  # type: ignore[union-attr]
            draining = asyncio.create_task(client.pod.drain())
            go_on.set()
            return await waiting, at_once, in_flight, await draining

    answer, at_once, in_flight, drained = play(ask())
    assert (at_once, in_flight, drained) == (False, 1, True)
    assert answer.json["output"] == {"twice": 8}


def test_who_waits_for_little_is_answered_in_time(pod: PodOf, runs: Runs, dynamodb: Any) -> None:
    """A caller's limit holds while the run is being recorded, too: then it is not known yet what became of it."""
    go_on = threading.Event()

    def hold(_: int) -> None:
        assert go_on.wait(20)

    async def ask() -> Answer:
        client = await loaded(pod(PURE))
        with watched(dynamodb) as calls:
            calls.before = hold
            answer = await client.trigger({"n": 4}, prefer="wait=0", millrace_execution_id="exec_mine")
            assert (await client.get("/activity")).json["inFlight"] == 1
            go_on.set()
            await client.until_at(0)
        return answer

    assert play(ask()).status == 504
    assert runs.detail("exec_mine").execution.status is ExecutionStatus.SUCCEEDED


def test_two_at_once_with_one_id_are_one_run(pod: PodOf, runs: Runs) -> None:
    """Whoever is second hears of the first, whatever it was given itself."""

    async def ask() -> list[Answer]:
        client = await loaded(pod(PURE))
        asked = (client.trigger({"n": n}, millrace_execution_id="exec_mine") for n in (4, 4, 5))
        return list(await asyncio.gather(*asked))

    answers = play(ask())
    assert [answer.json["output"] for answer in answers] == [{"twice": 8}] * 3
    assert runs.services.executions.list(OWNER, None, None, 10, 0).total == 1


def test_a_run_that_calls_somebody_is_two_calls(pod: PodOf, runs: Runs, world: World, dynamodb: Any) -> None:
    """It is recorded with its lease before it begins, and its steps with the end. The node runs once."""

    async def ask() -> tuple[Answer, list[str]]:
        client = await loaded(pod(CALL))
        with watched(dynamodb) as calls:
            return await client.trigger(), calls.operations

    answer, operations = play(ask())
    assert operations == ["PutItem", "TransactWriteItems"]
    assert (answer.json["status"], answer.json["output"]["body"]) == ("succeeded", {"n": 1})
    assert len(world.http.requests) == 1


def test_it_is_recorded_with_its_lease(pod: PodOf, runs: Runs, world: World) -> None:
    """While a node is at work the run is a running one, and due for upkeep within a minute."""
    found = []

    def reply(request: Any) -> Any:
        (listed,) = runs.services.executions.list(OWNER, None, None, 10, 0).executions
        found.append(listed)
        return json_response("ok")

    world.http.reply = reply

    async def ask() -> Answer:
        return await (await loaded(pod(CALL))).trigger(millrace_execution_id="exec_mine")

    assert play(ask()).json["execution_id"] == "exec_mine"
    (run,) = found
    assert (run.id, str(run.status), run.leased_by) == ("exec_mine", "running", "proc_0003")
    assert (run.look_at, run.leased_until) == ("2026-01-05T09:01:00.000Z", "2026-01-05T09:00:30.000Z")


ON_BOTH = ["chain", "condition-then-join", "fan-in", "loop", "on-error-port", "retry-that-helps", "fail", "templates"]


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.name in ON_BOTH], ids=str)
def test_the_same_as_on_step_functions(scenario: Any, pod: PodOf, runs: Runs, world: World) -> None:
    """A pod answers and records what the scenario's file says, and so what the other engines do."""

    async def ask(run: ScenarioRun) -> Answer:
        client = await loaded(pod(scenario.graph.to_json(), **scenario.settings))
        run.prepare(world)
        return await client.trigger(run.trigger)

    for run in scenario.runs:
        answer = play(ask(run))
        found = runs.detail(answer.json["execution_id"])
        assert told(found.execution, found.steps, runs.output(found.execution)) == run.expected
        assert answer.json["status"] == run.expected["status"]
        assert answer.json["output"] == ({} if run.expected["output"] is None else run.expected["output"])
        assert answer.json.get("error") == run.expected["error"]


def test_all_scenarios_that_are_meant_are_there() -> None:
    """Each name of the list is a file."""
    assert {each.name for each in SCENARIOS} >= set(ON_BOTH)


def test_sync_answers_in_time(pod: PodOf, runs: Runs) -> None:
    """A run that is not over when the caller's patience is: ``running``, and it goes on to its end."""
    shape = graph([node("t", "manual-trigger"), node("w", "wait", seconds=1.5), node("z")], "t -> w -> z")

    async def ask() -> tuple[Answer, Answer]:
        client = await loaded(pod(shape))
        first = await client.trigger({"n": 1}, prefer="respond-async, wait=1")
        same = await client.trigger({"n": 1}, millrace_execution_id=first.json["execution_id"])
        return first, same

    first, same = play(ask())
    assert (first.json["status"], first.json["output"]) == ("running", {})
    assert (same.json["status"], same.json["output"]) == ("succeeded", {"n": 1})
    assert same.json["execution_id"] == first.json["execution_id"]


def test_the_same_id_is_the_same_run(pod: PodOf, runs: Runs, world: World) -> None:
    """Sent again at once, by many, and later, to this pod: one run, and everybody hears its end."""

    async def ask() -> list[Answer]:
        client = await loaded(pod(CALL))
        at_once = [client.trigger(millrace_execution_id="exec_mine") for _ in range(5)]
        return [*await asyncio.gather(*at_once), await client.trigger(millrace_execution_id="exec_mine")]

    answers = play(ask())
    assert {answer.body for answer in answers} == {answers[0].body}
    assert answers[0].json["status"] == "succeeded"
    assert len(world.http.requests) == 1


def test_the_same_key_is_the_same_run(pod: PodOf, runs: Runs) -> None:
    """With ``Idempotency-Key``, at once and later; another request with it is refused."""

    async def ask() -> tuple[list[Answer], Answer]:
        client = await loaded(pod(PURE))
        answers = list(await asyncio.gather(*(client.trigger({"n": 1}, idempotency_key="k") for _ in range(5))))
        answers.append(await client.trigger({"n": 1}, idempotency_key="k"))
        return answers, await client.trigger({"n": 2}, idempotency_key="k")

    answers, other = play(ask())
    assert {answer.body for answer in answers} == {answers[0].body}
    assert answers[0].json["output"] == {"twice": 2}
    assert (other.status, other.json["type"]) == (422, "urn:millrace:error:idempotency-mismatch")
    assert runs.services.executions.list(OWNER, None, None, 10, 0).total == 1


def test_an_id_of_another_workflow_is_refused(pod: PodOf, runs: Runs) -> None:
    """409, and nothing is told of that run."""

    async def ask() -> Answer:
        first, other = await loaded(pod(PURE)), await loaded(pod(CALL))
        await first.trigger({"n": 1}, millrace_execution_id="exec_mine")
        return await other.trigger(millrace_execution_id="exec_mine")

    answer = play(ask())
    assert (answer.status, answer.json["type"]) == (409, "urn:millrace:error:conflict")


def test_a_run_that_fails(pod: PodOf, runs: Runs) -> None:
    """200 with the error, and what follows from a failure follows: here nothing is left to do."""
    shape = graph([node("t", "manual-trigger"), node("f", "fail", error="No", message="never")], "t -> f")

    async def ask() -> Answer:
        return await (await loaded(pod(shape))).trigger()

    answer = play(ask())
    assert (answer.status, answer.json["status"], answer.json["output"]) == (200, "failed", {})
    assert answer.json["error"] == {"name": "No", "message": "never", "nodeId": "f"}
    assert not runs.detail(answer.json["execution_id"]).execution.follow_up


def test_values_that_are_large(pod: PodOf, runs: Runs, s3: Any) -> None:
    """Beyond what a record holds they lie in S3, inputs as well; beyond what an answer holds a link is told."""

    async def ask() -> list[Answer]:
        client = await loaded(pod(graph([node("t", "manual-trigger"), node("a")], "t -> a")))
        return [await client.trigger({"text": "x" * size}) for size in (100_000, 4_100_000)]

    held, linked = play(ask())
    assert held.json["output"] == {"text": "x" * 100_000}
    assert (linked.json["status"], linked.json["output"]) == ("succeeded", {})
    assert linked.json["output_url"].startswith("https://")
    assert runs.output(runs.detail(linked.json["execution_id"]).execution) == {"text": "x" * 4_100_000}


def test_a_limit_is_that_of_the_line(pod: PodOf, runs: Runs, world: World) -> None:
    """A workflow with ``maxConcurrentRuns`` has one line for all that start it: who is second waits, and is told so."""
    inside: list[Answer] = []
    client = pod(CALL, maxConcurrentRuns=1)
    event_loop: list[asyncio.AbstractEventLoop] = []

    def reply(request: Any) -> Any:
        if len(world.http.requests) == 1:  # while the first one is at work
            second = client.trigger({"n": 2}, prefer="wait=1", millrace_execution_id="exec_second")
            inside.append(asyncio.run_coroutine_threadsafe(second, event_loop[0]).result(20))
        return json_response("ok")

    world.http.reply = reply

    async def ask() -> Answer:
        event_loop.append(asyncio.get_running_loop())
        await loaded(client)
        return await client.trigger({"n": 1}, millrace_execution_id="exec_first")

    assert play(ask()).json["status"] == "succeeded"
    assert inside[0].json["status"] == "queued"
    assert "exec_second" in runs.step_functions.executions(), "who made room has started it"
    assert runs.end("exec_second").status == "succeeded"


def test_how_much_at_once(pod: PodOf, runs: Runs, world: World) -> None:
    """Beyond its number of runs a pod takes no more; it says so at once, and nothing is recorded."""
    shape = graph([node("t", "manual-trigger"), node("w", "wait", seconds=1)], "t -> w")

    async def ask() -> tuple[list[Answer], Answer]:
        client = await loaded(pod(shape, {"runs": 2}))
        started = [await client.trigger(sync=False) for _ in range(3)]
        await client.until_at(2)
        await client.until_at(0)
        return started, await client.trigger()

    started, later = play(ask())
    assert [answer.status for answer in started] == [200, 200, 503]
    assert (started[2].headers["retry-after"], started[2].json["type"]) == ("1", "urn:millrace:error:unavailable")
    assert later.json["status"] == "succeeded"
    assert runs.services.executions.list(OWNER, None, None, 10, 0).total == 3


@pytest.mark.parametrize(
    ("body", "headers", "status", "paths"),
    [
        (b"{", {}, 400, [""]),
        (b"[]", {}, 400, [""]),
        (b'{"inputs": []}', {}, 400, ["inputs"]),
        (b'{"inputs": 1, "sync": "yes", "trigger_type": 7}', {}, 400, ["trigger_type", "inputs", "sync"]),
        (b"{}", {"millrace_execution_id": "no id"}, 400, ["Millrace-Execution-Id"]),
        (b"{}", {"idempotency_key": "k" * 256}, 400, ["Idempotency-Key"]),
        (b" " * (5 * 1024 * 1024 + 1), {}, 413, None),
        (b"{}", {"content_length": str(6_000_000)}, 413, None),
    ],
)
def test_what_is_no_trigger(
    pod: PodOf, runs: Runs, body: bytes, headers: dict[str, str], status: int, paths: list[str] | None
) -> None:
    """Problems as the API tells them, every fault listed, and nothing is started."""

    async def ask() -> Answer:
        return await (await loaded(pod(PURE))).post(body, **headers)

    answer = play(ask())
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert paths is None or [error["path"] for error in answer.json["errors"]] == paths
    assert runs.services.executions.list(OWNER, None, None, 10, 0).total == 0


def test_a_trigger_is_a_post(pod: PodOf, runs: Runs) -> None:
    """What asks otherwise hears how to, and starts nothing."""

    async def ask() -> Answer:
        return await (await loaded(pod(PURE))).get("/trigger")

    answer = play(ask())
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert runs.services.executions.list(OWNER, None, None, 10, 0).total == 0


def test_an_empty_body_and_more_than_is_known(pod: PodOf) -> None:
    """Nothing is needed, and what is not known is ignored. The id of a request comes back."""

    async def ask() -> list[Answer]:
        client = await loaded(pod(PURE))
        body = dumps({"trigger_type": "cron", "more": 1}).encode()
        return [await client.post(b""), await client.post(body, x_request_id="req-1")]

    empty, more = play(ask())
    assert (empty.json["status"], more.json["status"]) == ("started", "started")
    assert more.headers["x-request-id"] == "req-1"
