"""What is known of a run: the execution, and one step record per node (and loop iteration) that was decided.

Records are the truth of a run: the state machine carries ids, everything else is read from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from chalicelib.graph.model import DEFAULT_SOURCE_PORT
from chalicelib.graph.retention import DEFAULT_DAYS, shelf

MAX_PRIORITY = 1_000_000  # and its opposite is the lowest
MAX_TASKS = 1_000  #: of a run, told in one answer


class ExecutionStatus(StrEnum):
    QUEUED = "queued"  # recorded, not started yet
    RUNNING = "running"
    WAITING = "waiting"  # nothing runs until a time, an event or a person
    PAUSED = "paused"  # held by a person
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset(
    {ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT}
)


class Place(StrEnum):
    """Where a run stands that is not held and has not ended, if its workflow has a limit of runs at the same time."""

    WAITING = "waiting"  # in line, until there is room
    COUNTED = "counted"  # one of those that the limit counts


class StepStatus(StrEnum):
    PENDING = "pending"  # set aside, to be decided anew
    RUNNING = "running"
    WAITING = "waiting"  # for a time, an event or a person
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # for good; with a port taken, the run went on all the same
    SKIPPED = "skipped"  # every inbound connection was dead
    CANCELLED = "cancelled"  # the run ended while it was under way

    @property
    def is_final(self) -> bool:
        return self not in UNDECIDED_STATUSES


UNDECIDED_STATUSES = frozenset({StepStatus.PENDING, StepStatus.RUNNING, StepStatus.WAITING})


@dataclass(frozen=True, slots=True)
class Payload:
    """JSON text, or where it lies.

    Small ones stand in the record itself, large ones in S3 under a key made of their content.
    """

    text: str | None = None
    key: str | None = None  # S3 key
    size: int = 0  # bytes of UTF-8

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text} if self.key is None else {"key": self.key, "size": self.size}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        text = raw.get("text")
        return cls(text=text, key=raw.get("key"), size=raw.get("size", len((text or "").encode())))


@dataclass(frozen=True, slots=True)
class Trigger:
    """What started a run."""

    type: str  # manual, webhook, queue, ...
    source: str  # who or what, in the starter's own words
    payload: Payload
    node_id: str | None = None  # the trigger node that fired, where the graph has one


@dataclass(frozen=True, slots=True)
class StepError:
    name: str
    message: str

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "message": self.message}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a node. Without ``finished_at`` it is under way, or was cut off."""

    started_at: str
    finished_at: str | None = None
    error: StepError | None = None
    round: int = 1  # of the execution
    ms: int = 0  # that a function ran for it


def ended(attempts: Sequence[Attempt], now: str, error: StepError | None) -> tuple[Attempt, ...]:
    """The attempts, of which the last one is over."""
    if not attempts or attempts[-1].finished_at is not None:
        return tuple(attempts)
    last = attempts[-1]
    return (*attempts[:-1], Attempt(last.started_at, now, error, last.round, last.ms))


