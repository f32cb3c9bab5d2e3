"""JSON text as it passes by: read in chunks it means what it means as a whole, wherever it is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.foundation.json_text import checked, quoted, unquoted
from chalicelib.foundation.json_types import MAX_DEPTH, dumps, loads

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)
SIZES = st.integers(1, 40)


def cut(text: bytes, size: int) -> Iterator[bytes]:
    return (text[at : at + size] for at in range(0, len(text), size))


def accepted(text: bytes, size: int) -> bytes | None:
    try:
        return b"".join(checked(cut(text, size)))
    except ValueError:
        return None


def is_json(text: bytes) -> bool:
    try:
        loads(text)
    except ValueError:
        return False
    return True


@given(TEXTS, SIZES)
def test_text_becomes_a_json_string_and_text_again(text: str, size: int) -> None:
    """Whatever characters, and wherever the bytes are cut: within a character, within an escape."""
    body = text.encode()
    string = b"".join(quoted(cut(body, size)))
    assert string == dumps(text).encode()
    assert b"".join(unquoted(cut(string, size))) == body


@given(TEXTS, SIZES)
def test_escapes_of_others_are_understood(text: str, size: int) -> None:
    """A string that escapes all it can, with pairs of surrogates, is the same text."""
    string = json.dumps(text).replace("/", "\\/").encode()
    assert b"".join(unquoted(cut(string, size))) == text.encode()


@pytest.mark.parametrize("body", [b"\xff", b"a\xc3", b"\xed\xa0\x80"])
def test_what_is_not_utf8(body: bytes) -> None:
    """Is refused, also where it only ends too early."""
    for chunks in (quoted(cut(body, 1)), checked(cut(b'"' + body, 1))):
        with pytest.raises(UnicodeDecodeError):
            list(chunks)


@given(VALUES, SIZES, st.sampled_from([None, 1]), st.booleans())
def test_json_passes_as_it_is(value: Any, size: int, indent: int | None, ascii_only: bool) -> None:
    """Any value, however it is written; only the space around it is dropped."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert accepted(b" \n\t" + text + b"\r\n  ", size) == text


GOOD = [
    "[]",
    "{}",
    "[[],{}]",
    '{"a":{"b":[1,-0.5e+3,1E9]},"a":null}',
    "0",
    "-0",
    "12",
    '"\\ud83d\\ude00"',
    '"\x7f"',
    "1" * 40,
]
DEEP = ["[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH, "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)]
TOO_DEEP = [
    "[" * (MAX_DEPTH + 1) + "1" + "]" * (MAX_DEPTH + 1),
    '{"a":' * (MAX_DEPTH + 1) + "[1]" + "}" * (MAX_DEPTH + 1),
]
BAD = [
    "", " ", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[}", "[1}", "1 2", "[] []", "[1]\x00", "[[1,2],[3,]]",
    "{", "{]", "{,}", '{"a"', '{"a":', '{"a":}', '{"a":1,}', "{a:1}", "{1:1}", '{"a" 1}', '{"a":1 "b":2}', '{"a":1]',
    "tru", "truefalse", "nul", "True", "NaN", "-Infinity", "\ufeff[]", "/* */ 1", "'a'",
    '[{"a":1},{"b"}]', '[1,"a]', '["a" , "b"c]', "[[],[]", "[{},{}}", "[[[[1,]]]]", '{"a":[1,{"b":[1,{"c":01}]}]}',
    "01", "-", "+1", "1.", ".5", "1e", "1e+", "1-2", "0x1", "1e999", "-1e999", "9" * 400,
    "[0,01]", "[1,2 ,3x]", "[0,1e999]",
    '"', '"\\"', '"\\x"', '"\\u12"', '"\\u12g4"', '"\n"', '"\x00"', '"\\ude00"', '"\\ud83dx"', '"\\ud83d\\u0041"',
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD + DEEP + TOO_DEEP + BAD)
def test_the_same_is_json_as_for_the_whole(text: str) -> None:
    """For every case of the grammar, cut anywhere: accepted is what ``loads`` accepts, alone and among others."""
    assert is_json(text.encode()) == (text in GOOD + DEEP)
    for around in ("%s", "[%s]", "[1,%s]", "[[[0,%s,1]]]", '{"k":"v","x":%s}', '[{"a":[{"b":0,"x":%s}]}]'):
        whole = (around.replace("%s", text)).encode()
        for size in (1, 2, 3, 7, len(whole) or 1):
            assert accepted(whole, size) == (whole.strip() if is_json(whole) else None), (whole, size)


@given(VALUES, st.binary(max_size=2), st.integers(0, 200), st.integers(0, 3), SIZES)
def test_damage_is_judged_alike(value: Any, inserted: bytes, at: int, dropped: int, size: int) -> None:
    """A text that somebody has damaged is accepted if and only if it happens to be JSON all the same."""
    text = dumps(value).encode()
    at %= len(text) + 1
    damaged = text[:at] + inserted + text[at + dropped :]
    assert (accepted(damaged, size) is not None) == is_json(damaged)


def test_a_number_without_end() -> None:
    """Is refused once it is longer than any that means something: it would have to be remembered."""
    with pytest.raises(ValueError, match="no JSON value begins with '1111"):
        list(checked(b"1" * 10_000 for _ in range(10**9)))
