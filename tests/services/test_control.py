"""Runs that people hold, end, and take up again: in every state, at every moment, and when somebody dies over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.compiler.asl.quotas import NODE_FUNCTION_LIMIT_S
from chalicelib.foundation.errors import Busy, Conflict, InvalidInput, NotFound, Permanent, Retryable
from chalicelib.foundation.json_types import Json
from chalicelib.graph.executions import ExecutionStatus, StepStatus
from chalicelib.nodes.capabilities import HttpRequest, HttpResponse
from chalicelib.services.executions import ExecutionDetail
from chalicelib.services.lifecycle import STALE_AFTER
from chalicelib.store import keys
from chalicelib.store.table import update
from tests.fakes import FakeClock, Killed, World, graph, json_response, node, watched
from tests.runs import OWNER, Runs

STALE = STALE_AFTER.total_seconds() + 1
CHAIN = graph([node("a"), node("b"), node("c")], "a -> b -> c")
Act = Callable[[Runs, str], ExecutionDetail]


def act(verb: str, *more: str) -> Act:
    return lambda runs, execution_id: getattr(runs.services.control, verb)(OWNER, execution_id, *more)


cancel, pause, resume, retry = act("cancel"), act("pause"), act("resume"), act("retry")


def restart(step: str) -> Act:
    return act("restart", step)


def call(name: str, **settings: Any) -> dict[str, Any]:
    """A node whose effect can be counted: it calls ``http://<name>``."""
    return node(name, "http-request", method="GET", url=f"http://{name}", settings=settings)


def calls(world: World) -> list[str]:
    """The names of the nodes that had an effect, in that order."""
    return [request.url.removeprefix("http://").rstrip("/") for request in world.http.requests]


def end(runs: Runs, execution_id: str) -> ExecutionDetail:
    """Walks the present round to its end, and tells of it."""
    runs.walk(execution_id)
    runs.tell_end(execution_id)
    return runs.detail(execution_id)


def output(runs: Runs, detail: ExecutionDetail) -> Json:
    return runs.services.payloads.get(detail.execution.output)


def statuses(detail: ExecutionDetail) -> dict[str, str]:
    return {step.task_id: str(step.status) for step in detail.steps}


def failing(world: World, *names: str) -> None:
    """From here on these nodes fail, and no other."""

    def reply(request: HttpRequest) -> HttpResponse:
        if request.url.removeprefix("http://").rstrip("/") in names:
            raise Permanent("Down", "not now")
        return json_response({"ok": len(world.http.requests)})

    world.http.reply = reply


# ---------------------------------------------------------------------------------------------- which state allows what


def stands_at(status: ExecutionStatus) -> Callable[[Runs], str]:
    """A run of which nothing is known but its status."""

    def make(runs: Runs) -> str:
        execution_id = runs.start(CHAIN)
        key = keys.execution(OWNER.organization_id, execution_id)
        runs.services._table.write(update(key, "SET #status = :status", status=str(status)))
        return execution_id

    return make


queued, waiting = stands_at(ExecutionStatus.QUEUED), stands_at(ExecutionStatus.WAITING)


def running(runs: Runs) -> str:
    execution_id = runs.start(CHAIN)
    runs.visit(execution_id, "a")
    return execution_id


def paused(runs: Runs) -> str:
    execution_id = running(runs)
    pause(runs, execution_id)
    return execution_id


def cancelled(runs: Runs) -> str:
    execution_id = running(runs)
    cancel(runs, execution_id)
    return execution_id


def ended_as(status: str) -> Callable[[Runs], str]:
    def make(runs: Runs) -> str:
        execution_id = running(runs)
        if status == "SUCCEEDED":
            runs.walk(execution_id)
        runs.step_functions.executions()[execution_id].status = status
        runs.tell_end(execution_id)
        return execution_id

    return make


STATES: Mapping[str, Callable[[Runs], str]] = {
    "queued": queued,
    "running": running,
    "waiting": waiting,
    "paused": paused,
    "succeeded": ended_as("SUCCEEDED"),
    "failed": ended_as("FAILED"),
    "cancelled": cancelled,
    "timed_out": ended_as("TIMED_OUT"),
}
ALLOWED: Mapping[str, tuple[Act, set[str], str]] = {
    "cancel": (cancel, {"queued", "running", "waiting", "paused"}, "cancelled"),
    "pause": (pause, {"queued", "running", "waiting"}, "paused"),
    "resume": (resume, {"paused"}, "running"),
    "retry": (retry, {"failed", "cancelled", "timed_out"}, "running"),
    "restart": (restart("a"), {"succeeded", "failed", "cancelled", "timed_out", "paused"}, "running"),
}


