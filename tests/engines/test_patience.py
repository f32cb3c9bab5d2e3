"""Nodes with late joins that are visited too early, on moto: how long they wait, for what, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from chalicelib.compiler import prices
from chalicelib.engines.visit import NotReady
from chalicelib.foundation.clock import parse_timestamp
from chalicelib.foundation.errors import Permanent, Retryable
from tests.fakes import MONDAY, FakeClock, World, graph, node, watched
from tests.runs import OWNER, Runs

EDGES = ("a -> x", "a -> y", "b -> y")  # `y` stands under `b` and waits for `a`


def joined(**nodes: dict[str, Any]) -> dict[str, Any]:
    return graph([nodes.get(name, node(name)) for name in "abxy"], *EDGES)


def begun(runs: Runs, shape: dict[str, Any] | None = None, **settings: Any) -> str:
    """A run of which ``b`` is decided, and ``a`` is not."""
    execution_id = runs.start(shape or joined(), **settings)
    runs.visit(execution_id, "b")
    return execution_id


def come(runs: Runs, execution_id: str, name: str = "y", **event: Any) -> dict[str, Any]:
    """What the Task of a node does."""
    return runs.invoke({**runs.step_functions.input(runs.machine(execution_id)), "node": name, **event})


def after(clock: FakeClock, seconds: float, act: Callable[[], object]) -> None:
    """Lets something happen once, while somebody sleeps, when so much time has passed."""
    began = clock.now()

    def look() -> None:
        if (clock.now() - began).total_seconds() >= seconds:
            clock.on_sleep = lambda: None
            act()

    clock.on_sleep = look


def slept(clock: FakeClock) -> float:
    return (clock.now() - MONDAY).total_seconds()


def test_what_is_ready_waits_for_nothing(runs: Runs, clock: FakeClock, dynamodb: Any) -> None:
    """It takes what any node takes: one read and one write."""
    execution_id = begun(runs)
    runs.visit(execution_id, "a")
    with watched(dynamodb) as calls:
        come(runs, execution_id)
    assert calls.operations == ["BatchGetItem", "PutItem"]
    assert slept(clock) == 0
    assert runs.steps(execution_id)["y"].late is None


def test_what_is_ready_a_little_later_is_waited_for(runs: Runs, clock: FakeClock, dynamodb: Any) -> None:
    """The node runs when the last of those has ended, with what they put out; that a function waited is counted."""
    execution_id = begun(runs, joined(a=node("a", expression="7"), b=node("b", expression="1")))
    after(clock, 1, lambda: runs.visit(execution_id, "a"))
    assert come(runs, execution_id)["port"] == "output"
    assert 1 <= slept(clock) <= 1.1
    step = runs.steps(execution_id)["y"]
    assert runs.output(step) == {"a": 7, "b": 1}
    assert step.late is None
    assert step.attempts[0].ms == pytest.approx(1000 * slept(clock), abs=2)
    assert parse_timestamp(step.attempts[0].started_at) == clock.now().replace(microsecond=62_000)


def test_what_is_missed_is_recorded_nowhere(runs: Runs, clock: FakeClock, dynamodb: Any) -> None:
    """It waits as long as it pays, looking at the run and what it waits for, and writes nothing."""
    execution_id = begun(runs)
    with watched(dynamodb) as calls, pytest.raises(NotReady):
        come(runs, execution_id)
    looks = calls.reads - 1
    assert (calls.writes, looks) == (0, len(list(prices.pauses())))
    assert slept(clock) == pytest.approx(prices.patience_s())
    assert calls.items_read <= 5 + 2 * looks
    assert "y" not in runs.steps(execution_id)


def test_a_chain_waits_with_its_first_node(runs: Runs, clock: FakeClock) -> None:
    """What it has read before is not believed behind that."""
    shape = graph([node("a", expression="7"), *map(node, "bxyz")], *EDGES, "y -> z")
    execution_id = begun(runs, shape)
    after(clock, 0.1, lambda: runs.visit(execution_id, "a"))
    assert come(runs, execution_id)["port"] == "output"
    steps = runs.steps(execution_id)
    assert runs.output(steps["z"]) == {"a": 7, "b": {}}
    assert [steps[name].attempts[0].ms >= 100 for name in "yz"] == [True, False]


def test_a_time_limit_is_not_spent_on_waiting(runs: Runs, clock: FakeClock, dynamodb: Any) -> None:
    """A node that has one goes to its gate at once."""
    execution_id = begun(runs, joined(y=node("y", settings={"timeoutSeconds": 30})))
    with watched(dynamodb) as calls, pytest.raises(NotReady):
        come(runs, execution_id)
    assert (calls.operations, slept(clock)) == (["BatchGetItem"], 0)


def test_what_waits_itself_is_not_waited_for(runs: Runs, clock: FakeClock) -> None:
    """One look shows that it does."""
    shape = joined(a=node("a", "wait", seconds=3600), b=node("b", "wait", seconds=0))
    execution_id = begun(runs, shape)
    runs.visit(execution_id, "b", phase="leave")
    runs.visit(execution_id, "a")
    with pytest.raises(NotReady):
        come(runs, execution_id)
    assert 0 < slept(clock) < 0.1


def test_what_has_ended_the_run_is_not_waited_for(runs: Runs, clock: FakeClock) -> None:
    """It is final, and yet nobody goes on behind it."""
    execution_id = begun(runs, joined(a=node("a", expression="$error('no')")))
    with pytest.raises(Permanent):
        runs.visit(execution_id, "a")
    with pytest.raises(NotReady):
        come(runs, execution_id)
    assert 0 < slept(clock) < 0.1


def test_the_end_of_the_run_ends_the_wait(runs: Runs, clock: FakeClock) -> None:
    """So does that it is held, and that its time is over: then the node is refused as any other."""
    control = runs.services.control
    for name, act in {"RunEnded": control.cancel, "RunPaused": control.pause}.items():
        execution_id, began = begun(runs), slept(clock)
        after(clock, 0.5, partial(act, OWNER, execution_id))
        with pytest.raises(Permanent) as refused:
            come(runs, execution_id)
        assert refused.value.name == name
        assert 0.5 <= slept(clock) - began <= 0.7


def test_the_deadline_of_the_run_ends_the_wait(runs: Runs, clock: FakeClock) -> None:
    """Not much later than it is reached."""
    execution_id = begun(runs, timeout=1)
    with pytest.raises(Permanent) as refused:
        come(runs, execution_id)
    assert refused.value.name == "RunTimedOut"
    assert slept(clock) <= 1.2


def test_who_comes_from_the_gate_is_believed(runs: Runs, clock: FakeClock, world: World) -> None:
    """All was told there. What was waited before is counted once, however often the node is tried."""
    refusals = [RuntimeError("not yet")]

    def write(_: str) -> None:
        if refusals:
            raise refusals.pop()

    world.log.on_write = write
    retry = {"retry": {"maxAttempts": 2}}
    execution_id = begun(runs, joined(y=node("y", "log", message="y", settings=retry)))
    with pytest.raises(Retryable):
        come(runs, execution_id, late=True)
    assert come(runs, execution_id, late=True)["port"] == "output"
    step = runs.steps(execution_id)["y"]
    assert step.late == 1
    assert [attempt.ms >= 1000 * prices.patience_s() for attempt in step.attempts] == [True, False]
    assert slept(clock) == 0


def test_each_round_counts_its_own(runs: Runs, world: World) -> None:
    """Missed in the first round, ready in the second: what the run has come to is what both state machines did."""
    world.log.on_write = _fails_once()
    execution_id = runs.start(joined(y=node("y", "log", message="y")))
    walks = [runs.walk(execution_id, order=lambda parts: parts[::-1])]
    runs.tell_end(execution_id)
    runs.services.control.retry(OWNER, execution_id)
    walks.append(runs.walk(execution_id, order=lambda parts: parts[::-1]))
    runs.tell_end(execution_id)
    assert [walk.waits for walk in walks] == [1, 0]
    execution = runs.detail(execution_id).execution
    assert str(execution.status) == "succeeded"
    assert execution.cost is not None
    assert execution.cost.transitions == sum(walk.transitions for walk in walks)


def _fails_once() -> Callable[[str], None]:
    refusals = [RuntimeError("no")]

    def write(_: str) -> None:
        if refusals:
            raise refusals.pop()

    return write
