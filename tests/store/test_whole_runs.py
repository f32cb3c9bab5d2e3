"""Steps as one text in the item of their run: written and read, held and taken out, and never seen to be held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.foundation.clock import timestamp
from chalicelib.foundation.json_types import Json, dumps
from chalicelib.graph.executions import (
    Attempt,
    Execution,
    ExecutionStatus,
    Payload,
    RunEnd,
    StepError,
    StepRecord,
    StepStatus,
    Trigger,
)
from chalicelib.store import keys, whole_runs
from chalicelib.store.execution_items import step_item
from chalicelib.store.executions import ExecutionRepository, IdempotentStart, RunSnapshot, whole
from chalicelib.store.table import Table, put
from chalicelib.store.whole_runs import EMBEDDED_BYTES, EMBEDDED_STEPS, embedded, records_of, text_of
from tests.fakes import MONDAY, Killed, watched

AT = timestamp(MONDAY)
LATER = timestamp(MONDAY + timedelta(milliseconds=5))
END = RunEnd(ExecutionStatus.SUCCEEDED, LATER, 2, Payload(text="1", size=1))


def here(text: str) -> Payload:
    return Payload(text=text, size=len(text.encode()))


def done(node: str = "a", output: str = "1", **fields: Any) -> StepRecord:
    """A step as a pod makes it."""
    record = StepRecord(node, "", StepStatus.SUCCEEDED, "transform", node.upper(), "output", here(output))
    return replace(record, started_at=AT, finished_at=LATER, attempts=(Attempt(AT, LATER),), **fields)


def skipped(node: str) -> StepRecord:
    return StepRecord(node, "", StepStatus.SKIPPED, "log", node.upper(), finished_at=LATER, order=7)


# ------------------------------------------------------------------------------------------------------------ the text


def test_the_text() -> None:
    """To the letter: others write it too."""
    failed = StepError("E", "é")
    records = [
        done("a", '{"é":[1.0,null,"\\n"]}'),
        done("b", order=2),
        replace(done("c"), output=Payload(key="payloads/90d/acme/0", size=40_000), pinned=True),
        skipped("d"),
        replace(
            done("e"), status=StepStatus.FAILED, port="error", error=failed, attempts=(Attempt(AT, LATER, failed),)
        ),
    ]
    when = f'"startedAt":"{AT}","finishedAt":"{LATER}"'
    assert text_of(records) == (
        '[{"nodeId":"a","nodeType":"transform","label":"A","status":"succeeded","port":"output",'
        f'{when},"value":{{"é":[1.0,null,"\\n"]}}}},'
        '{"nodeId":"b","nodeType":"transform","label":"B","status":"succeeded","port":"output",'
        f'{when},"order":2,"value":1}},'
        '{"nodeId":"c","nodeType":"transform","label":"C","status":"succeeded","port":"output",'
        f'"output":{{"key":"payloads/90d/acme/0","size":40000}},{when},"pinned":true}},'
        '{"nodeId":"d","nodeType":"log","label":"D","status":"skipped","attempts":[],'
        f'"finishedAt":"{LATER}","order":7}},'
        '{"nodeId":"e","nodeType":"transform","label":"E","status":"failed","port":"error",'
        '"error":{"name":"E","message":"é"},'
        f'"attempts":[{{"startedAt":"{AT}","round":1,"ms":0,"finishedAt":"{LATER}","error":{{"name":"E","message":"é"}}}}],'
        f'{when},"value":1}}]'
    )
    assert records_of(text_of(records)) == records
    assert (text_of([]), records_of("[]")) == ("[]", [])


TEXTS = st.text(max_size=6)
MAYBE = st.none() | TEXTS
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = VALUES.map(dumps).map(here) | st.builds(Payload, key=TEXTS, size=st.integers(0))
ERRORS = st.none() | st.builds(StepError, TEXTS, TEXTS)
ATTEMPTS = st.builds(
    Attempt, st.sampled_from([AT, LATER]), st.sampled_from([None, LATER]), ERRORS, st.integers(1, 3), st.integers(0, 2)
)
RECORDS = st.builds(
    StepRecord,
    TEXTS,
    path=st.just(""),
    status=st.sampled_from(StepStatus),
    node_type=TEXTS,
    label=TEXTS,
    port=MAYBE,
    output=st.none() | PAYLOADS,
    items=st.none() | PAYLOADS,
    count=st.none() | st.integers(0),
    until=MAYBE,
    gate=MAYBE,
    approval=MAYBE,
    event=MAYBE,
    child=MAYBE,
    error=ERRORS,
    attempts=st.lists(ATTEMPTS, max_size=2).map(tuple),
    started_at=st.sampled_from([None, AT, LATER]),
    finished_at=st.sampled_from([None, AT, LATER]),
    pinned=st.booleans(),
    since=st.integers(1, 3),
    late=st.none() | st.integers(1, 3),
    order=st.integers(0, 3),
)


@given(st.lists(RECORDS, max_size=4))
def test_any_step_comes_back(records: list[StepRecord]) -> None:
    """Every field, in the order in which they were given."""
    assert records_of(text_of(records)) == records


@given(VALUES)
def test_any_value_comes_back(value: Json) -> None:
    """Its text is the same, whatever the value: no number, name or order in it changes."""
    (record,) = records_of(text_of([done(output=dumps(value))]))
    assert record == done(output=dumps(value))


@pytest.mark.parametrize("value", [10**30, -(10**18), 1e22, -0.0, 5e-324, "\x00\x7f\u2028😀", {"a": {"a": []}}])
def test_values_at_the_edge_come_back(value: Json) -> None:
    """Numbers that no float holds, and texts that some parsers mind."""
    assert records_of(text_of([done(output=dumps(value))])) == [done(output=dumps(value))]


@pytest.mark.parametrize("character", ["x", "é", "☃", "😀"])
def test_what_fits(character: str) -> None:
    """Bytes count and not characters, up to the last one."""
    spare = EMBEDDED_BYTES - len(text_of([done(output='""')]))
    width = len(character.encode())
    fits = dumps(character * (spare // width) + "x" * (spare % width))
    text = embedded([done(output=fits)])
    assert text is not None
    assert len(text.encode()) == EMBEDDED_BYTES
    assert embedded([done(output=fits[:-1] + 'x"')]) is None


def test_how_many_fit() -> None:
    """As many as one transaction makes items of, beside the execution; none within loops."""
    many = [done(str(number)) for number in range(EMBEDDED_STEPS + 1)]
    assert embedded(many[:-1]) is not None
    assert embedded(many) is None
    assert embedded([done(), replace(done("b"), path="[0]")]) is None


# -------------------------------------------------------------------------------------------------------- in the store


def execution(**fields: Any) -> Execution:
    made = Execution(
        id="exec_1",
        organization_id="acme",
        workflow_id="wf_1",
        status=ExecutionStatus.RUNNING,
        plan="p",
        machine="m",
        trigger=Trigger("api", "api", here("{}"), "t"),
        tasks_total=3,
        created_at=AT,
        started_at=AT,
        leased_by="proc",
        leased_until=LATER,
        look_at=LATER,
    )
    return replace(made, **fields)


#: Not in the order of their keys.
STEPS = [done("t"), done("b", '{"x":"é"}', order=2), done("a", order=1), skipped("z")]
WANTED = [("a", ""), ("b", "[0]"), ("c", "")]


@pytest.fixture
def recorded(table: Table, executions: ExecutionRepository) -> Callable[..., Execution]:
    """Records a run whole and returns it as it is read."""

    def record(steps: list[StepRecord] = STEPS, **fields: Any) -> Execution:
        writes = whole(execution(**fields), steps, END)
        assert writes is not None
        table.transact(writes)
        found = executions.get("acme", "exec_1")
        assert found is not None
        return found

    return record


def in_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on every step of a run is an item of its own."""
    monkeypatch.setattr(whole_runs, "EMBEDDED_BYTES", 0)


