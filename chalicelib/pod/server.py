"""The HTTP side of a pod: routes, health, and what becomes of errors.

The event loop blocks for nobody: what may take long is in threads, and ``services.in_process`` says what may not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from chalicelib.bootstrap import Services
from chalicelib.foundation.clock import timestamp
from chalicelib.foundation.errors import Downstream, MillraceError, TooLarge, Unavailable
from chalicelib.foundation.ids import is_id
from chalicelib.foundation.json_types import dumps
from chalicelib.foundation.logs import logger
from chalicelib.foundation.problems import problem
from chalicelib.pod.metrics import CONTENT_TYPE, Metrics
from chalicelib.pod.requests import MAX_BODY_BYTES, answer, asked
from chalicelib.pod.settings import PodSettings
from chalicelib.services.deployed import DeployedRuns, Told

MAX_ANSWER_BYTES = 4_000_000  # of output; Lambda, through which it may have to go, answers with 6 MB at most
LINK_VALID_S = 3600
LOAD_PAUSES_S = (0.5, 1, 2, 4, 8)  # between tries to load the plan
_HEADERS = frozenset({b"content-length", b"idempotency-key", b"millrace-execution-id", b"prefer", b"x-request-id"})


class Pod:
    """What a process serves. ``services`` is wired; the plan is loaded by ``load``."""

    def __init__(self, services: Services, settings: PodSettings) -> None:
        self._services = services
        self._settings = settings
        self._runs: DeployedRuns | None = None
        self._draining = False
        self._clock = services.clock
        self._started_at = timestamp(self._clock.now())
        self.metrics = Metrics()
        self._others = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
                Route("/activity", self._activity),
            ]
        )

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application. A trigger tells its errors itself, and so goes past Starlette, whose router, requests and
        responses take more of the processor than all else of a small one.
        """
        if scope["type"] != "http" or scope["path"] != "/trigger":
            await self._others(scope, receive, send)
            return
        if scope["method"] != "POST":
            await PlainTextResponse("Method Not Allowed", 405, {"allow": "POST"})(scope, receive, send)
            return
        status, headers, body = await self._trigger(_given(scope), receive)
        head = [*headers.items(), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async def load(self, pauses_s: tuple[float, ...] = LOAD_PAUSES_S) -> None:
        """Makes the pod ready. Raises ``Downstream`` where the plan cannot be had, or the table does not answer."""
        for pause_s in (*pauses_s, None):
            try:
                self._runs = await asyncio.to_thread(
                    self._services.deployed_runs,
                    self._settings.deployed,
                    at_once=self._settings.runs,
                    observer=self.metrics,
                )
                return
            except Downstream as error:
                if pause_s is None:
                    raise
                logger().warning("not ready yet", extra={"reason": error.detail})
                await asyncio.sleep(pause_s)

    async def drain(self) -> bool:
        """From SIGTERM on: nothing new, and what runs is finished or handed over. False where that was not possible.

        Of the grace period three fifths are for what runs to end by itself, and three tenths to hand over the rest;
        nodes that are under way have half of those to end.
        """
        self._draining = True
        if self._runs is None:
            return True
        grace_s = self._settings.grace.total_seconds()
        return await self._runs.drain(0.6 * grace_s, 0.3 * grace_s)

    async def close(self) -> None:
        """Returns when what is to be committed is. Where it is cancelled, no connection to DynamoDB is left open."""
        if self._runs is not None:
            await self._services.commits.close()

    @property
    def is_ready(self) -> bool:
        return self._runs is not None and not self._draining

    async def _trigger(self, given: Mapping[str, str], receive: Receive) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body of the answer to a trigger with the headers ``given``."""
        headers = {b"content-type": b"application/json"}
        request_id = given.get("x-request-id", "")
        if is_id(request_id):
            headers[b"x-request-id"] = request_id.encode()
        if self._draining:
            headers[b"connection"] = b"close"  # the next one is for another pod
        try:
            runs = self._ready()
            told = await runs.trigger(asked(await _body(given, receive), given))
            return 200, headers, await self._rendered(told)
        except Exception as error:
            status, body, more = self._refused(error)
            headers |= {name.lower().encode(): value.encode() for name, value in more.items()}
            return status, headers | {b"content-type": b"application/problem+json"}, dumps(body).encode()

    def _ready(self) -> DeployedRuns:
        if self._runs is None:
            raise Unavailable("This pod is not ready yet.")
        return self._runs

    def _refused(self, error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
        self.metrics.refused(error.code if isinstance(error, MillraceError) else "internal")
        if not isinstance(error, (MillraceError, ClientDisconnect)):
            logger().exception("request failed")
        return problem(error)

    async def _rendered(self, told: Told) -> bytes:
        workflow_id = self._settings.deployed.workflow_id
        output = told.output
        if output is None or output.key is None:
            return answer(told, workflow_id, None if output is None else output.text)
        payloads = self._services.payloads
        if output.size > MAX_ANSWER_BYTES:
            link = payloads.link
            url = await asyncio.to_thread(link, self._settings.deployed.organization_id, output, LINK_VALID_S)
            return answer(told, workflow_id, url=url)
        return answer(told, workflow_id, await asyncio.to_thread(payloads.text, output))

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        if self.is_ready:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("draining\n" if self._draining else "loading\n", 503)

    async def _metrics(self, _: Request) -> Response:
        commits = self._services.commits
        return PlainTextResponse(
            self.metrics.text(self._in_flight, commits.commits, commits.calls), headers={"content-type": CONTENT_TYPE}
        )

    async def _activity(self, _: Request) -> Response:
        last = None if self._runs is None else self._runs.last_ended_at
        return JSONResponse({"inFlight": self._in_flight, "startedAt": self._started_at, "lastEndedAt": last})

    @property
    def _in_flight(self) -> int:
        return 0 if self._runs is None else self._runs.in_flight


def _given(scope: Scope) -> dict[str, str]:
    """Those headers of a request that a trigger may be asked with, by their names in lower case."""
    return {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _HEADERS}


async def _body(given: Mapping[str, str], receive: Receive) -> bytes:
    """Raises ``TooLarge``, before more than that is kept, and ``ClientDisconnect``."""
    with suppress(ValueError):
        if int(given.get("content-length", "0")) > MAX_BODY_BYTES:
            raise TooLarge
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge
        if not message.get("more_body"):
            return body
