"""Node types that shape data."""

from __future__ import annotations

import csv

import pytest

from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.expressions import ExpressionError
from chalicelib.foundation.json_types import Json
from tests.nodes.handlers import output


def test_manual_trigger_puts_out_the_payload() -> None:
    """Its output is what the run was started with."""
    assert output("manual-trigger", {}, trigger={"n": 1}) == {"n": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a,b\n", []),
        ("a,b\n1,2\n3,4", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        ("a,b\r\n1,2\r\n", [{"a": "1", "b": "2"}]),  # lines as RFC 4180 ends them
        ("\ufeffa\n1\n", [{"a": "1"}]),  # a byte order mark is no part of the first name
        ('a,b\n"x,y","say ""hi""\nthere"\n', [{"a": "x,y", "b": 'say "hi"\nthere'}]),
        ("a,b\n1\n", [{"a": "1", "b": ""}]),  # what a short record lacks is empty
        ("a\n\n1\n\n", [{"a": "1"}]),  # an empty line is no record
        ("a,b\n,\n", [{"a": "", "b": ""}]),
        ("ü,a b\n1, 2 \n", [{"ü": "1", "a b": " 2 "}]),  # spaces belong to the value
        ("a\n" + "x" * 200_000, [{"a": "x" * 200_000}]),  # a field is as long as it likes
    ],
)
def test_csv_parse(text: str, expected: Json) -> None:
    """A list of objects, all values text."""
    assert output("csv-parse", {"text": text}) == expected


def test_parsing_narrows_nothing() -> None:
    """The limit of a field is the process's own: after a short text, others read what is longer."""
    output("csv-parse", {"text": "a\n1\n"})
    assert csv.field_size_limit() > 10**9


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,a\n1,2,3\n", "a, b, a"),
        ("a\n1\n2,3\n", "record 2 has 2 values"),
        ('a\n"open', "line 2"),
        ('a\n"x"y\n', "line 2"),
    ],
)
def test_csv_that_is_none(text: str, says: str) -> None:
    """What would lose or mix up values is an error, which the same text would give again."""
    with pytest.raises(Permanent, match=says) as raised:
        output("csv-parse", {"text": text})
    assert raised.value.name == "CsvError"


@pytest.mark.parametrize(
    ("text", "expected"), [('{"a": [1, null]}', {"a": [1, None]}), (" 3 ", 3), ('"ü"', "ü"), ("null", None)]
)
def test_json_parse(text: str, expected: Json) -> None:
    """The value that the text says."""
    assert output("json-parse", {"text": text}) == expected


@pytest.mark.parametrize("text", ["", "{", "NaN", "1e999", "[1,]", '"\\ud800"', "[" * 5000 + "]" * 5000])
def test_json_that_is_none(text: str) -> None:
    """Nor is what no JSON reader agrees on, or nests beyond reason."""
    with pytest.raises(Permanent) as raised:
        output("json-parse", {"text": text})
    assert raised.value.name == "JsonError"


@pytest.mark.parametrize(
    ("config", "data", "expected"),
    [
        ({"condition": "item > 1"}, [1, 2, 3], [2, 3]),
        ({"condition": "item.ok", "items": "data.list"}, {"list": [{"ok": True}, {"ok": False}, {}]}, [{"ok": True}]),
        ({"condition": "item > data[0]"}, [1, 2], [2]),
        ({"condition": "true"}, None, []),
        ({"condition": "true"}, 7, [7]),  # a value is a list of one
        ({"condition": "true"}, "text", ["text"]),
        ({"condition": "item"}, [0, "", None, [], {}, [0], [[], 1], "0", {"a": 1}], [[[], 1], "0", {"a": 1}]),
    ],
)
def test_filter(config: dict[str, Json], data: Json, expected: Json) -> None:
    """The items for which the condition is true, as JSONata has it."""
    assert output("filter", config, data) == expected


def test_filter_fails_with_its_expression() -> None:
    """An item that the condition cannot be asked of is an error, not left out."""
    with pytest.raises(ExpressionError):
        output("filter", {"condition": "item + 1 > 1"}, [1, "x"])


@pytest.mark.parametrize(
    ("mode", "inputs", "expected"),
    [
        ("object", [{"a": 1, "b": 1}, {"b": 2}], {"a": 1, "b": 2}),  # later connections win
        ("object", [], {}),
        ("list", [1, None, {"a": 1}], [1, None, {"a": 1}]),
        ("list", [], []),
        ("first", [1, 2], 1),
        ("first", [None, 2], None),  # null is what the first live connection brings
        ("first", [], None),
    ],
)
def test_merge(mode: str, inputs: list[Json], expected: Json) -> None:
    """Three ways to make one value of what the live connections bring."""
    assert output("merge", {"mode": mode}, inputs=inputs) == expected


@pytest.mark.parametrize("value", [1, "text", None, [1]])
def test_merge_of_what_has_no_keys(value: Json) -> None:
    """Only objects have keys that can be merged."""
    with pytest.raises(Permanent, match="input 1") as raised:
        output("merge", {"mode": "object"}, inputs=[{}, value])
    assert raised.value.name == "InvalidInput"


def test_set_fields() -> None:
    """The given fields; on top of the input where it is kept."""
    assert output("set-fields", {"fields": {"a": [1]}}, {"b": 2}) == {"a": [1]}
    assert output("set-fields", {"fields": {"a": 1}, "keepInput": True}, {"a": 0, "b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(Permanent) as raised:
        output("set-fields", {"fields": {}, "keepInput": True}, [1])
    assert raised.value.name == "InvalidInput"


def test_transform() -> None:
    """The value of the expression; what is undefined is null."""
    assert output("transform", {"expression": "$sum(data.n)"}, [{"n": 1}, {"n": 2}]) == 3
    assert output("transform", {"expression": "data.gone"}, {}) is None
    with pytest.raises(ExpressionError):
        output("transform", {"expression": '"a" - 1'})
