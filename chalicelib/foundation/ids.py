"""Identifiers: a prefix that says of what, and 80 random bits that no one guesses."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections import deque
from typing import Literal, Protocol

Prefix = Literal["wf", "exec", "conn", "node", "key", "audit", "proc", "appr", "evt"]

#: Lower case without the letters that people mistake for each other (Crockford's base 32).
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 16  # characters of 5 bits
_BY_BYTE = bytes(ord(_ALPHABET[byte % 32]) for byte in range(256))


_AT_ONCE = 64
_ready: deque[str] = deque()  # given out once each, to whichever thread
os.register_at_fork(after_in_child=_ready.clear)  # or parent and child would both give them out


class Ids(Protocol):
    def new(self, prefix: Prefix) -> str:
        """An identifier that was never given before."""


class RandomIds:
    """Asks the system for the bits of many at once: a question takes ten times as long as the rest."""

    def new(self, prefix: Prefix) -> str:
        try:
            return f"{prefix}_{_ready.pop()}"
        except IndexError:
            text = _text(secrets.token_bytes(_AT_ONCE * _LENGTH))
            _ready.extend(text[start : start + _LENGTH] for start in range(0, len(text), _LENGTH))
            return self.new(prefix)


def derived(prefix: Prefix, *parts: str) -> str:
    """The identifier of what follows from ``parts``, and from them alone: who makes it twice makes one thing."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return f"{prefix}_{_text(digest[:_LENGTH])}"


def _text(random: bytes) -> str:
    """A character for each byte."""
    return random.translate(_BY_BYTE).decode()


_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_id(text: str) -> bool:
    """Whether a text of a client's may be an identifier of ours at all."""
    return _ID.fullmatch(text) is not None


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


def is_name(text: str) -> bool:
    """Whether a text may be the name of a user or an organisation."""
    return _NAME.fullmatch(text) is not None
