"""An event loop whose time does not pass but jumps: to the next timer, once nothing else is left to happen.

So waits and time limits of days are tested in moments, and exactly. Threads are waited for in real time, unless they
hang (``fakes.Hung``): a thread that does is left where it is until the end.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tests.fakes import FakeClock, Hung

T = TypeVar("T")
_BOUND_S = 60  # that a thread may really take


class Threads(ThreadPoolExecutor):
    """A pool that knows whether any of its threads has something to do."""

    def __init__(self, workers: int = 16) -> None:
        super().__init__(workers)
        self._lock = threading.Lock()
        self._released = threading.Event()
        self.busy = 0
        self.tell: Callable[[], object] = lambda: None  #: called when a thread is done

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        self._count(1)

        def work() -> None:
            # Whoever waits for the result is told before the thread counts as idle.
            hung = False
            try:
                if future.set_running_or_notify_cancel():
                    future.set_result(fn(*args, **kwargs))
            except Hung:
                hung = True
            except BaseException as error:
                future.set_exception(error)
            self._count(-1)
            self.tell()
            if hung:
                self._released.wait(_BOUND_S)

        super().submit(work)
        return future

    def _count(self, number: int) -> None:
        with self._lock:
            self.busy += number

    def release(self) -> None:
        """Lets threads that hang go."""
        self._released.set()


class _Jumping(selectors.DefaultSelector):
    def __init__(self, threads: Threads, clock: FakeClock) -> None:
        super().__init__()
        self._threads = threads
        self._clock = clock
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        busy = self._threads.busy
        events = super().select(_BOUND_S if busy and timeout != 0 else 0)
        if not events and timeout != 0:
            assert not busy, "a thread takes too long"
            assert timeout is not None, "nothing is left to happen"
            self.now += timeout
            self._clock.advance(timeout)
        return events


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _Jumping) -> None:
        super().__init__(selector)
        self._jumping = selector

    def time(self) -> float:
        return self._jumping.now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing: the pool belongs to the ``Timeline``."""


class Timeline:
    """A loop of this kind, its threads, and the clock that goes with it. To be closed."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.threads = Threads()
        self._runner = asyncio.Runner(loop_factory=self._new_loop)

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        loop = _Loop(_Jumping(self.threads, self.clock))
        loop.set_default_executor(self.threads)
        self.threads.tell = lambda: loop.call_soon_threadsafe(lambda: None)
        return loop

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """What ``main`` returns."""
        return self._runner.run(main)

    def close(self) -> None:
        self._runner.close()
        self.threads.release()
        self.threads.shutdown()