@pytest.mark.parametrize("verb", ALLOWED)
@pytest.mark.parametrize("state", STATES)
def test_what_a_state_allows(runs: Runs, state: str, verb: str) -> None:
    """Done, or refused by an error that says in which state the run is; refused, it changes nothing."""
    execution_id = STATES[state](runs)
    if verb == "restart" and state in ("queued", "waiting"):
        runs.visit(execution_id, "a")
    before = runs.detail(execution_id)
    do, states, becomes = ALLOWED[verb]
    if state in states:
        detail = do(runs, execution_id)
        assert detail.execution.status == becomes
        assert detail.execution.id == execution_id
        assert (detail.execution.error, detail.execution.output) == (None, None)
        assert (detail.execution.finished_at is None) == (verb != "cancel")
    else:
        with pytest.raises(Conflict, match=f"is {state}:"):
            do(runs, execution_id)
        assert runs.detail(execution_id) == before


@pytest.mark.parametrize("verb", ALLOWED)
def test_whose_run_it_is(runs: Runs, verb: str) -> None:
    """A run that the caller may not see is not found."""
    execution_id = running(runs)
    stranger = replace(OWNER, organization_id="other")
    with pytest.raises(NotFound):
        getattr(runs.services.control, verb)(stranger, execution_id, *(["a"] if verb == "restart" else []))


def test_each_has_its_entry_in_the_audit(runs: Runs) -> None:
    """Who did it, to which run of which workflow; what is refused leaves none."""
    execution_id = running(runs)
    for do in (pause, resume, cancel, retry, cancel, restart("a")):
        do(runs, execution_id)
    with pytest.raises(Conflict):
        resume(runs, execution_id)
    entries = runs.services.audit.recent(OWNER, execution_id, 20, 0)
    found = sorted(entry.action.removeprefix("execution.") for entry in entries)
    assert found == ["cancelled", "cancelled", "paused", "restarted", "resumed", "retried"]
    (restarted,) = [entry for entry in entries if entry.action == "execution.restarted"]
    assert restarted.detail == {"workflowId": runs.detail(execution_id).execution.workflow_id, "fromStep": "a"}
    assert {entry.user_id for entry in entries} == {OWNER.user_id}


# -------------------------------------------------------------------------------------------------------- pause, resume


def test_a_held_run_begins_nothing(runs: Runs, world: World) -> None:
    """No node begins, nothing is recorded, and the end of the state machine is not the end of the run."""
    execution_id = runs.start(graph([call("a"), call("b")], "a -> b"))
    runs.visit(execution_id, "a")
    held = pause(runs, execution_id)
    for phase in ("enter", "leave", "settle"):
        with pytest.raises(Permanent, match="RunPaused"):
            runs.visit(execution_id, "b", phase=phase)
    detail = end(runs, execution_id)
    assert detail == held
    assert runs.step_functions.executions()[execution_id].status == "FAILED"
    assert calls(world) == ["a"]


def test_it_goes_on_where_it_was_held(runs: Runs, world: World) -> None:
    """What had ended is not repeated; the new round has a state machine's execution of its own."""
    execution_id = runs.start(graph([call("a"), call("b"), call("c")], "a -> b -> c"))
    runs.visit(execution_id, "a")
    pause(runs, execution_id)
    end(runs, execution_id)
    assert resume(runs, execution_id).execution.round == 2
    assert runs.machine(execution_id) == f"{execution_id}-2"
    detail = end(runs, execution_id)
    assert detail.execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["a", "b", "c"]
    assert [(step.node_id, step.attempts[0].round) for step in detail.steps] == [("a", 1), ("b", 2), ("c", 2)]


def test_what_is_at_work_when_the_run_is_held_ends(runs: Runs, world: World) -> None:
    """Its outcome is recorded, and the round that follows takes it from there."""
    execution_id = runs.start(graph([call("a"), call("b")], "a -> b"))
    failing(world)
    reply = world.http.reply

    def hold(request: HttpRequest) -> HttpResponse:
        world.http.reply = reply
        pause(runs, execution_id)
        return reply(request)

    world.http.reply = hold
    runs.visit(execution_id, "a")
    assert statuses(runs.detail(execution_id)) == {"a": "succeeded"}
    resume(runs, execution_id)
    assert end(runs, execution_id).execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["a", "b"]