def items_of(table: Table) -> dict[str, dict[str, Any]]:
    return {item["sk"]: item for item in table.query(keys.execution("acme", "exec_1")["pk"])}


def take_up(executions: ExecutionRepository, run: Execution) -> bool:
    return executions.take_up(run, LATER, LATER, None, ("a",), None)


def test_a_whole_run_is_one_write(recorded: Callable[..., Execution], table: Table) -> None:
    """And one more where a client's key is claimed; where the steps are large each is an item."""
    (own,) = whole(execution(), STEPS, END) or []
    claim, same = whole(execution(), STEPS, END, IdempotentStart("k", "h")) or []
    assert own == same
    assert claim.key == keys.idempotency("acme", "k")
    assert (own.key, (own.item or {})["steps"]) == (keys.execution("acme", "exec_1"), text_of(STEPS))
    large = [done("a", dumps("x" * 20_000)), done("b", dumps("x" * 20_000))]
    assert [write.key["sk"] for write in whole(execution(), large, END) or []] == ["EXECUTION", "STEP##a", "STEP##b"]
    small = [done(str(number)) for number in range(EMBEDDED_STEPS)]
    assert len(whole(execution(), small, END, IdempotentStart("k", "h")) or []) == 2
    assert whole(execution(), [*small, done("one more")], END) is None
    recorded()
    assert items_of(table).keys() == {"EXECUTION"}


