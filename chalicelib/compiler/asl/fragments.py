"""The shapes of states, kept as JSON files in ``stepfn_templates/`` and filled here.

A text that is wholly ``${Name}`` becomes the value given for ``Name``, of whatever type; within a longer text it is put
in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_WHOLE = re.compile(r"\$\{(\w+)\}")


@cache
def folder() -> Path:
    """Where the templates lie: beside the packages in a checkout, and beside them in a Lambda's zip."""
    return Path(__file__).resolve().parents[3] / "stepfn_templates"


@cache
def _template(name: str) -> Any:
    return json.loads((folder() / f"{name}.json").read_text())


def fill(name: str, **values: Any) -> dict[str, Any]:
    """The fragment ``name`` with every placeholder replaced. Raises ``KeyError`` for one without a value."""
    filled: dict[str, Any] = _fill(_template(name), values)
    return filled


def _fill(template: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(template, dict):
        return {_fill(key, values): _fill(item, values) for key, item in template.items()}
    if isinstance(template, list):
        return [_fill(item, values) for item in template]
    if isinstance(template, str):
        if whole := _WHOLE.fullmatch(template):
            return values[whole[1]]
        return _WHOLE.sub(lambda match: str(values[match[1]]), template)
    return template
