"""Pods that are killed in the middle of runs of ten steps, each of which does something: what is left of the runs.

On a local stack of its own. Every run is checked: that it succeeded, and that no step that was done was done again. A
run that is not as it has to be breaks the measurement.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.report import Cell, Figures, Progress
from bench.stack import local_stack
from tests.stack.api import Api
from tests.stack.pods import STEPS, kill_in_runs

KILLS = 50
COLUMNS = ("killed in", "of them cut off", "steps tried again", "seconds", "right")


def measure(progress: Progress) -> Sequence[Figures]:
    """One table; ``broken`` where a run was not right."""
    with local_stack(progress) as stack:
        progress(f"{KILLS} runs")
        began = time.monotonic()
        killed = kill_in_runs(Api(stack), KILLS)
        seconds = time.monotonic() - began
    wrong = len({fault.partition(":")[0] for fault in killed.faults})
    row: list[Cell] = [str(killed.runs), killed.cut_off, killed.tried_again, seconds, killed.runs - wrong]
    title = f"Runs of {STEPS} steps whose pod is killed at a random moment"
    return [Figures(title, COLUMNS, [row], killed.faults)]
