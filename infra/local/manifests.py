"""What ``infra/k8s`` holds, brought to the local cluster as ``kubectl apply --server-side`` brings it to a real one."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from infra.local.cluster.resources import BY_KIND
from infra.local.home import Home
from infra.local.process import LocalError
from infra.packaging import PROJECT

MANAGER = "millrace-infra"
_TIMEOUT = 30.0  # seconds for one object


def apply_all(home: Home, project: Path = PROJECT) -> int:
    """Apply every object of every file, namespaces first; how many there are. Raises ``LocalError``."""
    found = [
        body
        for file in sorted((project / "infra" / "k8s").glob("*.yaml"))
        for body in yaml.safe_load_all(file.read_text())
        if body
    ]
    kubeconfig = json.loads(home.kubeconfig.read_text())
    token = kubeconfig["users"][0]["user"]["token"]
    trust = ssl.create_default_context(cafile=str(home.cluster / "ca.crt"))
    for body in sorted(found, key=lambda one: one["kind"] != "Namespace"):
        _apply(home, body, token, trust)
    return len(found)


def _apply(home: Home, body: dict[str, Any], token: str, trust: ssl.SSLContext) -> None:
    resource = BY_KIND.get((body["apiVersion"], body["kind"]))
    if resource is None:
        raise LocalError(f"infra/k8s has a {body['kind']}, which the local cluster does not know")
    metadata = body["metadata"]
    base = f"/apis/{resource.group}/v1" if resource.group else "/api/v1"
    within = f"/namespaces/{metadata['namespace']}" if resource.namespaced else ""
    query = f"fieldManager={MANAGER}&force=true&fieldValidation=Strict"
    request = urllib.request.Request(  # noqa: S310 (our own URL)
        f"{home.cluster_address}{base}{within}/{resource.plural}/{metadata['name']}?{query}",
        method="PATCH",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/apply-patch+yaml"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT, context=trust):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")[:2000]
        raise LocalError(f"the local cluster refuses {body['kind']} {metadata['name']}: {said}") from error
    except OSError as error:
        raise LocalError(f"the local cluster does not answer: {error}; see {home.cluster_log}") from error
