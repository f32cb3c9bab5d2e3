"""A pod from its beginning to its end: ready, draining, handed over, and what is counted."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.foundation.errors import Downstream
from chalicelib.graph.deployments import Deployed
from chalicelib.pod.requests import wait_s
from chalicelib.pod.settings import PodSettings
from tests.fakes import World, graph, json_response, node
from tests.pod.conftest import Answer, Client, PodOf, another, play
from tests.runs import OWNER, Runs

LONG = graph(
    [
        node("t", "manual-trigger"),
        node("w", "wait", seconds=2),
        node("z", "http-request", method="GET", url="http://z"),
    ],
    "t -> w -> z",
)


def test_ready_when_its_plan_is_there(pod: PodOf) -> None:
    """It lives before; it is ready with its plan; it refuses while it is not."""

    async def ask() -> list[tuple[int, int, int]]:
        client, found = pod(LONG), []
        for step in (None, client.pod.load(()), client.pod.drain()):
            if step is not None:
                await step
            answers = [await client.get("/healthz"), await client.get("/readyz"), await client.trigger(sync=False)]
            found.append(tuple(answer.status for answer in answers))
            if step is None:
                assert answers[2].headers["retry-after"] == "1"
        return found  # type: ignore[return-value]

    assert play(ask()) == [(200, 503, 503), (200, 200, 200), (200, 503, 503)]


def test_a_plan_that_is_not_there(app_services: Services) -> None:
    """The pod says what it lacks, and does not begin."""

    async def ask() -> None:
        deployed = Deployed("acme", "wf_1", "ann", 1, 1, "0" * 40)
        await another(deployed, app_services).pod.load((0.01,))

    with pytest.raises(Downstream):
        play(ask())


def test_draining_finishes_what_runs(pod: PodOf, runs: Runs) -> None:
    """A sync caller hears the end of a run that ends within the grace period."""
    shape = graph([node("t", "manual-trigger"), node("w", "wait", seconds=1), node("z")], "t -> w -> z")

    async def ask() -> tuple[Answer, bool, Answer]:
        client = pod(shape)
        await client.pod.load(())
        waiting = asyncio.create_task(client.trigger({"n": 1}))
        await client.until_at(1)
        drained = await client.pod.drain()
        return await waiting, drained, await client.trigger(millrace_execution_id="exec_new")

    answer, drained, refused = play(ask())
    assert drained
    assert (answer.json["status"], answer.json["output"]) == ("succeeded", {"n": 1})
    assert (refused.status, refused.headers["connection"]) == (503, "close")
    assert runs.step_functions.executions() == {}


def test_draining_hands_over_the_rest(pod: PodOf, runs: Runs, world: World) -> None:
    """What does not end in time goes on with Step Functions at once, behind what it has done; who waits hears that."""
    nodes = [
        node("t", "manual-trigger"),
        node("a", "http-request", method="GET", url="http://a"),
        node("w", "wait", seconds=60),
    ]
    shape = graph([*nodes, node("z", "http-request", method="GET", url="http://z")], "t -> a -> w -> z")

    async def ask() -> tuple[Answer, bool]:
        client = pod(shape, {"grace": timedelta(seconds=10)})  # three of them to hand over
        await client.pod.load(())
        waiting = asyncio.create_task(client.trigger(millrace_execution_id="exec_mine"))
        while not world.http.requests:
            await asyncio.sleep(0.02)
        drained = await client.pod.drain()
        return await waiting, drained

    answer, drained = play(ask())
    assert drained
    assert answer.json["status"] in ("running", "waiting")
    assert [*runs.step_functions.executions()] == ["exec_mine"]
    assert runs.detail("exec_mine").execution.leased_by is None
    assert runs.end("exec_mine").status == "succeeded"
    assert [request.url for request in world.http.requests] == ["http://a", "http://z"]


def test_another_pod_is_told_by_the_record(runs: Runs, pod: PodOf, process: Any, world: World) -> None:
    """The same id sent to another pod, while the first one runs it: one run, and both answer its end."""
    client = pod(
        graph([node("t", "manual-trigger"), node("h", "http-request", method="GET", url="http://h")], "t -> h")
    )
    other = another(client.pod._settings.deployed, process())
    answers: list[Answer] = []
    began = asyncio.Event()
    event_loop: list[asyncio.AbstractEventLoop] = []
    passed: list[Any] = []

    def reply(request: Any) -> Any:
        event_loop[0].call_soon_threadsafe(began.set)
        passed.append(asyncio.run_coroutine_threadsafe(asyncio.sleep(0.5), event_loop[0]).result(20))
        return json_response("ok")

    world.http.reply = reply

    async def ask() -> None:
        event_loop.append(asyncio.get_running_loop())
        await client.pod.load(())
        await other.pod.load(())
        first = asyncio.create_task(client.trigger(millrace_execution_id="exec_mine"))
        await began.wait()
        answers.append(await other.trigger(millrace_execution_id="exec_mine"))
        answers.append(await first)

    play(ask())
    assert [answer.json["status"] for answer in answers] == ["succeeded"] * 2
    assert answers[0].body == answers[1].body
    assert len(world.http.requests) == 1


def test_a_run_that_was_cancelled_meanwhile(pod: PodOf, runs: Runs) -> None:
    """Whoever waits hears of it when the pod does: when it looks after its leases."""

    async def ask() -> Answer:
        client = pod(LONG, lease=timedelta(seconds=3))
        await client.pod.load(())
        waiting = asyncio.create_task(client.trigger(millrace_execution_id="exec_mine"))
        while await asyncio.to_thread(runs.services._executions.get, OWNER.organization_id, "exec_mine") is None:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(runs.services.control.cancel, OWNER, "exec_mine")
        return await waiting

    assert play(ask()).json["status"] == "cancelled"


def test_what_is_counted(pod: PodOf) -> None:
    """Every line is one that Prometheus reads; runs count once when they are recorded and once when they end."""

    async def ask() -> str:
        client: Client = pod(graph([node("t", "manual-trigger"), node("a")], "t -> a"))
        await client.pod.load(())
        for _ in range(3):
            await client.trigger({"n": 1})
        await client.post(b"[]")
        return (await client.get("/metrics")).body.decode()

    text = play(ask())
    line = re.compile(r"# (HELP|TYPE) \w+ .+|[a-z_]+(\{[a-z]+=\"[^\"]+\"\})? [0-9.e+-]+")
    assert [each for each in text.splitlines() if not line.fullmatch(each)] == []
    assert {
        "millrace_runs_started_total 3",
        'millrace_runs_ended_total{status="succeeded"} 3',
        'millrace_triggers_refused_total{code="invalid-input"} 1',
        "millrace_runs_in_flight 0",
        'millrace_run_seconds_bucket{le="+Inf"} 3',
        "millrace_run_seconds_count 3",
        "millrace_commits_total 3",
    } <= {*text.splitlines()}


def test_activity(pod: PodOf) -> None:
    """When it began, and when a run last ended."""

    async def ask() -> list[Any]:
        client = pod(graph([node("t", "manual-trigger")]))
        await client.pod.load(())
        before = (await client.get("/activity")).json
        await client.trigger()
        return [before, (await client.get("/activity")).json]

    at = "2026-01-05T09:00:00.000Z"
    assert play(ask()) == [
        {"inFlight": 0, "startedAt": at, "lastEndedAt": None},
        {"inFlight": 0, "startedAt": at, "lastEndedAt": at},
    ]


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 300),
        ("wait=10", 10),
        ("respond-async, wait=10", 10),
        ('Wait = "7" ; x', 7),
        ("wait=0", 0),
        ("wait=99999999999", 300),
        ("await=3", 300),
        ("wait=soon", 300),
    ],
)
def test_how_long_a_caller_waits(prefer: str | None, seconds: float) -> None:
    """``Prefer: wait`` as RFC 7240 spells it; five minutes at most, and where it says nothing."""
    assert wait_s(prefer) == seconds


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("MILLRACE_DEPLOYED", None, KeyError),
        ("MILLRACE_DEPLOYED", "{}", KeyError),
        ("MILLRACE_LEASE_S", "0", ValueError),
        ("MILLRACE_POD_RUNS", "none", ValueError),
        ("MILLRACE_GRACE_S", "-1", ValueError),
    ],
)
def test_an_environment_that_is_wrong(name: str, value: str | None, error: type[Exception]) -> None:
    """It is told at the start, and not when it matters."""
    good = {"MILLRACE_DEPLOYED": '{"organizationId":"o","workflowId":"w","ownerId":"u","version":1,"revision":1,'
            '"plan":"p","retentionDays":7}'}  # fmt: skip
    assert PodSettings.from_environment(good).port == 8080
    environ = {key: text for key, text in (good | {name: value}).items() if text is not None}
    with pytest.raises(error):
        PodSettings.from_environment(environ)
