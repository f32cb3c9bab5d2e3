"""The process of the mail port: find it, start it, end it."""

from __future__ import annotations

import os
import smtplib
from collections.abc import Mapping
from pathlib import Path

from infra.local import programs
from infra.local.home import Home
from infra.local.programs import Program

_STOP_TIMEOUT = 10.0  # seconds


def ensure(home: Home, settings: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> bool:
    """Start it, unless one runs with this code and these settings. Whether it was started. Raises ``LocalError``."""
    return programs.ensure(_program(home, settings), environ)


def stop(home: Home) -> None:
    """End the mail port of this home, if one runs."""
    programs.stop(_program(home, {}))


def _program(home: Home, settings: Mapping[str, str]) -> Program:
    here = Path(__file__).parent
    return Program(
        what="the mail port",
        module="infra.local.smtp",
        home=home,
        port=home.smtp_port,
        process_file=home.mail_process_file,
        log=home.mail_log,
        sources=(here / "smtp.py", here / "ports.py", here / "home.py"),
        answers=lambda: _answers(home),
        stop_timeout_s=_STOP_TIMEOUT,
        settings=settings,
    )


def _answers(home: Home) -> bool:
    try:
        with smtplib.SMTP("127.0.0.1", home.smtp_port, timeout=5) as connection:
            return connection.noop()[0] == 250
    except (OSError, smtplib.SMTPException):
        return False
