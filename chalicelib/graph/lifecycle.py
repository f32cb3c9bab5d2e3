"""Lifecycle policies of deployed workflows: when pods are kept, when they go, and what brings them back.

Values and decisions alone, on a time that is passed in. ``services.deployments`` carries out what is decided here; the
life of a single run is another matter (``services.lifecycle``).

===================  =====================================  ==========================  ================================
policy               it is stopped                          it is started by itself     a trigger starts it
===================  =====================================  ==========================  ================================
``always-on``        by a user only                         unless a user stopped it    unless a user stopped it
``idle-shutdown``    idle for ``idleTimeoutMinutes``        never                       always
``on-demand``        as soon as no run is under way         never                       always
``scheduled-window`` outside its windows                    when a window opens, unless inside its windows
                                                            a user stopped it
===================  =====================================  ==========================  ================================

No policy stops what has a run in flight, and a trigger counts as one for ``LETTING_IN`` after it was let in: it may be
on its way to the pod. Outside of its windows nothing is let in, be it up or not, so what is up there is up to finish
what it has, and goes with the first look after that.

A window is of wall clocks: it is open while a clock on the wall of its zone shows a time from its start to before its
end. Where clocks are put forward, what lies in the hour that there is not is passed over; where they are put back, a
time that comes twice is open twice. A window whose end is not after its start goes on past midnight, to that time of
the next day; one that ends at the time of its start is a whole day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar, TypeAlias
from zoneinfo import ZoneInfo

from chalicelib.foundation.errors import Fault, InvalidInput
from chalicelib.graph.deployments import StoppedReason

MIN_IDLE_MINUTES, MAX_IDLE_MINUTES, DEFAULT_IDLE_MINUTES = 5, 1440, 30
MAX_WINDOWS = 50
MAX_ZONE_CHARS = 64

#: For so long a trigger that was let in counts as a run in flight, whatever the pods say: it may be on its way to them.
LETTING_IN = timedelta(seconds=30)
#: What did not come to run for this long is stopped, under policies by which a trigger starts it again.
FAILED_FOR = timedelta(minutes=15)
LOOK_EVERY = timedelta(minutes=1)  # at what is about to change
LOOK_AT_LEAST_EVERY = timedelta(hours=1)

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


class PolicyType(StrEnum):
    ALWAYS_ON = "always-on"
    IDLE_SHUTDOWN = "idle-shutdown"
    ON_DEMAND = "on-demand"
    SCHEDULED_WINDOW = "scheduled-window"


@dataclass(frozen=True, slots=True)
class AlwaysOn:
    type: ClassVar = PolicyType.ALWAYS_ON

    def to_json(self) -> dict[str, Any]:
        return {"type": str(self.type)}


@dataclass(frozen=True, slots=True)
class IdleShutdown:
    type: ClassVar = PolicyType.IDLE_SHUTDOWN
    idle_timeout_minutes: int = DEFAULT_IDLE_MINUTES

    def to_json(self) -> dict[str, Any]:
        return {"type": str(self.type), "idleTimeoutMinutes": self.idle_timeout_minutes}


@dataclass(frozen=True, slots=True)
class OnDemand:
    type: ClassVar = PolicyType.ON_DEMAND

    def to_json(self) -> dict[str, Any]:
        return {"type": str(self.type)}


@dataclass(frozen=True, slots=True)
class Window:
    days: tuple[int, ...]  # on which it opens: 0 is Sunday
    start: str  # HH:MM
    end: str  # HH:MM, of the next day where it is not after the start

    def is_open(self, day: int, time: str) -> bool:
        """Whether it is open when a clock shows ``time`` on a day of the week."""
        if self.start < self.end:
            return day in self.days and self.start <= time < self.end
        return (day in self.days and time >= self.start) or ((day - 1) % 7 in self.days and time < self.end)

    def to_json(self) -> dict[str, Any]:
        return {"days": list(self.days), "startTime": self.start, "endTime": self.end}


@dataclass(frozen=True, slots=True)
class ScheduledWindow:
    type: ClassVar = PolicyType.SCHEDULED_WINDOW
    timezone: str  # IANA
    windows: tuple[Window, ...]

    def is_open(self, now: datetime) -> bool:
        local = now.astimezone(ZoneInfo(self.timezone))
        day, time = local.isoweekday() % 7, f"{local:%H:%M}"
        return any(window.is_open(day, time) for window in self.windows)

    def next_change(self, now: datetime) -> datetime:
        """The minute at which it opens or closes next, if that is soon; else some time before that, to look again.

        Asked minute by minute and not reckoned: so clocks that are put forward or back need no rule of their own.
        """
        is_open = self.is_open(now)
        minute = now.replace(second=0, microsecond=0)
        last = minute + LOOK_AT_LEAST_EVERY
        while minute < last:
            minute += timedelta(minutes=1)
            if self.is_open(minute) != is_open:
                break
        return minute

    def to_json(self) -> dict[str, Any]:
        windows = [window.to_json() for window in self.windows]
        return {"type": str(self.type), "schedule": {"timezone": self.timezone, "windows": windows}}


Policy: TypeAlias = AlwaysOn | IdleShutdown | OnDemand | ScheduledWindow
DEFAULT_POLICY: Policy = IdleShutdown()


def parse_policy(raw: Mapping[str, Any]) -> Policy:
    """The policy that a body names. Raises ``InvalidInput`` that lists every fault; unknown fields are ignored."""
    if faults := list(policy_faults(raw)):
        raise InvalidInput(faults)
    return policy_from_json(raw)


def policy_from_json(raw: Mapping[str, Any]) -> Policy:
    """What ``to_json`` has written, or what has no faults."""
    match PolicyType(raw["type"]):
        case PolicyType.ALWAYS_ON:
            return AlwaysOn()
        case PolicyType.ON_DEMAND:
            return OnDemand()
        case PolicyType.IDLE_SHUTDOWN:
            minutes = raw.get("idleTimeoutMinutes")
            return IdleShutdown() if minutes is None else IdleShutdown(minutes)
        case PolicyType.SCHEDULED_WINDOW:
            schedule = raw["schedule"]
            windows = (Window(tuple(w["days"]), w["startTime"], w["endTime"]) for w in schedule["windows"])
            return ScheduledWindow(schedule["timezone"], tuple(windows))


def policy_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """All that is wrong with a policy, as it stands in a body. What another type of policy would have is not looked
    at.
    """
    kind = raw.get("type")
    if kind is None:
        yield Fault("type", "Field required")
    elif not isinstance(kind, str) or kind not in set(PolicyType):
        yield Fault("type", f"one of {', '.join(PolicyType)}")
    elif kind == PolicyType.IDLE_SHUTDOWN:
        minutes = raw.get("idleTimeoutMinutes")
        if minutes is not None and not _is_within(minutes, MIN_IDLE_MINUTES, MAX_IDLE_MINUTES):
            yield Fault("idleTimeoutMinutes", f"a whole number from {MIN_IDLE_MINUTES} to {MAX_IDLE_MINUTES}")
    elif kind == PolicyType.SCHEDULED_WINDOW:
        schedule = raw.get("schedule")
        if isinstance(schedule, Mapping):
            yield from _schedule_faults(schedule)
        else:
            yield Fault("schedule", "Field required" if schedule is None else "an object with timezone and windows")


def _schedule_faults(schedule: Mapping[str, Any]) -> Iterator[Fault]:
    zone, windows = schedule.get("timezone"), schedule.get("windows")
    if zone is None:
        yield Fault("schedule.timezone", "Field required")
    elif not isinstance(zone, str) or len(zone) > MAX_ZONE_CHARS or zone not in _zones():
        yield Fault("schedule.timezone", "no time zone of the IANA database; Europe/Zurich is one, for instance")
    if windows is None:
        yield Fault("schedule.windows", "Field required")
    elif not isinstance(windows, list) or not 1 <= len(windows) <= MAX_WINDOWS:
        yield Fault("schedule.windows", f"a list of 1 to {MAX_WINDOWS} windows")
    else:
        for index, window in enumerate(windows):
            yield from _window_faults(f"schedule.windows[{index}]", window)


def _window_faults(path: str, window: Any) -> Iterator[Fault]:
    if not isinstance(window, Mapping):
        yield Fault(path, "an object with days, startTime and endTime")
        return
    days = window.get("days")
    if days is None:
        yield Fault(f"{path}.days", "Field required")
    elif not isinstance(days, list) or not 1 <= len(days) <= 7:
        yield Fault(f"{path}.days", "a list of 1 to 7 days")
    else:
        for index, day in enumerate(days):
            if not _is_within(day, 0, 6):
                yield Fault(f"{path}.days[{index}]", "a whole number from 0 (Sunday) to 6 (Saturday)")
            elif day in days[:index]:
                yield Fault(f"{path}.days[{index}]", "the day stands there twice")
    for name in ("startTime", "endTime"):
        time = window.get(name)
        if time is None:
            yield Fault(f"{path}.{name}", "Field required")
        elif not isinstance(time, str) or not _TIME.fullmatch(time):
            yield Fault(f"{path}.{name}", "a time as HH:MM, from 00:00 to 23:59")


def _is_within(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


@cache
def _zones() -> frozenset[str]:
    from zoneinfo import available_timezones  # reads a few hundred files, once

    return frozenset(available_timezones())


@dataclass(frozen=True, slots=True)
class LifeState:
    """How a deployment stands, as far as policies ask."""

    is_stopped: bool
    stopped_reason: StoppedReason | None = None
    started_at: datetime | None = None  # since when pods are wanted
    ready_at: datetime | None = None  # since when all of them are ready; None where they are not
    failing_since: datetime | None = None  # since when the cluster says that they will not come to run
    triggered_at: datetime | None = None  # when a trigger was let in last
    in_flight: int = 0  # runs under way in its pods
    last_ended_at: datetime | None = None  # when a run of its present pods ended last

    def with_activity(self, in_flight: int, last_ended_at: datetime | None) -> LifeState:
        return replace(self, in_flight=in_flight, last_ended_at=last_ended_at)


class Wanted(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Decision:
    wanted: Wanted
    look_at: datetime  # when to look next
    reason: StoppedReason | None = None  # of a stop


def decide(policy: Policy, state: LifeState, now: datetime) -> Decision:
    """What a policy wants of a deployment now.

    Whoever is to stop one has to know what its pods have in flight, and decide again with that: where nobody knows,
    nothing is stopped.
    """
    return _of_stopped(policy, state, now) if state.is_stopped else _of_running(policy, state, now)


def _of_stopped(policy: Policy, state: LifeState, now: datetime) -> Decision:
    """What a user has stopped, a user or a trigger starts again, and no policy."""
    look_at = now + LOOK_AT_LEAST_EVERY
    by_user = state.stopped_reason is StoppedReason.USER
    match policy:
        case AlwaysOn() if not by_user:
            return Decision(Wanted.RUNNING, now + LOOK_EVERY)
        case ScheduledWindow():
            if policy.is_open(now) and not by_user:
                return Decision(Wanted.RUNNING, now + LOOK_EVERY)
            look_at = policy.next_change(now)
    return Decision(Wanted.UNCHANGED, look_at)


def _of_running(policy: Policy, state: LifeState, now: datetime) -> Decision:
    let_in_until = state.triggered_at + LETTING_IN if state.triggered_at else now
    if state.in_flight:
        return Decision(Wanted.UNCHANGED, now + LOOK_EVERY)
    if now < let_in_until:
        return Decision(Wanted.UNCHANGED, let_in_until)
    match policy:
        case AlwaysOn():
            return Decision(Wanted.UNCHANGED, now + LOOK_AT_LEAST_EVERY)
        case ScheduledWindow():
            if policy.is_open(now):
                return Decision(Wanted.UNCHANGED, policy.next_change(now))
            return _stop(StoppedReason.OUTSIDE_WINDOW, now)
        case IdleShutdown():
            return _of_quiet(state, now, timedelta(minutes=policy.idle_timeout_minutes), StoppedReason.IDLE)
        case OnDemand():
            return _of_quiet(state, now, LETTING_IN, StoppedReason.ON_DEMAND)


def _of_quiet(state: LifeState, now: datetime, rest: timedelta, reason: StoppedReason) -> Decision:
    """Of a policy that stops what rests for so long."""
    moments = (state.started_at, state.ready_at, state.triggered_at, state.last_ended_at)
    quiet_since = max((moment for moment in moments if moment), default=now)
    if state.failing_since is not None and now >= max(state.failing_since, quiet_since) + FAILED_FOR:
        return _stop(StoppedReason.FAILED, now)
    if state.ready_at is None:
        return Decision(Wanted.UNCHANGED, now + LOOK_EVERY)
    if now >= quiet_since + rest:
        return _stop(reason, now)
    return Decision(Wanted.UNCHANGED, min(quiet_since + rest, now + LOOK_AT_LEAST_EVERY))


def _stop(reason: StoppedReason, now: datetime) -> Decision:
    return Decision(Wanted.STOPPED, now + LOOK_EVERY, reason)


def start_refusal(policy: Policy, now: datetime) -> str | None:
    """Why a user may not start a deployment now; None where they may."""
    if isinstance(policy, ScheduledWindow) and not policy.is_open(now):
        return f"The workflow is outside its window (lifecycle policy scheduled-window, {policy.timezone})."
    return None


def trigger_refusal(policy: Policy, stopped_reason: StoppedReason | None, now: datetime) -> str | None:
    """Why a trigger is not let in now; None where it is, and starts what is stopped."""
    if isinstance(policy, AlwaysOn) and stopped_reason is StoppedReason.USER:
        return "The workflow was stopped by a user, and under the lifecycle policy always-on only a user starts it."
    return start_refusal(policy, now)
