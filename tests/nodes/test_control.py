"""Node types that steer a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.json_types import Json
from chalicelib.nodes.spec import Iterate, Outcome, Wait
from tests.nodes.handlers import NOW, call


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
