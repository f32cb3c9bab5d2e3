"""The process of the mail port: find it, start it, end it, as ``process`` does with the emulator's."""

from __future__ import annotations

import hashlib
import os
import smtplib
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from infra.local import process
from infra.local.home import Home
from infra.local.process import LocalError
from infra.packaging import PROJECT

_PROGRAM = "infra.local.smtp"
_START_TIMEOUT = 30.0  # seconds
_STOP_TIMEOUT = 10.0  # seconds
_POLL = 0.05  # seconds


def ensure(home: Home, settings: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> bool:
    """Start it, unless one runs with this code and these settings. Whether it was started. Raises ``LocalError``."""
    wanted = _fingerprint(home, settings)
    running = process.recorded(home.mail_process_file, _PROGRAM)
    if running is not None and running[1]["fingerprint"] == wanted:
        return False
    stop(home)
    process.require_port(home.smtp_port)
    passed_on = {name: environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TZ") if name in environ}
    ours = {"MILLRACE_HOME": str(home.root), "MILLRACE_PORT_BASE": str(home.port), "PYTHONUNBUFFERED": "1"}
    with home.mail_log.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", _PROGRAM, wanted],
            cwd=PROJECT,
            env=passed_on | ours | dict(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.remember(child)
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise LocalError(f"the mail port ended at once; see {home.mail_log}")
        if _answers(home):
            return True
        time.sleep(_POLL)
    child.terminate()
    raise LocalError(f"the mail port did not answer within {_START_TIMEOUT:.0f} s; see {home.mail_log}")


def stop(home: Home) -> None:
    """End the mail port of this home, if one runs."""
    running = process.recorded(home.mail_process_file, _PROGRAM)
    if running is not None:
        running[0].terminate()
        try:
            running[0].wait(_STOP_TIMEOUT)
        except psutil.TimeoutExpired:
            running[0].kill()  # it holds nothing
        process.forget_ended()
    home.mail_process_file.unlink(missing_ok=True)


def _fingerprint(home: Home, settings: Mapping[str, str]) -> str:
    here = Path(__file__).parent
    texts = [
        *((here / name).read_text() for name in ("smtp.py", "home.py")),
        str(home.port),
        repr(sorted(settings.items())),
    ]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _answers(home: Home) -> bool:
    try:
        with smtplib.SMTP("127.0.0.1", home.smtp_port, timeout=5) as connection:
            return connection.noop()[0] == 250
    except (OSError, smtplib.SMTPException):
        return False
