"""``limit`` and ``offset`` of a query, and other parameters of lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from chalicelib.foundation.errors import Fault, InvalidInput

DEFAULT_LIMIT = 20
MAX_LIMIT = 200
MAX_OFFSET = 1_000_000

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True)
class Page:
    limit: int
    offset: int


def page_and_choice(query: Mapping[str, str], name: str, choices: Mapping[str, E]) -> tuple[Page, E | None]:
    """The page that a query asks for, and the value of its parameter ``name`` by the words of ``choices``.

    Raises ``InvalidInput`` with all that is wrong.
    """
    faults: list[Fault] = []
    limit = _number(query, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT, faults)
    offset = _number(query, "offset", 0, 0, MAX_OFFSET, faults)
    word = query.get(name)
    if word is not None and word not in choices:
        faults.append(Fault(name, f"{word!r} is none of {', '.join(choices)}"))
    if faults:
        raise InvalidInput(faults)
    return Page(limit, offset), choices[word] if word is not None else None


def _number(query: Mapping[str, str], name: str, default: int, least: int, most: int, faults: list[Fault]) -> int:
    text = query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and least <= int(text[:12]) <= most:
        return int(text)
    faults.append(Fault(name, f"{text!r} is no whole number from {least} to {most}"))
    return default
