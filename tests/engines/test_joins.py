"""Late joins in whole runs on moto: whoever comes last, and whoever dies where, the node behind a gate runs once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.cloud.sdk import client
from chalicelib.foundation.errors import Downstream
from tests.compiler.golden import GOLDENS, Golden
from tests.compiler.random_graphs import dags
from tests.conftest import REGION, on_moto
from tests.fakes import Killed, World, graph, node, watched
from tests.runs import OWNER, Runs

Order = Callable[[Sequence[Any]], Sequence[Any]]

LATE = [golden for golden in GOLDENS if golden.name.startswith("late-join") or golden.name == "n-graph"]
#: `y` stands under `b` and waits for `a`.
_EDGES = ("a -> x", "a -> y", "b -> y")
N_GRAPH = graph([node(name) for name in "abxy"], *_EDGES)
FAILING = graph([node("a", expression="$error('no')"), *(node(name) for name in "bxy")], *_EDGES)


def last_first(parts: Sequence[Any]) -> Sequence[Any]:
    return parts[::-1]


each_order = pytest.mark.parametrize("order", [tuple, last_first], ids=["first-first", "last-first"])


@each_order
@pytest.mark.parametrize("golden", LATE, ids=str)
def test_goldens_with_late_joins(runs: Runs, golden: Golden, order: Order) -> None:
    """They end as their files say, whichever branch comes first."""
    for run in golden.runs:
        execution_id = runs.start(golden.graph.to_json(), run["trigger"])
        runs.walk(execution_id, order=order)
        runs.tell_end(execution_id)
        detail = runs.detail(execution_id)
        words = {"succeeded": "SUCCESS", "skipped": "SKIPPED"}
        assert words[str(detail.execution.status)] == run["expect"]["status"]
        assert runs.services.payloads.get(detail.execution.output) == run["expect"]["output"]
        assert {step.task_id: words[str(step.status)] for step in detail.steps} == run["expect"]["tasks"]


def test_a_gate_is_waited_at_or_open(runs: Runs) -> None:
    """Who comes too early leaves a token at the gate and is woken; who is ready when it is visited needs no gate."""
    orders: list[Order] = [tuple, last_first]
    walks = [runs.walk(runs.start(N_GRAPH), order=order) for order in orders]
    assert [walk.waits for walk in walks] == [0, 1]
    assert [Counter(walk.visited)["y.gate"] for walk in walks] == [0, 1]
    assert [Counter(walk.visited)["y"] for walk in walks] == [1, 2]


@pytest.mark.parametrize("order", [tuple, last_first], ids=["ready", "missed"])
def test_what_a_run_has_come_to_is_known(runs: Runs, order: Order) -> None:
    """By its records alone: a node that is ready takes nothing more, one that is not two transitions and a visit."""
    execution_id = runs.start(N_GRAPH)
    walk = runs.walk(execution_id, order=order)
    runs.tell_end(execution_id)
    cost = runs.detail(execution_id).execution.cost
    assert cost is not None
    assert cost.transitions == walk.transitions == cost.estimated_transitions + 2 * walk.waits
    assert cost.invocations == cost.estimated_invocations + walk.waits
    assert runs.steps(execution_id)["y"].late == (1 if walk.waits else None)


@each_order
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_death_at_any_call(runs: Runs, dynamodb: Any, moment: str, order: Order) -> None:
    """Killed at any call, between storing and telling or between telling and waking: the run ends, each node run once.

    Calls of gates are among them: for those, it is DynamoDB that fails.
    """
    fatal = 0
    while _dies(runs, dynamodb, moment, order, fatal := fatal + 1):
        pass
    assert fatal > 8  # reads and writes of one chain and two nodes, the gate's write, that of who tells it, and a wake


def _dies(runs: Runs, dynamodb: Any, moment: str, order: Order, fatal: int) -> bool:
    """Runs with a death at the call of this number. False where there are not so many."""
    execution_id = runs.start(N_GRAPH)
    left = fatal

    def die(_: int) -> None:
        nonlocal left
        if store.operations[-3:] == ["BatchGetItem"] * 3:
            return  # one of many looks in a row at what is awaited: two of them are as good as all
        left -= 1
        if left == 0:
            raise Killed

    with watched(dynamodb) as store, watched(client("stepfunctions", REGION)) as machines:
        setattr(store, moment, die)
        setattr(machines, moment, die)
        walk = runs.walk(execution_id, order=order)
    runs.tell_end(execution_id)
    steps = runs.steps(execution_id)
    assert {name: str(step.status) for name, step in steps.items()} == dict.fromkeys("abxy", "succeeded")
    assert [len(step.attempts) for step in steps.values()] == [1] * 4
    visited = Counter(walk.visited)
    assert visited["y"] == 1 + visited["y.gate"] <= 2
    return left <= 0


def test_what_is_closed_off_is_told_again_too(runs: Runs, dynamodb: Any) -> None:
    """A node that nobody visits is told for by who closes it off, with each delivery."""
    shape = next(golden for golden in LATE if golden.name == "late-join-dead-paths").graph.to_json()
    execution_id = runs.start(shape, {"yes": False})
    runs.visit(execution_id, "start")
    with watched(dynamodb) as calls:
        calls.before = _killer(3)
        with pytest.raises(Killed):
            runs.visit(execution_id, "c")
    assert _arrived(dynamodb, execution_id) == []
    runs.visit(execution_id, "c")
    assert _arrived(dynamodb, execution_id) == ["a"]


def test_a_failure_is_told_to_nobody(runs: Runs, dynamodb: Any) -> None:
    """A node that ends the run opens no gate: what is behind never begins."""
    execution_id = runs.start(FAILING)
    walk = runs.walk(execution_id, order=last_first)
    runs.tell_end(execution_id)
    assert str(runs.detail(execution_id).execution.status) == "failed"
    assert walk.waits == 1
    assert "y" not in runs.steps(execution_id)
    assert _arrived(dynamodb, execution_id) == []


def test_what_waits_when_the_run_ends_is_ended(runs: Runs) -> None:
    """Every token that was left at a gate of a run that failed is answered with a failure, however often it is told."""
    execution_id = runs.start(FAILING)
    assert runs.walk(execution_id, order=last_first).waits == 1
    tokens = runs.step_functions.tokens
    assert not tokens.is_answered("token-1")
    for _ in range(2):
        runs.tell_end(execution_id)
        assert tokens.is_answered("token-1")


def test_a_wake_up_that_is_lost_is_seen(runs: Runs) -> None:
    """The checks here can fail: where nobody is woken, the run does not end."""
    execution_id = runs.start(N_GRAPH)
    runs.services._machines.wake = lambda token, output=None: None  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="a wake-up was lost"):
        runs.walk(execution_id, order=last_first)


def test_waking_may_fail(runs: Runs) -> None:
    """Step Functions does not answer the first time: the runner is tried again, and wakes what waits."""
    execution_id = runs.start(N_GRAPH)
    wake, refused = runs.services._machines.wake, [Downstream()]

    def unsteady(token: str, output: Any = None) -> None:
        if refused:
            raise refused.pop()
        wake(token, output)

    runs.services._machines.wake = unsteady  # type: ignore[method-assign]
    runs.walk(execution_id, order=last_first)
    runs.tell_end(execution_id)
    assert refused == []
    assert str(runs.detail(execution_id).execution.status) == "succeeded"


@given(dags(), st.integers(0, 1_000_000))
@on_moto
def test_random_graphs_run_in_order(runs: Runs, world: World, dag: Any, seed: int) -> None:
    """Any graph, its branches begun in any order: every node runs once, after its predecessors, and none is missing."""
    nodes, edges = dag
    random = Random(seed)
    lines = (f"{name} -> {target}" for name in nodes for target in edges[name])
    execution_id = runs.start(graph([node(name, "log", message=name) for name in nodes], *lines))
    world.log.messages.clear()
    runs.walk(execution_id, order=lambda parts: random.sample(parts, len(parts)))
    runs.tell_end(execution_id)
    assert str(runs.detail(execution_id).execution.status) == "succeeded"
    ran = world.log.messages
    assert sorted(ran) == sorted(nodes)
    place = {name: index for index, name in enumerate(ran)}
    assert all(place[name] < place[target] for name in nodes for target in edges[name])


def _killer(fatal: int) -> Callable[[int], None]:
    def check(number: int) -> None:
        if number == fatal:
            raise Killed

    return check


def _arrived(dynamodb: Any, execution_id: str) -> list[str]:
    """Who has arrived at the gate before ``y``."""
    key = {"pk": {"S": f"ORG#{OWNER.organization_id}#EXEC#{execution_id}"}, "sk": {"S": "GATE#1.y#"}}
    item = dynamodb.get_item(TableName="millrace-test", Key=key).get("Item", {})
    return sorted(item.get("arrived", {"SS": []})["SS"])
