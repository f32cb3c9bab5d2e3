"""Runs that a pod has recorded whole, as one item, and that people do something to afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from chalicelib.foundation.errors import Conflict, InvalidInput
from chalicelib.graph.executions import ExecutionStatus
from chalicelib.services.executions import ExecutionDetail
from chalicelib.services.lifecycle import STALE_AFTER
from chalicelib.store import keys, whole_runs
from tests.conftest import TABLE
from tests.fakes import FakeClock, Killed, graph, node, watched
from tests.pod.conftest import Client, PodOf, play
from tests.runs import OWNER, Runs

NODES = [
    node("t", "manual-trigger"),
    node("c", "condition", expression="data.n > 1"),
    node("a", expression="data.n * 2"),
    node("b", expression='{"twice": data}'),
    node("no"),
]
SHAPE = graph(NODES, "t -> c", "c:true -> a -> b", "c:false -> no")


@pytest.fixture
def start(pod: PodOf) -> Callable[[], str]:
    """Has a pod run the graph; the id of the run."""
    client = pod(SHAPE)

    async def ask(client: Client) -> str:
        await client.pod.load(())
        answer = await client.trigger({"n": 4})
        assert answer.json["output"] == {"twice": 8}
        return str(answer.json["execution_id"])

    return lambda: play(ask(client))


def restart(runs: Runs, execution_id: str, step: str = "a") -> ExecutionDetail:
    return runs.services.control.restart(OWNER, execution_id, step)


def end(runs: Runs, execution_id: str) -> ExecutionDetail:
    runs.walk(execution_id)
    runs.tell_end(execution_id)
    return runs.detail(execution_id)


def told(detail: ExecutionDetail) -> list[tuple[str, str, int]]:
    """The tasks in their order: how each stands, and after how many attempts."""
    return [(step.node_id, str(step.status), len(step.attempts)) for step in detail.steps]


def held(dynamodb: Any, execution_id: str) -> bool:
    """Whether the item of a run holds its steps, and is all that there is of it."""
    query = {":pk": {"S": keys.execution(OWNER.organization_id, execution_id)["pk"]}}
    items = dynamodb.query(TableName=TABLE, KeyConditionExpression="pk = :pk", ExpressionAttributeValues=query)["Items"]
    (own, *steps) = items
    assert ("steps" in own) is not steps
    return "steps" in own


ALL = [*((name, "succeeded", 1) for name in "tcab"), ("no", "skipped", 0)]


def test_it_is_read_as_if_each_step_was_an_item(
    start: Callable[[], str], runs: Runs, monkeypatch: pytest.MonkeyPatch, dynamodb: Any
) -> None:
    """Read and listed it tells the same; one that is started again makes another run."""
    own = start()
    assert held(dynamodb, own)
    monkeypatch.setattr(whole_runs, "EMBEDDED_BYTES", 0)
    other = start()
    assert not held(dynamodb, other)
    assert runs.detail(own).steps == runs.detail(other).steps
    assert sorted(told(runs.detail(own))) == sorted(ALL)
    listed = runs.services.executions.list(OWNER, None, None, 10, 0).executions
    assert {run.id: run.tasks_executed for run in listed} == {own: 5, other: 5}


def test_restarted_it_is_a_run_like_any_other(start: Callable[[], str], runs: Runs, dynamodb: Any) -> None:
    """What is decided anew runs on Step Functions; what is before it stays, and so does the history."""
    execution_id = start()
    restart(runs, execution_id)
    assert not held(dynamodb, execution_id)
    detail = end(runs, execution_id)
    assert (detail.execution.status, detail.execution.round) == (ExecutionStatus.SUCCEEDED, 2)
    assert runs.output(detail.execution) == {"twice": 8}
    attempts = {name: number for name, _, number in told(detail)}
    assert attempts == {"t": 1, "c": 1, "a": 2, "b": 2, "no": 0}
    assert restart(runs, execution_id, "t").execution.round == 3
    assert {name: number for name, _, number in told(end(runs, execution_id))} == {**attempts, "t": 2, "c": 2} | {
        "a": 3,
        "b": 3,
    }


def test_what_is_refused_leaves_it_whole(start: Callable[[], str], runs: Runs, dynamodb: Any) -> None:
    """It has succeeded: nothing to retry, to cancel, to pause or to resume; and no other step to begin from."""
    execution_id = start()
    control = runs.services.control
    for act in (control.retry, control.cancel, control.pause, control.resume):
        with pytest.raises(Conflict):
            act(OWNER, execution_id)
    with pytest.raises(InvalidInput):
        restart(runs, execution_id, "unknown")
    assert held(dynamodb, execution_id)
    assert runs.detail(execution_id).execution.round == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_any_call_of_a_restart_may_be_the_last(
    start: Callable[[], str], runs: Runs, clock: FakeClock, dynamodb: Any, moment: str
) -> None:
    """Who takes it up may die at any call: the same request, or a read of the run later, does the rest."""
    for fatal in range(1, 50):
        execution_id = start()

        def die(number: int, fatal: int = fatal) -> None:
            if number == fatal:
                raise Killed

        died = True
        with watched(dynamodb) as made, suppress(Killed):
            setattr(made, moment, die)
            restart(runs, execution_id)
            died = False
        if died:
            clock.advance(STALE_AFTER.total_seconds() + 1)
        if runs.detail(execution_id).execution.status.is_final:
            assert sorted(told(runs.detail(execution_id))) == sorted(ALL)
            restart(runs, execution_id)
        detail = end(runs, execution_id)
        again = [("t", 1), ("c", 1), ("a", 2), ("b", 2), ("no", 0)]
        where = f"{moment} call {fatal}"
        assert (detail.execution.round, sorted((name, n) for name, _, n in told(detail))) == (2, sorted(again)), where
        if not died:
            break
    assert fatal > 5
