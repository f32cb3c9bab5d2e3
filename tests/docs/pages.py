"""The pages that are under test, and what they are made of."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"


def page(name: str) -> str:
    """The text of a page in docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def sections(text: str, level: int) -> dict[str, str]:
    """What stands under each heading of a level, by the heading's words without backticks."""
    parts = re.split(rf"^{'#' * level} (.+)$", text, flags=re.M)
    return {parts[i].replace("`", ""): parts[i + 1] for i in range(1, len(parts), 2)}


def words(text: str) -> set[str]:
    """All that is set in backticks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)))


def make_targets() -> set[str]:
    """What the Makefile says of itself with ``##``."""
    return set(re.findall(r"^([a-z-]+):.*## ", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M))


def tracked_entries() -> set[str]:
    """Names at the top of the checkout that are meant to be there: not hidden, and not made by a tool."""
    made = {"node_modules", "__pycache__"}
    return {path.name for path in PROJECT.iterdir() if not path.name.startswith(".")} - made
