"""Node types that steer a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.json_types import Json
from chalicelib.nodes.spec import Await, ChildRun, Decision, Event, Iterate, Outcome, Reply, Wait
from tests.fakes import FakeValues, World
from tests.nodes.handlers import NOW, call, kind_of


@pytest.mark.parametrize(
    ("value", "port"),
    [
        (True, "true"),
        (False, "false"),
        (0, "false"),
        (2, "true"),
        ("", "false"),
        ("no", "true"),
        (None, "false"),
        ([], "false"),
        ({}, "false"),
    ],
)
def test_condition(value: Json, port: str) -> None:
    """The port is the truth of the value, as JSONata has it; the input goes on."""
    assert call("condition", {"expression": "data.it"}, {"it": value}) == Outcome({"it": value}, port)


CASES: Json = ["red", 2, True, "a.b", "null"]


@pytest.mark.parametrize(
    ("value", "port"),
    [
        ("red", "red"),
        ("Red", "default"),
        (2, "2"),
        (2.0, "2"),
        ("2", "2"),  # a port has a name, and names are text
        (2.5, "default"),
        (True, "true"),
        ("true", "true"),
        (False, "default"),
        ("a.b", "a.b"),
        (None, "default"),
        ("", "default"),
        ([], "default"),
        ("default", "default"),
    ],
)
def test_switch(value: Json, port: str) -> None:
    """The port is the case that equals the value in text; the input goes on."""
    assert call("switch", {"expression": "data", "cases": CASES}, value) == Outcome(value, port)


@pytest.mark.parametrize("cases", [["a", "a"], [1, "1"], [1, 1.0], [True, "true"], ["default"], [["a"]], [None], "a"])
def test_switch_refuses_cases(cases: Json) -> None:
    """Cases that share a port, or are no plain values, are a fault of the config."""
    with pytest.raises(Permanent, match="cases") as raised:
        call("switch", {"expression": "data", "cases": cases})
    assert raised.value.name == "InvalidConfig"


@pytest.mark.parametrize(
    ("config", "until"),
    [
        ({"seconds": 0}, NOW),
        ({"seconds": 1.5}, NOW + timedelta(seconds=1.5)),
        ({"seconds": "90"}, NOW + timedelta(seconds=90)),  # a template in a longer text gives text
        ({"seconds": 365 * 24 * 3600}, NOW + timedelta(days=365)),
        ({"until": "2026-01-05T12:00:00+01:00"}, datetime(2026, 1, 5, 11, tzinfo=UTC)),
        ({"until": "2020-01-01T00:00:00Z"}, datetime(2020, 1, 1, tzinfo=UTC)),  # over at once
        ({"until": "2099-01-01T00:00:00Z"}, NOW + timedelta(days=365)),  # no run lasts longer
    ],
)
def test_wait(config: dict[str, Json], until: datetime) -> None:
    """It says when to go on, and with what: its input."""
    assert call("wait", config, {"n": 1}) == Wait(until, {"n": 1})


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"seconds": 1, "until": "2026-01-01T00:00:00Z"},
        {"seconds": -1},
        {"seconds": 365 * 24 * 3600 + 1},
        {"seconds": "soon"},
        {"seconds": "nan"},
        {"until": "2026-01-01T00:00:00"},  # in which time zone?
        {"until": "tomorrow"},
    ],
)
def test_wait_refuses(config: dict[str, Json]) -> None:
    """Neither or both, no time, or more than a run may last."""
    with pytest.raises(Permanent) as raised:
        call("wait", config)
    assert raised.value.name == "InvalidConfig"


@pytest.mark.parametrize(
    ("value", "items"), [([1, 2], [1, 2]), ([], []), (None, []), ({"a": 1}, [{"a": 1}]), ("ab", ["ab"])]
)
def test_loop(value: Json, items: list[Json]) -> None:
    """It iterates over a list; null is none, and anything else the one item."""
    result = call("loop", {"items": "data.list"}, {"list": value})
    assert isinstance(result, Iterate)
    assert list(result.items) == items


@pytest.mark.parametrize("limit", [0, 1001, "many"])
def test_loop_refuses_limits(limit: Json) -> None:
    """At least one item at a time, at most a thousand."""
    with pytest.raises(Permanent, match="maxConcurrency"):
        call("loop", {"items": "data", "maxConcurrency": limit})


def test_fail() -> None:
    """It ends in its own error, for good."""
    with pytest.raises(Permanent) as raised:
        call("fail", {"error": "NoStock", "message": "nothing left"})
    assert (raised.value.name, raised.value.message) == ("NoStock", "nothing left")
    with pytest.raises(Permanent, match="error") as raised:
        call("fail", {"error": "", "message": ""})
    assert raised.value.name == "InvalidConfig"


def resumed(name: str, data: Json, reply: Reply | None) -> Outcome:
    """The end of a node that was told something, or nothing in time."""
    resume = kind_of(name).resume
    assert resume is not None
    return resume(data, reply, FakeValues())


def test_approval() -> None:
    """It waits for a decision, and goes on by the port of it."""
    assert call("approval", {"message": "Well?", "timeoutSeconds": 5}) == Await(Decision("Well?"), limit_s=5)
    assert call("approval", {}) == Await(Decision(""))
    decision: Json = {"decision": "rejected", "by": "ann", "comment": None}
    assert resumed("approval", {"n": 1}, Reply(decision)) == Outcome({"n": 1, "approval": decision}, "rejected")
    with pytest.raises(Permanent) as raised:
        resumed("approval", {}, None)
    assert raised.value.name == "ApprovalTimeout"


def test_wait_for_event() -> None:
    """It waits for an event, and goes on with its payload, or by another port with its input."""
    assert call("wait-for-event", {"eventType": "a.*", "timeoutSeconds": 1}) == Await(Event("a.*"), limit_s=1)
    assert resumed("wait-for-event", "in", Reply(None)) == Outcome(None)
    assert resumed("wait-for-event", "in", None) == Outcome("in", "timeout")


@pytest.mark.parametrize("event_type", ["", "a\n", "x" * 257, 1])
def test_wait_for_event_refuses(event_type: Json) -> None:
    """A type of events is a text without control characters, and not too long."""
    with pytest.raises(Permanent, match="eventType"):
        call("wait-for-event", {"eventType": event_type})


def test_sub_workflow() -> None:
    """It starts the other run with what it is to be given, and waits for its output unless it is told not to."""
    world = World()
    config: dict[str, Json] = {"workflowId": "wf_1"}
    given: dict[str, Json] = {"x": 1}
    able = world.capabilities
    assert call("sub-workflow", config, {"n": 1}, capabilities=able) == Await(ChildRun("exec_child"))
    call("sub-workflow", {**config, "input": given}, {"n": 1}, capabilities=able)
    told = call("sub-workflow", {**config, "wait": False}, 2, capabilities=able)
    assert told == Outcome({"executionId": "exec_child"})
    assert world.workflows.started == [("wf_1", {"n": 1}, True), ("wf_1", given, True), ("wf_1", 2, False)]
    assert resumed("sub-workflow", None, Reply([1])) == Outcome([1])
