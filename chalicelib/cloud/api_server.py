"""Requests to the API server of a Kubernetes cluster, over the official client: time-outs, retries, our errors.

The client's own part is what it is best at: to read a kubeconfig, to hold certificates and tokens and renew them. Its
models, 30 MB of them, are not used: an object is the JSON that the API speaks, so what is written there is read here.

Every call of ``ask`` and ``read`` may be made twice (that is what server-side apply, preconditions and plain reads are
for), so it is tried again where the connection or the server was at fault, some times and not more. ``pass_on``, which
carries requests to pods through the server's proxy, tries once: whether to send again is for its caller to say, who is
told whether anybody can have taken it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.foundation.errors import Downstream, DownstreamTimeout, MillraceError, Unavailable
from chalicelib.foundation.json_types import dumps, loads

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 6.0
ATTEMPTS = 3  # the first one included
PAUSES_S = (0.2, 0.8)
IDLE_S = 50.0  # a connection that nobody used for so long may be dead, and whoever sends on it would not know
MAX_OBJECT_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024

_AGAIN = frozenset({409, 429, 500, 502, 503, 504})

APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]  #: names in lower case
    body: bytes


class ApiServer:
    """``connect`` gives an ``ApiClient`` that is ready to use; it is called at the first request."""

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._client: Any = None
        self._sleep = sleep
        self._monotonic = monotonic
        self._used_at = monotonic()

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Any:
        """The object that it answers with; None where there is none of that name.

        Raises ``Unavailable`` where it takes nothing at the moment, ``DownstreamTimeout``, and ``Downstream`` with the
        server's own words where it refuses.
        """
        reply = self._tried(method, path, query or {}, body, content_type)
        if reply.status == 404:
            return None
        try:
            return loads(reply.body)
        except ValueError as error:
            raise Downstream("The cluster answered with something that is not JSON.") from error

    def read(self, path: str, query: Mapping[str, str]) -> str | None:
        """Plain text, a log for instance; None where there is none. Raises as ``ask`` does."""
        reply = self._tried("GET", path, query, None, "")
        return None if reply.status == 404 else reply.body.decode(errors="replace")

    def pass_on(
        self, method: str, path: str, *, body: bytes | None, headers: Mapping[str, str], timeout_s: float, limit: int
    ) -> Reply:
        """A pod's answer, or the server's own refusal. Tries once.

        Raises ``Unavailable`` where nobody took it, ``DownstreamTimeout`` where somebody may have, and ``Downstream``.
        """
        try:
            return self._sent(method, path, {}, body, dict(headers), timeout_s, limit)
        except MillraceError:
            raise
        except Exception as error:
            raise translated(error, may_have_been_taken=True) from error

    def _tried(self, method: str, path: str, query: Mapping[str, str], body: object, content_type: str) -> Reply:
        text = None if body is None else dumps(body).encode()
        headers = {"Content-Type": content_type} if text is not None else {}
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(PAUSES_S[attempt - 1])
            last = attempt == ATTEMPTS - 1
            try:
                reply = self._sent(method, path, query, text, dict(headers), READ_TIMEOUT_S, MAX_OBJECT_BYTES)
            except MillraceError:
                raise
            except Exception as error:
                found = translated(error)
                if last or not isinstance(found, (Unavailable, DownstreamTimeout)):
                    raise found from error
                continue
            if reply.status < 300 or (reply.status == 404 and not _lacks_namespace(reply)):
                return reply
            if last or reply.status not in _AGAIN:
                raise _refusal(reply)
        raise AssertionError("the last attempt returns or raises")

    def _sent(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None,
        headers: dict[str, str],
        timeout_s: float,
        limit: int,
    ) -> Reply:
        client = self._ready()
        _, url, all_headers, _, _ = client.param_serialize(
            method, path, query_params=list(query.items()), header_params=headers, auth_settings=["BearerToken"]
        )
        return exchange(
            client.rest_client.pool_manager,
            method,
            url,
            body=body,
            headers=all_headers,
            timeout_s=timeout_s,
            limit=limit,
            monotonic=self._monotonic,
        )

    def _ready(self) -> Any:
        now = self._monotonic()
        if self._client is None:
            self._client = self._connect()
        elif now - self._used_at > IDLE_S:
            self._client.rest_client.pool_manager.clear()
        self._used_at = now
        return self._client


def by_kubeconfig(path: str) -> Any:
    """A client for the cluster, and as the user, that a kubeconfig names; of the usual one where ``path`` is empty.

    Raises ``Downstream`` where there is none that can be read.
    """
    from kubernetes.client import ApiClient, Configuration
    from kubernetes.config import load_kube_config
    from yaml import YAMLError

    configuration = Configuration()
    try:
        load_kube_config(config_file=path or None, client_configuration=configuration)
    except YAMLError as error:
        raise Downstream(f"The kubeconfig {path!r} is not YAML.") from error
    return ApiClient(configuration)


def exchange(
    pools: Any,
    method: str,
    url: str,
    *,
    body: bytes | None,
    headers: Mapping[str, str],
    timeout_s: float,
    limit: int,
    monotonic: Callable[[], float],
) -> Reply:
    """One request and its answer, of ``limit`` bytes at most, in ``timeout_s`` together. Follows no redirect.

    Raises ``urllib3``'s errors, ``DownstreamTimeout`` and ``Downstream``.
    """
    from urllib3 import Timeout

    deadline = monotonic() + timeout_s
    timeout = Timeout(total=timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))
    response = pools.request(
        method,
        url,
        body=body,
        headers=dict(headers),
        timeout=timeout,
        retries=False,
        redirect=False,
        preload_content=False,
        decode_content=False,
    )
    chunks, size, whole = [], 0, False
    try:
        for chunk in response.stream(_CHUNK_BYTES, decode_content=False):
            size += len(chunk)
            if size > limit:
                raise Downstream(f"The answer is larger than {limit} bytes.")
            if monotonic() > deadline:
                raise DownstreamTimeout
            chunks.append(chunk)
        whole = True
    finally:
        if whole:
            response.release_conn()
        else:
            response.close()  # what is left of the answer must not be taken for the next one
    found = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status, found, b"".join(chunks))


def status_of(reply: Reply) -> Mapping[str, Any] | None:
    """What the API server itself says in an answer that is no pod's: its ``Status`` object."""
    if reply.status < 400:
        return None
    try:
        found = loads(reply.body)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("kind") == "Status" and "apiVersion" in found else None


