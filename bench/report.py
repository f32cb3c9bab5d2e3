"""What a measurement hands back: a table, and the limits that it found broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Cell: TypeAlias = str | int | float | None
Progress: TypeAlias = Callable[[str], None]  #: told what is being measured


@dataclass(frozen=True)
class Figures:
    """One table. ``broken`` says, in words, which counts exceed their limits: that fails the whole run."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    broken: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "broken": list(self.broken),
        }


Measurement: TypeAlias = Callable[[Progress], Sequence[Figures]]


def show(cell: Cell) -> str:
    """A cell for people: thousands apart, no more digits than mean something."""
    match cell:
        case None:
            return "-"
        case int():
            return f"{cell:,}"
        case float() if abs(cell) >= 100:
            return f"{cell:,.0f}"
        case float():
            return f"{cell:.3g}"
        case _:
            return cell
