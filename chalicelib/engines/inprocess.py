"""Runs plans in this process: what Step Functions does with a state machine, done with tasks of an event loop.

The plan is the same, and so is ``engines.step``, which runs each node; so are retries, time limits and what follows
when they are used up (``compiler.retries``, ``compiler.asl.emit``). What differs is only how it is known that a node is
ready. Here that is counted (``engines.readiness``), and exact whatever the shape of the graph.

A handler blocks, so it runs in a thread, of which there are so many and no more. A thread cannot be ended from outside:
what is cut off, by a time limit or at the end of the run, goes on until its handler returns and then finds its record
final, just as a Lambda does whose state has timed out. Nodes that only compute gain nothing from threads of their own.
Where their records stay in memory, one thread visits them one after the other, with those that they make ready, and
looks up only now and then: handing a node over costs more than most of them take.

What if the process is killed ... depends on where the records are. In the store, each step is written as it ends: who
takes the run up, on whichever engine, has those nodes run again that were under way. In memory (``MemoryRecords``)
nothing is written before the end, and all of them run again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from chalicelib.compiler.asl.quotas import INLINE_MAP_CONCURRENCY
from chalicelib.compiler.passes.fuse import is_fusible
from chalicelib.compiler.plan import Plan, PlanNode
from chalicelib.compiler.retries import INFRASTRUCTURE, RetryRule, retry_rules
from chalicelib.engines.inputs import iteration
from chalicelib.engines.limits import TIMED_OUT
from chalicelib.engines.readiness import Readiness, Scope, scopes_of
from chalicelib.engines.records import Recording
from chalicelib.engines.step import StepRunner
from chalicelib.engines.stepfunctions import MachineRun
from chalicelib.engines.visit import StepAnswer, StepRequest
from chalicelib.foundation.clock import Clock, parse_timestamp
from chalicelib.foundation.errors import Permanent
from chalicelib.graph.executions import Execution, ExecutionStatus, StepError
from chalicelib.nodes.control import loop, wait
from chalicelib.nodes.registry import Registry

T = TypeVar("T")

WORKERS = 16  # nodes that run at once, of all runs of an engine
LOOK_S = 5  # between two looks at whether a run is still wanted
GRACE_S = 10  # that nodes under way have to end by themselves, once nothing more is begun
LISTEN_S = 0.5  # between two looks at whether a node was told what it waits for
BURST_S = 0.02  # that nodes which only compute are visited without a look at anything else
LONGEST_WAIT_S = 300  # a run that does nothing but wait for longer is handed back


class InProcessEngine:
    """One for each event loop."""

    def __init__(
        self,
        catalog: Registry,
        clock: Clock,
        *,
        workers: int = WORKERS,
        pool: ThreadPoolExecutor | None = None,
        longest_wait_s: float = LONGEST_WAIT_S,
        look_s: float = LOOK_S,
        grace_s: float = GRACE_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.catalog = catalog
        self.clock = clock
        self.longest_wait_s = longest_wait_s
        self.look_s = look_s
        self.grace_s = grace_s
        self.chance = chance
        self._free = asyncio.Semaphore(workers)
        self._pool = pool or ThreadPoolExecutor(workers, thread_name_prefix="node")
        self._shapes: dict[str, _Shape] = {}

    async def run(
        self,
        execution: Execution,
        plan: Plan,
        steps: StepRunner,
        recording: Recording = Recording.STEP,
        is_wanted: Callable[[], bool] = lambda: True,
        leave: asyncio.Event | None = None,
    ) -> MachineRun:
        """Runs ``plan`` to its end and tells how it ended; to record that is the caller's. ``recording`` says where the
        records of ``steps`` are.

        What is decided already answers from its record, so the run may have been begun by anyone. ``is_wanted`` is
        asked every ``look_s``, in a thread. A status of None means that the run has ended or goes on elsewhere, or that
        it is to: it waits for longer than this engine does, or the process is to ``leave`` it.
        """
        return await _Run(self, execution, plan, steps, recording, is_wanted, leave).to_its_end()

    def only_computes(self, plan: Plan) -> bool:
        """Whether a plan has nothing but nodes that only compute: then ``burst`` may run it."""
        return self.shape(plan).computing == plan.nodes.keys()

    def burst(self, execution: Execution, plan: Plan, steps: StepRunner) -> MachineRun | None:
        """Runs a plan that only computes here and now, its records in memory.

        None where it takes longer than a burst, or something has to be tried again: ``run`` then goes on behind what is
        decided.
        """
        return _Run(self, execution, plan, steps, Recording.RUN).in_one_burst()

    def shape(self, plan: Plan) -> _Shape:
        """What is the same for every run of a plan; of the last one asked for it is known."""
        found = self._shapes.get(plan.hash)
        if found is None:
            computing = {node.id for node in plan.nodes.values() if is_fusible(node, self.catalog)}
            found = _Shape(scopes_of(plan), frozenset(computing))
            self._shapes = {plan.hash: found}
        return found

    async def begin(self, work: Callable[[], T]) -> Future[T]:
        """Begins what blocks as soon as a thread is free; it is free again when that has ended."""
        await self._free.acquire()
        future = self._pool.submit(work)
        future.add_done_callback(self._free_again(asyncio.get_running_loop()))
        return future

    def _free_again(self, event_loop: asyncio.AbstractEventLoop) -> Callable[[Any], None]:
        def tell(_: Any) -> None:
            with suppress(RuntimeError):  # the loop is gone: nobody waits for a thread any more
                event_loop.call_soon_threadsafe(self._free.release)

        return tell

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Elsewhere(Exception):
    """The run is over, or goes on elsewhere, or is to."""


class _TimeUp(Exception):
    """An attempt took longer than the node's settings allow."""


