"""The idempotency keys that runs show to the world: when they are the same, and when another."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.foundation.errors import Permanent, Retryable
from tests.fakes import FakeClock, Killed, World, graph, node
from tests.runs import OWNER, Runs


def call(name: str = "h", **settings: Any) -> dict[str, Any]:
    config = {"method": "POST", "url": f"http://{name}", "idempotencyKey": True}
    return node(name, "http-request", settings=settings, **config)


def keys(world: World) -> list[str]:
    """As they were sent, in that order."""
    return [request.headers["Idempotency-Key"] for request in world.http.requests]


def test_one_for_all_attempts(runs: Runs, world: World) -> None:
    """What failed and is tried again, and what died and is called again, sends the same."""
    world.http.fail_with(Retryable("Slow", "no answer"), Killed(), Retryable("Slow", "no answer"))
    assert runs.run(graph([call(retry={"maxAttempts": 3})])).status == "succeeded"
    assert (len(keys(world)), len({*keys(world)})) == (4, 1)


def test_one_for_each_step_of_each_run(runs: Runs, world: World) -> None:
    """Nodes, items of a loop and runs have each their own; what nodes are called does not matter."""
    odd = {**call("a"), "id": 'ü "odd" [1]'}
    shape = graph(
        [node("l", "loop", items="[1..3]"), call("x"), call("b"), odd], "l:item -> x", f"l:done -> b -> {odd['id']}"
    )
    for _ in range(2):
        assert runs.run(shape).status == "succeeded"
    assert (len(keys(world)), len({*keys(world)})) == (10, 10)


def test_one_across_rounds_for_what_was_cut_off(runs: Runs, world: World, clock: FakeClock) -> None:
    """A step that was at work when the run was held, and died, is the same step when the run goes on."""
    execution_id = runs.start(graph([call()]))
    world.http.fail_with(Killed())
    with pytest.raises(Killed):
        runs.visit(execution_id, "h")
    runs.services.control.pause(OWNER, execution_id)
    runs.services.control.resume(OWNER, execution_id)
    clock.advance(3600)
    assert runs.end(execution_id).status == "succeeded"
    assert (len(keys(world)), len({*keys(world)})) == (2, 1)


@pytest.mark.parametrize("again", ["retry", "restart"])
def test_another_for_what_is_decided_anew(runs: Runs, world: World, again: str) -> None:
    """Who has a step that had ended done again wants its effect again."""
    execution_id = runs.start(graph([call()]))
    if again == "retry":
        world.http.fail_with(Permanent("Down", "not now"))
    runs.end(execution_id)
    arguments = ["h"] if again == "restart" else []
    getattr(runs.services.control, again)(OWNER, execution_id, *arguments)
    assert runs.end(execution_id).status == "succeeded"
    assert (len(keys(world)), len({*keys(world)})) == (2, 2)