READS: dict[str, Callable[[ExecutionRepository], Any]] = {
    "get": lambda store: store.get("acme", "exec_1"),
    "load_run": lambda store: store.load_run("acme", "exec_1"),
    "load_outside": lambda store: store.load_outside("acme", "exec_1"),
    "load_end": lambda store: store.load_end("acme", "exec_1"),
    "load_steps": lambda store: store.load_steps("acme", "exec_1", WANTED),
    "load_steps, none": lambda store: store.load_steps("acme", "exec_1", []),
    "items_of_loops": lambda store: store.items_of_loops("acme", "exec_1", 0, 10),
    "failed_below": lambda store: store.failed_below("acme", "exec_1", ""),
    "outlines": lambda store: list(store.outlines("acme", "exec_1")),
    "list_of_organization": lambda store: store.list_of_organization("acme", None, 10, 0),
    "list_of_workflow": lambda store: store.list_of_workflow("acme", "wf_1", None, 10, 0),
}


@pytest.mark.parametrize("read", READS)
def test_nobody_sees_where_steps_stand(
    recorded: Callable[..., Execution],
    executions: ExecutionRepository,
    empty_table: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    dynamodb: Any,
    read: str,
) -> None:
    """Every read tells the same of a run whose steps are items, in the same order, by as many calls."""

    def told() -> tuple[Any, Any, list[str]]:
        with watched(dynamodb) as calls:
            found = READS[read](executions)
        return found, list(found.steps.items()) if isinstance(found, RunSnapshot) else None, calls.operations

    recorded()
    held = told()
    empty_table()
    in_items(monkeypatch)
    recorded()
    found, steps, operations = told()
    if read == "outlines":
        assert sorted(map(repr, held[0])) == sorted(map(repr, found))
        assert held[2] == operations == ["Query"]
    else:
        assert held == (found, steps, operations)


def test_the_largest_item_fits(recorded: Callable[..., Execution], executions: ExecutionRepository) -> None:
    """All that may stand in an execution at the same time is taken by DynamoDB, which takes 400 KB."""
    text = dumps("é" * 16_000)
    steps = [done("a", dumps("x" * 31_000))]
    trigger = Trigger("api", "api", here(text))
    writes = whole(execution(trigger=trigger, pinned={"p": here(text)}), steps, replace(END, output=here(text)))
    assert writes is not None
    assert len(writes) == 1
    assert 120_000 < len(dumps(writes[0].item).encode()) < 160_000
    recorded(steps, trigger=trigger, pinned={"p": here(text)})
    assert executions.load_run("acme", "exec_1").steps == {("a", ""): steps[0]}


def test_what_is_left_of_an_earlier_run_is_not_read(
    recorded: Callable[..., Execution], executions: ExecutionRepository, table: Table
) -> None:
    """DynamoDB deletes what has expired item by item: of a run of this id there may be steps, and no execution."""
    table.write_all(step_item(execution(), done(name, "2")) for name in ("a", "old"))
    run = recorded()
    for _ in range(2):
        steps = executions.load_run("acme", "exec_1").steps
        assert steps["a", ""] == done("a", order=1)
        assert len(steps) == len(STEPS)
        assert executions.load_steps("acme", "exec_1", [("a", ""), ("old", "")]).steps.keys() == {("a", "")}
        assert len(list(executions.outlines("acme", "exec_1"))) == len(STEPS)
        executions.close_steps(run, [done("old", "3")])
    assert take_up(executions, run)
    assert executions.load_run("acme", "exec_1").steps["a", ""] == done("a", order=1)


# ---------------------------------------------------------------------------------------------------------- taken up


def test_taken_up_it_is_a_run_like_any_other(
    recorded: Callable[..., Execution],
    executions: ExecutionRepository,
    table: Table,
    empty_table: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    dynamodb: Any,
) -> None:
    """Its steps are items then, as if they always had been, at the cost of two calls; others pay nothing."""

    def taken_up() -> tuple[dict[str, dict[str, Any]], list[str]]:
        run = recorded()
        with watched(dynamodb) as calls:
            assert take_up(executions, run)
            operations = calls.operations
            assert not take_up(executions, run)
        items = items_of(table)
        for item in items.values():
            assert int(item.pop("expiresAt")) >= (run.expires_at or 0)
        return items, operations

    held, operations = taken_up()
    assert operations == ["TransactWriteItems"] * 3
    empty_table()
    in_items(monkeypatch)
    items, operations = taken_up()
    assert operations == ["TransactWriteItems"]
    assert held == items
    assert items.keys() == {"EXECUTION", "STEP##a", "STEP##b", "STEP##t", "STEP##z"}


