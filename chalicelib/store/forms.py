"""Texts that are the same again and again, but for a few places: written once, and then only filled in.

A form is made of a specimen: the text that some encoder has made of a value in which ``slot`` stands wherever texts are
to differ. So a form never says anything else than the encoder does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Of the private use area of Unicode: no text of ours has them, and no encoder of JSON writes them in another way.
_OPEN, _CLOSE = "\ue000", "\ue001"
_SLOT = re.compile(f"{_OPEN}(\\w+){_CLOSE}")


def slot(name: str) -> str:
    """What stands in a specimen for a text that is filled in as ``name``."""
    return f"{_OPEN}{name}{_CLOSE}"


class Form:
    """Raises ``KeyError`` where it is filled in without one of its slots."""

    def __init__(self, specimen: str) -> None:
        self._text = _SLOT.sub(r"%(\1)s", specimen.replace("%", "%%"))

    def filled(self, texts: Mapping[str, str]) -> str:
        """The text with ``texts`` in its slots, as they are: within a string of JSON they have to be escaped."""
        return self._text % texts
