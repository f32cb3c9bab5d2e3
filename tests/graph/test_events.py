"""Which events a pattern means."""

from __future__ import annotations

import re
from random import Random

import pytest

from chalicelib.graph.events import matches


@pytest.mark.parametrize(
    ("pattern", "event_type", "expected"),
    [
        ("order.paid", "order.paid", True),
        ("order.paid", "order.paid.late", False),
        ("order.*", "order.paid.late", True),
        ("order.*", "order.", True),
        ("order.*", "order", False),
        ("*", "", True),
        ("*.paid", "order.paid", True),
        ("*.paid", ".paid", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "acb", False),
        ("ab*ba", "aba", False),  # the two ends do not share what is between them
        ("a.b", "axb", False),  # a dot is a dot
        ("a**b", "ab", True),
    ],
)
def test_matches(pattern: str, event_type: str, expected: bool) -> None:
    """``*`` is any run of characters, dots included, and everything else is itself."""
    assert matches(pattern, event_type) is expected


def test_matches_as_a_regular_expression_does() -> None:
    """For any pattern and type of few letters."""
    random = Random(7)
    for _ in range(5_000):
        pattern = "".join(random.choices("ab.*", k=random.randrange(7)))
        event_type = "".join(random.choices("ab.", k=random.randrange(7)))
        known = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), event_type) is not None
        assert matches(pattern, event_type) is known, (pattern, event_type)


def test_a_pattern_that_would_take_for_ever() -> None:
    """The work is bounded by pattern times type, whatever stands in them."""
    assert not matches("*a" * 100 + "b", "a" * 256)
