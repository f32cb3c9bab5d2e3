"""The file that leads ``kubectl`` and the official client to the local cluster."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from infra.local.cluster.tls import Identity, write_private

_NAME = "millrace-local"


def write(path: Path, address: str, identity: Identity, namespace: str) -> None:
    """``address`` is the URL of the server. JSON is YAML too."""
    authority = base64.b64encode(identity.authority.read_bytes()).decode()
    told = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": {"server": address, "certificate-authority-data": authority}}],
        "users": [{"name": _NAME, "user": {"token": identity.token}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME, "namespace": namespace}}],
        "current-context": _NAME,
    }
    text = (json.dumps(told, indent=2) + "\n").encode()
    if not path.exists() or path.read_bytes() != text:
        write_private(path, text)
