"""The program of a pod: ``python -m chalicelib.pod``.

It listens at once, so that probes have somebody to ask, and is ready when it has its plan. Ends with 0 where nothing is
left behind, and with 1 where it never became ready, or was made to leave runs: those are taken up when their leases are
over.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from chalicelib.bootstrap import services
from chalicelib.foundation.errors import Downstream
from chalicelib.foundation.logs import logger
from chalicelib.foundation.settings import Settings
from chalicelib.pod.server import Pod
from chalicelib.pod.settings import PodSettings

THREADS = 32  # for calls of AWS outside of nodes
IDLE_S = 75  # that a connection is kept open without a request: longer than those in front of us keep theirs


class Server(uvicorn.Server):
    """uvicorn's, which leaves signals to us: a pod goes on answering while it drains."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(pod: Pod, settings: PodSettings) -> int:
    """Serves until SIGTERM or SIGINT, and drains; the exit code."""
    config = uvicorn.Config(
        pod.app, interface="asgi3", host=settings.host, port=settings.port, http="httptools", ws="none",
        lifespan="off", proxy_headers=False, access_log=False, log_level="warning", server_header=False,
        timeout_keep_alive=IDLE_S, backlog=2048,
    )  # fmt: skip
    server = Server(config)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="call"))
    asked_to_end = asyncio.Event()
    at_once = asyncio.Event()

    def end() -> None:
        if asked_to_end.is_set():
            at_once.set()
        asked_to_end.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    serving = asyncio.create_task(server.serve())
    loading = asyncio.create_task(pod.load())
    ending = asyncio.create_task(asked_to_end.wait())
    await asyncio.wait({serving, loading, ending}, return_when=asyncio.FIRST_COMPLETED)
    code = 0
    if loading.done() and (failure := loading.exception()) is not None:
        detail = failure.detail if isinstance(failure, Downstream) else repr(failure)
        logger().error("the pod cannot begin", extra={"reason": detail, "deployed": settings.deployed.to_json()})
        code = 1
    elif not serving.done() and not ending.done():
        gc.freeze()  # what is here stays: no search for garbage has to look at it, which takes longer than most runs
        logger().info("ready", extra={"pod": settings.name, "deployed": settings.deployed.to_json()})
        await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():  # the port is taken
        return 1
    if code == 0:
        code = await _drained(pod, settings, at_once)
    loading.cancel()
    server.should_exit = True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(1.0, 0.05 * settings.grace.total_seconds())):
            await asyncio.gather(asyncio.shield(serving), pod.close())
    return code


async def _drained(pod: Pod, settings: PodSettings, at_once: asyncio.Event) -> int:
    logger().info("draining", extra={"pod": settings.name})
    draining = asyncio.create_task(pod.drain())
    hurry = asyncio.create_task(at_once.wait())
    await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    drained = draining.done() and draining.result()
    if not drained:
        logger().warning("runs are left to whoever takes them up", extra={"pod": settings.name})
    return 0 if drained else 1


def main() -> int:
    try:
        settings = PodSettings.from_environment(os.environ)
        wired = services(Settings.from_environment(), lease=settings.lease, leave_within=settings.grace * 0.15)
    except (KeyError, ValueError) as error:
        logger().error("the environment of the pod is wrong", extra={"reason": f"{type(error).__name__}: {error}"})
        return 1
    import uvloop

    return uvloop.run(serve(Pod(wired, settings), settings))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that is cut off would hold up the end until its handler returns
