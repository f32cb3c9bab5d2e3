"""Runs that other runs start, where the starter dies before it has said so: one for each step, until that is anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.compiler.asl.quotas import NODE_FUNCTION_LIMIT_S
from chalicelib.graph.executions import ExecutionStatus
from tests.fakes import FakeClock, Killed, graph, node, watched
from tests.runs import OWNER, Runs


def child_of(runs: Runs, execution_id: str) -> list[str]:
    """The ids of all runs that a run has started."""
    every = runs.services.executions.list(OWNER, None, None, 100, 0).executions
    return [run.id for run in every if run.trigger.source == execution_id]


@pytest.fixture
def cut_off(runs: Runs, dynamodb: Any) -> Callable[[bool], str]:
    """A run that calls another one, ``wait`` or not, and whose runner died when that was under way and not noted."""

    def make(wait: bool) -> str:
        called = runs.workflow(graph([node("c", expression="'done'")]))
        execution_id = runs.start(graph([node("s", "sub-workflow", workflowId=called.id, wait=wait)]))
        before = len(runs.step_functions.executions())
        with watched(dynamodb) as calls:

            def die(_: int) -> None:
                if len(runs.step_functions.executions()) == before + 1:
                    raise Killed

            calls.before = die
            with pytest.raises(Killed):
                runs.visit(execution_id, "s")
        return execution_id

    return make


@pytest.mark.parametrize("wait", [True, False])
def test_one_child_however_many_rounds(
    runs: Runs, clock: FakeClock, cut_off: Callable[[bool], str], wait: bool
) -> None:
    """Paused and resumed, the step is still the same, and so is the run that it started."""
    execution_id = cut_off(wait)
    (child,) = child_of(runs, execution_id)
    runs.services.control.pause(OWNER, execution_id)
    runs.services.control.resume(OWNER, execution_id)
    clock.advance(NODE_FUNCTION_LIMIT_S)
    run = runs.end(execution_id)
    assert child_of(runs, execution_id) == [child]
    assert (run.status, run.output) == ("succeeded", "done" if wait else {"executionId": child})


def test_a_child_that_ends_while_its_starter_is_held(
    runs: Runs, clock: FakeClock, cut_off: Callable[[bool], str]
) -> None:
    """What it brought is there when the step comes to wait for it."""
    execution_id = cut_off(True)
    (child,) = child_of(runs, execution_id)
    runs.services.control.pause(OWNER, execution_id)
    runs.end(child)
    runs.services.control.resume(OWNER, execution_id)
    clock.advance(NODE_FUNCTION_LIMIT_S)
    run = runs.end(execution_id)
    assert (run.status, run.output) == ("succeeded", "done")
    assert child_of(runs, execution_id) == [child]


def test_cancelled_and_retried(runs: Runs, clock: FakeClock, cut_off: Callable[[bool], str]) -> None:
    """The run that it started ends with it, so the step that is retried starts another."""
    execution_id = cut_off(True)
    (child,) = child_of(runs, execution_id)
    runs.services.control.cancel(OWNER, execution_id)
    assert runs.detail(child).execution.status is ExecutionStatus.CANCELLED
    runs.services.control.retry(OWNER, execution_id)
    clock.advance(NODE_FUNCTION_LIMIT_S)
    run = runs.end(execution_id)
    assert (run.status, run.output) == ("succeeded", "done")
    assert len(child_of(runs, execution_id)) == 2


def test_cancelled_and_retried_where_nobody_waits(runs: Runs, clock: FakeClock, cut_off: Callable[[bool], str]) -> None:
    """The run that it started goes on, so it is the one."""
    execution_id = cut_off(False)
    (child,) = child_of(runs, execution_id)
    runs.services.control.cancel(OWNER, execution_id)
    assert runs.is_under_way(child)
    runs.services.control.retry(OWNER, execution_id)
    clock.advance(NODE_FUNCTION_LIMIT_S)
    assert runs.end(execution_id).output == {"executionId": child}
    assert child_of(runs, execution_id) == [child]


@pytest.mark.parametrize("wait", [True, False])
def test_restarted(runs: Runs, clock: FakeClock, cut_off: Callable[[bool], str], wait: bool) -> None:
    """Who begins the step anew wants another run; the first is ended where something would have waited for it."""
    execution_id = cut_off(wait)
    (child,) = child_of(runs, execution_id)
    runs.services.control.pause(OWNER, execution_id)
    runs.services.control.restart(OWNER, execution_id, "s")
    assert runs.is_under_way(child) is not wait
    clock.advance(NODE_FUNCTION_LIMIT_S)
    assert runs.end(execution_id).status == "succeeded"
    assert len(child_of(runs, execution_id)) == 2