def translated(error: Exception, *, may_have_been_taken: bool = False) -> Exception:
    """An error of the client, or of what it stands on, as ours; any other as it is.

    ``may_have_been_taken``: it was one request that is not to be repeated blindly. Where it broke off after the
    connection stood, it is unknown whether it was taken, which ``DownstreamTimeout`` says.
    """
    from kubernetes.client.exceptions import OpenApiException
    from kubernetes.config import ConfigException
    from urllib3.exceptions import (
        ConnectTimeoutError,
        HTTPError,
        LocationValueError,
        MaxRetryError,
        NewConnectionError,
        ProxyError,
        SSLError,
        TimeoutError,
        URLSchemeUnknown,
    )

    match error:
        case ConfigException() | LocationValueError() | URLSchemeUnknown() | FileNotFoundError() | PermissionError():
            return Downstream(f"The way to the cluster is not known: {error}"[:500])
        case MaxRetryError(reason=Exception() as reason):
            return translated(reason, may_have_been_taken=may_have_been_taken)
        case NewConnectionError() | ConnectTimeoutError() | ProxyError():
            return Unavailable("The cluster cannot be reached.")
        case SSLError() if _is_of_the_certificate(error):
            return Downstream("The cluster does not prove to be the one that is expected (TLS).")
        case TimeoutError():
            return DownstreamTimeout("The cluster did not answer in time.")
        case HTTPError() | ConnectionError() if may_have_been_taken:
            return DownstreamTimeout("The connection to the cluster broke off; the request may have been taken.")
        case HTTPError() | ConnectionError():
            return Unavailable("The connection to the cluster broke off.")
        case OpenApiException():
            return Downstream(f"The cluster's client: {error}"[:500])
        case _:
            return error


def _is_of_the_certificate(error: BaseException) -> bool:
    return any(isinstance(part, ssl.SSLCertVerificationError) for part in (error.__cause__, *error.args))


def _lacks_namespace(reply: Reply) -> bool:
    """Whether it is the namespace that is missing: a fault of the set-up, and no object that is not there."""
    details = (status_of(reply) or {}).get("details")
    return isinstance(details, dict) and details.get("kind") == "namespaces"


def _refusal(reply: Reply) -> MillraceError:
    words = (status_of(reply) or {}).get("message") or reply.body[:300].decode(errors="replace")
    said = f"The cluster answered {reply.status}: {words}"[:500]
    match reply.status:
        case 429 | 503:
            return Unavailable(said)
        case 504:
            return DownstreamTimeout(said)
        case _:
            return Downstream(said)
