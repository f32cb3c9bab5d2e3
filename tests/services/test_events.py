"""Events: whom they start, once each, and what becomes of those that nobody can take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.foundation.errors import Downstream, IdempotencyMismatch
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.executions import Execution
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.graph.triggers import TriggerEntry, TriggerKind
from chalicelib.services.access import EVERYTHING, Principal
from chalicelib.store.table import TRANSACTION_ITEMS
from chalicelib.store.triggers import trigger_changes, trigger_write
from tests.fakes import Calls, FakeClock, Killed, graph, node, watched
from tests.runs import OWNER, Runs, parsed

ELSEWHERE = Principal("other", "olga", frozenset({EVERYTHING}))


def listener(
    runs: Runs, event_type: str, principal: Principal = OWNER, name: str = "w", active: bool = True, **config: Any
) -> Workflow:
    """A workflow of an event trigger and one node behind it."""
    found = parsed(
        graph([node("e", "event-trigger", eventType=event_type, **config), node("a", expression="data.n")], "e -> a")
    )
    return runs.services.workflows.create(
        principal,
        WorkflowChange(
            name=name,
            nodes=found.nodes,
            connections=found.connections,
            status=WorkflowStatus.ACTIVE if active else WorkflowStatus.PAUSED,
        ),
    )


def emit(runs: Runs, event_type: str, data: Any = None, key: str | None = None) -> dict[str, str | None]:
    """Tells an event, and what each workflow came to: the id of a run, or what was wrong."""
    firings = runs.services.events.emit(OWNER, event_type, {} if data is None else data, "crm", key)
    return {firing.workflow_id: firing.execution_id or firing.error for firing in firings}


def started(runs: Runs, principal: Principal = OWNER) -> list[Execution]:
    return list(runs.services.executions.list(principal, None, None, 100, 0).executions)


def audited(runs: Runs, principal: Principal = OWNER) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Refusals, as the audit tells them."""
    entries = runs.services.audit.recent(principal, None, 100, 0)
    return [(entry.action, entry.subject, entry.detail) for entry in entries if entry.action != "workflow.created"]


def from_the_bus(runs: Runs, detail: Mapping[str, Any], event_type: str = "order.paid", identifier: str = "b1") -> None:
    runs.services.events.receive(
        {"id": identifier, "source": "shop", "detail-type": event_type, "detail": dict(detail)}
    )


def test_an_event_starts_who_listens(runs: Runs) -> None:
    """By type and by pattern, whoever's it is; the payload is what the run begins with."""
    exact, pattern = listener(runs, "order.paid"), listener(runs, "order.*", name="p")
    listener(runs, "order.lost")
    listener(runs, "order.paid", ELSEWHERE)
    listener(runs, "order.paid", active=False)
    answer = emit(runs, "order.paid", {"n": 7})
    assert answer.keys() == {exact.id, pattern.id}
    for run in started(runs):
        assert answer[run.workflow_id] == run.id
        ended = runs.end(run.id)
        assert (ended.execution.trigger.type, ended.execution.trigger.source) == ("event", "crm")
        assert (ended.output, ended.execution.started_by) == (7, "ann")
    assert started(runs, ELSEWHERE) == []


def test_a_filter_is_asked(runs: Runs) -> None:
    """It sees the payload as ``data``; who does not want the event is not even loaded, and not told of."""
    wants = listener(runs, "order.paid", filter="data.n > 5 and\n data.kind = 'book'")
    listener(runs, "order.paid", filter="data.n > 50")
    listener(runs, "order.paid", filter="data.none")
    assert emit(runs, "order.paid", {"n": 7, "kind": "book"}).keys() == {wants.id}


def test_a_failure_stops_nobody_else(runs: Runs) -> None:
    """A filter that cannot be evaluated, or takes too long, is told in its place."""
    good, bad = listener(runs, "x"), listener(runs, "x", name="bad", filter="$sum(data.n)")
    slow = listener(runs, "x", filter="($f := function($n) { $n > 0 ? $f($n - 1) + $f($n - 1) : 1 }; $f(40) > 0)")
    (run_id,) = [value for key, value in emit(runs, "x", {"n": "no number"}).items() if key == good.id]
    assert [run.id for run in started(runs)] == [run_id]
    firings = runs.services.events.emit(OWNER, "x", {"n": "no number"}, "crm")
    failed = {firing.workflow_id: firing for firing in firings if firing.error}
    assert failed.keys() == {bad.id, slow.id}
    assert failed[bad.id].workflow_name == "bad"
    assert "ExpressionError" in str(failed[bad.id].error)
    assert "longer than 1000 ms" in str(failed[slow.id].error)


