"""The runner of nodes when things go wrong: processes that die anywhere, deliveries that come twice or at one time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.bootstrap import services
from chalicelib.engines.visit import StepAnswer, StepRequest
from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.foundation.settings import Settings
from chalicelib.graph.executions import StepStatus
from tests.fakes import CountingIds, FakeClock, Killed, World, graph, json_response, node, watched
from tests.runs import OWNER, Runs

HTTP = {"method": "GET", "url": "http://x"}

#: One graph for each way in which the runner writes records.
SHAPES: dict[str, dict[str, Any]] = {
    "chain": graph([node("a", expression="{'n': 1}"), node("h", "http-request", **HTTP)], "a -> h"),
    "closed branch": graph(
        [node("c", "condition", expression="false"), node("t"), node("t2"), node("h", "http-request", **HTTP)],
        "c:true -> t -> t2",
        "c:false -> h",
    ),
    "loop": graph(
        [node("l", "loop", items="[1]"), node("h", "http-request", **HTTP), node("z")],
        "l:item -> h",
        "l:done -> z",
    ),
    "wait": graph([node("w", "wait", seconds=5), node("h", "http-request", **HTTP)], "w -> h"),
    "error port": graph(
        [node("f", "fail", error="E", message="m", settings={"onError": "port"}), node("h", "http-request", **HTTP)],
        "f:error -> h",
    ),
    "large": graph([node("a", expression="$pad('', 40000, 'x')"), node("h", "http-request", **HTTP)], "a -> h"),
    "failure": graph([node("h", "http-request", **HTTP), node("f", "fail", error="E", message="m")], "h -> f"),
}


def die_at(fatal: int) -> Callable[[int], None]:
    def check(number: int) -> None:
        if number == fatal:
            raise Killed

    return check


def essence(runs: Runs, execution_id: str) -> Any:
    """What is recorded of a run, less what repetitions may change: how often was tried, and what it cost."""
    detail = runs.detail(execution_id)
    steps = [replace(step, attempts=step.attempts[-1:]) for step in detail.steps]
    return replace(detail.execution, id="", workflow_id="", cost=None), steps, runs.output(detail.execution)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("service", "shape"), [("s3", "large"), *(("dynamodb", name) for name in SHAPES if name not in ("chain", "large"))]
)
def test_any_call_may_be_the_last(
    runs: Runs, world: World, request: pytest.FixtureRequest, shape: str, moment: str, service: str
) -> None:
    """Whichever call the node runner dies at, before or after it took effect, the run ends with the same records."""
    client = request.getfixturevalue(service)
    world.http.reply = lambda sent: json_response({"ok": True})
    whole = runs.start(SHAPES[shape])
    with watched(client) as calls:
        runs.walk(whole)
        number_of_calls = len(calls.made)
    runs.tell_end(whole)
    expected, visits = essence(runs, whole), len(world.http.requests)
    for fatal in range(1, number_of_calls + 1):
        execution_id = runs.start(SHAPES[shape])
        world.http.requests.clear()
        with watched(client) as calls:
            setattr(calls, moment, die_at(fatal))
            runs.walk(execution_id)
        runs.tell_end(execution_id)
        assert essence(runs, execution_id) == expected, f"{moment} call {fatal} of {number_of_calls}"
        assert len(world.http.requests) <= visits + 1


def test_a_death_between_two_transactions_of_skips(runs: Runs, dynamodb: Any) -> None:
    """What is skipped beyond one transaction is recorded by the next delivery, where the first dies in between."""
    names = [f"n{index}" for index in range(120)]
    nodes = [node("c", "condition", expression="true"), node("t"), *map(node, names)]
    execution_id = runs.start(graph(nodes, "c:true -> t", "c:false -> n0", " -> ".join(names)))
    with watched(dynamodb) as calls:
        calls.after = die_at(2)
        with pytest.raises(Killed):
            runs.visit(execution_id, "c")
    assert calls.operations[-1] == "TransactWriteItems"
    assert len(runs.steps(execution_id)) == 100
    assert runs.visit(execution_id, "c").port == "true"
    assert len(runs.steps(execution_id)) == 121


@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_end_of_a_run_survives_any_death(runs: Runs, dynamodb: Any, moment: str) -> None:
    """Whoever notes the end of a run may die at any call; the event comes again, and the end is the same."""
    shape = SHAPES["failure"]
    whole = runs.start(shape)
    runs.walk(whole)
    with watched(dynamodb) as calls:
        runs.tell_end(whole)
        number_of_calls = len(calls.made)
    for fatal in range(1, number_of_calls + 1):
        execution_id = runs.start(shape)
        runs.walk(execution_id)
        with watched(dynamodb) as calls:
            setattr(calls, moment, die_at(fatal))
            with pytest.raises(Killed):
                runs.tell_end(execution_id)
        runs.tell_end(execution_id)
        (run, steps, output), (expected_run, expected_steps, expected_output) = (
            essence(runs, execution_id),
            essence(runs, whole),
        )
        assert (output, run.status, run.error) == (expected_output, expected_run.status, expected_run.error)
        assert [(step.task_id, step.status, step.error) for step in steps] == [
            (step.task_id, step.status, step.error) for step in expected_steps
        ]


def test_a_second_delivery_answers_from_the_record(runs: Runs, world: World, clock: FakeClock) -> None:
    """After success the handler does not run again, and the answer is the same."""
    execution_id = runs.start(SHAPES["chain"])
    runs.visit(execution_id, "a")
    first = runs.visit(execution_id, "h")
    recorded = runs.steps(execution_id)
    clock.advance(3600)
    again = runs.visit(execution_id, "h")
    assert (again.path, again.port, again.count) == (first.path, first.port, first.count)
    assert len(world.http.requests) == 1
    assert runs.steps(execution_id) == recorded


def test_a_second_delivery_after_failure_fails_the_same(runs: Runs, world: World) -> None:
    """A node that has failed for good fails every delivery under the same name, and never runs again."""
    world.http.fail_with(Permanent("Gone", "for good"))
    execution_id = runs.start(graph([node("h", "http-request", **HTTP)]))
    for _ in range(2):
        with pytest.raises(Permanent) as raised:
            runs.visit(execution_id, "h")
        assert raised.value.name == "Gone"
    assert len(world.http.requests) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_two_deliveries_interleaved(runs: Runs, world: World, dynamodb: Any, moment: str) -> None:
    """A whole second delivery within the first, at any of its calls: one record, and both are told the same."""
    world.http.reply = lambda sent: json_response({"n": len(world.http.requests)})
    for place in range(1, 4):
        execution_id = runs.start(SHAPES["closed branch"])
        runs.visit(execution_id, "c")
        world.http.requests.clear()
        inner: list[StepAnswer] = []

        def let_in(number: int, place: int = place, run: str = execution_id, inner: list[StepAnswer] = inner) -> None:
            if number == place and not inner:
                inner.append(StepAnswer("", ""))  # the second delivery's own calls are not interrupted
                inner[0] = runs.visit(run, "h")

        with watched(dynamodb) as calls:
            setattr(calls, moment, let_in)
            outer = runs.visit(execution_id, "h")
        assert inner == [outer]
        step = runs.steps(execution_id)["h"]
        assert step.status is StepStatus.SUCCEEDED
        assert 1 <= len(world.http.requests) <= 2
        runs.visit(execution_id, "h")
        assert runs.steps(execution_id)["h"] == step


def test_many_deliveries_at_once(settings: Settings, clock: FakeClock, runs: Runs, world: World) -> None:
    """Eight Lambdas that are given the same node at one time all answer alike, and one record comes of it."""
    execution_id = runs.start(SHAPES["closed branch"])
    others = [
        Runs(services(settings, clock=clock, ids=CountingIds(), capabilities=world.capabilities), runs.step_functions)
        for _ in range(8)
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda other: other.visit(execution_id, "c"), others))
    assert {(answer.port, answer.path) for answer in answers} == {("false", "")}
    assert {task: str(step.status) for task, step in runs.steps(execution_id).items()} == {
        "c": "succeeded",
        "t": "skipped",
        "t2": "skipped",
    }


def test_a_success_is_not_overwritten_by_a_late_failure(runs: Runs, world: World) -> None:
    """A delivery whose handler fails after another one's succeeded answers from the success."""
    execution_id = runs.start(graph([node("h", "http-request", **HTTP)]))

    def fail_late(sent: Any) -> Any:
        world.http.fail_with()  # the delivery within is answered
        runs.visit(execution_id, "h")
        raise Permanent("Late", "too late")

    world.http.reply = fail_late
    assert runs.visit(execution_id, "h").port == "output"
    assert runs.steps(execution_id)["h"].error is None


