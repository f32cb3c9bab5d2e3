"""JSON text is written and read as the library's own encoder and decoder do it, to the byte and to the error."""

from __future__ import annotations

import collections
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.foundation import json_types
from chalicelib.foundation.json_types import MAX_DEPTH, Stored, dumps, loads

REFERENCE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text(st.characters(categories=["Cs"]))
)
KEYS = st.text() | st.integers() | st.booleans() | st.none() | st.floats()
VALUES = st.recursive(
    SCALARS | st.builds(object) | st.builds(Stored, st.text(), st.integers()) | st.binary(max_size=2),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner) | st.frozensets(st.integers())
    ),
    max_leaves=12,
)


def outcome(call: Any, *arguments: Any) -> Any:
    """What a call returns, as text that tells 1 from 1.0 and from True; or its error."""
    try:
        return repr(call(*arguments))
    except Exception as error:
        return type(error), str(error)


@given(VALUES)
@example(math.inf)
@example({"a": [1, math.nan]})
@example([-0.0, 1e16, 1e-7, 10**30, True])
def test_text_is_that_of_the_library(value: Any) -> None:
    """Of any value, and the error of what is no JSON."""
    assert outcome(dumps, value) == outcome(REFERENCE.encode, value)


def test_subclasses() -> None:
    """Are written as what they are."""
    text = type("Text", (str,), {})("é")
    number = type("Number", (int,), {})(7)
    value = collections.OrderedDict(b=(text, number), a=collections.defaultdict(list, {text: [number]}))
    assert dumps(value) == REFERENCE.encode(value) == '{"b":["é",7],"a":{"é":[7]}}'
    assert dumps(text) == '"é"'


def circle() -> Any:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append(value)
    return value


def test_a_circle() -> None:
    """Is told at its first turn; and nothing is remembered of what has failed."""
    value = circle()
    for _ in range(2):
        with pytest.raises(ValueError, match="Circular reference detected"):
            dumps(value)
    value["a"].pop()
    assert dumps(value) == '{"a":[1]}'
    again = [value, {"x": object()}]
    with pytest.raises(TypeError, match="Object of type object is not JSON serializable"):
        dumps(again)
    again.pop()
    assert dumps(again) == '[{"a":[1]}]'
    assert dumps([value, value]) == '[{"a":[1]},{"a":[1]}]'  # twice is no circle
    assert not json_types._WITHIN


def test_one_call_within_another() -> None:
    """A value that is written while it is written is no circle."""

    class Nested(dict[str, Any]):
        def items(self) -> Any:
            assert dumps(inner) == '{"b":1}'
            assert dumps(outer[:1]) == '[{"b":1}]'
            return super().items()

    inner = {"b": 1}
    outer: list[Any] = [inner]
    outer.append(Nested(a=inner))
    assert dumps(outer) == '[{"b":1},{"a":{"b":1}}]'
    assert not json_types._WITHIN


def test_one_call_beside_another() -> None:
    """Nor is one that another thread writes at the same time, even if that fails."""
    begun, failed = threading.Event(), threading.Event()

    class Slow(dict[str, Any]):
        def items(self) -> Any:
            begun.set()
            failed.wait(10)
            return super().items()

    inner = {"b": 1}
    slow = [inner, {"c": Slow(a=inner)}]
    with ThreadPoolExecutor(1) as pool:
        text = pool.submit(dumps, slow)
        assert begun.wait(10)
        assert dumps([slow[0]]) == '[{"b":1}]'
        with pytest.raises(TypeError):
            dumps([inner, object()])
        failed.set()
        assert text.result(10) == '[{"b":1},{"c":{"a":{"b":1}}}]'


def test_without_the_part_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that has none writes the same."""
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    monkeypatch.setattr(json_types, "_encode", json_types._encoder())
    value = {"a": [1, 2.5, None, {"é": "\n"}], "b": []}
    assert dumps(value) == '{"a":[1,2.5,null,{"é":"\\n"}],"b":[]}'
    for wrong in (circle(), [math.nan], {"a": object()}):
        assert outcome(dumps, wrong) == outcome(REFERENCE.encode, wrong)


def reference_loads(text: str) -> Any:
    """The library's decoder with the same hooks, and the whole text searched for what it must not hold."""
    value = json_types._STRICT.decode(text)
    json_types._check_depth(value)
    json_types._check_surrogates(value)
    return value


SPACE = st.text(" \t\n\r", max_size=2)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
TEXTS = st.builds(
    lambda before, value, ascii_only, indent, after: (
        before + json.dumps(value, ensure_ascii=ascii_only, indent=indent) + after
    ),
    SPACE,
    JSON,
    st.booleans(),
    st.sampled_from([None, 1]),
    SPACE | st.text(max_size=3),
)


@given(TEXTS, st.integers(0, 60), st.integers(0, 2), st.text(max_size=2))
@example("", 0, 0, "")
@example(" ", 0, 0, "")
@example("\ufeff1", 0, 0, "")
@example('{"a": 1} \n x', 0, 0, "")
@example("1\x0c", 0, 0, "")
@example("1\xa0", 0, 0, "")
@example("[" * 50 + "]" * 50 + " ", 0, 0, "")
def test_values_are_those_of_the_library(text: str, at: int, dropped: int, inserted: str) -> None:
    """Of text as it is written, and damaged: value and error, with its place, are the same; of bytes too."""
    for read in (text, text[:at] + inserted + text[at + dropped :]):
        assert outcome(loads, read) == outcome(reference_loads, read)
        assert outcome(loads, read.encode()) == outcome(loads, read)


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 100_000])
def test_depth(depth: int) -> None:
    """Up to a hundred levels are read, and no more, in objects as in arrays."""
    for text in ("[" * depth + "1" + "]" * depth, '{"":' * depth + "1" + "}" * depth):
        if depth <= MAX_DEPTH:
            assert dumps(loads(text)) == text
        else:
            with pytest.raises(ValueError, match="nested deeper than 100 levels"):
                loads(text)