@dataclass(frozen=True)
class _Shape:
    scopes: Mapping[tuple[str, ...], Scope]
    computing: frozenset[str]  # ids of nodes that only compute


class _Run:
    def __init__(
        self,
        engine: InProcessEngine,
        execution: Execution,
        plan: Plan,
        steps: StepRunner,
        recording: Recording,
        is_wanted: Callable[[], bool] = lambda: True,
        leave: asyncio.Event | None = None,
    ) -> None:
        self._engine = engine
        self._execution = execution
        self._plan = plan
        self._steps = steps
        self._is_wanted = is_wanted
        self._leave = leave
        self._shape = engine.shape(plan)
        self._in_memory = recording is Recording.RUN
        self._not_computed: set[tuple[str, str]] = set()  # node and path: what has to be visited by itself after all
        self._under_way: set[Future[Any]] = set()
        self._visits = 0  # that run, or will be repeated soon
        self._visited = 0  # since the last look
        self._short_waits = 0
        self._long_waits = 0

    async def to_its_end(self) -> MachineRun:
        try:
            async with asyncio.timeout(self._time_left_s()) as limit:
                await self._all()
        except TimeoutError:
            if not limit.expired():
                raise
            return MachineRun(ExecutionStatus.TIMED_OUT)
        except _Elsewhere:
            await self._under_way_ended()
            return MachineRun(None)
        except Exception as failure:
            await self._under_way_ended()
            return _failed(failure)
        return MachineRun(ExecutionStatus.SUCCEEDED)

    def in_one_burst(self) -> MachineRun | None:
        readiness = Readiness(self._shape.scopes[()])
        try:
            # Of the processor: while others have it, nobody is served by leaving the rest of the run to them.
            self._compute(readiness, deque(readiness.first()), "", time.thread_time)
        except Permanent as failure:
            return _failed(failure)
        return None if readiness.undecided else MachineRun(ExecutionStatus.SUCCEEDED)

    def _time_left_s(self) -> float | None:
        deadline = self._execution.deadline
        return None if deadline is None else self._seconds_until(deadline)

    def _seconds_until(self, moment: str) -> float:
        return max(0, (parse_timestamp(moment) - self._engine.clock.now()).total_seconds())

    async def _under_way_ended(self) -> None:
        """Returns when the nodes that still run have ended by themselves, or have had the time to."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._engine.grace_s):
                await asyncio.gather(*map(asyncio.wrap_future, self._under_way), return_exceptions=True)

    async def _all(self) -> None:
        async with _together() as tasks:
            watch = tasks.create_task(self._watch())
            await self._scope((), "")
            watch.cancel()

    async def _watch(self) -> None:
        while True:
            await self._next_look()
            rests = self._long_waits and not (self._short_waits or self._visits or self._visited)
            if rests or not await asyncio.to_thread(self._is_wanted):
                raise _Elsewhere
            self._visited = 0

    async def _next_look(self) -> None:
        """Returns when it is time for the next look. Raises ``_Elsewhere`` where the process is to leave the run."""
        if self._leave is None:
            await asyncio.sleep(self._engine.look_s)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._engine.look_s):
                await self._leave.wait()
                raise _Elsewhere

    async def _scope(self, loops: tuple[str, ...], path: str) -> None:
        """Runs the nodes of a scope, each as soon as it is ready. The first failure ends it: nothing new begins."""
        readiness = Readiness(self._shape.scopes[loops])
        decided: asyncio.Queue[tuple[PlanNode, str]] = asyncio.Queue()

        async def decide(node: PlanNode) -> None:
            decided.put_nowait((node, await self._node(node, path)))

        async with _together() as tasks:
            computing: deque[PlanNode] = deque()
            ready = readiness.first()
            while True:
                for node in ready:
                    if self._only_computes(node, path):
                        computing.append(node)
                    else:
                        tasks.create_task(decide(node))
                if computing:
                    ready = await self._in_thread(partial(self._compute, readiness, computing, path))
                    while not decided.empty():
                        ready += readiness.decided(*decided.get_nowait())
                elif readiness.undecided:
                    ready = readiness.decided(*await decided.get())
                else:
                    return

    def _only_computes(self, node: PlanNode, path: str) -> bool:
        """Whether a node may be visited together with others, because nothing can hold it up."""
        return self._in_memory and (node.id, path) not in self._not_computed and node.id in self._shape.computing

    def _compute(
        self,
        readiness: Readiness,
        computing: deque[PlanNode],
        path: str,
        seconds: Callable[[], float] = time.monotonic,
    ) -> list[PlanNode]:
        """Visits nodes that only compute, and those of this kind that become ready by it, for ``BURST_S``.

        Returns the others that became ready. ``seconds`` is what tells the time.
        """
        until = seconds() + BURST_S
        others = []
        while computing and seconds() < until:
            node = computing.popleft()
            try:
                answer = self._steps.run(self._request(node, path))
            except Permanent:
                raise
            except Exception:  # not the node's doing: it is tried again as the rules say
                self._not_computed.add((node.id, path))
                others.append(node)
                continue
            for found in readiness.decided(node, answer.port):
                (computing if self._only_computes(found, path) else others).append(found)
        return others

    async def _node(self, node: PlanNode, path: str) -> str:
        """The port that a node takes in the end; empty where it takes none."""
        try:
            answer = await self._visit(node, path)
            if answer.decided:
                return answer.port
            if node.body_sinks:
                await self._items(node, path, answer.count)
            elif node.type == wait.TYPE.name:
                await self._wait(self._seconds_until(answer.until))
            elif node.awaits:
                await self._told(answer)
            else:
                return ""
            return (await self._visit(node, path, "leave")).port
        except Exception as failure:
            if not node.settles or isinstance(failure, _Elsewhere):
                raise
            return (await self._visit(node, path, "settle", _name(failure))).port

    async def _items(self, node: PlanNode, path: str, count: int) -> None:
        """Runs the body of a loop for each of its items, so many at a time."""
        at_once = min(loop.concurrency(node.config) or INLINE_MAP_CONCURRENCY, INLINE_MAP_CONCURRENCY, count)
        indexes = iter(range(count))

        async def some() -> None:
            for index in indexes:
                await self._scope((*node.loops, node.id), iteration(path, index))

        async with _together() as tasks:
            for _ in range(at_once):
                tasks.create_task(some())

    async def _wait(self, seconds: float, told: Callable[[], bool] | None = None) -> None:
        """Returns after so many seconds, or when ``told``, which is asked in a thread, says so."""
        is_short = seconds <= self._engine.longest_wait_s
        self._short_waits += is_short
        self._long_waits += not is_short
        if told is None:
            await asyncio.sleep(seconds)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while not await asyncio.to_thread(told):
                        await asyncio.sleep(LISTEN_S)
        self._long_waits -= not is_short
        self._short_waits -= is_short  # not where it is cut off: the run has not come to do nothing then

    async def _told(self, answer: StepAnswer) -> None:
        """Returns when a node was told what it waits for, or when its time is over."""
        await self._wait(answer.seconds, lambda: self._steps.was_told(self._execution, answer))

    async def _visit(self, node: PlanNode, path: str, phase: str = "enter", error: str = "") -> StepAnswer:
        """One Task of the state machine, tried as often as its rules allow."""
        request = self._request(node, path, phase, error)
        rules = [INFRASTRUCTURE] if phase == "settle" else retry_rules(node)
        tried: Counter[RetryRule] = Counter()
        self._visits += 1
        try:
            while True:
                try:
                    limit_s = node.timeout_s if phase == "enter" else None
                    return await self._in_thread(partial(self._steps.run, request), limit_s)
                except Exception as failure:
                    rule = next((rule for rule in rules if rule.matches(_name(failure))), None)
                    if rule is None or tried[rule] >= rule.tries:
                        raise
                delay_s = rule.delay_s(tried[rule])
                tried[rule] += 1
                await asyncio.sleep(delay_s * self._engine.chance() if rule.jitter else delay_s)
        finally:
            self._visits -= 1

    def _request(self, node: PlanNode, path: str, phase: str = "enter", error: str = "") -> StepRequest:
        run = self._execution
        return StepRequest(run.organization_id, run.id, run.plan, node.key, path, phase, error, run.round)

    async def _in_thread(self, work: Callable[[], T], limit_s: float | None = None) -> T:
        future = await self._engine.begin(work)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        self._visits += 1
        self._visited += 1
        try:
            async with asyncio.timeout(limit_s) as limit:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if limit.expired():
                raise _TimeUp(f"cut off after {limit_s} s") from None
            raise
        finally:
            self._visits -= 1


@asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks that the first failure ends, and which raises just that."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _failed(failure: Exception) -> MachineRun:
    return MachineRun(ExecutionStatus.FAILED, StepError(_name(failure), str(failure)[:1000]))


def _name(failure: Exception) -> str:
    """Of an error, as Step Functions knows it."""
    return TIMED_OUT if isinstance(failure, _TimeUp) else type(failure).__name__