def test_a_retry_is_told_to_the_engine(runs: Runs, world: World) -> None:
    """Before the last attempt ``Retryable`` is raised, and the node stays undecided with the attempt's error."""
    world.http.fail_with(Retryable("Slow", "wait a little"))
    settings = {"retry": {"maxAttempts": 2}}
    execution_id = runs.start(graph([node("h", "http-request", settings=settings, **HTTP)]))
    with pytest.raises(Retryable):
        runs.visit(execution_id, "h")
    step = runs.steps(execution_id)["h"]
    assert step.status is StepStatus.RUNNING
    assert [attempt.error and attempt.error.message for attempt in step.attempts] == ["wait a little"]


@pytest.mark.parametrize("on_error", ["continue", "port"])
def test_a_node_that_was_cut_off_is_settled(runs: Runs, world: World, on_error: str) -> None:
    """A node that could not record its own end (it ran out of time) is recorded as failed, and the run goes on."""
    port = "error" if on_error == "port" else "output"
    settings = {"onError": on_error, "timeoutSeconds": 1}
    execution_id = runs.start(
        graph([node("h", "http-request", settings=settings, **HTTP), node("b")], f"h:{port} -> b")
    )
    world.http.fail_with(Killed())
    with pytest.raises(Killed):
        runs.visit(execution_id, "h")
    answer = runs.visit(execution_id, "h", phase="settle", error="States.Timeout")
    assert answer.port == port
    step = runs.steps(execution_id)["h"]
    assert step.status is StepStatus.FAILED
    assert step.error is not None
    assert step.error.name == "States.Timeout"
    assert runs.output(step) == {"error": step.error.to_json()}


