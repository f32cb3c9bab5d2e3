"""What a cold start spends on imports, for each of our functions, and on what.

Each figure is the median of five fresh interpreters, beside one that imports nothing. Bytecode is there, as it is in
any but the first run of a checkout.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections.abc import Sequence

from bench.report import Cell, Figures, Progress

LIMIT_MS = 400  # of `import app`, on a machine of two cores; told and not enforced: it is a time
_TRIES = 5
_TOP = 12
_TIMEOUT = 120  # seconds
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( +)(\S+)")

#: What Lambda imports for each function: the module of its handler.
ENTRIES = {
    "api_handler": "app",
    "node": "chalicelib.events.node_task",
    "run_status": "chalicelib.events.run_status",
    "script": "chalicelib.events.script_task",
}


def measure(progress: Progress) -> Sequence[Figures]:
    progress("an interpreter that imports nothing")
    bare = _median_ms("pass")
    rows: list[list[Cell]] = []
    for function, module in ENTRIES.items():
        progress(f"import {module}")
        took = _median_ms(f"import {module}")
        rows.append([f"{function}: import {module}", took - bare, LIMIT_MS if module == "app" else None, took / bare])
    progress("what app imports")
    return [
        Figures(
            "Imports of a cold start", ("function", "ms", "meant to take at most", "process, times a bare one"), rows
        ),
        Figures(
            "import app: the packages that take most", ("package", "ms of its own modules", "modules"), _packages()
        ),
    ]


def _median_ms(statement: str) -> float:
    """Processor time of a whole interpreter: a busy machine does not change it much."""
    code = f"import time; {statement}\nprint(time.process_time())"
    runs = [float(_run("-c", code).stdout) for _ in range(_TRIES)]
    return statistics.median(runs) * 1000


def _packages() -> list[list[Cell]]:
    """By top-level package, the time that its own modules took, others imported by them not counted."""
    found: dict[str, list[int]] = {}
    for own, _, _, module in _LINE.findall(_run("-X", "importtime", "-c", "import app").stderr):
        found.setdefault(module.partition(".")[0], []).append(int(own))
    most = sorted(found.items(), key=lambda item: -sum(item[1]))[:_TOP]
    return [[package, sum(times) / 1000, len(times)] for package, times in most]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=_TIMEOUT)
