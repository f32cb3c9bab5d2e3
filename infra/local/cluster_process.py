"""The process of the local cluster: find it, start it, end it; and its pods, should it have left any behind."""

from __future__ import annotations

import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from infra.local import programs
from infra.local.cluster import processes
from infra.local.home import Home
from infra.local.programs import Program

_STOP_TIMEOUT = 75.0  # seconds; pods have 60 to end what they do
_LEFTOVER_GRACE = 10.0  # seconds


def ensure(home: Home, environ: Mapping[str, str] = os.environ) -> bool:
    """Start it, unless one runs with this code. Whether it was started. Raises ``LocalError``."""
    return programs.ensure(_program(home), environ)


def stop(home: Home) -> None:
    """End the cluster of this home with every pod that it runs; also those of one that was killed."""
    programs.stop(_program(home))
    processes.end_leftovers(home.pods, _LEFTOVER_GRACE)


def empty(home: Home) -> None:
    """End it, and forget every object. Who it is stays, so a kubeconfig that somebody has goes on to fit."""
    stop(home)
    (home.cluster / "objects.jsonl").unlink(missing_ok=True)
    shutil.rmtree(home.pods, ignore_errors=True)


def _program(home: Home) -> Program:
    here = Path(__file__).parent
    return Program(
        what="the local cluster",
        module="infra.local.cluster",
        home=home,
        port=home.cluster_port,
        process_file=home.cluster_process_file,
        log=home.cluster_log,
        sources=(here / "cluster", here / "ports.py", here / "home.py"),
        answers=lambda: _answers(home),
        stop_timeout_s=_STOP_TIMEOUT,
    )


def _answers(home: Home) -> bool:
    """With the certificate of this home, so that nothing else on the port is taken for it."""
    try:
        trust = ssl.create_default_context(cafile=str(home.cluster / "ca.crt"))
        address = f"{home.cluster_address}/readyz"
        with urllib.request.urlopen(address, timeout=5, context=trust) as response:  # noqa: S310 (our own URL)
            return bool(response.status == 200) and home.kubeconfig.exists()
    except (OSError, urllib.error.URLError):
        return False
