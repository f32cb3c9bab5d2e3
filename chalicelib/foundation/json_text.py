"""JSON text that is too long to be held: quoted, unquoted and checked as it passes by, a chunk at a time.

Each function takes chunks of bytes, cut anywhere, and gives chunks. Memory is a small multiple of the largest chunk.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from functools import cache
from math import isfinite

from chalicelib.foundation.json_types import MAX_DEPTH

_UTF8 = getincrementaldecoder("utf-8")
_BLANK = b" \t\n\r"
_LONGEST_ESCAPE = 12  # characters: a pair of surrogates
_LONGEST_NUMBER = 1_000  # characters


def quoted(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The JSON string of a text. Raises ``UnicodeDecodeError`` where it is not UTF-8."""
    decoder = _UTF8()
    yield b'"'
    for chunk in chunks:
        yield json.dumps(decoder.decode(chunk), ensure_ascii=False)[1:-1].encode()
    decoder.decode(b"", final=True)
    yield b'"'


def unquoted(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The text of a JSON string without space around it, as UTF-8."""
    held, begun = b"", False
    for chunk in chunks:
        if held:
            text, held = _whole_characters(held)
            yield text
        held += chunk
        if held and not begun:
            held, begun = held[1:], True
    yield _unescaped(held[:-1])


def _whole_characters(escaped: bytes) -> tuple[bytes, bytes]:
    """The text of all but the last few bytes, which may be the beginning of a character or of its escape."""
    for end in range(len(escaped) - 1, max(len(escaped) - _LONGEST_ESCAPE, 0) - 1, -1):
        try:
            return _unescaped(escaped[:end]), escaped[end:]
        except ValueError:
            continue
    return b"", escaped


def _unescaped(escaped: bytes) -> bytes:
    """Raises ``ValueError`` for what is cut within a character or an escape, or between a pair of surrogates."""
    text: str = json.loads(b'"' + escaped + b'"')
    return text.encode()


def checked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """JSON text as it comes, less the space around it.

    Raises ``ValueError`` for what ``json_types.loads`` refuses, once all before the fault has been given out, and for
    numbers of more than 1,000 characters.
    """
    decoder, checker, begun = _UTF8(), _Checker(), False
    for chunk in chunks:
        had_ended = checker.has_ended
        checker.feed(decoder.decode(chunk))
        body = chunk if begun else chunk.lstrip(_BLANK)
        if checker.has_ended:
            body = b"" if had_ended else body.rstrip(_BLANK)
        if body:
            begun = True
            yield body
    decoder.decode(b"", final=True)
    checker.end()


_HEX = "[0-9a-fA-F]"
_PAIR = rf"u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}"  # of surrogates: one without the other is no character
_ESCAPE = rf'\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F]){_HEX}{{4}}|{_PAIR})'
_STRING = rf'(?:[^"\\\x00-\x1f]++|{_ESCAPE})*+'
_CONTENT = re.compile(_STRING)
_SPACE = re.compile(r"[ \t\n\r]*+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+")
_PARTS_OF_NUMBERS = re.compile(r"[-+.0-9eE]*+")
_WORDS = ("true", "false", "null")
_WHOLE_LEVELS = 2  # of arrays and objects that are read as one token


@cache
def _several(bracket: str) -> re.Pattern[str]:
    """What follows a value up to ``bracket``, as far as it is of few levels: ten times as fast as token by token."""
    space = _SPACE.pattern
    # Of numbers the usual ones, with what shows that they have ended.
    value = rf'"{_STRING}"|-?(?:0|[1-9][0-9]{{0,17}}+)(?:\.[0-9]{{1,18}}+)?+(?=[ \t\n\r,\]}}])|{"|".join(_WORDS)}'
    for _ in range(_WHOLE_LEVELS):
        entry = rf'"{_STRING}"{space}:{space}(?>{value})'
        value += "".join(
            rf"|{opening}{space}(?:(?>{item}){space}(?:,{space}(?>{item}){space})*+)?+{closing}"
            for opening, item, closing in ((r"\[", value, r"\]"), (r"\{", entry, r"\}"))
        )
    entry = rf'"{_STRING}"{space}:{space}(?>{value})' if bracket == "}" else rf"(?>{value})"
    return re.compile(rf"(?:{space},{space}{entry})++")


class _Checker:
    """Reads JSON text, and remembers no more of it than which arrays and objects are open."""

    def __init__(self) -> None:
        self._rest = ""  # what was not read yet, because its end was not there
        self._open: list[str] = []  # of each array and object the bracket that closes it
        self._state = "value"  # what may come: value, item (or "]"), key, name (or "}"), colon, next, end, string
        self._string_is_name = False

    @property
    def has_ended(self) -> bool:
        return self._state == "end"

    def feed(self, text: str, *, final: bool = False) -> None:
        text, at = self._rest + text, 0
        while (reached := self._read(text, at, final)) > at:
            at = reached
        self._rest = text[at:]

    def end(self) -> None:
        self.feed("", final=True)
        if not self.has_ended or self._rest:
            raise ValueError("the text ends too early")

    def _read(self, text: str, at: int, final: bool) -> int:
        """Reads one token, and returns where it ends; ``at`` where more text is needed for it."""
        if self._state == "string":
            return self._read_string(text, at, final)
        few_levels = self._state == "next" and len(self._open) + _WHOLE_LEVELS <= MAX_DEPTH
        if few_levels and (several := _several(self._open[-1]).match(text, at)):
            return several.end()
        at_token = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches anything
        if at_token == len(text):
            return at_token
        char = text[at_token]
        match self._state:
            case "end":
                raise ValueError("there is more behind the value")
            case "colon":
                self._expect(char == ":")
                self._state = "value"
            case "next":
                if char == self._open[-1]:
                    self._close()
                else:
                    self._expect(char == ",")
                    self._state = "value" if self._open[-1] == "]" else "key"
            case "name" if char == "}":
                self._close()
            case "item" if char == "]":
                self._close()
            case "name" | "key":
                self._expect(char == '"')
                self._state, self._string_is_name = "string", True
            case _:
                return self._read_value(text, at_token, char, final)
        return at_token + 1

    def _read_value(self, text: str, at: int, char: str, final: bool) -> int:
        if len(self._open) > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if char == '"':
            self._state, self._string_is_name = "string", False
        elif char == "[":
            self._open.append("]")
            self._state = "item"
        elif char == "{":
            self._open.append("}")
            self._state = "name"
        else:
            return self._read_scalar(text, at, final)
        return at + 1

    def _read_scalar(self, text: str, at: int, final: bool) -> int:
        beginning = text[at : at + 5]
        for word in _WORDS:
            if beginning.startswith(word):
                self._ended()
                return at + len(word)
            if not final and word.startswith(beginning):
                return at
        end = _PARTS_OF_NUMBERS.match(text, at).end()  # type: ignore[union-attr]
        if end == len(text) and not final and end - at <= _LONGEST_NUMBER:
            return at
        number = _NUMBER.fullmatch(text, at, end)
        if number is None or end - at > _LONGEST_NUMBER or not isfinite(float(number[0])):
            raise ValueError(f"no JSON value begins with {text[at : at + 20]!r}")
        self._ended()
        return end

    def _read_string(self, text: str, at: int, final: bool) -> int:
        end = _CONTENT.match(text, at).end()  # type: ignore[union-attr]
        if end < len(text) and text[end] == '"':
            if self._string_is_name:
                self._state = "colon"
            else:
                self._ended()
            return end + 1
        if not final and (end == len(text) or (text[end] == "\\" and len(text) - end < _LONGEST_ESCAPE)):
            return end
        raise ValueError("a string does not end, or holds a control character or an escape that is none")

    def _close(self) -> None:
        self._open.pop()
        self._ended()

    def _ended(self) -> None:
        """A value has ended."""
        self._state = "next" if self._open else "end"

    def _expect(self, found: bool) -> None:
        if not found:
            wanted = {"colon": "':'", "next": "',' or a closing bracket"}.get(self._state, "a name in quotes")
            raise ValueError(f"{wanted} is missing")