def test_a_node_that_never_began_is_settled(runs: Runs) -> None:
    """Settling needs no attempt: the Lambda may have been cut off before it wrote one."""
    execution_id = runs.start(graph([node("a", settings={"timeoutSeconds": 1})]))
    with pytest.raises(Permanent):
        runs.visit(execution_id, "a", phase="settle", error="States.Timeout")
    assert runs.steps(execution_id)["a"].status is StepStatus.FAILED


def test_settling_a_node_that_has_succeeded_changes_nothing(runs: Runs) -> None:
    """Where the answer was lost but the record was written, the success stands."""
    execution_id = runs.start(graph([node("a", settings={"timeoutSeconds": 1})]))
    runs.visit(execution_id, "a")
    assert runs.visit(execution_id, "a", phase="settle", error="States.Timeout").port == "output"
    assert runs.steps(execution_id)["a"].status is StepStatus.SUCCEEDED


def test_a_wait_is_entered_once(runs: Runs, clock: FakeClock) -> None:
    """A wait that is delivered again later ends when it was to end first."""
    execution_id = runs.start(graph([node("w", "wait", seconds=60)]))
    first = runs.visit(execution_id, "w")
    clock.advance(30)
    assert runs.visit(execution_id, "w").until == first.until
    assert runs.steps(execution_id)["w"].status is StepStatus.WAITING
    clock.advance(30)
    for _ in range(2):
        assert runs.visit(execution_id, "w", phase="leave").port == "output"
    assert runs.steps(execution_id)["w"].finished_at == "2026-01-05T09:01:00.000Z"