def test_a_node_that_was_cut_off_in_a_held_run(runs: Runs, world: World) -> None:
    """A time limit that ends a node while its run is held is noted: the attempt is over."""
    settings = {"timeoutSeconds": 5, "onError": "continue"}
    execution_id = runs.start(graph([call("a", **settings)]))
    world.http.fail_with(Killed())
    with pytest.raises(Killed):
        runs.visit(execution_id, "a")
    pause(runs, execution_id)
    assert runs.visit(execution_id, "a", phase="settle", error="States.Timeout").port == "output"
    (step,) = runs.detail(execution_id).steps
    assert step.error is not None
    assert (str(step.status), step.error.name) == ("failed", "States.Timeout")


def test_a_run_of_which_nothing_was_left_to_hold(runs: Runs) -> None:
    """Held after its last node had begun, it ends at the end of its machine: there is nothing to go on with."""
    execution_id = runs.start(CHAIN)
    for name in ("a", "b", "c"):
        runs.visit(execution_id, name)
    pause(runs, execution_id)
    runs.step_functions.executions()[execution_id].status = "SUCCEEDED"
    runs.tell_end(execution_id)
    detail = runs.detail(execution_id)
    assert (detail.execution.status, output(runs, detail)) == (ExecutionStatus.SUCCEEDED, {})


def test_a_failure_in_a_held_run(runs: Runs, world: World) -> None:
    """A node that fails for good while the run is held fails the run when that goes on."""
    execution_id = runs.start(graph([call("a"), call("b")], "a -> b"))

    def reply(request: HttpRequest) -> HttpResponse:
        pause(runs, execution_id)
        raise Permanent("Down", "not now")

    world.http.reply = reply
    assert end(runs, execution_id).execution.status is ExecutionStatus.PAUSED
    resume(runs, execution_id)
    detail = end(runs, execution_id)
    assert detail.execution.error == {"name": "Down", "message": "not now", "nodeId": "a"}
    assert calls(world) == ["a"]


def test_a_held_run_that_nobody_heard_of(runs: Runs, clock: FakeClock) -> None:
    """Reading it does not start it; and its state machine is not asked for what it cannot know."""
    execution_id = queued(runs)
    pause(runs, execution_id)
    clock.advance(STALE)
    assert runs.detail(execution_id).execution.status is ExecutionStatus.PAUSED
    end(runs, execution_id)
    clock.advance(STALE)
    assert runs.detail(execution_id).execution.status is ExecutionStatus.PAUSED


def test_an_earlier_round_counts_no_more(runs: Runs) -> None:
    """Its state machine is stopped, its nodes do not run, and its end is not the run's."""
    execution_id = runs.start(graph([node("w", "wait", seconds=60), node("a")], "w -> a"))
    runs.visit(execution_id, "w")
    pause(runs, execution_id)
    resume(runs, execution_id)
    first = runs.step_functions.executions()[execution_id]
    assert first.status == "ABORTED"
    runs.step_functions.run(execution_id, runs.invoke)
    assert first.error == "Permanent"
    assert "superseded" in first.cause.lower() or "taken up again" in first.cause
    assert runs.detail(execution_id).execution.status is ExecutionStatus.WAITING
    detail = end(runs, execution_id)
    assert detail.execution.status is ExecutionStatus.SUCCEEDED
    assert [len(step.attempts) for step in detail.steps] == [1, 1]


def test_a_handler_of_the_round_before(runs: Runs, world: World, clock: FakeClock) -> None:
    """While it may be at work the new round waits for it; what it brings is taken, and it is not run twice."""
    execution_id = runs.start(graph([call("a")]))

    def reply(request: HttpRequest) -> HttpResponse:
        pause(runs, execution_id)
        resume(runs, execution_id)
        clock.advance(NODE_FUNCTION_LIMIT_S - 1)
        with pytest.raises(Busy):
            runs.visit(execution_id, "a")
        return json_response("late")

    world.http.reply = reply
    runs.visit(execution_id, "a")
    assert end(runs, execution_id).execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["a"]


