"""Repairs of the emulator (MiniStack 1.5.33) that bring back what AWS does."""

from __future__ import annotations


def apply() -> None:
    """Apply all of them."""