def test_a_loop_that_is_entered_again_keeps_its_items(runs: Runs, world: World) -> None:
    """The items of a loop are those of its first delivery, so that the body's paths mean the same to every one."""
    shape = graph([node("l", "loop", items="$count([1..3])[$ > 0].[1..3]"), node("x")], "l:item -> x")
    execution_id = runs.start(shape)
    first = runs.visit(execution_id, "l")
    again = runs.visit(execution_id, "l")
    assert (first.count, again.count) == (3, 3)
    assert len(runs.steps(execution_id)["l"].attempts) == 1


def test_nodes_of_an_ended_run_do_not_run(runs: Runs, world: World) -> None:
    """A run that was cancelled runs nothing more, whatever its state machine still asks for."""
    execution_id = runs.start(graph([node("h", "http-request", **HTTP)]))
    runs.services.control.cancel(OWNER, execution_id)
    with pytest.raises(Permanent) as raised:
        runs.visit(execution_id, "h")
    assert raised.value.name == "RunEnded"
    assert world.http.requests == []


def test_a_run_of_another_organisation_is_unknown(runs: Runs) -> None:
    """The runner finds nothing under a wrong organisation, whatever its event says."""
    execution_id = runs.start(graph([node("a")]))
    plan = runs.detail(execution_id).execution.plan
    with pytest.raises(Permanent):
        runs.services.steps.run(StepRequest("other", execution_id, plan, "a", ""))


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("set-fields", {"fields": {"n": 1}}, ["BatchGetItem", "PutItem"]),
        ("http-request", {"method": "GET", "url": "http://there/"}, ["BatchGetItem", "UpdateItem", "PutItem"]),
    ],
)
def test_a_node_costs_a_read_and_one_or_two_writes(
    runs: Runs, dynamodb: Any, kind: str, config: dict[str, Any], expected: list[str]
) -> None:
    """One read that brings all it needs, the attempt, unless it is over before anybody could read that, the outcome."""
    execution_id = runs.start(graph([node("n", kind, **config)]))
    with watched(dynamodb) as calls:
        runs.walk(execution_id)
    assert calls.operations == expected


def test_a_join_is_one_read(runs: Runs, dynamodb: Any) -> None:
    """A node behind ten others reads them all at once."""
    names = [f"n{index}" for index in range(10)]
    lines = [f"a -> {name} -> j" for name in names]
    execution_id = runs.start(graph([node("a"), *(node(name) for name in names), node("j")], *lines))
    with watched(dynamodb) as calls:
        runs.walk(execution_id)
    assert (calls.reads, calls.writes) == (12, 12)


def test_a_closed_branch_is_written_with_what_closes_it(runs: Runs, dynamodb: Any) -> None:
    """What a condition decides to skip is written in the transaction of its own outcome: no call more."""
    execution_id = runs.start(SHAPES["closed branch"])
    with watched(dynamodb) as calls:
        runs.visit(execution_id, "c")
    assert calls.operations == ["BatchGetItem", "TransactWriteItems"]


def test_only_what_is_needed_is_read(runs: Runs, dynamodb: Any) -> None:
    """A node reads the run, its own record, its predecessors', and those that its expressions name."""
    names = [f"n{index}" for index in range(6)]
    nodes = [node(name) for name in names] + [node("last", expression="nodes.n2")]
    execution_id = runs.start(graph(nodes, " -> ".join([*names, "last"])))
    for name in names:
        runs.visit(execution_id, name)
    with watched(dynamodb) as calls:
        runs.visit(execution_id, "last")
    (_, request), *_ = calls.made
    read = {key["sk"]["S"] for key in request["RequestItems"]["millrace-test"]["Keys"]}
    assert read == {"EXECUTION", "STEP##last", "STEP##n5", "STEP##n2"}


def test_the_plan_is_read_once(settings: Settings, clock: FakeClock, runs: Runs, world: World, s3: Any) -> None:
    """A warm Lambda reads a plan once, however many nodes of it it runs."""
    execution_id = runs.start(SHAPES["chain"])
    lambda_ = Runs(services(settings, clock=clock, capabilities=world.capabilities), runs.step_functions)
    with watched(s3) as calls:
        lambda_.walk(execution_id)
    assert calls.operations == ["GetObject"]