def test_a_handler_that_died_in_the_round_before(runs: Runs, world: World, clock: FakeClock) -> None:
    """Nobody is waited for longer than Lambda lets them run."""
    execution_id = runs.start(graph([call("a")]))
    world.http.fail_with(Killed())
    with pytest.raises(Killed):
        runs.visit(execution_id, "a")
    pause(runs, execution_id)
    resume(runs, execution_id)
    clock.advance(NODE_FUNCTION_LIMIT_S)
    runs.visit(execution_id, "a")
    (step,) = runs.detail(execution_id).steps
    assert [(attempt.round, attempt.finished_at is None) for attempt in step.attempts] == [(1, True), (2, False)]


def test_a_delivery_that_slept_through_it(runs: Runs, world: World, dynamodb: Any) -> None:
    """One of the first round that has read the run, and goes on when the second has begun the node, does not."""
    execution_id = runs.start(graph([call("a")]))
    with watched(dynamodb) as made:

        def interleave(number: int) -> None:
            if made.operations[-1] == "UpdateItem":
                made.before = lambda number: None
                pause(runs, execution_id)
                resume(runs, execution_id)
                runs.walk(execution_id)

        made.before = interleave
        request = runs.step_functions.input(execution_id) | {"node": "a"}
        with pytest.raises(Permanent, match="RunSuperseded"):
            runs.invoke(request)
    assert calls(world) == ["a"]


# ---------------------------------------------------------------------------------------------------------------- retry


def test_only_what_failed_is_tried_again(runs: Runs, world: World) -> None:
    """What succeeded answers from its record; the attempts that failed stay in the history."""
    execution_id = runs.start(graph([call("a"), call("b"), call("c")], "a -> b -> c"))
    failing(world, "b")
    assert end(runs, execution_id).execution.status is ExecutionStatus.FAILED
    failing(world)
    again = retry(runs, execution_id)
    assert statuses(again) == {"a": "succeeded", "b": "pending"}
    assert again.execution.tasks_executed == 1
    detail = end(runs, execution_id)
    assert detail.execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["a", "b", "b", "c"]
    steps = {step.node_id: step for step in detail.steps}
    history = [(attempt.round, attempt.error and attempt.error.name) for attempt in steps["b"].attempts]
    assert history == [(1, "Down"), (2, None)]
    assert steps["b"].error is None
    assert (detail.execution.tasks_executed, detail.execution.error) == (3, None)


def test_it_may_fail_and_be_retried_again(runs: Runs, world: World) -> None:
    """Each round has as many attempts as the settings allow."""
    execution_id = runs.start(graph([call("a", retry={"maxAttempts": 2})]))
    for number in range(1, 4):
        world.http.fail_with(Retryable("Slow", "x"), Retryable("Slow", "y"))
        assert end(runs, execution_id).execution.status is ExecutionStatus.FAILED
        assert len(calls(world)) == 2 * number
        retry(runs, execution_id)
    world.http.fail_with()
    detail = end(runs, execution_id)
    assert detail.execution.round == 4
    assert [attempt.round for attempt in detail.steps[0].attempts] == [1, 1, 2, 2, 3, 3, 4]


def test_items_of_a_loop_that_have_ended_stay(runs: Runs, world: World) -> None:
    """Only the items that were not decided run; the loop keeps its items."""
    nodes = [node("l", "loop", items="data.list"), call("x"), node("z")]
    nodes[1]["config"]["url"] = "http://x{{ data }}"
    execution_id = runs.start(graph(nodes, "l:item -> x", "l:done -> z"), {"list": [0, 1, 2]})
    failing(world, "x1")
    assert end(runs, execution_id).execution.status is ExecutionStatus.FAILED
    assert calls(world) == ["x0", "x1"]
    failing(world)
    retry(runs, execution_id)
    assert end(runs, execution_id).execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["x0", "x1", "x1", "x2"]


def test_a_failure_that_the_run_went_on_from(runs: Runs, world: World) -> None:
    """It is taken back where only failures came of it; then what was skipped because of it runs."""
    nodes = [call("h", onError="port"), call("ok"), node("bad", "fail", error="E", message="m")]
    execution_id = runs.start(graph(nodes, "h -> ok", "h:error -> bad"))
    failing(world, "h")
    assert statuses(end(runs, execution_id)) == {"h": "failed", "ok": "skipped", "bad": "failed"}
    failing(world)
    retry(runs, execution_id)
    detail = end(runs, execution_id)
    assert detail.execution.status is ExecutionStatus.SUCCEEDED
    assert statuses(detail) == {"h": "succeeded", "ok": "succeeded", "bad": "skipped"}
    (bad,) = [step for step in detail.steps if step.node_id == "bad"]
    assert [attempt.round for attempt in bad.attempts] == [1]