def test_of_several_triggers_the_one_that_is_meant_fires(runs: Runs) -> None:
    """Each has a branch of its own, and an event that means both starts two runs."""
    nodes = [
        node("e", "event-trigger", eventType="a"),
        node("f", "event-trigger", eventType="*"),
        node("x", expression="'e'"),
        node("y", expression="'f'"),
    ]
    found = parsed(graph(nodes, "e -> x", "f -> y"))
    change = WorkflowChange(name="w", nodes=found.nodes, connections=found.connections, status=WorkflowStatus.ACTIVE)
    runs.services.workflows.create(OWNER, change)
    emit(runs, "b")
    assert [runs.end(run.id).output for run in started(runs)] == ["f"]
    emit(runs, "a")
    assert sorted(str(runs.end(run.id).output) for run in started(runs) if not run.status.is_final) == ["e", "f"]


def test_what_has_changed_since_the_index_was_read(runs: Runs, dynamodb: Any) -> None:
    """A workflow that is paused in between is not started."""
    workflow = listener(runs, "x")
    paused: list[Workflow] = []

    def pause(params: dict[str, Any], **_: Any) -> None:
        if workflow.id in str(params["Key"]) and not paused:
            paused.append(workflow)
            runs.services.workflows.set_status(OWNER, workflow, WorkflowStatus.PAUSED)

    dynamodb.meta.events.register("before-parameter-build.dynamodb.GetItem", pause)
    assert emit(runs, "x") == {}
    dynamodb.meta.events.unregister("before-parameter-build.dynamodb.GetItem", pause)
    assert paused
    assert started(runs) == []


def test_a_repeated_request_gets_the_first_answer(runs: Runs, clock: FakeClock) -> None:
    """Nothing starts twice, and nobody who listens only now is told; another request under the key is refused."""
    listener(runs, "x")
    first = emit(runs, "x", {"n": 1}, "once")
    assert len(first) == 1
    listener(runs, "x")
    assert emit(runs, "x", {"n": 1}, "once") == first
    for data, event_type in (({"n": 2}, "x"), ({"n": 1}, "y")):
        with pytest.raises(IdempotencyMismatch):
            emit(runs, event_type, data, "once")
    assert len(started(runs)) == 1
    clock.advance(24 * 3600 + 1)
    assert len(emit(runs, "x", {"n": 1}, "once")) == 2


def test_a_request_that_died_goes_on_under_its_key(runs: Runs, dynamodb: Any) -> None:
    """Wherever it died: repeated, it starts each workflow once, whatever was started before."""
    workflows = {listener(runs, "x").id, listener(runs, "x").id}
    for call in range(1, 40):
        with watched(dynamodb) as calls:

            def die(number: int, call: int = call) -> None:
                if number == call:
                    raise Killed

            calls.after = die
            try:
                emit(runs, "x", key=f"k{call}")
            except Killed:
                pass
            else:
                break
        before = len(started(runs))
        assert emit(runs, "x", key=f"k{call}").keys() == workflows
        assert emit(runs, "x", key=f"k{call}").keys() == workflows
        assert before <= len(started(runs)) == 2 * call
    assert call > 5


def test_what_could_not_be_started_in_time(runs: Runs, clock: FakeClock, dynamodb: Any) -> None:
    """It is told, and the same request does it later, under the ids that it would have had."""
    listener(runs, "x")
    with watched(dynamodb) as calls:
        calls.after = lambda number: clock.advance(15)
        (error,) = emit(runs, "x", key="k").values()
    assert error == "There was no time left to start it."
    (run_id,) = emit(runs, "x", key="k").values()
    assert [run.id for run in started(runs)] == [run_id]


def test_an_event_wakes_steps_that_wait(runs: Runs) -> None:
    """The same event that starts workflows."""
    waiting = runs.start(graph([node("w", "wait-for-event", eventType="order.*")]))

    def idle() -> bool:
        return bool(emit(runs, "order.paid", {"n": 1}) == {})

    assert runs.end(waiting, idle=idle).output == {"n": 1}


