"""``make bench``: measures, prints tables, and writes ``bench/results/latest.json``.

``python -m bench runs requests`` measures only what is named. Ends with 1 where a count exceeds its limit; a time never
fails anything.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import (
    chains,
    compile_time,
    dataflow,
    import_time,
    inprocess,
    killed_pods,
    listing_counts,
    makespan,
    pods,
    races,
    request_counts,
    run_counts,
    scale,
)
from bench.report import Figures, Measurement, show

MEASUREMENTS: dict[str, Measurement] = {
    "runs": run_counts.measure,
    "requests": request_counts.measure,
    "lists": listing_counts.measure,
    "dataflow": dataflow.measure,
    "compile": compile_time.measure,
    "import": import_time.measure,
    "makespan": makespan.measure,
    "chains": chains.measure,
    "races": races.measure,
    "scale": scale.measure,
    "in-process": inprocess.measure,
    "pods": pods.measure,
    "killed-pods": killed_pods.measure,
}
LATEST = Path(__file__).parent / "results" / "latest.json"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}; all if none is given")
    names = parser.parse_args(arguments).names or list(MEASUREMENTS)
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        parser.error(f"there is no measurement {unknown[0]!r}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    found = {name: _measured(name, console) for name in names}
    LATEST.write_text(json.dumps(_document(found), indent=2) + "\n", encoding="utf-8")
    console.print(f"[dim]written to {LATEST}[/dim]", highlight=False, soft_wrap=True)
    broken = [fault for tables in found.values() for table in tables for fault in table.broken]
    for fault in broken:
        console.print(f"over its limit: {fault}", style="red", highlight=False, soft_wrap=True)
    return 1 if broken else 0


def _measured(name: str, console: Console) -> Sequence[Figures]:
    with console.status(name) as status:
        tables = MEASUREMENTS[name](lambda doing: status.update(f"{name}: {doing}"))
    for table in tables:
        console.print(_shown(table))
    return tables


def _shown(figures: Figures) -> Table:
    table = Table(title=figures.title, title_justify="left", title_style="bold")
    for index, column in enumerate(figures.columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=not index)
    for row in figures.rows:
        table.add_row(*map(show, row))
    return table


def _document(found: dict[str, Sequence[Figures]]) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "load": os.getloadavg()[0],  # a machine that is busy otherwise shows in every time
        "measurements": {name: [table.to_json() for table in tables] for name, tables in found.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