def test_a_failure_from_which_something_succeeded(runs: Runs, world: World) -> None:
    """It stays: what succeeded never runs a second time by itself."""
    nodes = [call("h", onError="port"), call("mend"), call("last")]
    execution_id = runs.start(graph(nodes, "h:error -> mend -> last"))
    failing(world, "h", "last")
    end(runs, execution_id)
    failing(world)
    retry(runs, execution_id)
    assert end(runs, execution_id).execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["h", "mend", "last", "last"]


def test_a_step_that_was_cancelled_at_work(runs: Runs, world: World, clock: FakeClock) -> None:
    """Its handler's end is noted, what it brings is not used; retried, the step runs once more, at once."""
    execution_id = runs.start(graph([call("a"), call("b")], "a -> b"))

    def reply(request: HttpRequest) -> HttpResponse:
        cancel(runs, execution_id)
        return json_response("too late")

    world.http.reply = reply
    with pytest.raises(Permanent):
        runs.visit(execution_id, "a")
    (step,) = runs.detail(execution_id).steps
    assert (str(step.status), step.attempts[-1].finished_at is None) == ("cancelled", False)
    failing(world)
    retry(runs, execution_id)
    assert end(runs, execution_id).execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["a", "a", "b"]


def test_retried_while_a_handler_is_at_work(runs: Runs, world: World) -> None:
    """A step that was cut off goes on: its handler is waited for, and what it brings is welcome."""
    execution_id = runs.start(graph([call("a"), call("b")], "a -> b"))

    def reply(request: HttpRequest) -> HttpResponse:
        cancel(runs, execution_id)
        retry(runs, execution_id)
        with pytest.raises(Busy):
            runs.visit(execution_id, "a")
        return json_response("in time")

    world.http.reply = reply
    request = runs.step_functions.input(execution_id) | {"node": "a"}
    runs.invoke(request)
    failing(world)
    assert end(runs, execution_id).execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["a", "b"]


def test_a_process_that_died_for_good(runs: Runs, world: World) -> None:
    """Where Step Functions gave up on a node whose process died, nobody is waited for."""
    execution_id = runs.start(graph([call("a")]))
    world.http.fail_with(*(Killed() for _ in range(7)))
    detail = end(runs, execution_id)
    assert detail.execution.error is not None
    assert detail.execution.error["name"] == "Runtime.ExitError"
    retry(runs, execution_id)
    assert end(runs, execution_id).execution.status is ExecutionStatus.SUCCEEDED


# ------------------------------------------------------------------------------------------------------- from a step on


def test_from_a_step_on(runs: Runs, world: World) -> None:
    """It and what is downstream of it runs anew, also in a run that has succeeded; what is beside it stays."""
    nodes = [call(name) for name in ("a", "b", "c", "beside", "end")]
    execution_id = runs.start(graph(nodes, "a -> b -> c -> end", "a -> beside -> end"))
    end(runs, execution_id)
    world.http.requests.clear()
    assert statuses(restart("b")(runs, execution_id)) == {
        "a": "succeeded", "beside": "succeeded", "b": "pending", "c": "pending", "end": "pending",
    }  # fmt: skip
    detail = end(runs, execution_id)
    assert detail.execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["b", "c", "end"]
    assert {step.node_id: len(step.attempts) for step in detail.steps} == {
        "a": 1, "beside": 1, "b": 2, "c": 2, "end": 2,
    }  # fmt: skip


def test_another_branch_than_before(runs: Runs, world: World) -> None:
    """What ran in the branch that is not taken now is skipped, and keeps its history; what was skipped runs."""
    nodes = [call("a"), node("c", "condition", expression="data.body.ok < 2"), call("yes"), call("no")]
    execution_id = runs.start(graph(nodes, "a -> c", "c:true -> yes", "c:false -> no"))
    failing(world)
    assert statuses(end(runs, execution_id)) == {
        "a": "succeeded",
        "c": "succeeded",
        "yes": "succeeded",
        "no": "skipped",
    }
    restart("a")(runs, execution_id)
    detail = end(runs, execution_id)
    assert statuses(detail) == {"a": "succeeded", "c": "succeeded", "yes": "skipped", "no": "succeeded"}
    (yes,) = [step for step in detail.steps if step.node_id == "yes"]
    assert [attempt.round for attempt in yes.attempts] == [1]


