"""The local cluster as a program: ``python -m infra.local.cluster``, started by ``infra.local.cluster_process``."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
import uvloop

from infra.local import ports, process
from infra.local.cluster import clock, kubeconfig, tls
from infra.local.cluster.controllers import Controllers
from infra.local.cluster.events import Recorder
from infra.local.cluster.kubelet import Kubelet
from infra.local.cluster.objects import Objects
from infra.local.cluster.server import Api
from infra.local.cluster.store import Store
from infra.local.home import NAMESPACE, Home

_IDLE_S = 90  # seconds that a connection may be idle, as in a real API server
_CLOSE_S = 5  # seconds for requests that are under way


class _Server(uvicorn.Server):
    """Signals are ours: pods end first, and the API answers until they have."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(home: Home) -> None:
    """Until SIGTERM or SIGINT. Raises ``OSError`` where the port cannot be had, before any pod is looked at."""
    listening = ports.listen(home.cluster_port)
    identity = tls.identity(home.cluster)
    store = Store(home.cluster / "objects.jsonl")
    objects = Objects(store, clock.now)
    recorder = Recorder(store, clock.now)
    kubelet = Kubelet(objects, recorder, home.pods, home.environment(), clock.now)
    controllers = Controllers(objects, recorder, clock.now)
    api = Api(objects, kubelet, identity.token, f"{ports.HOST}:{home.cluster_port}", clock.now)
    server = _Server(
        uvicorn.Config(
            api.app(),
            ssl_certfile=identity.certificate,
            ssl_keyfile=identity.key,
            http="httptools",
            lifespan="off",
            access_log=False,
            log_level="warning",
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_CLOSE_S,
        )
    )
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    kubelet.begin()
    controlling = asyncio.create_task(controllers.run())
    serving = asyncio.create_task(server.serve([listening]))
    stopping = asyncio.create_task(over.wait())
    kubeconfig.write(home.kubeconfig, home.cluster_address, identity, NAMESPACE)
    try:
        await asyncio.wait({controlling, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        api.is_closing.set()
        store.end_watches()
        controlling_failed = controlling.done()
        controlling.cancel()
        await kubelet.close()
        server.should_exit = True
        await serving
        store.close()
    if controlling_failed:
        with suppress(asyncio.CancelledError):
            controlling.result()


def main(fingerprint: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    home = Home.from_environment()
    process.introduce(home.cluster_process_file, fingerprint)
    uvloop.run(serve(home))


if __name__ == "__main__":
    main(sys.argv[1])
