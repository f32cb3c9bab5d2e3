"""Writes to DynamoDB out of an event loop: the request is made, signed and sent here, without the SDK and its threads.

``Table`` is for all else. What is written is the same, and so are the errors. Of the SDK are the settings of its client
(where DynamoDB is, how long to wait, how often to try), credentials and certificates.

What is tried again may have been done before, where an answer got lost on its way. A transaction has a token, by which
DynamoDB knows it again and does it once. A lone Put has none: where its condition does not hold because its own item is
there already, it was done.

What if the process is killed ... behind the request: DynamoDB does all of it or nothing, and nobody was answered.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import uuid4

import aiohttp
from yarl import URL

from chalicelib.foundation.errors import Downstream, DownstreamTimeout, MillraceError
from chalicelib.foundation.json_types import dumps
from chalicelib.store.signature import Signer
from chalicelib.store.table import ABSENT, NO_ANSWER, TOO_MANY, TRIES, ConditionFailed, Table, Write, back_off_s

CONNECTIONS = 8  # at most; whoever sends bounds what is under way
KEPT_S = 60.0  # that a connection is kept open without a request
_LOST_S = 0.05  # up to which the first wait is, where an answer got lost
_THROTTLED_S = 0.2  # and where DynamoDB asks for patience
_IN_CHUNKS_BYTES = 2**20  # above which a body does not go out in one piece, which would hold up the event loop

_THROTTLED = (
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionInProgressException",  # an earlier try at it: whoever asks again hears what became of that
)


class Wire:
    """Of use within one event loop; connects when it is first asked for something. To be closed.

    ``session`` is botocore's, for credentials and certificates.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        session: Any,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._table = Table(client, name)
        self._config = client.meta.config
        self._url = URL(client.meta.endpoint_url).with_path("/")
        self._signer = Signer(client.meta.region_name, self._url.host_port_subcomponent or "")
        self._session = session
        self._credentials = Credentials(session)
        self._sleep = sleep
        self._http: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        start = f'{{"TableName":{dumps(name)},"ReturnValuesOnConditionCheckFailure":"ALL_OLD",'
        self._starts = {None: f'{start}"Item":', ABSENT: f'{start}"ConditionExpression":"{ABSENT}","Item":'}

    async def send(self, writes: Sequence[Write]) -> None:
        """Does all writes or none. They hold no binaries.

        Raises as ``Table.transact`` does: ``ConditionFailed`` for the first whose condition did not hold, ``Refused``,
        ``Downstream`` and ``DownstreamTimeout``.
        """
        alone = writes[0] if len(writes) == 1 and writes[0].kind == "Put" else None
        texts = [self._text(write) if alone else f'{{"{write.kind}":{self._text(write)}}}' for write in writes]
        token = str(uuid4())
        failed = met = 0
        unsure = False  # whether a try may have been done though nobody said so
        while True:
            if alone:
                fault = await self._try("PutItem", texts[0].encode())
            else:
                fault = await self._try("TransactWriteItems", _transaction(texts, token))
            if fault is None:
                return
            if fault.again is _Again.NO:
                if unsure and alone and self._is_there(alone, fault.error):
                    return
                raise fault.error
            if fault.again is _Again.MET:
                met += 1
                if met == TRIES:
                    raise fault.error
                await self._sleep(back_off_s(met - 1))
            else:
                failed += 1
                if failed == self._config.retries["total_max_attempts"]:
                    raise fault.error
                first_s = _THROTTLED_S if fault.again is _Again.THROTTLED else _LOST_S
                await self._sleep(back_off_s(failed - 1, first_s))
            unsure = unsure or fault.again is _Again.LOST
            if not unsure:  # else DynamoDB has to know it again
                token = str(uuid4())

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    def _text(self, write: Write) -> str:
        """The JSON text of a write's request. Of what is given as text nothing is looked at."""
        start = self._starts.get(write.condition)
        if start is not None and write.text is not None and not write.values:
            return f"{start}{write.text}}}"
        return dumps(self._table.request(write))

    def _is_there(self, write: Write, error: MillraceError) -> bool:
        """Whether what a Put wanted to write is what stood in its way."""
        wanted = self._table.decode(self._table.request(write)["Item"])
        return isinstance(error, ConditionFailed) and error.old == wanted

    async def _try(self, operation: str, body: bytes) -> _Fault | None:
        """None where it is done. Raises ``Downstream`` where there are no credentials."""
        http = self._http or await self._open()
        headers = self._signer.headers(operation, body, await self._credentials.current())
        data = body if len(body) <= _IN_CHUNKS_BYTES else io.BytesIO(body)
        try:
            async with http.post(self._url, data=data, headers=headers, allow_redirects=False) as answer:
                content = await answer.read()
        except TimeoutError as error:
            return _lost(DownstreamTimeout(NO_ANSWER), error)
        except (aiohttp.ClientError, OSError) as error:
            return _lost(Downstream(f"DynamoDB: {type(error).__name__}: {error}"[:500]), error)
        return None if answer.status == 200 else self._fault(operation, answer.status, content)

    def _fault(self, operation: str, status: int, content: bytes) -> _Fault:
        told = _parsed(content)
        code = str(told.get("__type", status)).rpartition("#")[2]
        detail = f"{code} ({operation}): {told.get('message') or told.get('Message') or ''}"
        if code == "TransactionCanceledException":
            reasons = told.get("CancellationReasons") or []
            failure = self._table.cancelled(reasons, detail)
            return _Fault(_Again.MET, Downstream(TOO_MANY)) if failure is None else _Fault(_Again.NO, failure)
        if code == "TransactionConflictException":  # a lone write that met a transaction
            return _Fault(_Again.MET, Downstream(TOO_MANY))
        again = _Again.LOST if status >= 500 else _Again.THROTTLED if code in _THROTTLED else _Again.NO
        return _Fault(again, self._table.refusal(code, detail, told.get("Item")))

    async def _open(self) -> aiohttp.ClientSession:
        from botocore.utils import get_environ_proxies

        async with self._opening:
            if self._http is None:
                context = await asyncio.to_thread(_trusted, self._session)
                config = self._config
                self._http = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEPT_S, ssl=context),
                    timeout=aiohttp.ClientTimeout(
                        total=config.connect_timeout + config.read_timeout, sock_connect=config.connect_timeout
                    ),
                    proxy=get_environ_proxies(str(self._url)).get(self._url.scheme),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
                    auto_decompress=False,
                )
        return self._http


