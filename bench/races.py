"""Runs that race at every late join: random graphs of nodes that take no time, eight runs at once.

On a local stack of its own. Every run is checked: order, that each node ran once, and that none was missed. A run that
is not as it has to be breaks the measurement.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.report import Cell, Figures, Progress
from bench.stack import local_stack
from tests.stack.api import Api
from tests.stack.races import AT_ONCE, GRAPHS, NODES, race

RUNS = 50  # of each graph
COLUMNS = ("graphs", "nodes of each", "runs", "at once", "seconds", "right")


def measure(progress: Progress) -> Sequence[Figures]:
    """One table; ``broken`` where a run was not right."""
    with local_stack(progress) as stack:
        progress(f"{GRAPHS * RUNS} runs")
        began = time.monotonic()
        try:
            runs, broken = race(Api(stack), RUNS), []
        except AssertionError as fault:
            runs, broken = 0, [f"a race was lost: {str(fault)[:1000]}"]
        seconds = time.monotonic() - began
    row: list[Cell] = [str(GRAPHS), NODES, GRAPHS * RUNS, AT_ONCE, seconds, runs]
    return [Figures("Racing runs of random graphs on the emulator", COLUMNS, [row], broken)]
