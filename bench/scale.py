"""Large runs on Step Functions: a graph of a thousand nodes, and a loop over ten thousand items.

On a local stack of its own. That they come to their end, whole, is what is held against a limit; how long they take is
the emulator's doing for the most part, which runs every state, every function and the table on this one machine.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from bench import graphs
from bench.report import Cell, Figures, Progress
from bench.stack import local_stack
from chalicelib.graph.executions import MAX_TASKS
from tests.stack.api import FINAL, Api, Run

NODES = 1_000
ITEMS = 10_000
COLUMNS = ("run", "nodes and items", "seconds", "per second", "first page of tasks, ms")
_DEADLINE_S = 1_500  # for one run
_POLL_S = 1.0


def measure(progress: Progress) -> Sequence[Figures]:
    """One table; ``broken`` where a run does not succeed with all that belongs to it."""
    runs = {
        f"random layers of ten, {NODES:,} nodes": (graphs.layered(NODES), NODES),
        f"loop of {ITEMS:,} items": (graphs.loop(ITEMS), ITEMS + 1),
    }
    rows: list[list[Cell]] = []
    broken: list[str] = []
    with local_stack(progress) as stack:
        api = Api(stack)
        for name, (shape, size) in runs.items():
            progress(name)
            began = time.monotonic()
            run = api.start(shape)
            status = _ended(run)
            seconds = time.monotonic() - began
            looked = time.monotonic()
            api.detail(run.id)
            rows.append([name, size, seconds, size / seconds, (time.monotonic() - looked) * 1000])
            done = Counter(task["status"] for task in _tasks(run))
            if (status, done) != ("SUCCESS", {"SUCCESS": size}):
                broken.append(f"{name}: {status}, with tasks {dict(done)}")
    return [Figures("Large runs on the emulator", COLUMNS, rows, broken)]


def _ended(run: Run) -> str:
    """How a run has ended, or stands when it is waited for no longer."""
    deadline = time.monotonic() + _DEADLINE_S
    while (status := _page(run, 0, 1)["execution"]["status"]) not in FINAL and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return str(status)


def _tasks(run: Run) -> Iterator[dict[str, Any]]:
    offset: int | None = 0
    while offset is not None:
        page = _page(run, offset, MAX_TASKS)
        yield from page["tasks"]
        offset = page.get("nextOffset")


def _page(run: Run, offset: int, limit: int) -> dict[str, Any]:
    answer = run.api.send("GET", f"/api/v1/executions/{run.id}?offset={offset}&limit={limit}")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.body
    return found
