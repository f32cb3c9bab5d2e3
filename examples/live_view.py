"""A run in the terminal, while it happens: one row for each node, in the order of the graph.

In a terminal the table is drawn anew with every answer of the API; elsewhere (a log of a build, a pipe) every change
of a node is a line of its own, so that nothing is lost and nothing repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.runs import NodeRun, duration, moment, node_runs, words

#: How each status is shown: a sign, so that colour is never the only difference, and a style.
LOOKS = {
    "PENDING": ("·", "dim"),
    "QUEUED": ("·", "dim"),
    "RUNNING": ("▶", "bold blue"),
    "WAITING": ("…", "yellow"),
    "PAUSED": ("‖", "yellow"),
    "SUCCESS": ("✓", "green"),
    "FAILED": ("✗", "bold red"),
    "TIMED_OUT": ("✗", "bold red"),
    "CANCELLED": ("■", "magenta"),
    "SKIPPED": ("○", "dim"),
}


class LiveView:
    """Shows what ``update`` is given. Use as a context manager: the terminal is left in order whatever happens."""

    def __init__(self, workflow: Mapping[str, Any], console: Console, clock: Callable[[], datetime]) -> None:
        self._workflow, self._console, self._clock = workflow, console, clock
        self._shown: dict[str, str] = {}  # node id -> the status printed last
        self._live: Live | None = None
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = self._cleanup.enter_context(Live(console=self._console, auto_refresh=False))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def update(self, document: Mapping[str, Any]) -> None:
        """Takes the answer of ``GET /api/v1/executions/{id}``."""
        runs, now = node_runs(self._workflow, document), self._clock()
        if self._live:
            self._live.update(table(runs, document["execution"], now), refresh=True)
            return
        for run in runs:
            if run.status != self._shown.get(run.id, "PENDING"):
                self._shown[run.id] = run.status
                self._console.print(line(run, now), highlight=False, soft_wrap=True)


def line(run: NodeRun, now: datetime) -> Text:
    """``✓ Read CSV (s3-read): success in 0.12 s``"""
    sign, style = LOOKS[run.status]
    took = f" in {duration(run.seconds(now))}" if run.spans and all(span.finished for span in run.spans) else ""
    tries = f", {run.attempts} attempts" if run.attempts > 1 else ""
    cause = f": {run.error}" if run.error else ""
    return Text(f"{sign} {run.label} ({run.type}): {words(run.status)}{took}{tries}{cause}", style)


def table(runs: list[NodeRun], execution: Mapping[str, Any], now: datetime) -> Table:
    started = moment(execution.get("startedAt"))
    finished = moment(execution.get("finishedAt"))
    elapsed = max(0.0, ((finished or now) - started).total_seconds()) if started else 0.0
    state = execution["status"]
    grid = Table(box=None, padding=(0, 2, 0, 0), expand=True, header_style="dim", title_style="bold")
    grid.title_justify = grid.caption_justify = "left"
    grid.title = Text.assemble(execution["id"], "  ", (words(state), LOOKS[state][1]), f"  {duration(elapsed)}")
    grid.add_column("")
    grid.add_column("node", no_wrap=True)
    grid.add_column("type", style="dim", no_wrap=True)
    grid.add_column("state", no_wrap=True)
    grid.add_column("time", justify="right", no_wrap=True)
    grid.add_column("attempts", justify="right")
    grid.add_column("when", no_wrap=True, ratio=1)
    for run in runs:
        sign, style = LOOKS[run.status]
        grid.add_row(
            Text(sign, style),
            Text(run.label, style if run.status in ("PENDING", "SKIPPED") else ""),
            run.type,
            Text(words(run.status), style),
            duration(run.seconds(now)) if run.spans else "",
            str(run.attempts) if run.spans else "",
            Lane(run, started, elapsed, now),
        )
    errors = [f"{run.label}: {run.error}" for run in runs if run.error]
    grid.caption = Text("\n".join(errors), "red") if errors else None
    return grid


@dataclass(frozen=True)
class Lane:
    """When a node ran, as blocks on a line that is as long as the run so far; as wide as the terminal has room."""

    run: NodeRun
    started: datetime | None
    elapsed: float  #: seconds
    now: datetime

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.cells(options.max_width), LOOKS[self.run.status][1])

    def cells(self, width: int) -> str:
        if self.started is None or self.elapsed <= 0:
            return ""
        line = [" "] * width
        for span in self.run.spans:
            first, last = (
                min(width - 1, max(0, int((when - self.started).total_seconds() / self.elapsed * width)))
                for when in (span.started, span.finished or self.now)
            )
            line[first : last + 1] = "█" * (last + 1 - first)
        return "".join(line).rstrip()
