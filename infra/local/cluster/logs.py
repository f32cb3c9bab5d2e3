"""Logs of containers: one file for the one that runs, one for the one before; each bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LONGEST = 10 * 1024 * 1024  # bytes, as the kubelet has it
_MOST_READ = 2 * _LONGEST


def current(folder: Path) -> Path:
    return folder / "current.log"


def previous(folder: Path) -> Path:
    return folder / "previous.log"


def begin(folder: Path) -> Path:
    """Put the log of the container that ended aside. Returns the new one's, which is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        current(folder).replace(previous(folder))
    _older(current(folder)).unlink(missing_ok=True)
    current(folder).touch(mode=0o600)
    return current(folder)


def bound(folder: Path) -> None:
    """Where a log has grown too long, keep its end beside it and let it begin anew; its writer only appends."""
    log = current(folder)
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LONGEST:
            with log.open("rb+") as file:
                file.seek(-_LONGEST // 2, 2)
                _older(log).write_bytes(file.read(_LONGEST // 2))
                file.truncate(0)


def read(log: Path, tail_lines: int | None = None, limit_bytes: int | None = None) -> bytes:
    """The end of a log, as many lines as asked for, cut off at so many bytes. Raises ``FileNotFoundError``."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _MOST_READ))
        text = file.read(_MOST_READ)
    with suppress(FileNotFoundError):
        text = _older(log).read_bytes() + text
    if tail_lines is not None:
        text = b"".join(text.splitlines(keepends=True)[-tail_lines:]) if tail_lines else b""
    return text[:limit_bytes] if limit_bytes is not None else text


def grown(log: Path, since: int) -> Iterator[tuple[bytes, int]]:
    """What was written after ``since`` bytes, and where that ends; nothing where nothing was."""
    with suppress(FileNotFoundError), log.open("rb") as file:
        size = file.seek(0, 2)
        since = since if since <= size else 0  # begun anew
        if size > since:
            file.seek(since)
            data = file.read(_MOST_READ)
            yield data, since + len(data)


def _older(log: Path) -> Path:
    return log.with_suffix(".older")
