"""Bytes that come in pieces and have to be known whole: put aside, in memory while they are few and then on disk.

The file has no name, so nothing is left of it when the process ends, however it does.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from chalicelib.foundation.errors import Permanent

MAX_BYTES = 400_000_000  #: a Lambda has 512 MB of disk
_MEMORY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Spool:
    file: IO[bytes]  # at its beginning
    size: int
    sha256: bytes


@contextmanager
def spooled(chunks: Iterable[bytes]) -> Iterator[Spool]:
    """All of ``chunks``, for as long as the context lasts.

    Raises ``Permanent`` for more than ``MAX_BYTES``, and whatever ``chunks`` raises.
    """
    with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as file:
        size, digest = 0, hashlib.sha256()
        for chunk in chunks:
            size += file.write(chunk)
            digest.update(chunk)
            if size > MAX_BYTES:
                raise Permanent("PayloadTooLarge", f"A value comes to more than {MAX_BYTES} bytes of text.")
        file.seek(0)
        yield Spool(file, size, digest.digest())
