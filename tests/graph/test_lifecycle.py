"""Lifecycle policies: what is one, when windows are open, and thirty days of random triggers under each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.foundation.errors import InvalidInput
from chalicelib.graph.deployments import StoppedReason
from chalicelib.graph.lifecycle import (
    FAILED_FOR,
    LETTING_IN,
    AlwaysOn,
    IdleShutdown,
    LifeState,
    OnDemand,
    Policy,
    ScheduledWindow,
    Wanted,
    Window,
    decide,
    parse_policy,
    policy_from_json,
    start_refusal,
    trigger_refusal,
)

MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)  # a Monday
WORKDAYS = Window((1, 2, 3, 4, 5), "09:00", "17:00")


def window(days: list[Any], start: str = "09:00", end: str = "17:00", zone: str = "UTC") -> dict[str, Any]:
    windows = [{"days": days, "startTime": start, "endTime": end}]
    return {"type": "scheduled-window", "schedule": {"timezone": zone, "windows": windows}}


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "always-on"},
        {"type": "on-demand"},
        {"type": "idle-shutdown", "idleTimeoutMinutes": 5},
        {"type": "idle-shutdown", "idleTimeoutMinutes": 1440},
        window([0, 6], "22:00", "06:00", "America/Los_Angeles"),
        window([3], "00:00", "00:00"),
    ],
)
def test_a_policy_is_told_as_it_was_given(raw: dict[str, Any]) -> None:
    """And read again from what is kept of it."""
    policy = parse_policy(raw)
    assert policy.to_json() == raw
    assert policy_from_json(policy.to_json()) == policy


def test_idle_shutdown_has_a_default() -> None:
    """30 minutes, where a body says nothing or null."""
    assert parse_policy({"type": "idle-shutdown"}) == IdleShutdown(30)
    assert parse_policy({"type": "idle-shutdown", "idleTimeoutMinutes": None}) == IdleShutdown(30)


def test_what_another_type_has_is_not_looked_at() -> None:
    """A field that says nothing of this type is one that is not known."""
    assert parse_policy({"type": "always-on", "idleTimeoutMinutes": "x", "schedule": 1}) == AlwaysOn()


WINDOWS = "schedule.windows"


@pytest.mark.parametrize(
    ("raw", "paths"),
    [
        ({}, ["type"]),
        ({"type": "sometimes"}, ["type"]),
        ({"type": 1}, ["type"]),
        *(({"type": "idle-shutdown", "idleTimeoutMinutes": n}, ["idleTimeoutMinutes"]) for n in (4, 1441, 7.5, "9")),
        ({"type": "idle-shutdown", "idleTimeoutMinutes": True}, ["idleTimeoutMinutes"]),
        ({"type": "scheduled-window"}, ["schedule"]),
        ({"type": "scheduled-window", "schedule": []}, ["schedule"]),
        ({"type": "scheduled-window", "schedule": {}}, ["schedule.timezone", WINDOWS]),
        (
            {"type": "scheduled-window", "schedule": {"timezone": "Mars/X", "windows": []}},
            ["schedule.timezone", WINDOWS],
        ),
        ({"type": "scheduled-window", "schedule": {"timezone": "UTC", "windows": [1, {}]}},
         [f"{WINDOWS}[0]", *(f"{WINDOWS}[1].{name}" for name in ("days", "startTime", "endTime"))]),
        (window([]), [f"{WINDOWS}[0].days"]),
        (window([0, 7, 0, True]), [f"{WINDOWS}[0].days[{n}]" for n in (1, 2, 3)]),
        (window([1], "9:00", "24:00", "../etc/passwd"),
         ["schedule.timezone", f"{WINDOWS}[0].startTime", f"{WINDOWS}[0].endTime"]),
        (window([1], "09:00\n", 17), [f"{WINDOWS}[0].startTime", f"{WINDOWS}[0].endTime"]),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_every_fault_is_told(raw: dict[str, Any], paths: list[str]) -> None:
    """Not the first only, each with where it is."""
    with pytest.raises(InvalidInput) as refused:
        parse_policy(raw)
    assert [fault.path for fault in refused.value.faults] == paths


def opens(zone: str, *windows: Window) -> Callable[[str], bool]:
    policy = ScheduledWindow(zone, windows)
    return lambda text: policy.is_open(datetime.fromisoformat(text))


def test_a_window_is_open_from_its_start_to_before_its_end() -> None:
    """By the clock of its zone, on its days."""
    is_open = opens("America/Los_Angeles", WORKDAYS)
    told = {
        "2026-01-05T16:59:59+00:00": False,  # Monday, 08:59:59 there
        "2026-01-05T17:00:00+00:00": True,
        "2026-01-06T00:59:59+00:00": True,  # Tuesday already in UTC, Monday there
        "2026-01-06T01:00:00+00:00": False,
        "2026-01-03T18:00:00+00:00": False,  # Saturday
    }
    assert {at: is_open(at) for at in told} == told


def test_a_window_may_pass_midnight() -> None:
    """It belongs to the day on which it opens, Saturday into Sunday too; one that ends as it starts is a whole day."""
    is_open = opens("UTC", Window((6,), "22:00", "06:00"))
    told = {"2026-01-10T21:59+00:00": False, "2026-01-10T22:00+00:00": True, "2026-01-11T05:59+00:00": True}
    told |= {"2026-01-11T06:00+00:00": False, "2026-01-10T05:00+00:00": False, "2026-01-11T22:30+00:00": False}
    assert {at: is_open(at) for at in told} == told
    whole = opens("UTC", Window((1,), "09:00", "09:00"))
    told = {"2026-01-05T08:59+00:00": False, "2026-01-05T09:00+00:00": True, "2026-01-06T08:59+00:00": True}
    assert {at: whole(at) for at in told} == told
    assert not whole("2026-01-06T09:00+00:00")


def test_days_on_which_clocks_change() -> None:
    """What the clock on the wall does not show is passed over, what it shows twice is open twice."""
    spring = opens("Europe/Zurich", Window((0,), "02:15", "02:45"), Window((0,), "02:50", "03:10"))
    assert not any(spring(f"2026-03-29T{hour:02}:{minute:02}+00:00") for hour in (0, 1) for minute in range(10, 60))
    assert spring("2026-03-29T01:05+00:00")  # 03:05
    autumn = opens("Europe/Zurich", Window((0,), "02:15", "02:45"))
    assert autumn("2026-10-25T00:20+00:00")
    assert not autumn("2026-10-25T00:50+00:00")
    assert autumn("2026-10-25T01:20+00:00")


@pytest.mark.parametrize("day", ["2026-01-05", "2026-03-29", "2026-10-25"])
def test_the_next_change_is_never_overslept(day: str) -> None:
    """Whoever looks when they are told to sees each change in its minute, on days on which clocks change too."""
    policy = ScheduledWindow("Europe/Zurich", (Window((0, 1), "02:30", "03:10"), Window((0,), "01:30", "02:45")))
    now = datetime.fromisoformat(f"{day}T00:00:07+00:00") - timedelta(hours=3)
    end = now + timedelta(hours=12)
    is_open = policy.is_open(now)
    while now < end:
        next_look = policy.next_change(now)
        assert now < next_look <= now + timedelta(hours=1)
        minute = now
        while minute < next_look - MINUTE:
            minute += MINUTE
            assert policy.is_open(minute.replace(second=0)) == is_open or minute.replace(second=0) == next_look
        now, is_open = next_look, policy.is_open(next_look)


def running(**fields: Any) -> LifeState:
    long_ago = NOW - timedelta(days=1)
    return LifeState(**{"is_stopped": False, "started_at": long_ago, "ready_at": long_ago, **fields})


def stopped(reason: StoppedReason) -> LifeState:
    return LifeState(is_stopped=True, stopped_reason=reason)


OPEN = ScheduledWindow("UTC", (WORKDAYS,))
CLOSED = ScheduledWindow("UTC", (Window((0,), "00:00", "01:00"),))
POLICIES: dict[str, Policy] = {
    "always-on": AlwaysOn(), "idle-shutdown": IdleShutdown(30), "on-demand": OnDemand(), "open": OPEN, "closed": CLOSED,
}  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("reason", StoppedReason)
def test_what_brings_back_what_is_stopped(name: str, reason: StoppedReason) -> None:
    """The table of ``graph.lifecycle``, for each policy and each reason."""
    policy, by_user = POLICIES[name], reason is StoppedReason.USER
    starts_itself = not by_user and name in ("always-on", "open")
    decision = decide(policy, stopped(reason), NOW)
    assert decision.wanted is (Wanted.RUNNING if starts_itself else Wanted.UNCHANGED)
    assert decision.look_at > NOW
    triggered = name in ("idle-shutdown", "on-demand", "open") or (name == "always-on" and not by_user)
    assert (trigger_refusal(policy, reason, NOW) is None) == triggered
    assert (start_refusal(policy, NOW) is None) == (name != "closed")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("always-on", None),
        ("idle-shutdown", StoppedReason.IDLE),
        ("on-demand", StoppedReason.ON_DEMAND),
        ("open", None),
        ("closed", StoppedReason.OUTSIDE_WINDOW),
    ],
)
def test_what_stops_what_rests(name: str, reason: StoppedReason | None) -> None:
    """Long after its last run; never with a run in flight, nor with a trigger that may be on its way."""
    policy = POLICIES[name]
    assert decide(policy, running(), NOW).reason is reason
    for state in (running(in_flight=1), running(triggered_at=NOW - LETTING_IN + timedelta(seconds=1))):
        decision = decide(policy, state, NOW)
        assert decision.wanted is Wanted.UNCHANGED
        assert NOW < decision.look_at <= NOW + MINUTE


def test_idle_counts_from_the_last_that_happened() -> None:
    """Start, readiness, trigger, end of a run: the latest; and the next look is when the time is over."""
    for field in ("started_at", "ready_at", "triggered_at", "last_ended_at"):
        at = NOW - 10 * MINUTE
        decision = decide(IdleShutdown(30), running(**{field: at}), NOW)
        assert (decision.wanted, decision.look_at) == (Wanted.UNCHANGED, at + 30 * MINUTE)
        assert decide(IdleShutdown(10), running(**{field: at}), NOW).wanted is Wanted.STOPPED


def test_what_never_comes_to_run_is_given_up() -> None:
    """Where a trigger starts it again; always-on and open windows go on trying."""
    failing = running(ready_at=None, failing_since=NOW - FAILED_FOR)
    for name, policy in POLICIES.items():
        gives_up = name in ("idle-shutdown", "on-demand")
        expected = StoppedReason.FAILED if gives_up else StoppedReason.OUTSIDE_WINDOW if name == "closed" else None
        assert decide(policy, failing, NOW).reason is expected
        assert decide(policy, replace(failing, failing_since=NOW - FAILED_FOR + MINUTE), NOW).reason is not (
            StoppedReason.FAILED
        )


HEAL_EVERY = 5 * MINUTE  # that upkeep looks at what runs at least


class Life:
    """A deployment on simulated time, looked after when it is due, in the minutes in which upkeep comes by, as
    ``services.deployments`` does it.
    """

    def __init__(self, policy: Policy, now: datetime, chance: random.Random) -> None:
        self.policy, self.now, self.chance = policy, now, chance
        self.state = LifeState(is_stopped=True, stopped_reason=StoppedReason.IDLE)
        self.look_at = now
        self.in_flight: list[datetime] = []  # when each run will end
        self.last_end: datetime | None = None  # of those that ended in the present pods
        self.let_in = self.refused = self.stops = self.starts = 0

    def trigger(self) -> None:
        if trigger_refusal(self.policy, self.state.stopped_reason, self.now):
            self.refused += 1
            return
        if self.state.is_stopped:
            self.start()
        self.state = replace(self.state, triggered_at=self.now)
        self.in_flight.append(self.now + timedelta(seconds=self.chance.choice((0.1, 5, 70, 900, 9000))))
        self.let_in += 1

    def start(self) -> None:
        self.starts += 1
        self.last_end = None
        self.state = replace(self.state, is_stopped=False, stopped_reason=None, started_at=self.now, ready_at=self.now)
        self.look_at = self.now + MINUTE

    def stop(self, reason: StoppedReason) -> None:
        self.stops += 1
        self.in_flight.clear()  # where a user has stopped it, they go on elsewhere
        self.state = replace(self.state, is_stopped=True, stopped_reason=reason, ready_at=None)
        self.look_at = self.now + MINUTE

    def end_runs(self) -> None:
        ended = [end for end in self.in_flight if end <= self.now]
        if ended:
            self.last_end = max(ended)
            self.in_flight = [end for end in self.in_flight if end > self.now]

    def look(self) -> None:
        """What upkeep does where it is due."""
        decision = decide(self.policy, self.state, self.now)
        if decision.wanted is Wanted.STOPPED:
            decision = decide(self.policy, self.state.with_activity(len(self.in_flight), self.last_end), self.now)
        assert decision.look_at > self.now
        if decision.wanted is Wanted.RUNNING:
            self.start()
        elif decision.wanted is Wanted.STOPPED:
            assert not self.in_flight, "stopped with a run in flight"
            assert decision.reason is not None
            self.stop(decision.reason)
        else:
            most = self.now + (timedelta(days=1) if self.state.is_stopped else HEAL_EVERY)
            self.look_at = min(decision.look_at, most)

    def user(self, what: str) -> None:
        is_closed = start_refusal(self.policy, self.now) is not None
        if what == "stop":
            self.stop(StoppedReason.USER)
        elif what == "deploy" and is_closed:
            self.stop(StoppedReason.OUTSIDE_WINDOW)
        elif not is_closed and (what == "deploy" or self.state.is_stopped):
            self.start()

    def check(self) -> None:
        """What holds when upkeep has been by."""
        up, by_user = not self.state.is_stopped, self.state.stopped_reason is StoppedReason.USER
        if isinstance(self.policy, AlwaysOn):
            assert up or by_user, "down while always-on"
        elif isinstance(self.policy, ScheduledWindow) and self.policy.is_open(self.now):
            assert up or by_user, "down inside its window"
        elif up and not self.in_flight:
            moments = [self.last_end, self.state.triggered_at and self.state.triggered_at + LETTING_IN]
            if not isinstance(self.policy, ScheduledWindow):
                moments.append(self.state.started_at)
            if isinstance(self.policy, IdleShutdown | OnDemand):
                rest = (
                    self.policy.idle_timeout_minutes * MINUTE if isinstance(self.policy, IdleShutdown) else LETTING_IN
                )
                moments = [moment and moment + rest for moment in moments]
            # The first look after that is a minute later at most.
            assert self.now < max(filter(None, moments)) + MINUTE, "up with nothing to do"


SIMULATED: dict[str, Policy] = {
    "always-on": AlwaysOn(),
    "idle-shutdown": IdleShutdown(10),
    "on-demand": OnDemand(),
    "nights": ScheduledWindow("America/New_York", (Window((0, 2, 4, 5), "22:30", "03:30"), WORKDAYS)),
    "half-hours": ScheduledWindow(
        "Australia/Lord_Howe", (Window((0, 6), "01:15", "01:50"), Window((3,), "00:00", "00:00"))
    ),
}


@pytest.mark.parametrize("name", SIMULATED)
@pytest.mark.parametrize("begin", ["2026-03-01", "2026-03-20", "2026-10-15"])
def test_thirty_days(name: str, begin: str) -> None:
    """Random triggers, lengths of runs, and what users do, over days on which clocks change: never stopped by a policy
    with a run in flight; never up outside its window but to finish what was let in inside, and down at the first look
    after that; never down while always-on or inside its window but for a user; on-demand at zero after each run.
    """
    chance = random.Random(f"{name} {begin}")
    start = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    life = Life(SIMULATED[name], start, chance)
    life.user("deploy")
    for minute in range(30 * 24 * 60):
        now = start + minute * MINUTE
        is_busy_day = (minute // 1440) % 3 != 2
        if chance.random() < (0.02 if is_busy_day else 0.0005):
            for seconds in sorted((chance.uniform(0, 59) for _ in range(chance.randint(1, 3))), reverse=True):
                life.now = now - timedelta(seconds=seconds)
                life.end_runs()
                life.trigger()
        life.now = now
        life.end_runs()
        if chance.random() < 0.001:
            life.user(chance.choice(("stop", "start", "start", "deploy")))
        if life.now >= life.look_at:
            life.look()
        life.check()
    assert min(life.let_in, life.starts, life.stops) > 3
    assert life.refused > 20 or name in ("idle-shutdown", "on-demand")
