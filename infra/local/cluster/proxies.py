"""The proxies of services and pods: ``.../services/[http:]name[:port]/proxy/path`` leads to a pod's own server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from infra.local.cluster import endpoints
from infra.local.cluster.errors import Json, bad_request, unavailable
from infra.local.cluster.http_client import Header, HttpClient, Response, Unreachable
from infra.local.cluster.kubelet import ADDRESS, ports_of
from infra.local.cluster.objects import Objects
from infra.local.cluster.resources import PODS, SERVICES

_LONGEST_S = 330.0  # seconds for one answer; a run that is waited for may take 300
#: Of one connection, or of who called; a pod sees none of them.
_DROPPED = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer", b"upgrade"),
    *(b"transfer-encoding", b"content-length", b"host", b"authorization"),
}


class Proxies:
    def __init__(self, objects: Objects, client: HttpClient) -> None:
        self._objects = objects
        self._client = client
        self._turns: Counter[tuple[str, str]] = Counter()

    async def to_service(
        self, namespace: str, told: str, method: str, target: str, headers: Iterable[Header], body: bytes
    ) -> Response:
        """Raises ``ApiError``: 404 without the service, 503 without a ready pod."""
        scheme, name, port = _parts(told)
        service = self._objects.get(SERVICES, namespace, name)
        number = self._service_port(service, scheme, port)
        return await self._send((ADDRESS, number), method, target, headers, body)

    async def to_pod(
        self, namespace: str, told: str, method: str, target: str, headers: Iterable[Header], body: bytes
    ) -> Response:
        """Raises ``ApiError``: 404 without the pod, 503 where it does not answer."""
        scheme, name, port = _parts(told)
        pod = self._objects.get(PODS, namespace, name)
        if scheme == "https":
            raise unavailable("error trying to reach service: the local cluster's proxy speaks plain HTTP")
        ports = ports_of(pod)
        number = (
            endpoints.local_port(pod, int(port) if port.isdigit() else port)
            if port
            else next(iter(ports.values()), None)
        )
        if number is None:
            raise unavailable(
                f"error trying to reach service: dial tcp {ADDRESS}:{port or 80}: connect: connection refused"
            )
        return await self._send((ADDRESS, number), method, target, headers, body)

    def _service_port(self, service: Json, scheme: str, port: str) -> int:
        """The port of this machine at which the next ready pod listens."""
        name, listed = service["metadata"]["name"], service["spec"].get("ports") or []
        if scheme == "https":
            raise unavailable("error trying to reach service: the local cluster's proxy speaks plain HTTP")
        known = [one for one in listed if port in ("", one.get("name", ""), str(one["port"]))]
        if not known or (not port and len(listed) > 1 and all(one.get("name") for one in listed)):
            raise unavailable(f'no service port "{port}" found for service "{name}"')
        wanted = known[0].get("name") or ""
        ready = [
            number
            for target in endpoints.targets(self._objects, service)
            if target.is_ready
            for port_name, number, _ in target.ports
            if port_name == wanted
        ]
        if not ready:
            raise unavailable(f'no endpoints available for service "{name}"')
        key = (service["metadata"]["namespace"], name)
        self._turns[key] += 1
        return ready[self._turns[key] % len(ready)]

    async def _send(
        self, address: tuple[str, int], method: str, target: str, headers: Iterable[Header], body: bytes
    ) -> Response:
        passed = [(name, value) for name, value in headers if name.lower() not in _DROPPED]
        try:
            answer = await self._client.request(address, method, target, passed, body, _LONGEST_S)
        except Unreachable as error:
            raise unavailable(f"error trying to reach service: {error}") from error
        except TimeoutError as error:
            raise unavailable("error trying to reach service: context deadline exceeded") from error
        answer.headers = [(name, value) for name, value in answer.headers if name.lower() not in _DROPPED]
        return answer


def _parts(told: str) -> tuple[str, str, str]:
    """Scheme, name and port of ``name``, ``name:port`` or ``scheme:name:port``; what is absent is empty."""
    match told.split(":"):
        case [name]:
            return "", name, ""
        case [name, port]:
            return "", name, port
        case [scheme, name, port] if scheme in ("", "http", "https"):
            return scheme, name, port
    raise bad_request(f'invalid proxy request "{told}"')
