"""What a query says, read with all its faults gathered: ``limit`` and ``offset``, words out of a choice, texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from chalicelib.foundation.errors import Fault, InvalidInput

DEFAULT_LIMIT = 20
MAX_LIMIT = 200
MAX_OFFSET = 1_000_000
_MAX_DIGITS = 12  # leading zeros included; Python refuses to read numbers of thousands

T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    limit: int
    offset: int


class QueryReader:
    """Reads the parameters of a query one by one; ``check`` then tells all that is wrong."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query
        self._faults: list[Fault] = []

    def page(self, most: int = MAX_LIMIT, default: int = DEFAULT_LIMIT) -> Page:
        return Page(self._number("limit", default, 1, most), self._number("offset", 0, 0, MAX_OFFSET))

    def choice(self, name: str, choices: Mapping[str, T]) -> T | None:
        """The value for the word that the query gives; None where it gives none."""
        word = self._query.get(name)
        if word is None:
            return None
        if word not in choices:
            self._faults.append(Fault(name, f"{word!r} is none of {', '.join(choices)}"))
        return choices.get(word)

    def text(self, name: str) -> str | None:
        return self._query.get(name) or None

    def check(self) -> None:
        """Raises ``InvalidInput`` with every fault that was met."""
        if self._faults:
            raise InvalidInput(self._faults)

    def _number(self, name: str, default: int, least: int, most: int) -> int:
        text = self._query.get(name)
        if text is None:
            return default
        if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and least <= int(text) <= most:
            return int(text)
        self._faults.append(Fault(name, f"{text!r} is no whole number from {least} to {most}"))
        return default