def test_from_a_loop_on(runs: Runs, world: World) -> None:
    """Its items are told anew; where they are fewer now, the rest is skipped and keeps its history."""
    nodes = [call("n"), node("l", "loop", items="[1..(4 - nodes.n.body.ok)]"), node("x"), node("z")]
    execution_id = runs.start(graph(nodes, "n -> l", "l:item -> x", "l:done -> z"))
    failing(world)
    first = end(runs, execution_id)
    restart("n")(runs, execution_id)
    second = end(runs, execution_id)
    assert len(statuses(first)) == len(statuses(second)) == 6
    left = {task: status for task, status in statuses(second).items() if status == "skipped"}
    assert len(left) == 1
    assert second.execution.status is ExecutionStatus.SUCCEEDED
    assert runs.output({step.task_id: step for step in second.steps}["z"]) == runs.output(
        {step.task_id: step for step in second.steps}["l"]
    )


def test_from_within_a_loop(runs: Runs, world: World) -> None:
    """The node runs anew for each item, and what depends on it; the loop keeps its items and what is before in them."""
    nodes = [call("n"), node("l", "loop", items="[1, 2]"), call("p"), call("q"), call("z")]
    execution_id = runs.start(graph(nodes, "n -> l", "l:item -> p -> q", "l:done -> z"))
    end(runs, execution_id)
    world.http.requests.clear()
    restart("q")(runs, execution_id)
    detail = end(runs, execution_id)
    assert detail.execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["q", "q", "z"]


def test_what_a_late_handler_brings_to_a_step_begun_anew(runs: Runs, world: World) -> None:
    """It is not used: the step has another input now. That the handler is done is noted, and the new one begins."""
    execution_id = runs.start(graph([call("a"), call("b")], "a -> b"))
    failing(world)
    runs.visit(execution_id, "a")
    reply = world.http.reply

    def late(request: HttpRequest) -> HttpResponse:
        world.http.reply = reply
        pause(runs, execution_id)
        restart("a")(runs, execution_id)
        runs.visit(execution_id, "a")
        with pytest.raises(Busy):
            runs.visit(execution_id, "b")
        return json_response("of the round before")

    world.http.reply = late
    with pytest.raises(Permanent, match="Overtaken"):
        runs.invoke(runs.step_functions.input(execution_id) | {"node": "b"})
    detail = end(runs, execution_id)
    assert detail.execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["a", "b", "a", "b"]
    (b,) = [step for step in detail.steps if step.node_id == "b"]
    assert [(attempt.round, attempt.finished_at is None) for attempt in b.attempts] == [(1, False), (2, False)]


def test_other_failures_are_retried_with_it(runs: Runs, world: World) -> None:
    """Else the run would fail at once, of what is not downstream of the step."""
    execution_id = runs.start(graph([call("a"), call("b")]))
    failing(world, "b")
    end(runs, execution_id)
    failing(world)
    restart("a")(runs, execution_id)
    assert end(runs, execution_id).execution.status is ExecutionStatus.SUCCEEDED
    assert sorted(calls(world)) == ["a", "a", "b", "b"]


def test_steps_that_cannot_be_begun_anew(runs: Runs) -> None:
    """One that the run does not have, and one that was never decided: told apart."""
    execution_id = running(runs)
    with pytest.raises(InvalidInput, match="has no step 'x'"):
        restart("x")(runs, execution_id)
    with pytest.raises(InvalidInput, match="'c' was never decided"):
        restart("c")(runs, execution_id)


# ------------------------------------------------------------------------------------------------------- when it is cut


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("by", ["the request", "a read"])
def test_any_call_of_a_restart_may_be_the_last(
    runs: Runs, clock: FakeClock, dynamodb: Any, moment: str, by: str
) -> None:
    """Who takes a run up again may die at any call: the same request, or a read of the run later, does the rest."""
    nodes = [node("a"), node("l", "loop", items="[1, 2]"), node("x"), node("z")]
    shape = graph(nodes, "a -> l", "l:item -> x", "l:done -> z")
    whole = runs.start(shape)
    end(runs, whole)
    with watched(dynamodb) as made:
        restart("a")(runs, whole)
        number_of_calls = len(made.made)
    expected = statuses(end(runs, whole))
    for fatal in range(1, number_of_calls + 1):
        execution_id = runs.start(shape)
        end(runs, execution_id)
        with watched(dynamodb) as made:
            setattr(made, moment, _die_at(fatal))
            with pytest.raises(Killed):
                restart("a")(runs, execution_id)
        clock.advance(STALE)
        if by == "a read":
            runs.detail(execution_id)
        execution, _ = runs.services.executions.load(OWNER, execution_id)
        if execution.reopening is not None or execution.status.is_final:
            restart("a")(runs, execution_id)
        runs.detail(execution_id)
        detail = end(runs, execution_id)
        where = f"{moment} call {fatal} of {number_of_calls}"
        assert (detail.execution.round, statuses(detail)) == (2, expected), where
        assert all(len(step.attempts) == 2 for step in detail.steps), where


