"""Programs for containers, manifests around them, and waiting for what comes of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.clusters import TIMEOUT_S, TestCluster

Json = dict[str, Any]
Found = TypeVar("Found")
DEADLINE_S = 90.0  # seconds; what is waited for takes a few, and many on a machine that is busy

#: Serves what its path says: its name, its environment, a failing answer; ends when it is asked to.
SERVER = """
import http.server, json, os, signal, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if self.path == "/end":
            os._exit(3)
        if self.path == "/broken":
            open(f"{os.environ['TMPDIR']}/broken", "w").close()
        sick = self.path == "/readyz" and os.path.exists(f"{os.environ['TMPDIR']}/broken")
        told = {"name": os.environ["POD_NAME"], "greeting": os.environ.get("GREETING"), "path": self.path,
                "method": self.command, "body": body.decode(), "headers": dict(self.headers),
                "environment": sorted(os.environ)}
        text = json.dumps(told).encode()
        self.send_response(503 if sick else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET

    def log_message(self, *_):
        pass

def end(*_):
    print("asked to end", flush=True)
    time.sleep(float(os.environ.get("LINGER", "0")))
    os._exit(0)

signal.signal(signal.SIGTERM, end)
print("serving as", os.environ["POD_NAME"], flush=True)
server = http.server.ThreadingHTTPServer(
    (os.environ.get("ADDRESS", "127.0.0.1"), int(os.environ.get("MILLRACE_PORT", "8080"))), Handler)
server.serve_forever()
"""


def container(cluster: TestCluster, program: str = SERVER, **more: Any) -> Json:
    name = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}
    spread = {"name": "TMPDIR", "value": "/tmp"}
    address = {"name": "ADDRESS", "value": "0.0.0.0"}
    told: Json = {
        "name": "main",
        "image": cluster.image,
        "command": ["python", "-c", program],
        "env": [name, *(() if cluster.is_local else (spread, address))],
        "ports": [{"name": "http", "containerPort": 8080}],
    }
    extra = more.pop("env", [])
    return {**told, **more, "env": told["env"] + extra}


READY = {
    "httpGet": {"path": "/readyz", "port": "http"},
    "periodSeconds": 1,
    "failureThreshold": 1,
    "timeoutSeconds": 20,
}


def deployment(name: str, main: Json, replicas: int = 1, **spec: Any) -> Json:
    template_spec = {"containers": [main], "terminationGracePeriodSeconds": spec.pop("grace", 5)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template_spec},
            **spec,
        },
    }


def service(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}]},
    }


def apply(api: client.ApiClient, place: str, body: Json, *, manager: str = "test", force: bool = True) -> Json:
    """Server-side apply of any kind. Raises ``ApiException``."""
    plural = {"Deployment": "deployments", "Service": "services", "ConfigMap": "configmaps"}[body["kind"]]
    group = "api/v1" if body["apiVersion"] == "v1" else f"apis/{body['apiVersion']}"
    applied: Json = call(
        api,
        "PATCH",
        f"/{group}/namespaces/{place}/{plural}/{body['metadata']['name']}",
        body,
        query=[("fieldManager", manager), ("force", str(force).lower())],
        content_type="application/apply-patch+yaml",
    )
    return applied


def call(
    api: client.ApiClient,
    method: str,
    path: str,
    body: Any = None,
    *,
    query: list[tuple[str, str]] | None = None,
    content_type: str = "application/json",
) -> Any:
    """A request as it is, answered with JSON. Raises ``ApiException``."""
    headers = {"Accept": "application/json", "Content-Type": content_type}
    text = body if "json" in content_type or body is None else json.dumps(body)  # the client writes JSON itself
    _, url, sent, _, _ = api.param_serialize(
        method, path, query_params=query or [], header_params=headers, auth_settings=["BearerToken"]
    )
    answer = api.call_api(method, url, sent, text, _request_timeout=TIMEOUT_S)
    raw = answer.read()
    if not 200 <= answer.status < 300:
        raise ApiException(http_resp=answer, body=raw.decode())
    return json.loads(raw)


def until(look: Callable[[], Found | None], what: str, timeout_s: float = DEADLINE_S) -> Found:
    """What ``look`` finds, as soon as it finds something."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not in {timeout_s:.0f} s: {what}"
        time.sleep(0.05)
    return found


def ready_deployment(
    api: client.ApiClient, place: str, name: str, timeout_s: float = DEADLINE_S
) -> client.V1Deployment:
    """The deployment, once it is rolled out."""
    apps = client.AppsV1Api(api)

    def look() -> client.V1Deployment | None:
        found = apps.read_namespaced_deployment(name, place, _request_timeout=TIMEOUT_S)
        status, wanted = found.status, found.spec.replicas
        rolled_out = (
            status.observed_generation == found.metadata.generation
            and (status.replicas or 0) == (status.updated_replicas or 0) == (status.available_replicas or 0) == wanted
        )
        return found if rolled_out else None

    return until(look, f"{name} is rolled out", timeout_s)


def pods(api: client.ApiClient, place: str, name: str) -> list[client.V1Pod]:
    core = client.CoreV1Api(api)
    found = core.list_namespaced_pod(place, label_selector=f"app={name}", _request_timeout=TIMEOUT_S)
    return list(found.items)


def condition(api: client.ApiClient, place: str, name: str, kind: str, status: str) -> client.V1DeploymentCondition:
    """A condition of a deployment, once it has that status."""
    apps = client.AppsV1Api(api)

    def look() -> client.V1DeploymentCondition | None:
        found = apps.read_namespaced_deployment(name, place, _request_timeout=TIMEOUT_S).status.conditions or []
        return next((one for one in found if one.type == kind and one.status == status), None)

    return until(look, f"{name} has {kind}={status}")


def kubectl(cluster: TestCluster, *arguments: str, body: str = "") -> str | None:
    """What ``kubectl`` prints; ``None`` where there is no ``kubectl`` on this machine."""
    program = shutil.which("kubectl")
    if program is None:
        return None
    done = subprocess.run(
        [program, "--kubeconfig", str(cluster.kubeconfig), *arguments],
        input=body, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout
