"""Quantities of Kubernetes (``500m``, ``1.5Gi``) and numbers that may be percentages (``25%``)."""

from __future__ import annotations

import math
import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:[eE]([+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = "KMGTPE"


def quantity(text: str | float) -> Decimal:
    """Raises ``ValueError``.

    >>> quantity("500m"), quantity("1Ki"), quantity("2e3")
    (Decimal('0.500'), Decimal('1024'), Decimal('2E+3'))
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is no quantity")
    number, exponent, suffix = match.groups()
    if exponent:
        return Decimal(number).scaleb(int(exponent))
    if suffix and suffix.endswith("i"):
        return Decimal(number) * Decimal(1024) ** (_BINARY.index(suffix[0]) + 1)
    return Decimal(number).scaleb(_POWERS[suffix]) if suffix else Decimal(number)


def to_text(value: Decimal) -> str:
    """
    >>> to_text(Decimal("0.500")), to_text(Decimal("3")), to_text(Decimal(2 * 1024**3))
    ('500m', '3', '2Gi')
    """
    if value != value.to_integral_value():
        return f"{math.ceil(value * 1000)}m"
    whole = int(value)
    for power in range(len(_BINARY), 0, -1):
        if whole and whole % 1024**power == 0:
            return f"{whole // 1024**power}{_BINARY[power - 1]}i"
    return str(whole)


def share(value: str | int, of: int, *, up: bool) -> int:
    """
    >>> share("25%", 3, up=True), share("25%", 3, up=False), share(2, 3, up=True)
    (1, 0, 2)
    """
    if isinstance(value, int):
        return value
    part = int(value.removesuffix("%")) * of / 100
    return math.ceil(part) if up else math.floor(part)
