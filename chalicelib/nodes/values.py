"""How JSON values count as lists and as true or false.

The rules of JSONata, for the handlers that need them in Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chalicelib.foundation.json_types import Json


def is_true(value: Json) -> bool:
    """As JSONata's ``$boolean``.

    Empty texts, objects and lists, zero and null are false, and so is a list of nothing but such.
    """
    if isinstance(value, (str, Mapping)):
        return len(value) > 0
    if isinstance(value, Sequence):
        return any(is_true(item) for item in value)
    return bool(value)


def as_list(value: Json) -> Sequence[Json]:
    """A list as it is, null as none, anything else as the one item.

    JSONata does not tell a value from a list of one.
    """
    if value is None:
        return []
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    return [value]
