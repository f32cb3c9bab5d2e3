"""Runs of the version of a workflow that this process serves, for as long as it lives: triggered, waited for, handed
over.

A run is recorded before anybody is told of it. One that only computes is over by then (``services.programs``); any
other is run here as long as the process lives and the run does not wait for long; then Step Functions goes on with it.
Where the workflow has a limit of runs at the same time, a run stands in the same line as any other, and who makes room
may have it run on Step Functions as well.

A trigger with the id of a run, or with an ``Idempotency-Key``, that was used before is the same run: whoever asks hears
of that one, from memory while it runs here, else from its record.

What if the process is killed ...

======================================  =============================================================================
before the run is recorded              nothing has happened, and nobody was answered; whoever asked asks again, with
                                        the same id: another process, or Step Functions, runs it
after that, before its end is recorded  its lease lapses; a read or upkeep has Step Functions go on with it
after that, before the answer           whoever asked asks again and is told the end
while it is handed over                 as after it is recorded, or, where the lease is given up, at once by upkeep
======================================  =============================================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from chalicelib.compiler.plan import Plan
from chalicelib.engines.payloads import INLINE_BYTES, Payloads
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import (
    Conflict,
    DownstreamTimeout,
    IdempotencyMismatch,
    NotFound,
    Unavailable,
)
from chalicelib.foundation.ids import Ids
from chalicelib.foundation.json_types import Json, dumps
from chalicelib.foundation.logs import logger
from chalicelib.graph.deployments import Deployed
from chalicelib.graph.executions import Execution, ExecutionStatus, Payload, RunEnd, Trigger
from chalicelib.graph.retention import shelf
from chalicelib.services.in_process import AlreadyRecorded, InProcessRuns
from chalicelib.services.limits import Limits
from chalicelib.services.programs import Programs
from chalicelib.services.recording import Started, new_execution
from chalicelib.store.claims import request_hash
from chalicelib.store.executions import ExecutionRepository, IdempotentStart
from chalicelib.store.table import ConditionFailed

ACCEPT_S = 30  # within which a run is recorded, or whoever asked is told that it is not known
_UNKNOWN = "It is not known yet whether the run is recorded."
_POLLS_S = (0.05, 1.0)  # pauses between two looks at a run that goes on elsewhere: the first, and the longest


class Asked(NamedTuple):
    """What somebody wants to be run."""

    inputs: Json
    trigger_type: str = "api"
    sync: bool = False
    wait_s: float = 300  # for the end of the run, where ``sync``
    execution_id: str | None = None  # that the run is to have
    idempotency_key: str | None = None


class Told(NamedTuple):
    """How a run stands. ``status`` is None where it is recorded, and nothing more was asked for."""

    execution_id: str
    status: ExecutionStatus | None = None
    output: Payload | None = None
    error: object = None  # `{name, message, nodeId?}`


class Observer:
    """What is counted of runs; see ``pod.metrics``."""

    def began(self) -> None: ...

    def ended(self, status: str, seconds: float) -> None: ...


@dataclass(frozen=True)
class _Live:
    """A run that this process is at."""

    recorded: asyncio.Future[str]  # its id, once it is: another one where the client's key was used before
    task: asyncio.Task[RunEnd | None]  # None: it goes on elsewhere


class DeployedRuns:
    """Of use within one event loop. ``machine`` is the name of the state machine of ``plan``."""

    def __init__(
        self,
        *,
        deployed: Deployed,
        plan: Plan,
        machine: str,
        in_process: InProcessRuns,
        programs: Programs | None,
        executions: ExecutionRepository,
        payloads: Payloads,
        limits: Limits,
        default_limit: int | None,
        at_once: int,
        observer: Observer,
        ids: Ids,
        clock: Clock,
    ) -> None:
        self._deployed = deployed
        self._plan = plan
        self._machine = machine
        self._in_process = in_process
        self._programs = programs  # None where the plan does more than compute
        self._executions = executions
        self._payloads = payloads
        self._limits = limits
        self._limit = default_limit if deployed.max_concurrent_runs is None else deployed.max_concurrent_runs
        self._most = at_once
        self._observer = observer
        self._ids = ids
        self._clock = clock
        self._live: dict[str, _Live] = {}
        self._recording = 0  # runs that are over, and whose record is being written
        self._all_recorded = asyncio.Event()  # set while there are none, from the beginning of the end on
        self._waiting = 0  # that ask how a run fares which goes on elsewhere
        self._leave = asyncio.Event()
        self.draining = False
        self.last_ended_at: str | None = None

    @property
    def in_flight(self) -> int:
        """Runs that this process is at, and requests that wait for others."""
        return len(self._live) + self._recording + self._waiting

    async def trigger(self, asked: Asked) -> Told:
        """Starts the run that is asked for, unless it is there already, and waits for its end where that is wanted.

        Raises ``Unavailable`` where nothing was begun and another process may be asked; ``Conflict`` for the id of a
        run of another workflow, ``IdempotencyMismatch``, ``DownstreamTimeout`` where it is not known whether the run
        is recorded, and ``Downstream``.
        """
        return await self._at_once(asked) or await self._by_visits(asked)

    async def _at_once(self, asked: Asked) -> Told | None:
        """The end of a run that only computes. None where the run is to be done by visits: nothing is recorded then, or
        there is a run of this id already.
        """
        if self._programs is None or self._limit is not None or asked.idempotency_key is not None:
            return None
        if asked.execution_id in self._live:
            return None
        self._check_room()
        execution_id = asked.execution_id or self._ids.new("exec")
        run = self._programs.finished(execution_id, asked.trigger_type, asked.inputs)
        if run is None:
            return None
        try:
            await self._recorded(self._programs.record(run), asked.wait_s if asked.sync else ACCEPT_S)
        except ConditionFailed:
            return None
        self.last_ended_at = run.finished_at
        self._observer.began()
        self._observer.ended(str(ExecutionStatus.SUCCEEDED), run.seconds)
        if not asked.sync:
            return Told(execution_id)
        output = None if run.output is None else Payload(text=run.output)
        return Told(execution_id, ExecutionStatus.SUCCEEDED, output)

    async def _recorded(self, record: Awaitable[None], wait_s: float) -> None:
        """Raises what ``record`` raises, and ``DownstreamTimeout`` where that takes longer; it is done all the same."""
        self._recording += 1
        recording = asyncio.ensure_future(record)
        recording.add_done_callback(self._is_recorded)
        await asyncio.wait([recording], timeout=wait_s)
        if not recording.done():
            raise DownstreamTimeout(_UNKNOWN)
        recording.result()

    def _is_recorded(self, recording: asyncio.Future[None]) -> None:
        self._recording -= 1
        if self.draining and not self._recording:
            self._all_recorded.set()
        if not recording.cancelled():
            recording.exception()  # is told to whoever waits, if anybody does

    async def _by_visits(self, asked: Asked) -> Told:
        until = asyncio.get_running_loop().time() + (asked.wait_s if asked.sync else ACCEPT_S)
        execution_id = asked.execution_id or self._ids.new("exec")
        live = self._live.get(execution_id) or self._start(execution_id, asked)
        awaited: list[asyncio.Future[Any]] = [live.task] if asked.sync else [live.recorded, live.task]
        await asyncio.wait(awaited, timeout=_left(until), return_when=asyncio.FIRST_COMPLETED)
        failure = live.task.exception() if live.task.done() else None
        if not live.recorded.done():
            raise failure or DownstreamTimeout(_UNKNOWN)
        execution_id = live.recorded.result()
        if not asked.sync:
            return Told(execution_id)
        if failure is not None or not live.task.done():
            return Told(execution_id, ExecutionStatus.RUNNING)  # here, or when its lease is over elsewhere
        end = live.task.result()
        return await self._elsewhere(execution_id, until) if end is None else _told(execution_id, end)

    async def drain(self, finish_s: float, leave_s: float) -> bool:
        """Begins nothing more, finishes what runs within ``finish_s``, and then hands over the rest within ``leave_s``.

        False where some of it could not be: then it is taken up when its lease is over.
        """
        self.draining = True
        if not self._recording:
            self._all_recorded.set()
        await self._emptied(finish_s)
        self._leave.set()
        return await self._emptied(leave_s)

    async def _emptied(self, within_s: float) -> bool:
        until = asyncio.get_running_loop().time() + within_s
        while self._live and (left := _left(until)):
            await asyncio.wait([live.task for live in self._live.values()], timeout=left)
        with suppress(TimeoutError):
            async with asyncio.timeout(_left(until)):
                await self._all_recorded.wait()
        return not self._live and not self._recording

    def _start(self, execution_id: str, asked: Asked) -> _Live:
        self._check_room()
        event_loop = asyncio.get_running_loop()
        recorded: asyncio.Future[str] = event_loop.create_future()
        live = _Live(recorded, event_loop.create_task(self._run(execution_id, asked, recorded)))
        self._live[execution_id] = live
        live.task.add_done_callback(lambda task: self._over(execution_id, task))
        return live

    def _check_room(self) -> None:
        """Raises ``Unavailable``."""
        if self.draining:
            raise Unavailable("This pod ends; another one takes the request.")
        if len(self._live) + self._recording >= self._most:
            raise Unavailable(f"This pod is at {self._most} runs already, as many as it takes.")

    def _over(self, execution_id: str, task: asyncio.Task[RunEnd | None]) -> None:
        del self._live[execution_id]
        self.last_ended_at = timestamp(self._clock.now())
        failure = None if task.cancelled() else task.exception()
        if failure is not None and not isinstance(failure, (Conflict, IdempotencyMismatch)):
            extra = {"execution": execution_id, "reason": f"{type(failure).__name__}: {failure}"[:1000]}
            logger().error("a run is left to upkeep", extra=extra)

    async def _run(self, execution_id: str, asked: Asked, recorded: asyncio.Future[str]) -> RunEnd | None:
        """A run from its record to its end; None where that is elsewhere."""
        start = self._repeatable(asked)
        began = self._clock.now()
        try:
            execution = await self._new(execution_id, asked)
            if self._limit is None:
                end = await self._in_process.run_new(
                    execution, self._plan, start, _tell(recorded, execution_id, self._observer.began), self._leave
                )
            else:
                await asyncio.to_thread(self._line_up, execution, self._limit, start)
                _tell(recorded, execution_id, self._observer.began)()
                end = await self._in_process.run_known(execution.organization_id, execution_id, leave=self._leave)
        except AlreadyRecorded as known:
            return await self._the_same(execution_id, start, known, recorded)
        if end is None:
            self._observer.ended("elsewhere", (self._clock.now() - began).total_seconds())
        else:
            self._observer.ended(str(end.status), (self._clock.now() - began).total_seconds())
        return end

    async def _new(self, execution_id: str, asked: Asked) -> Execution:
        deployed = self._deployed
        place = shelf(deployed.organization_id, deployed.retention_days)
        payload = await self._stored(place, asked.inputs)
        trigger = Trigger(type=asked.trigger_type, source="api", payload=payload, node_id=self._plan.trigger)
        started = Started.of(execution_id, deployed)
        return new_execution(started, self._plan, self._machine, trigger, self._limit, self._clock.now())

    async def _stored(self, place: str, inputs: Json) -> Payload:
        text = dumps(inputs)
        if len(text) <= INLINE_BYTES // 4:  # no character takes more bytes than four
            return Payload(text=text, size=len(text.encode()))
        return await asyncio.to_thread(self._payloads.put, place, inputs)

    def _line_up(self, execution: Execution, limit: int, start: IdempotentStart | None) -> None:
        """Raises ``AlreadyRecorded``."""
        line = self._limits.line_up(execution, limit, self._plan.timeout_s)
        try:
            earlier = self._executions.create(execution, start, line)
        except Conflict as error:
            raise AlreadyRecorded(None) from error
        if earlier is not None:
            raise AlreadyRecorded(earlier)

    async def _the_same(
        self, execution_id: str, start: IdempotentStart | None, known: AlreadyRecorded, recorded: asyncio.Future[str]
    ) -> RunEnd | None:
        """The end of the run that was asked for before, where it is this process that runs it."""
        if known.earlier is None:
            found = await asyncio.to_thread(self._executions.get, self._deployed.organization_id, execution_id)
            if found is not None and found.workflow_id != self._deployed.workflow_id:
                raise Conflict(f"Execution {execution_id!r} is one of another workflow.")
            recorded.set_result(execution_id)
            return None
        assert start is not None
        if known.earlier.request_hash != start.request_hash:
            raise IdempotencyMismatch
        recorded.set_result(known.earlier.execution_id)
        twin = self._live.get(known.earlier.execution_id)
        return None if twin is None else await asyncio.shield(twin.task)

    def _repeatable(self, asked: Asked) -> IdempotentStart | None:
        if asked.idempotency_key is None:
            return None
        request = {"workflow": self._deployed.workflow_id, "inputs": asked.inputs, "trigger": asked.trigger_type}
        return IdempotentStart(asked.idempotency_key, request_hash(request))

    async def _elsewhere(self, execution_id: str, until: float) -> Told:
        """How a run stands that goes on elsewhere: at its end, or when the time of whoever asks is over."""
        organization_id = self._deployed.organization_id
        pause, longest = _POLLS_S
        self._waiting += 1
        try:
            while True:
                found = await asyncio.to_thread(self._executions.get, organization_id, execution_id)
                if found is None:
                    raise NotFound("execution", execution_id)
                left = _left(until)
                if found.status.is_final or not left or self._leave.is_set():
                    return Told(execution_id, found.status, found.output, found.error)
                await asyncio.sleep(min(pause, left))
                pause = min(2 * pause, longest)
        finally:
            self._waiting -= 1


def _told(execution_id: str, end: RunEnd) -> Told:
    return Told(execution_id, end.status, end.output, end.error)


def _tell(recorded: asyncio.Future[str], execution_id: str, also: Callable[[], None]) -> Callable[[], None]:
    def tell() -> None:
        also()
        recorded.set_result(execution_id)

    return tell


def _left(until: float) -> float:
    """Seconds."""
    return max(0, until - asyncio.get_running_loop().time())
