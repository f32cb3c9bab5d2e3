"""Steps as one text in the item of their run: whatever is written is read again."""

from __future__ import annotations

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
    Payload,
    StepError,
    StepRecord,
    StepStatus,
)
from chalicelib.store.whole_runs import EMBEDDED_BYTES, EMBEDDED_STEPS, embedded, records_of, text_of
from tests.fakes import MONDAY

AT = timestamp(MONDAY)
LATER = timestamp(MONDAY + timedelta(milliseconds=5))


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
