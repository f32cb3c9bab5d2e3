"""Runs that a process runs itself and does not end: they wait for long, are held, or somebody else has them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.engines.inprocess import LONGEST_WAIT_S
from chalicelib.engines.records import Recording
from chalicelib.foundation.settings import Settings
from chalicelib.graph.approvals import ApprovalStatus
from chalicelib.graph.executions import ExecutionStatus
from chalicelib.nodes.capabilities import HttpRequest, HttpResponse
from chalicelib.services.in_process import LEASE
from chalicelib.services.lifecycle import STALE_AFTER
from tests.fakes import CountingIds, FakeClock, Killed, World, graph, json_response, node, watched
from tests.runs import OWNER, Runs
from tests.virtual_time import Timeline

LAPSED = (LEASE + STALE_AFTER).total_seconds() + 1
each_recording = pytest.mark.parametrize("recording", Recording)


@pytest.fixture
def process(settings: Settings, clock: FakeClock, world: World, timeline: Timeline) -> Callable[[], Services]:
    """Another process, with a name of its own among those that hold leases."""
    ids = CountingIds()
    return lambda: services(settings, clock=clock, ids=ids, capabilities=world.capabilities, pool=timeline.threads)


@pytest.fixture
def app_services(process: Callable[[], Services]) -> Services:
    return process()


def call(name: str) -> dict[str, Any]:
    return node(name, "http-request", method="POST", url=f"http://{name}", body="{{ data }}", idempotencyKey=True)


def calls(world: World) -> list[str]:
    return [request.url.removeprefix("http://").rstrip("/") for request in world.http.requests]


@pytest.fixture
def begin(runs: Runs, timeline: Timeline) -> Callable[..., tuple[str, bool | None]]:
    """Runs a graph in process; its id, and whether it ended there: None where the process died."""

    def run(shape: dict[str, Any], recording: Recording, own: Services | None = None) -> tuple[str, bool | None]:
        workflow = runs.workflow(shape)
        execution_id = runs.services.executions.start(OWNER, workflow, inputs={}, launch=False)
        in_process = (own or runs.services).in_process
        with suppress(Killed):
            return execution_id, timeline.run(in_process.run(OWNER.organization_id, execution_id, recording))
        return execution_id, None

    return run


@each_recording
def test_a_run_that_waits_for_long_is_handed_back(
    runs: Runs, world: World, begin: Callable[..., Any], recording: Recording
) -> None:
    """Step Functions waits in its place, and what was done is not done again."""
    nodes = [call("a"), node("w", "wait", seconds=LONGEST_WAIT_S + 1), call("z")]
    execution_id, ended = begin(graph(nodes, "a -> w -> z"), recording)
    assert (ended, calls(world)) == (False, ["a"])
    assert [*runs.step_functions.executions()] == [execution_id]
    assert runs.detail(execution_id).execution.status is ExecutionStatus.WAITING
    assert runs.end(execution_id).status == "succeeded"
    assert calls(world) == ["a", "z"]


@each_recording
def test_a_run_that_waits_is_kept_while_anything_runs(
    runs: Runs, world: World, clock: FakeClock, begin: Callable[..., Any], recording: Recording
) -> None:
    """A short wait beside a long one has its end here."""
    nodes = [node("long", "wait", seconds=LONGEST_WAIT_S + 1), node("short", "wait", seconds=200), call("z")]
    execution_id, ended = begin(graph(nodes, "short -> z"), recording)
    assert (ended, calls(world)) == (False, ["z"])
    assert runs.end(execution_id).status == "succeeded"
    assert calls(world) == ["z"]


@each_recording
def test_paused_in_the_middle(runs: Runs, world: World, begin: Callable[..., Any], recording: Recording) -> None:
    """What was done by then is recorded, what was at work ends, and the next round goes on behind it."""

    def reply(request: HttpRequest) -> HttpResponse:
        if calls(world) == ["a", "b"]:
            (execution,) = runs.services.executions.list(OWNER, None, None, 10, 0).executions
            runs.services.control.pause(OWNER, execution.id)
        return json_response("ok")

    world.http.reply = reply
    nodes = [call("a"), call("b"), node("w", "wait", seconds=60), call("z")]
    execution_id, ended = begin(graph(nodes, "a -> b -> w -> z"), recording)
    assert (ended, calls(world)) == (False, ["a", "b"])
    assert runs.detail(execution_id).execution.status is ExecutionStatus.PAUSED
    runs.services.control.resume(OWNER, execution_id)
    assert runs.end(execution_id).status == "succeeded"
    assert calls(world) == ["a", "b", "z"]


@each_recording
def test_cancelled_in_the_middle(runs: Runs, world: World, begin: Callable[..., Any], recording: Recording) -> None:
    """It stays as it was ended, and nothing is written to it."""

    def reply(request: HttpRequest) -> HttpResponse:
        (execution,) = runs.services.executions.list(OWNER, None, None, 10, 0).executions
        runs.services.control.cancel(OWNER, execution.id)
        return json_response("ok")

    world.http.reply = reply
    execution_id, ended = begin(graph([call("a"), node("w", "wait", seconds=60), call("z")], "a -> w -> z"), recording)
    assert ended is False
    detail = runs.detail(execution_id)
    assert (detail.execution.status, calls(world)) == (ExecutionStatus.CANCELLED, ["a"])
    assert all(step.status == "cancelled" for step in detail.steps)


@each_recording
def test_a_lease_that_has_lapsed_is_not_renewed(
    runs: Runs,
    world: World,
    clock: FakeClock,
    begin: Callable[..., Any],
    process: Callable[[], Services],
    recording: Recording,
) -> None:
    """A process that slept through its lease leaves the run to whoever has taken it up meanwhile."""
    lapsed: list[bool] = []

    def reply(request: HttpRequest) -> HttpResponse:
        if not lapsed:
            lapsed.append(True)
            clock.advance(LAPSED)
            (execution,) = runs.services.executions.list(OWNER, None, None, 10, 0).executions
            runs.detail(execution.id)  # which has Step Functions take it up
            assert execution.id in runs.step_functions.executions()
        return json_response("ok")

    world.http.reply = reply
    nodes = [call("a"), node("w", "wait", seconds=60), call("z")]
    execution_id, ended = begin(graph(nodes, "a -> w -> z"), recording, process())
    assert (ended, calls(world)) == (False, ["a"])
    run = runs.end(execution_id)
    keys = {request.headers["Idempotency-Key"] for request in world.http.requests}
    assert (run.status, len(keys)) == ("succeeded", 2)


def test_one_process_at_a_time(
    runs: Runs, world: World, timeline: Timeline, begin: Callable[..., Any], process: Callable[[], Services]
) -> None:
    """While one has a run another does not get it."""
    second = process()
    refused: list[Any] = []

    def reply(request: HttpRequest) -> HttpResponse:
        (execution,) = runs.services.executions.list(OWNER, None, None, 10, 0).executions
        refused.append(second.in_process._begin(OWNER.organization_id, execution.id, None))
        return json_response("ok")

    world.http.reply = reply
    assert begin(graph([call("a")]), Recording.STEP)[1] is True
    assert refused == [None]


def test_an_end_of_several_transactions(runs: Runs, dynamodb: Any, clock: FakeClock, begin: Callable[..., Any]) -> None:
    """More records than one transaction takes: who dies in between leaves some, and the run is taken up behind them."""
    names = [f"n{index}" for index in range(120)]
    shape = graph(list(map(node, names)), " -> ".join(names))
    with watched(dynamodb) as made:

        def die(_: int) -> None:
            if made.operations[-1] == "TransactWriteItems" and len(made.made[-1][1]["TransactItems"]) == 100:
                raise Killed

        made.after = die
        execution_id, ended = begin(shape, Recording.RUN)
    assert ended is None
    assert len(runs.services._executions.load_run(OWNER.organization_id, execution_id).steps) == 99
    clock.advance(LAPSED)
    runs.detail(execution_id)
    assert runs.end(execution_id).status == "succeeded"
    assert {*runs.steps(execution_id)} == {*names}


def test_a_death_after_somebody_was_asked(
    runs: Runs, clock: FakeClock, begin: Callable[..., Any], world: World
) -> None:
    """Records in memory are lost with their process, an approval is not: the same is asked for again, not another."""
    nodes = [node("ask", "approval"), call("b"), call("z")]

    def reply(request: HttpRequest) -> HttpResponse:
        if calls(world) == ["b"] and pending(runs):
            raise Killed
        return json_response("ok")

    world.http.reply = reply
    execution_id, ended = begin(graph([*nodes, node("t")], "t -> ask", "t -> b", "ask:approved -> z"), Recording.RUN)
    assert ended is None
    (asked,) = pending(runs)
    clock.advance(LAPSED)
    runs.detail(execution_id)

    def approve() -> bool:
        assert pending(runs) == [asked]
        runs.services.approvals.decide(OWNER, asked, ApprovalStatus.APPROVED, None)
        return True

    assert runs.end(execution_id, approve).status == "succeeded"


def pending(runs: Runs) -> list[Any]:
    return list(runs.services.approvals.list(OWNER, 10, 0).approvals)