def test_three_of_five_thousand_read_seven_items(runs: Runs, dynamodb_calls: Calls) -> None:
    """In all: the ends of patterns, three entries of the index, and the three workflows. Those of the others are
    written straight into the index, as the workflows would.
    """
    wanted = {listener(runs, event_type).id for event_type in ("order.paid", "order.*", "*.paid")}
    other = listener(runs, "other")
    names = [f"order.{number}.*" if number % 2 else f"order.{number}" for number in range(5_000 - 3)]
    entries = [TriggerEntry(TriggerKind.EVENT, name, f"e{number}") for number, name in enumerate(names)]
    writes = [trigger_write(other, change) for change in trigger_changes([], entries)]
    for first in range(0, len(writes), TRANSACTION_ITEMS):
        runs.services._table.transact(writes[first : first + TRANSACTION_ITEMS])
    emit(runs, "order.paid")  # their state machines are there
    dynamodb_calls.clear()
    assert emit(runs, "order.paid").keys() == wanted
    assert dynamodb_calls.items_read == 7


# --- by the bus -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "detail",
    [{"organizationId": "acme", "data": {"n": 3}}, {"organizationId": "acme", "n": 3}],
    ids=["data apart", "data beside"],
)
def test_an_event_of_the_bus(runs: Runs, detail: Mapping[str, Any]) -> None:
    """Its detail-type is the type, and the organisation's workflows are started, once however often it comes."""
    listener(runs, "order.paid")
    listener(runs, "order.paid", ELSEWHERE)
    for _ in range(2):
        from_the_bus(runs, detail)
    (run,) = started(runs)
    assert (runs.end(run.id).output, run.trigger.source) == (3, "shop")
    assert started(runs, ELSEWHERE) == []
    from_the_bus(runs, detail, identifier="b2")
    assert len(started(runs)) == 2


def test_a_node_that_tells_an_event_twice(runs: Runs) -> None:
    """It names the event; the bus gives each telling an id of its own."""
    listener(runs, "order.paid")
    for identifier in ("b1", "b2"):
        from_the_bus(runs, {"organizationId": "acme", "data": {}, "idempotencyKey": "exec_1/n"}, identifier=identifier)
    assert len(started(runs)) == 1


@pytest.mark.parametrize("organization", [None, 7, "", "a#b", "x" * 65])
def test_an_event_that_does_not_say_whose_it_is(runs: Runs, organization: Any, dynamodb_calls: Calls) -> None:
    """It is refused before anything is read."""
    listener(runs, "order.paid")
    dynamodb_calls.clear()
    from_the_bus(runs, {"organizationId": organization} if organization is not None else {})
    assert dynamodb_calls.operations == []


def test_an_event_with_a_pattern_for_a_type(runs: Runs) -> None:
    """It is refused, and its organisation finds that in its audit."""
    from_the_bus(runs, {"organizationId": "acme"}, event_type="order.*")
    ((action, subject, detail),) = audited(runs)
    assert (action, subject) == ("event.refused", "b1")
    assert detail["type"] == "order.*"


def test_a_workflow_that_cannot_take_an_event(runs: Runs) -> None:
    """Nobody is there to be told: it stands in the audit, and the event does not come again for it."""
    bad = listener(runs, "order.paid", filter="$sum(data.n)")
    good = listener(runs, "order.paid")
    from_the_bus(runs, {"organizationId": "acme", "data": {"n": "x"}})
    assert [run.workflow_id for run in started(runs)] == [good.id]
    ((action, subject, detail),) = audited(runs)
    assert (action, subject) == ("workflow.event-not-taken", bad.id)
    assert "ExpressionError" in detail["reason"]


def test_an_event_that_has_to_come_again(runs: Runs, dynamodb: Any) -> None:
    """Where a service fails, so does the function, after it has started whom it could; then it starts the others."""
    first, second = listener(runs, "order.paid"), listener(runs, "order.paid")

    def fails(params: dict[str, Any], **_: Any) -> None:
        if first.id in str(params.get("Key")):
            raise EndpointConnectionError(endpoint_url="dynamodb")

    detail = {"organizationId": "acme", "data": {}}
    dynamodb.meta.events.register("before-parameter-build.dynamodb.GetItem", fails)
    with pytest.raises(Downstream, match="1 of 2 workflows were not started: DynamoDB"):
        from_the_bus(runs, detail)
    dynamodb.meta.events.unregister("before-parameter-build.dynamodb.GetItem", fails)
    assert [run.workflow_id for run in started(runs)] == [second.id]
    from_the_bus(runs, detail)
    assert {run.workflow_id for run in started(runs)} == {first.id, second.id}
    assert len(started(runs)) == 2
    assert audited(runs) == []