@dataclass(frozen=True, slots=True)
class StepRecord:
    node_id: str
    path: str  # the loop iteration: "" outside of loops, "[3]" in one, "[3][0]" in a loop within
    status: StepStatus
    node_type: str = ""
    label: str = ""
    port: str | None = None  # the port taken; None while undecided, skipped or failed for good
    output: Payload | None = None
    items: Payload | None = None  # of a loop: what it iterates over
    count: int | None = None  # of a loop: how many items
    until: str | None = None  # of a wait: when it ends; of one that is to be told something: when it is too late
    gate: str | None = None  # where it waits to be told something
    approval: str | None = None  # id of what a person is asked there
    event: str | None = None  # type, or pattern, of the event that it waits for there
    child: str | None = None  # id of the run whose end it waits for there
    error: StepError | None = None  # of a skipped one: the failure, in its item of a loop, that left it without input
    attempts: tuple[Attempt, ...] = ()
    started_at: str | None = None
    finished_at: str | None = None
    pinned: bool = False  # its output is given, the node did not run
    since: int = 1  # the round that decides it anew: what came of an earlier one is history
    late: int | None = None  # the last round in which it was visited too early, and then waited at its gate
    order: int = 0  # of its node in the plan; tells those apart that began in the same millisecond

    @property
    def is_cut_off(self) -> bool:
        """Whether its last attempt has no end: it is under way, or nobody knows how it went on."""
        return bool(self.attempts) and self.attempts[-1].finished_at is None

    def succeeded(self, port: str, output: Payload | None, now: str) -> StepRecord:
        """The record of this step when it has ended well, and its last attempt with it.

        ``dataclasses.replace`` takes twice as long, and this happens at every node.
        """
        return StepRecord(
            self.node_id,
            self.path,
            StepStatus.SUCCEEDED,
            self.node_type,
            self.label,
            port,
            output,
            self.items,
            self.count,
            self.until,
            self.gate,
            self.approval,
            self.event,
            self.child,
            None,
            ended(self.attempts, now, None),
            self.started_at,
            now,
            self.pinned,
            self.since,
            self.late,
            self.order,
        )

    @property
    def is_well(self) -> bool:
        """Whether nothing is left to do about it."""
        return self.status in (StepStatus.SUCCEEDED, StepStatus.SKIPPED)

    @property
    def task_id(self) -> str:
        return self.node_id + self.path

    @property
    def lost(self) -> StepError | None:
        """The error for which nothing comes of this step, its own or an earlier one; None where there is none."""
        ended = self.status in (StepStatus.FAILED, StepStatus.SKIPPED)
        return self.error if ended and self.port is None else None

    def is_live(self, source_port: str = DEFAULT_SOURCE_PORT) -> bool:
        """Whether a connection out of ``source_port`` carries something."""
        return self.port is not None and self.port == source_port


@dataclass(frozen=True, slots=True)
class StepOutline:
    """A step, as far as the progress of its run depends on it."""

    status: StepStatus
    path: str
    count: int | None = None  # of a loop


@dataclass(frozen=True, slots=True)
class Parent:
    """The node of another run that waits for this one."""

    execution_id: str
    gate: str
    path: str


@dataclass(frozen=True, slots=True)
class RunCost:
    """What all rounds of a run have come to so far that have ended, and what one was estimated at."""

    transitions: int = 0  # of state machines
    invocations: int = 0  # of functions
    milliseconds: int = 0  # that those ran
    estimated_transitions: int = 0
    estimated_invocations: int = 0


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What is recorded of a run when it ends."""

    status: ExecutionStatus
    finished_at: str
    tasks_executed: int
    output: Payload | None = None
    error: Mapping[str, Any] | None = None  # `{name, message, nodeId?}`
    follow_up: bool = False  # others have still to be told
    cost: RunCost | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    id: str
    organization_id: str
    workflow_id: str
    status: ExecutionStatus
    plan: str  # content hash
    machine: str  # name of the state machine
    trigger: Trigger
    tasks_total: int
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    tasks_executed: int | None = None  # None until the run has ended: counted from the records until then
    output: Payload | None = None
    error: Mapping[str, Any] | None = None  # `{name, message, nodeId?}`
    started_by: str = ""  # user id
    deadline: str | None = None  # when the workflow's time limit ends it
    leased_by: str | None = None  # the process that runs it, where that is no state machine
    leased_until: str | None = None  # when it counts as dead, unless it is heard of before
    retention_days: int = DEFAULT_DAYS  # see graph.retention
    expires_at: int | None = None  # when the run may go; moved on while it lasts; seconds since 1970
    look_at: str | None = None  # when upkeep looks how it fares; None once it has ended
    parent: Parent | None = None
    ancestors: tuple[str, ...] = ()  # the workflows whose runs led to this one, the first one first
    follow_up: bool = False  # it has ended, and others have still to be told
    round: int = 1  # one more each time that an engine takes the run up again; earlier ones count no more
    taken_up_at: str | None = None  # when this round began, if it is not the first
    pinned: Mapping[str, Payload] = field(default_factory=dict)  # outputs of nodes that do not run, by their ids
    place: Place | None = None  # None without a limit of runs at the same time
    priority: int = 0  # of two that wait in line, the higher one is first
    #: The steps from which the run is to begin again, besides what failed, while their records are being set aside.
    reopening: tuple[str, ...] | None = None
    cost: RunCost | None = None  # None until a round has ended

    @property
    def lined_up_at(self) -> str:
        """Since when it waits in line, if it does."""
        return self.taken_up_at or self.created_at

    @property
    def shelf(self) -> str:
        """Where its payloads lie."""
        return shelf(self.organization_id, self.retention_days)
