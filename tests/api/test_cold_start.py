"""What the import of the app brings along: a cold start pays for all of it, whatever its first request asks."""

from __future__ import annotations

import subprocess
import sys

#: Used by some requests, or by other functions, and imported there.
LATER = (
    "aiohttp",  # in pods alone
    "boto3",
    "botocore.client",  # Chalice reads the version of botocore, and no more
    "jsonata",
    "kubernetes",
    "regex",
    "chalicelib.compiler.pipeline",
    "chalicelib.engines",
    "chalicelib.nodes",
    "chalicelib.store",
)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """The app imports neither the SDK nor the language of expressions, neither node types nor compiler nor engines."""
    code = "import app, sys; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    imported = set(found.stdout.split())
    assert "chalicelib.api.workflows.routes" in imported
    assert imported.isdisjoint(LATER)
