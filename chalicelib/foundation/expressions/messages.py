"""What went wrong, in words.

The library's messages say "Object" where they mean "function", and may quote a whole document.
"""

from __future__ import annotations

import re
from typing import Any

from jsonata.jexception import JException

QUOTED_CHARS = 80
MESSAGE_CHARS = 500
_OVERRIDES = {
    "S0211": "{{token}} cannot stand here",
    "T0410": "argument {{index}} of ${{token}} is not of the type that it takes",
    "T0411": "the context is not of the type that argument {{index}} takes",
    "T0412": "argument {{index}} of ${{token}} must be an array of {{type}}",
    "T1006": "what is called is not a function",
    "D1001": "the result is not a finite number: {{value}}",
}
_KINDS = {"JList": "an array", "list": "an array", "dict": "an object", "NullValue": "null"}
_TYPES = {"n": "numbers", "s": "texts", "o": "objects"}


def explain(error: JException) -> str:
    """One sentence for an error of the library, with its values cut short."""
    if error.error in ("D3137", "D3141"):
        return str(error.current)[:MESSAGE_CHARS]  # written by the expression itself, with $error or $assert
    if error.error == "T1006" and isinstance(error.current, str):
        return f"there is no function ${_cut(error.current)}"
    template = _OVERRIDES.get(error.error) or JException.error_codes.get(error.error)
    if template is None:
        return _cut(error.error)
    values = iter((error.current, error.expected, error.extra))
    template = re.sub(r"\bObject\b", "function", template)
    return re.sub(r"\{\{\{?\w+\}?\}\}", lambda _: _shown(next(values, None)), template)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return _TYPES.get(value, _cut(value))
    if isinstance(value, int | float):
        return _cut(str(value))
    return _KINDS.get(type(value).__name__, "")


def _cut(text: str) -> str:
    return text if len(text) <= QUOTED_CHARS else text[: QUOTED_CHARS - 3] + "..."