class Credentials:
    """The SDK's, for an event loop: what has to be asked for is asked for in a thread, by one at a time.

    Nobody waits for new ones as long as the old ones are good for a while.
    """

    _WAIT_S = 60  # of validity that are left, when whoever wants them waits for new ones
    _PAUSE_S = 5.0  # between two looks for new ones

    def __init__(self, session: Any) -> None:
        self._session = session
        self._found: Any = None  # botocore's
        self._frozen: Any = None  # key, secret and token that belong together
        self._looking: asyncio.Task[None] | None = None
        self._look_at = 0.0  # in the time of the event loop
        self._error: Exception | None = None

    async def current(self) -> Any:
        """Raises ``Downstream`` where there are none that are valid."""
        if self._looking is None and self._is_due():
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None and self._end_within(self._WAIT_S):
            await asyncio.shield(self._looking)
        if self._error is not None and self._end_within(0):
            raise Downstream(f"There are no credentials: {self._error}"[:500]) from self._error
        return self._frozen

    def _is_due(self) -> bool:
        if self._frozen is None:
            return True
        return asyncio.get_running_loop().time() >= self._look_at and self._end_within(None)

    def _end_within(self, seconds: int | None) -> bool:
        """Whether they are valid for no longer than that; for None, than the SDK wants them to be."""
        if self._frozen is None:
            return True
        needed = getattr(self._found, "refresh_needed", None)  # others have no end
        return needed is not None and bool(needed(seconds))

    async def _look(self) -> None:
        try:
            self._frozen = await asyncio.to_thread(self._frozen_now)
            self._error = None
        except Exception as error:
            self._error = error
        finally:
            self._look_at = asyncio.get_running_loop().time() + self._PAUSE_S
            self._looking = None

    def _frozen_now(self) -> Any:
        """Takes as long as those take who are asked."""
        from botocore.exceptions import NoCredentialsError

        self._found = self._session.get_credentials()
        if self._found is None:
            raise NoCredentialsError
        return self._found.get_frozen_credentials()


class _Again(Enum):
    """Whether a request is sent once more."""

    NO = "no"
    MET = "met"  # it met another of the same items; nothing was done
    THROTTLED = "throttled"  # nothing was done
    LOST = "lost"  # nobody knows


@dataclass(frozen=True)
class _Fault:
    """Why a try did not succeed, and what is raised where it is the last one."""

    again: _Again
    error: MillraceError


def _lost(error: MillraceError, cause: Exception) -> _Fault:
    error.__cause__ = cause
    return _Fault(_Again.LOST, error)


def _transaction(texts: Sequence[str], token: str) -> bytes:
    return f'{{"ClientRequestToken":"{token}","TransactItems":[{",".join(texts)}]}}'.encode()


def _parsed(content: bytes) -> Mapping[str, Any]:
    """What an error says; nothing where it is not DynamoDB that says it."""
    try:
        told = json.loads(content)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _trusted(session: Any) -> ssl.SSLContext:
    """The authorities that the SDK trusts: its own, or those that the surroundings name."""
    from botocore.httpsession import get_cert_path

    named = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True
    path = get_cert_path(named)
    if os.path.isdir(path):
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)
