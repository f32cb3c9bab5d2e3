"""Chains on moto: what they cost, and that nothing is lost or done twice where one is cut short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.engines.chains import BUDGET_S, ChainRunner
from chalicelib.engines.patience import Patience
from chalicelib.engines.visit import StepRequest
from chalicelib.foundation.errors import Downstream, Permanent
from tests.fakes import FakeClock, Killed, World, graph, node, watched
from tests.runs import OWNER, Runs

NAMES = [f"n{index}" for index in range(10)]


def logs(*names: str) -> dict[str, Any]:
    """A chain of nodes that say when they run; each hands on what it was given."""
    return graph([node(name, "log", message=name) for name in names], " -> ".join(names))


def test_a_chain_is_one_transition_one_read_and_one_write(runs: Runs, dynamodb: Any) -> None:
    """Ten short nodes in a row; alone they would be ten of each."""
    execution_id = runs.start(graph(list(map(node, NAMES)), " -> ".join(NAMES)))
    with watched(dynamodb) as calls:
        walk = runs.walk(execution_id)
    assert walk.visited == ["n0"]
    assert calls.operations == ["BatchGetItem", "TransactWriteItems"]


def test_a_chain_hands_outputs_on(runs: Runs, s3: Any) -> None:
    """Each node sees the one before and those that it names, large ones too; records are as those of single nodes."""
    nodes = [
        node("a", expression="$pad('', 40000, 'x')"),
        node("b", expression="{'n': $length(data)}"),
        node("c", "condition", expression="data.n > 5"),
        node("d", expression="[data.n, $length(nodes.a)]"),
    ]
    run = runs.run(graph(nodes, "a -> b -> c", "c:true -> d"))
    assert (run.status, run.output) == ("succeeded", [40000, 40000])
    assert run.walk.visited == ["a", "c.port", "d"]
    assert [len(run.steps[name].attempts) for name in "abcd"] == [1, 1, 1, 1]
    assert all(step.started_at and step.finished_at for step in run.steps.values())


def test_dead_nodes_of_a_chain_skip_themselves(runs: Runs) -> None:
    """A node behind a port that was not taken is skipped within the chain as anywhere, and so on down the chain."""
    nodes = [node("s", "switch", expression="'x'", cases=["x"]), *map(node, "abm")]
    run = runs.run(graph(nodes, "s:x -> a", "s:default -> b -> m", "a -> m"))
    assert run.statuses() == {"s": "succeeded", "a": "succeeded", "b": "skipped", "m": "succeeded"}


def test_a_failure_within_a_chain(runs: Runs) -> None:
    """It is that of its node, ends the run, and what is behind never begins."""
    run = runs.run(graph([node("a"), node("f", expression="$error('no')"), node("b")], "a -> f -> b"))
    assert run.status == "failed"
    assert run.execution.error is not None
    assert run.execution.error["nodeId"] == "f"
    assert run.statuses() == {"a": "succeeded", "f": "failed"}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_death_at_any_call(runs: Runs, world: World, dynamodb: Any, moment: str) -> None:
    """The chain is tried again: all of it where its records were not written, and nothing of it where they were."""
    for fatal in (1, 2):
        world.log.messages.clear()
        execution_id = runs.start(logs("a", "b", "c"), {"v": fatal})
        with watched(dynamodb) as calls:
            setattr(calls, moment, _die_at(fatal))
            runs.walk(execution_id)
        runs.tell_end(execution_id)
        assert {name: str(step.status) for name, step in runs.steps(execution_id).items()} == dict.fromkeys(
            "abc", "succeeded"
        )
        assert world.log.messages == list("abc") * (2 if (fatal, moment) == (2, "before") else 1)


def test_what_is_recorded_is_not_run_again(runs: Runs, world: World, clock: FakeClock) -> None:
    """After a second a chain writes what it has, and behind that it goes on when it is tried again."""
    execution_id = runs.start(logs("a", "b", "c"))

    def die(message: str) -> None:
        clock.advance(2)
        if message == "b":
            raise Killed

    world.log.on_write = die
    with pytest.raises(Killed):
        _call(runs, execution_id)
    world.log.on_write = lambda _: None
    assert {name: str(step.status) for name, step in runs.steps(execution_id).items()} == {"a": "succeeded"}
    assert _call(runs, execution_id)["port"] == "output"
    assert world.log.messages == ["a", "b", "c"]


def test_what_others_wait_for_is_written_at_once(runs: Runs, dynamodb: Any) -> None:
    """A node with a late join is recorded with all before it, then tells, and only then its chain goes on."""
    execution_id = runs.start(graph(list(map(node, "pqrstuv")), "p -> q -> r", "s -> t -> u -> v", "q -> v"))
    with watched(dynamodb) as calls:
        runs.walk(execution_id)
    arrival = next(number for number, call in enumerate(calls.made) if _arrives(*call))
    assert _recorded(calls.made[arrival - 1][1]) == ["p", "q"]
    assert _recorded(calls.made[arrival + 1][1]) == ["r"]


def test_two_deliveries_at_once(runs: Runs, world: World) -> None:
    """Who comes second writes nothing, and is tried again: then the records of the first are its answer."""
    execution_id = runs.start(logs("a", "b", "c"))

    def meanwhile(message: str) -> None:
        if message == "b":
            world.log.on_write = lambda _: None
            assert _call(runs, execution_id)["port"] == "output"

    world.log.on_write = meanwhile
    with pytest.raises(Downstream):
        _call(runs, execution_id)
    first = runs.steps(execution_id)
    assert _call(runs, execution_id)["port"] == "output"
    assert runs.steps(execution_id) == first


def test_a_second_delivery_runs_nothing(runs: Runs, world: World) -> None:
    """A chain that is decided answers from its records, with the port of its last node."""
    execution_id = runs.start(
        graph([node("a", "log", message="a"), node("c", "condition", expression="true")], "a -> c")
    )
    assert [_call(runs, execution_id)["port"] for _ in range(2)] == ["true", "true"]
    assert world.log.messages == ["a"]


def test_a_chain_notices_that_the_run_is_over(runs: Runs, world: World, clock: FakeClock) -> None:
    """A second after it has read the run, it reads it again."""
    execution_id = runs.start(logs("a", "b", "c"))

    def meanwhile(message: str) -> None:
        if message == "a":
            runs.services.control.cancel(OWNER, execution_id)
            clock.advance(2)

    world.log.on_write = meanwhile
    with pytest.raises(Permanent, match="over"):
        _call(runs, execution_id)
    assert world.log.messages == ["a"]


def test_a_chain_that_takes_long_goes_on_in_another_invocation(runs: Runs, world: World) -> None:
    """It gives up behind a node, under a name that is tried again; what was done is not done again."""
    execution_id = runs.start(logs("a", "b", "c"))
    run = runs.step_functions.input(execution_id)["run"]
    request = StepRequest(run["organization"], run["execution"], run["plan"], "a", "")
    now = 0.0

    def slowly(_: str) -> None:
        nonlocal now
        now += BUDGET_S / 2 + 1

    world.log.on_write = slowly
    chains = _chains(runs.services, lambda: now)
    with pytest.raises(Downstream):
        chains.run(request)
    assert world.log.messages == ["a", "b"]
    assert chains.run(request).port == "output"
    assert world.log.messages == ["a", "b", "c"]


def _call(runs: Runs, execution_id: str) -> dict[str, Any]:
    """The one Task of the machine."""
    return runs.invoke({**runs.step_functions.input(execution_id), "node": "a"})


def _chains(services: Services, seconds: Callable[[], float]) -> ChainRunner:
    patience = Patience(services._executions, services._clock)
    return ChainRunner(services.steps, services._executions, services._plans, services._clock, patience, seconds)


def _arrives(operation: str, sent: dict[str, Any]) -> bool:
    """Whether somebody tells a gate, as opposed to waiting there."""
    return operation == "UpdateItem" and "arrived" in sent["UpdateExpression"]


def _recorded(sent: dict[str, Any]) -> list[str]:
    """The nodes whose records a request writes."""
    puts = [write["Put"] for write in sent["TransactItems"]] if "TransactItems" in sent else [sent]
    return [put["Item"]["nodeId"]["S"] for put in puts]


def _die_at(fatal: int) -> Callable[[int], None]:
    def check(number: int) -> None:
        if number == fatal:
            raise Killed

    return check
