"""Texts that are the same again and again, but for a few places: written once, and then only filled in.

A form is made of a specimen: the text that some encoder has made of a value in which ``slot`` stands wherever texts are
to differ. So a form never says anything else than the encoder does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Of the private use area of Unicode: our texts do not have them, and no encoder of JSON writes them in another way.
_OPEN, _CLOSE = "\ue000", "\ue001"
_SLOT = re.compile(f"{_OPEN}(\\w+){_CLOSE}")


def slot(name: str) -> str:
    """What stands in a specimen for a text that is filled in as ``name``."""
    return f"{_OPEN}{name}{_CLOSE}"


def is_free_of_slots(text: str) -> bool:
    """Whether a text that others have written may stand in a specimen: in almost any it may."""
    return _OPEN not in text


class Form:
    """A specimen with places to be filled in."""

    def __init__(self, specimen: str) -> None:
        self._pieces = _SLOT.split(specimen)  # each second one is the name of a slot
        self._names = self._pieces[1::2]

    def filled(self, texts: Mapping[str, str]) -> str:
        """The text with ``texts`` in its slots, as they are: within a string of JSON they have to be escaped.

        Raises ``KeyError`` where one is missing.
        """
        pieces = self._pieces.copy()
        pieces[1::2] = [texts[name] for name in self._names]
        return "".join(pieces)