def test_as_many_steps_as_there_may_be_are_taken_out(
    recorded: Callable[..., Execution], executions: ExecutionRepository, table: Table
) -> None:
    """By one transaction."""
    run = recorded([done(str(number)) for number in range(EMBEDDED_STEPS)])
    assert take_up(executions, run)
    assert len(items_of(table)) == 1 + EMBEDDED_STEPS
    assert len(executions.load_run("acme", "exec_1").steps) == EMBEDDED_STEPS


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("fatal", [1, 2, 3])
def test_who_takes_it_up_may_die(
    recorded: Callable[..., Execution], executions: ExecutionRepository, dynamodb: Any, moment: str, fatal: int
) -> None:
    """At any call: everybody reads the same steps, and until the last one is over the same run. Again it succeeds."""
    run = recorded()
    before = executions.load_run("acme", "exec_1")

    def die(number: int) -> None:
        if number == fatal:
            raise Killed

    with watched(dynamodb) as calls:
        setattr(calls, moment, die)
        with pytest.raises(Killed):
            take_up(executions, run)
    after = executions.load_run("acme", "exec_1")
    is_done = (moment, fatal) == ("after", 3)
    assert list(after.steps.items()) == list(before.steps.items())
    assert (after.execution == run) is not is_done
    assert take_up(executions, run) is not is_done
    assert executions.load_run("acme", "exec_1").steps == before.steps


@pytest.mark.parametrize("at", [1, 2, 3])
def test_two_at_the_same_time(
    recorded: Callable[..., Execution], executions: ExecutionRepository, dynamodb: Any, at: int
) -> None:
    """Whoever is second, let in anywhere in the first, takes it up; the first is told, and undoes nothing."""
    run = recorded()
    again = done("a", "2", since=2)

    def interleave(number: int) -> None:
        if number == at:
            calls.before = lambda number: None
            assert take_up(executions, run)
            queued = executions.load_run("acme", "exec_1")
            assert queued.execution is not None
            executions.set_aside(queued.execution, [(queued.steps["a", ""], again)])

    with watched(dynamodb) as calls:
        calls.before = interleave
        assert not take_up(executions, run)
    found = executions.load_run("acme", "exec_1")
    assert found.execution is not None
    assert (found.execution.round, found.steps["a", ""]) == (2, again)


def test_one_that_is_not_as_it_was_read_stays_whole(
    recorded: Callable[..., Execution], executions: ExecutionRepository, table: Table
) -> None:
    """Nothing changes for who cannot take it up, nor where another write of the same transaction is refused."""
    run = recorded()
    assert not take_up(executions, replace(run, round=2))
    assert not take_up(executions, replace(run, status=ExecutionStatus.FAILED))
    assert items_of(table).keys() == {"EXECUTION"}
    table.write(put({"pk": "p", "sk": "s"}))
    refused = put({"pk": "p", "sk": "s"}, "attribute_not_exists(pk)")
    before = executions.load_run("acme", "exec_1")
    assert not executions.take_up(run, LATER, LATER, None, (), None, [refused])
    assert executions.load_run("acme", "exec_1") == before
    assert items_of(table)["EXECUTION"]["steps"] == text_of(STEPS)


def test_nothing_is_written_beside_steps_that_are_held(
    recorded: Callable[..., Execution], executions: ExecutionRepository, table: Table
) -> None:
    """Whatever comes late to a run that has ended finds that it has."""
    run = recorded()
    other = StepRecord("late", "", StepStatus.CANCELLED, finished_at=LATER)
    executions.close_steps(run, [other])
    assert not executions.finish(run, RunEnd(ExecutionStatus.CANCELLED, LATER, 0), [other])
    assert not executions.finish_whole(run, [other], RunEnd(ExecutionStatus.CANCELLED, LATER, 0))
    assert not executions.hand_over(run, [other])
    assert not executions.pause(execution())
    assert executions.lease(run, "proc", AT, LATER) is None
    executions.mark_running(run, LATER)
    executions.followed_up(run)
    executions.end_attempt(run, done("a"), LATER)
    assert items_of(table).keys() == {"EXECUTION"}
    assert executions.get("acme", "exec_1") == run
