"""The REST API: paths, bodies and answers. What they mean is in ``objects``.

/api/v1/namespaces/{namespace}/{plural}/{name}/{subresource}    and /apis/{group}/v1/... for the other groups
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import unquote

import yaml
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from infra.local.cluster import clock, discovery, errors, logs, patches, selectors, tables
from infra.local.cluster.errors import ApiError, Json, bad_request
from infra.local.cluster.kubelet import Kubelet
from infra.local.cluster.objects import Objects, Options, PatchKind, resource_at
from infra.local.cluster.proxies import Proxies
from infra.local.cluster.resources import NAMESPACES, PODS, SERVICES, Resource
from infra.local.cluster.store import Change, Watcher

_MAX_BODY = 8 * 1024 * 1024  # bytes
_LONGEST_WATCH_S = 600.0  # seconds; its reader begins anew
_BOOKMARK_S = 30.0  # seconds
_FOLLOW_POLL_S = 0.2  # seconds
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_PATCH_KINDS: dict[str, PatchKind] = {
    "application/apply-patch+yaml": "apply",
    "application/strategic-merge-patch+json": "strategic",
    "application/merge-patch+json": "merge",
    "application/json-patch+json": "json",
}
_OPEN = {"healthz", "livez", "readyz", "version"}  # asked before one has a token


class Api:
    def __init__(self, objects: Objects, kubelet: Kubelet, token: str, address: str, now: clock.Clock) -> None:
        self._objects = objects
        self._kubelet = kubelet
        self._proxies = Proxies(objects, kubelet.client)
        self._token = token.encode()
        self._address = address
        self._now = now
        self.is_closing = asyncio.Event()

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._endpoint, methods=_METHODS)])

    async def _endpoint(self, request: Request) -> Response:
        try:
            parts = [unquote(part) for part in _raw_path(request).strip("/").split("/")]
            if parts[0] not in _OPEN:
                self._check_token(request)
            if parts[0] in ("api", "apis") and (found := _resource_path(parts)):
                return await self._on_resource(request, *found)
            return _json(self._said(request, parts))
        except ApiError as error:
            return _json(error.status(), error.code)

    def _check_token(self, request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            raise errors.unauthorized()

    def _said(self, request: Request, parts: list[str]) -> Any:
        """What is no resource. Raises ``ApiError``."""
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        told: Any
        match parts:
            case ["healthz" | "livez" | "readyz", *_]:
                told = "ok"
            case ["version"]:
                told = discovery.version()
            case ["api"]:
                told = discovery.core_versions(self._address)
            case ["apis"]:
                told = discovery.group_list()
            case ["apis", group]:
                told = discovery.group(group)
            case ["api", "v1"]:
                told = discovery.resource_list("")
            case ["apis", group, "v1"]:
                told = discovery.resource_list(group)
            case ["openapi", "v2"]:
                told = discovery.openapi_v2()
            case ["openapi", "v3"]:
                told = discovery.openapi_paths()
            case ["openapi", "v3", "api", "v1"]:
                told = discovery.openapi("")
            case ["openapi", "v3", "apis", group, "v1"]:
                told = discovery.openapi(group)
            case _:
                told = None
        if told is None:
            raise errors.unknown_path()
        return told

    async def _on_resource(
        self, request: Request, resource: Resource, namespace: str, name: str, rest: list[str]
    ) -> Response:
        if rest:
            return await self._on_subresource(request, resource, namespace, name, rest)
        options = _options(request.query_params, request.headers)
        match request.method, bool(name):
            case "GET" | "HEAD", False:
                return await self._list(request, resource, namespace)
            case "GET" | "HEAD", True:
                if request.query_params.get("watch") in ("1", "true"):
                    return await self._list(request, resource, namespace, name)
                return self._shown(request, resource, self._objects.get(resource, namespace, name))
            case "POST", False:
                answer = self._objects.create(resource, namespace, await _body(request), options)
            case "PUT", True:
                answer = self._objects.replace(resource, namespace, name, await _body(request), options)
            case "PATCH", True:
                kind = _patch_kind(request)
                answer = self._objects.patch(resource, namespace, name, kind, await _body(request), options)
            case "DELETE", True:
                return await self._delete(request, resource, namespace, name, options)
            case "DELETE", False:
                return await self._delete_all(request, resource, namespace, options)
            case _:
                raise errors.method_not_allowed()
        return _json(answer.object, 201 if answer.is_new else 200, answer.warnings)

    async def _on_subresource(
        self, request: Request, resource: Resource, namespace: str, name: str, rest: list[str]
    ) -> Response:
        if rest[0] not in resource.subresources:
            raise errors.unknown_path()
        match rest[0]:
            case "status" | "finalize":
                return await self._on_status(request, resource, namespace, name)
            case "scale":
                return await self._on_scale(request, resource, namespace, name)
            case "log":
                return self._log(request, namespace, name)
            case _:
                return await self._proxy(request, resource, namespace, name)

    # --- Read --------------------------------------------------------------------------------------------------------

    async def _list(self, request: Request, resource: Resource, namespace: str, name: str = "") -> Response:
        query = request.query_params
        matches = _predicate(query, resource, name)
        if query.get("watch") in ("1", "true"):
            return self._watch(request, resource, namespace, matches)
        things = self._objects.select(resource, namespace, matches)
        version = str(self._objects.store.version)
        if _as_table(request):
            return _json(tables.table(resource, things, version, self._now(), query.get("includeObject", "")))
        return _json(
            {
                "kind": f"{resource.kind}List",
                "apiVersion": resource.api_version,
                "metadata": {"resourceVersion": version},
                "items": things,
            }
        )

    def _shown(self, request: Request, resource: Resource, thing: Json) -> Response:
        if _as_table(request):
            version = thing["metadata"]["resourceVersion"]
            include = request.query_params.get("includeObject", "")
            return _json(tables.table(resource, [thing], version, self._now(), include))
        return _json(thing)

    def _watch(self, request: Request, resource: Resource, namespace: str, matches: selectors.Predicate) -> Response:
        query = request.query_params
        since = query.get("resourceVersion", "")
        begin_anew = since in ("", "0")
        store = self._objects.store
        watcher = store.watch(None if begin_anew else _number(since))
        known = self._objects.select(resource, namespace, matches) if begin_anew else []
        limit = min(float(query.get("timeoutSeconds") or _LONGEST_WATCH_S), _LONGEST_WATCH_S)
        bookmarks = query.get("allowWatchBookmarks") in ("1", "true")

        def line(kind: str, thing: Json) -> str:
            if _as_table(request) and kind != "BOOKMARK":
                version = thing["metadata"]["resourceVersion"]
                thing = tables.table(resource, [thing], version, self._now(), query.get("includeObject", ""))
            return json.dumps({"type": kind, "object": thing}, separators=(",", ":")) + "\n"

        async def lines() -> AsyncIterator[str]:
            try:
                for thing in known:
                    yield line("ADDED", thing)
                async for change in self._changes(watcher, limit):
                    if change is None:
                        if bookmarks:
                            metadata = {"resourceVersion": str(store.version)}
                            mark = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
                            yield line("BOOKMARK", mark)
                    elif (kind := _kind_for(change, resource, namespace, matches)) is not None:
                        yield line(kind, change.object)
            finally:
                store.unwatch(watcher)

        return StreamingResponse(lines(), media_type="application/json")

    async def _changes(self, watcher: Watcher, limit_s: float) -> AsyncIterator[Change | None]:
        """Changes as they come; ``None`` now and then where none do. Ends with the limit, the watcher or the server."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        while (left := deadline - loop.time()) > 0 and not self.is_closing.is_set():
            try:
                async with asyncio.timeout(min(left, _BOOKMARK_S)):
                    change = await watcher.queue.get()
            except TimeoutError:
                yield None
                continue
            if change is None:
                return
            yield change

    def _log(self, request: Request, namespace: str, name: str) -> Response:
        query = request.query_params
        pod = self._objects.get(PODS, namespace, name)
        containers = [one["name"] for one in pod["spec"]["containers"]]
        container = query.get("container") or containers[0]
        if container not in containers:
            raise bad_request(f"container {container} is not valid for pod {name}")
        if not query.get("container") and len(containers) > 1:
            raise bad_request(f"a container name must be specified for pod {name}, choose one of: {containers}")
        folder = self._kubelet.log_folder(pod, container)
        is_previous = query.get("previous") in ("1", "true")
        log = logs.previous(folder) if is_previous else logs.current(folder)
        tail = _number(query["tailLines"]) if "tailLines" in query else None
        limit = _number(query["limitBytes"]) if "limitBytes" in query else None
        try:
            text = logs.read(log, tail, limit)
        except FileNotFoundError:
            if is_previous:
                why = f'previous terminated container "{container}" in pod "{name}" not found'
            else:
                why = f'container "{container}" in pod "{name}" is waiting to start: {_waits_for(pod, container)}'
            raise bad_request(why) from None
        if query.get("follow") not in ("1", "true") or is_previous:
            return PlainTextResponse(text)
        at = log.stat().st_size
        return StreamingResponse(self._followed(pod, container, text, at), media_type="text/plain")

    async def _followed(self, pod: Json, container: str, text: bytes, at: int) -> AsyncIterator[bytes]:
        yield text
        metadata = pod["metadata"]
        log = logs.current(self._kubelet.log_folder(pod, container))
        while not self.is_closing.is_set():
            current = self._objects.store.get(PODS, metadata["namespace"], metadata["name"])
            for data, end in logs.grown(log, at):
                at = end
                yield data
            if current is None or current["metadata"]["uid"] != metadata["uid"] or not _runs(current, container):
                return
            await asyncio.sleep(_FOLLOW_POLL_S)

    # --- Write -------------------------------------------------------------------------------------------------------

    async def _on_status(self, request: Request, resource: Resource, namespace: str, name: str) -> Response:
        options = _options(request.query_params, request.headers)
        match request.method:
            case "GET":
                return _json(self._objects.get(resource, namespace, name))
            case "PUT":
                answer = self._objects.replace(resource, namespace, name, await _body(request), options, "status")
            case "PATCH":
                kind = _patch_kind(request)
                answer = self._objects.patch(resource, namespace, name, kind, await _body(request), options, "status")
            case _:
                raise errors.method_not_allowed()
        return _json(answer.object, 200, answer.warnings)

    async def _on_scale(self, request: Request, resource: Resource, namespace: str, name: str) -> Response:
        current = _scale(self._objects.get(resource, namespace, name))
        if request.method == "GET":
            return _json(current)
        body = await _body(request)
        if request.method == "PATCH":
            kind = _patch_kind(request)
            if kind == "apply":
                raise bad_request("the local cluster applies whole objects, no subresources")
            asked = patches.json_patch(current, body) if kind == "json" else patches.merge(current, body)
            version = asked["metadata"]["resourceVersion"] if "metadata" in body else ""
        elif request.method == "PUT":
            asked, version = body, (body.get("metadata") or {}).get("resourceVersion", "")
        else:
            raise errors.method_not_allowed()
        replicas = (asked.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or isinstance(replicas, bool):
            raise bad_request("Scale in version v1 cannot be handled as a Scale: spec.replicas is no integer")
        options = _options(request.query_params, request.headers)
        return _json(_scale(self._objects.scale(resource, namespace, name, replicas, version, options)))

    async def _delete(
        self, request: Request, resource: Resource, namespace: str, name: str, options: Options
    ) -> Response:
        told = await self._delete_options(request)
        before = self._objects.get(resource, namespace, name)
        left = self._objects.delete(resource, namespace, name, told, options.dry_run)
        if left is not None:
            return _json(left)
        details = {"name": name, "kind": resource.plural, "uid": before["metadata"]["uid"]}
        details |= {"group": resource.group} if resource.group else {}
        return _json(errors.status("Success") | {"details": details})

    async def _delete_all(self, request: Request, resource: Resource, namespace: str, options: Options) -> Response:
        if resource.namespaced and not namespace:
            raise errors.method_not_allowed()
        told = await self._delete_options(request)
        things = self._objects.select(resource, namespace, _predicate(request.query_params, resource, ""))
        for thing in things:
            self._objects.delete(resource, namespace, thing["metadata"]["name"], told, options.dry_run)
        listed = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
        return _json({**listed, "metadata": {"resourceVersion": str(self._objects.store.version)}, "items": things})

    @staticmethod
    async def _delete_options(request: Request) -> Json:
        told = await _body(request, absent={}) or {}
        if not isinstance(told, dict):
            raise bad_request("the body is no DeleteOptions")
        query = request.query_params
        if "propagationPolicy" in query:
            told["propagationPolicy"] = query["propagationPolicy"]
        if "gracePeriodSeconds" in query:
            told["gracePeriodSeconds"] = _number(query["gracePeriodSeconds"])
        return told

    # --- Proxy -------------------------------------------------------------------------------------------------------

    async def _proxy(self, request: Request, resource: Resource, namespace: str, name: str) -> Response:
        send = self._proxies.to_service if resource is SERVICES else self._proxies.to_pod
        _, _, target = _raw_path(request).partition("/proxy")
        query = request.url.query
        target = (target or "/") + (f"?{query}" if query else "")
        body = await _read(request)
        answer = await send(namespace, name, request.method, target, request.headers.raw, body)
        response = Response(bytes(answer.body), answer.status)
        response.raw_headers = [
            *((key.lower(), value) for key, value in answer.headers), (b"content-length", b"%d" % len(answer.body)),
        ]  # fmt: skip
        return response


def _resource_path(parts: list[str]) -> tuple[Resource, str, str, list[str]] | None:
    """Resource, namespace, name and what follows. Raises ``ApiError`` 404 for a kind that is not known."""
    if parts[0] == "api":
        group, version, rest = "", parts[1] if len(parts) > 1 else "", parts[2:]
    else:
        group, version, rest = parts[1] if len(parts) > 1 else "", parts[2] if len(parts) > 2 else "", parts[3:]
    if not rest:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in NAMESPACES.subresources:
        namespace, rest = rest[1], rest[2:]
    resource = resource_at(group, version, rest[0])
    if resource is None or (namespace and not resource.namespaced):
        raise errors.unknown_path()
    name = rest[1] if len(rest) > 1 else ""
    if resource.namespaced and name and not namespace:
        raise errors.unknown_path()
    return resource, namespace, name, rest[2:]


def _raw_path(request: Request) -> str:
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return raw.partition(b"?")[0].decode("latin-1")


def _options(query: Mapping[str, str], headers: Mapping[str, str]) -> Options:
    agent = headers.get("user-agent", "unknown").partition("/")[0]
    level = query.get("fieldValidation", "Warn")
    if level not in ("Ignore", "Warn", "Strict"):
        raise bad_request(f"invalid fieldValidation {level!r}")
    if query.get("dryRun", "All") != "All":
        raise bad_request(f"invalid dryRun {query['dryRun']!r}")
    return Options(query.get("fieldManager") or agent, level, query.get("force") in ("1", "true"), "dryRun" in query)


def _predicate(query: Mapping[str, str], resource: Resource, name: str) -> selectors.Predicate:
    by_label = selectors.labels(query.get("labelSelector", ""))
    by_field = selectors.fields(query.get("fieldSelector", ""), resource.kind)
    return lambda thing: (not name or thing["metadata"]["name"] == name) and by_label(thing) and by_field(thing)


def _kind_for(change: Change, resource: Resource, namespace: str, matches: selectors.Predicate) -> str | None:
    """How a watcher is told of a change; what begins or ends to match is added or deleted for it."""
    if change.resource is not resource:
        return None
    if namespace and change.object["metadata"].get("namespace") != namespace:
        return None
    now = change.type != "DELETED" and matches(change.object)
    before = change.before is not None and matches(change.before)
    if now:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


def _patch_kind(request: Request) -> PatchKind:
    given = request.headers.get("content-type", "").partition(";")[0].strip()
    if given not in _PATCH_KINDS:
        raise errors.unsupported_media_type(given, list(_PATCH_KINDS))
    return _PATCH_KINDS[given]


async def _read(request: Request) -> bytes:
    found = bytearray()
    try:
        async for chunk in request.stream():
            found += chunk
            if len(found) > _MAX_BODY:
                raise ApiError(413, "RequestEntityTooLarge", f"limit is {_MAX_BODY}")
    except ClientDisconnect as error:
        raise bad_request("the client is gone") from error
    return bytes(found)


async def _body(request: Request, absent: Any = None) -> Any:
    """JSON, or YAML where the content type says so. Raises ``ApiError`` 400, 413, 415."""
    raw = await _read(request)
    if not raw and absent is not None:
        return absent
    content_type = request.headers.get("content-type", "application/json").partition(";")[0]
    if content_type.endswith(("protobuf", "cbor")):
        raise errors.unsupported_media_type(content_type, ["application/json", "application/yaml"])
    try:
        return json.loads(raw)
    except ValueError as error:
        if not content_type.endswith("yaml"):
            raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML: {error}") from error


def _json(told: Any, code: int = 200, warnings: list[str] | None = None) -> Response:
    if isinstance(told, str):
        return PlainTextResponse(told, code)
    response = Response(json.dumps(told, separators=(",", ":")), code, media_type="application/json")
    for warning in warnings or ():
        response.headers.append("Warning", f"299 - {json.dumps(warning)}")
    return response


def _as_table(request: Request) -> bool:
    return "as=Table" in request.headers.get("accept", "")


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise bad_request(f"{text!r} is no number") from error


def _scale(thing: Json) -> Json:
    metadata = thing["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept},
        "spec": {"replicas": thing["spec"]["replicas"]},
        "status": {
            "replicas": (thing.get("status") or {}).get("replicas", 0),
            "selector": selectors.to_text(thing["spec"]["selector"]),
        },
    }


def _status_of(pod: Json, container: str) -> Json:
    told = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((one["state"] for one in told if one["name"] == container), {})


def _waits_for(pod: Json, container: str) -> str:
    return str(_status_of(pod, container).get("waiting", {}).get("reason", "ContainerCreating"))


def _runs(pod: Json, container: str) -> bool:
    return "running" in _status_of(pod, container)