def test_more_records_than_a_transaction_holds(runs: Runs, clock: FakeClock, dynamodb: Any) -> None:
    """Who dies between two transactions has set aside some; a read of the run does the rest."""
    execution_id = runs.start(graph([node("l", "loop", items="[1..110]"), node("x")], "l:item -> x"))
    end(runs, execution_id)
    with watched(dynamodb) as made:
        made.after = lambda number: (
            _die_at(number)(number) if made.operations.count("TransactWriteItems") == 2 else None
        )
        with pytest.raises(Killed):
            restart("l")(runs, execution_id)
    _, run = runs.services.executions.load(OWNER, execution_id)
    assert 90 < sum(step.status is StepStatus.PENDING for step in run.steps.values()) < 100
    clock.advance(STALE)
    detail = runs.detail(execution_id)
    assert (detail.execution.status, set(statuses(detail).values())) == (ExecutionStatus.RUNNING, {"pending"})


def _die_at(fatal: int) -> Callable[[int], None]:
    def check(number: int) -> None:
        if number == fatal:
            raise Killed

    return check


def test_two_retries_at_one_time(runs: Runs, world: World, dynamodb: Any) -> None:
    """The second, let in anywhere in the first, begins no other round, and sets nothing aside that has run since."""
    shape = graph([call("a"), call("b")], "a -> b")
    for number in range(2, 40):
        failing(world, "b")
        execution_id = runs.start(shape)
        end(runs, execution_id)
        failing(world)
        world.http.requests.clear()
        entered = False
        with watched(dynamodb) as made:

            def interleave(at: int, made: Any = made, number: int = number, execution_id: str = execution_id) -> None:
                nonlocal entered
                if at == number:
                    entered, made.before = True, lambda at: None
                    with suppress(Conflict):  # it is queued by then, or runs
                        retry(runs, execution_id)
                        end(runs, execution_id)

            made.before = interleave
            with suppress(Conflict):  # the other one was faster
                retry(runs, execution_id)
        if not entered:
            assert number > 5
            break
        detail = runs.detail(execution_id)
        if not detail.execution.status.is_final:
            detail = end(runs, execution_id)
        assert (detail.execution.status, detail.execution.round) == (ExecutionStatus.SUCCEEDED, 2), number
        assert calls(world) == ["b"], number


def test_cancelled_while_records_are_set_aside(runs: Runs, world: World, dynamodb: Any) -> None:
    """The run stays cancelled; taken up again it finishes what was begun: nothing of the old round is left."""
    execution_id = runs.start(graph([call("a"), call("b"), call("c")], "a -> b -> c"))
    end(runs, execution_id)
    with watched(dynamodb) as made:

        def interleave(number: int) -> None:
            if made.operations[-1] == "TransactWriteItems" and number > 4:
                made.before = lambda number: None
                cancel(runs, execution_id)

        made.before = interleave
        assert restart("b")(runs, execution_id).execution.status is ExecutionStatus.CANCELLED
    world.http.requests.clear()
    retry(runs, execution_id)
    assert end(runs, execution_id).execution.status is ExecutionStatus.SUCCEEDED
    assert calls(world) == ["b", "c"]


def test_steps_that_were_left_open_are_closed_by_a_read(runs: Runs, dynamodb: Any) -> None:
    """Who ends a run and dies before its steps are closed leaves that to the next reader."""
    execution_id = runs.start(graph([node("w", "wait", seconds=60)]))
    runs.visit(execution_id, "w")
    with watched(dynamodb) as made:
        made.after = lambda number: _die_at(number)(number) if made.operations[-1] == "TransactWriteItems" else None
        with pytest.raises(Killed):
            cancel(runs, execution_id)
    assert statuses(runs.detail(execution_id)) == {"w": "cancelled"}
