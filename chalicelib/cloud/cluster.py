"""The Kubernetes cluster in which deployed workflows run: what is made there, what is seen there, and how it is called.

Every call says what shall be, or asks what is; none depends on what an earlier one has left. So each may be made twice,
and what a process that died has begun, the next call finishes: ``apply`` by server-side apply of all objects,
``remove`` by looking for whatever carries the workflow's label.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from chalicelib.cloud.api_server import APPLY, MERGE, ApiServer, Reply, exchange, status_of, translated
from chalicelib.cloud.manifests import CONTAINER, MANAGER, SERVICE_PORT, PodOptions, manifests, owned
from chalicelib.cloud.rollout import is_leaving, rollout, runs
from chalicelib.foundation.errors import Downstream, DownstreamTimeout, MillraceError, TooLarge, Unavailable
from chalicelib.foundation.json_types import loads
from chalicelib.graph.deployments import POD_PORT, Deployed, endpoint, resource_name

MAX_REQUEST_BYTES = 5 * 1024 * 1024
MAX_ANSWER_BYTES = 6_000_000  # Lambda, which hands it on, answers with no more
MAX_PODS = 50  # of a deployment, those of a rollout and those that leave included
LOG_LINES = 20
MAX_LOG_CHARACTERS = 4000
ACTIVITY_TIMEOUT_S = 3.0

#: Of the caller's headers, what a pod is told. Any other may mean something to the API server in between.
_PASSED_ON = frozenset(
    {"accept", "content-type", "idempotency-key", "millrace-execution-id", "prefer", "traceparent", "x-request-id"}
)

#: Where objects of a kind lie.
_PLACES = {
    "Deployment": ("apis/apps/v1", "deployments"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "Service": ("api/v1", "services"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "ConfigMap": ("api/v1", "configmaps"),
}


@dataclass(frozen=True)
class Observed:
    """What the cluster says of one deployment, at this moment."""

    exists: bool
    replicas: int  #: wanted, by its spec
    ready: int  #: pods that are ready and of the newest template
    is_rolled_out: bool  #: the newest template is all there is, and as many as are wanted are ready
    failure: str | None  #: why pods do not come to be ready, as the cluster tells; None while they still may


@dataclass(frozen=True)
class PodAnswer:
    status: int
    headers: Mapping[str, str]  #: names in lower case
    body: bytes


@dataclass(frozen=True)
class PodActivity:
    in_flight: int
    started_at: str
    last_ended_at: str | None  #: when a run ended last; None where none has since the pod began


_NOTHING = Observed(exists=False, replicas=0, ready=0, is_rolled_out=False, failure=None)


class Cluster:
    """``route``: how pods are called, by the API server's ``proxy`` or by the cluster's ``dns``.

    Whatever asks the cluster raises ``Unavailable``, ``DownstreamTimeout`` and ``Downstream``.
    """

    def __init__(
        self,
        server: ApiServer,
        options: PodOptions,
        *,
        route: str = "proxy",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._options = options
        self._route = route
        self._monotonic = monotonic
        self._pools: Any = None

    def apply(self, deployed: Deployed, replicas: int) -> None:
        """Makes all objects of a deployment what they shall be; what is so already is left.

        Raises ``Unavailable`` while an earlier deployment of the workflow is still being removed.
        """
        for manifest in manifests(deployed, replicas, self._options):
            made = self._server.ask(
                "PATCH",
                self._path(manifest["kind"], manifest["metadata"]["name"]),
                query={"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"},
                body=manifest,
                content_type=APPLY,
            )
            if made is None:
                raise Downstream(f"The cluster does not know the kind {manifest['kind']}.")
            if "deletionTimestamp" in made["metadata"]:
                raise Unavailable("What was deployed before is still being removed.")

    def remove(self, workflow_id: str) -> bool:
        """Removes whatever is there of a workflow. True when nothing is left; until then it is to be called again.

        Pods get their time to end, and what they need for it stays until they are gone: without its network policy a
        pod that hands its runs over would reach nothing.
        """
        if self._deleted(workflow_id, "Deployment") or self._pods(workflow_id):
            return False
        rest = [self._deleted(workflow_id, kind) for kind in _PLACES if kind != "Deployment"]
        return not any(rest) or not any(self._owned(workflow_id, kind) for kind in _PLACES)

    def scale(self, workflow_id: str, replicas: int) -> bool:
        """Says how many pods shall be there. False where there is no deployment."""
        answer = self._server.ask(
            "PATCH",
            f"{self._path('Deployment', resource_name(workflow_id))}/scale",
            query={"fieldManager": MANAGER, "fieldValidation": "Strict"},
            body={"spec": {"replicas": replicas}},
            content_type=MERGE,
        )
        return answer is not None

    def observe(self, workflow_id: str) -> Observed:
        deployment = self._server.ask("GET", self._path("Deployment", resource_name(workflow_id)))
        if deployment is None:
            return _NOTHING
        found = rollout(deployment, self._pods(workflow_id))
        failure = found.failure
        if failure and found.crashed:
            failure = "\n".join([failure, *self._last_words(found.crashed)])
        return Observed(True, found.replicas, found.ready, found.is_rolled_out, failure)

    def activity(self, workflow_id: str) -> list[PodActivity] | None:
        """What each pod that runs, and is not leaving, has to do. None where one of them could not be asked."""
        asked = [pod for pod in self._pods(workflow_id) if runs(pod) and not is_leaving(pod)]
        found = []
        for pod in asked:
            activity = self._activity_of(pod["metadata"]["name"])
            if activity is None:
                return None
            found.append(activity)
        return found

    def trigger(self, workflow_id: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> PodAnswer:
        """Hands a request to a pod of the workflow, once, and brings its answer.

        Raises ``Unavailable`` where nobody took it, so that it may be sent again; ``DownstreamTimeout`` where it is
        not known whether somebody did; ``TooLarge``; and ``Downstream`` where it cannot be done.
        """
        if len(body) > MAX_REQUEST_BYTES:
            raise TooLarge
        passed = {name: value for name, value in headers.items() if name.lower() in _PASSED_ON}
        if not any(name.lower() == "content-type" for name in passed):
            passed["Content-Type"] = "application/json"
        by_dns = self._route == "dns"
        reply = (self._call if by_dns else self._through_the_server)(workflow_id, body, passed, timeout_s)
        if reply.status == 503:
            raise Unavailable("No pod takes requests at the moment.")
        if 300 <= reply.status < 400:
            raise Downstream("A pod answered with a redirect, which nobody follows.")
        return PodAnswer(reply.status, reply.headers, reply.body)

    def endpoint(self, workflow_id: str) -> str:
        """The address of a deployed workflow, within the cluster."""
        return endpoint(workflow_id, self._options.namespace)

    # ------------------------------------------------------------------------------------------------------- triggers

    def _through_the_server(self, workflow_id: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        service = f"http:{resource_name(workflow_id)}:{SERVICE_PORT}"
        path = f"{self._path('Service', service)}/proxy/trigger"
        reply = self._server.pass_on(
            "POST", path, body=body, headers=headers, timeout_s=timeout_s, limit=MAX_ANSWER_BYTES
        )
        status = status_of(reply)
        if status is not None:
            raise _refused(reply.status, str(status.get("message", "")))
        return reply

    def _call(self, workflow_id: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        if self._pools is None:
            from urllib3 import PoolManager

            self._pools = PoolManager()
        try:
            return exchange(
                self._pools,
                "POST",
                self.endpoint(workflow_id),
                body=body,
                # The Service chooses a pod for each connection: one that is kept would always lead to the same.
                headers={**headers, "Connection": "close"},
                timeout_s=timeout_s,
                limit=MAX_ANSWER_BYTES,
                monotonic=self._monotonic,
            )
        except MillraceError:
            raise
        except Exception as error:
            raise translated(error, may_have_been_taken=True) from error

    # ------------------------------------------------------------------------------------------------------- objects

    def _path(self, kind: str, name: str = "") -> str:
        group, plural = _PLACES[kind]
        within = f"/{group}/namespaces/{self._options.namespace}/{plural}"
        return f"{within}/{quote(name, safe=':')}" if name else within

    def _owned(self, workflow_id: str, kind: str) -> list[Mapping[str, Any]]:
        """Metadata of the objects of a kind that carry the label of a workflow."""
        listed = self._server.ask("GET", self._path(kind), query={"labelSelector": owned(workflow_id)})
        return [item["metadata"] for item in (listed or {}).get("items", [])]

    def _deleted(self, workflow_id: str, kind: str) -> bool:
        """Deletes what is there of a kind; whether anything was.

        It is the very object that was seen, by its uid: not another that has got its name meanwhile.
        """
        found = self._owned(workflow_id, kind)
        for metadata in found:
            if "deletionTimestamp" in metadata:
                continue
            options = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "propagationPolicy": "Foreground",
                "preconditions": {"uid": metadata["uid"]},
            }
            self._server.ask("DELETE", self._path(kind, metadata["name"]), body=options)
        return bool(found)

    def _pods(self, workflow_id: str) -> list[Mapping[str, Any]]:
        listed = self._server.ask(
            "GET", self._pods_path(), query={"labelSelector": owned(workflow_id), "limit": str(MAX_PODS)}
        )
        return list((listed or {}).get("items", []))

    def _pods_path(self) -> str:
        return f"/api/v1/namespaces/{self._options.namespace}/pods"

    def _last_words(self, pod: str) -> list[str]:
        """The end of the log of the container that ended last; nothing where it cannot be had."""
        for previous in ("true", "false"):
            query = {"container": CONTAINER, "previous": previous, "tailLines": str(LOG_LINES)}
            try:
                text = self._server.read(f"{self._pods_path()}/{quote(pod)}/log", query)
            except MillraceError:
                continue
            if text:
                return text[-MAX_LOG_CHARACTERS:].splitlines()[-LOG_LINES:]
        return []

    def _activity_of(self, pod: str) -> PodActivity | None:
        path = f"{self._pods_path()}/http:{quote(pod)}:{POD_PORT}/proxy/activity"
        try:
            reply = self._server.pass_on(
                "GET", path, body=None, headers={}, timeout_s=ACTIVITY_TIMEOUT_S, limit=64 * 1024
            )
            found: Any = loads(reply.body)
            if reply.status != 200:
                return None
            return PodActivity(int(found["inFlight"]), str(found["startedAt"]), found.get("lastEndedAt"))
        except (MillraceError, ValueError, KeyError, TypeError, AttributeError):
            return None


#: What the API server says where its connection to a pod never stood.
_NEVER_SENT = ("no endpoints available", "connection refused", "no route to host", "dial tcp")


def _refused(status: int, message: str) -> MillraceError:
    """The API server's own answer in the place of a pod's."""
    said = f"The cluster answered {status}: {message}"[:500]
    if status in (404, 429) or (status == 503 and any(words in message for words in _NEVER_SENT)):
        return Unavailable(said)
    if status >= 500:  # its connection to the pod broke off, or was too slow
        return DownstreamTimeout(said)
    return Downstream(said)
