"""Programs that run beside the emulator, the mail port and the cluster: find one, start it, end it.

As with the emulator, ours is the process that its file names, and no other (``process``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.local import process
from infra.local.home import Home

_START_TIMEOUT = 60.0  # seconds until it answers, as the emulator has; what cannot start ends by itself
#: What a program sees of the caller's environment. No proxies, profiles or keys.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True)
class Program:
    what: str  #: as messages call it
    module: str  #: that Python runs
    home: Home
    port: int
    process_file: Path
    log: Path
    sources: Sequence[Path]  #: files and folders of its code: a program of other code is started anew
    answers: Callable[[], bool]
    stop_timeout_s: float
    settings: Mapping[str, str] = field(default_factory=dict)  #: environment variables

    def fingerprint(self) -> str:
        """Of its code, its port and its settings."""
        files = [
            file for source in self.sources for file in (sorted(source.rglob("*.py")) if source.is_dir() else [source])
        ]
        texts = [*(file.read_text() for file in files), str(self.home.port), repr(sorted(self.settings.items()))]
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def ensure(program: Program, environ: Mapping[str, str] = os.environ) -> bool:
    """Start it, unless one runs with this code and these settings. Whether it was started. Raises ``LocalError``."""
    wanted = program.fingerprint()
    running = process.recorded(program.process_file, program.module)
    if running is not None and running[1]["fingerprint"] == wanted and program.answers():
        return False
    stop(program)
    process.require_port(program.port)
    program.home.root.mkdir(parents=True, exist_ok=True)
    passed_on = {name: environ[name] for name in PASSED_ON if name in environ}
    ours = {
        "MILLRACE_HOME": str(program.home.root),
        "MILLRACE_PORT_BASE": str(program.home.port),
        "PYTHONUNBUFFERED": "1",
    }
    child = process.launch(program.module, wanted, passed_on | ours | dict(program.settings), program.log)
    process.await_answer(child, program.what, program.log, lambda: program.answers() or None, _START_TIMEOUT)
    return True


def stop(program: Program) -> bool:
    """End it, if it runs. ``False`` where it did not."""
    running = process.recorded(program.process_file, program.module)
    if running is not None:
        running[0].terminate()
        try:
            running[0].wait(program.stop_timeout_s)
        except psutil.TimeoutExpired:
            running[0].kill()  # what it has promised to keep is on disk
            running[0].wait(program.stop_timeout_s)
        process.forget_ended()
    program.process_file.unlink(missing_ok=True)
    return running is not None
