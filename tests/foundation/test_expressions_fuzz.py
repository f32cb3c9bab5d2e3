"""No source, and no data, gives anything but JSON or an ExpressionError.

Text is made at random and by a grammar. Limits are small, so that what the grammar makes ends soon; nothing here looks
at a clock.
"""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.foundation.expressions import ExpressionError, Limits, compile_expression, render
from chalicelib.foundation.expressions.evaluator import BUILTINS

pytestmark = [
    pytest.mark.timeout(300),  # a hang is a failure
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]

LIMITS = Limits(timeout_ms=2_000, max_built_bytes=4_000_000, max_output_bytes=200_000, max_depth=200)
unhurried = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])

DOCUMENT: dict[str, Any] = {
    "data": {
        "a": 1,
        "b": [1, None, "x", {"a": 2}],
        "c": {"a": "text", "n": None},
        "l": [3, 1, 2],
        "e": [],
        "s": "a,b",
        "t": True,
    },
    "nodes": {"a": {"a": 1, "b": [{"a": 5}]}, "b": {"a": "B"}, "odd_id": 3},
    "trigger": {"a": [0, 1.5]},
    "item": {"a": None},
}

keys = st.sampled_from("abcnx") | st.text(max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)

TOKENS = [
    "$",
    "%",
    "&",
    "(",
    ")",
    "*",
    "+",
    ",",
    "-",
    ".",
    "/",
    ":",
    ";",
    "<",
    "=",
    ">",
    "?",
    "@",
    "[",
    "]",
    "^",
    "{",
    "|",
    "}",
    "~",
    "!",
    "#",
    "'",
    '"',
    "`",
    "\\",
    "\\u",
    "..",
    ":=",
    "**",
    "~>",
    "??",
    "?:",
    "!=",
    "<=",
    "/*",
    "*/",
    "{{",
    "}}",
    "0",
    "1",
    "7",
    "1e9",
    "a",
    "b",
    "u",
    "_",
    "é",
    "λ",
    "and",
    "or",
    "in",
    "null",
    "true",
    "function",
    "$x",
    "$$",
    "data",
    "nodes",
    "/a+/",
]
fragments = st.sampled_from([*TOKENS, " ", "\n", "\x00", "\ud800", *(f"${name}(" for name in sorted(BUILTINS))])

PATHS = [
    "data",
    "data.a",
    "data.b",
    "data.c",
    "data.l",
    "data.e",
    "data.s",
    "data.t",
    "data.missing",
    "data.b.%.a",
    "nodes",
    "nodes.a",
    "nodes.b.a",
    "nodes.`odd_id`",
    "trigger.a",
    "item.a",
    "a",
    "b",
    "$",
    "$$",
    "$$.data.b",
    "$x",
    "$i",
    "*",
    "**",
    "%.a",
]
LITERALS = [
    "0",
    "1",
    "-1",
    "2.5",
    "1e300",
    "''",
    "'a'",
    "'[Y]-[M]'",
    "null",
    "true",
    "[]",
    "{}",
    "[1..3]",
    "/a/",
    "/(a|b)*c/i",
]
atoms = st.sampled_from(PATHS * 4 + LITERALS * 2 + [f"${name}" for name in sorted(BUILTINS)])

OPERATORS = [
    "+",
    "-",
    "*",
    "/",
    "%",
    "&",
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "and",
    "or",
    "in",
    "~>",
    "??",
    "?:",
    ".",
    "@$x.",
    "#$i.",
]
FORMS = """
    {0}.{1}
    {0}[{1}]
    {0}[]
    {0}^({1})
    {0}^(>{1}, <{2})
    {0}{{{1}: {2}}}
    {0}{{$string({1}): {2}}}
    {0}.({1}; {2})
    {0}.[{1}, {2}]
    {0}.{{'k': {1}}}
    {0}@$x.{1}
    {0}#$i[{1}]
    {0}.*
    {0}.**
    {0}.%
    -{0}
    [{0}, {1}]
    [{0}..{1}]
    {{'k': {0}, 'l': {1}}}
    ({0} ? {1} : {2})
    ($x := {0}; {1})
    {0} ~> | {1} | {2} |
    function($x) {{ {0} }}({1})
    function($x, $i)<x-n?:x> {{ {0} }}({1}, {2})
    {0}({1})
    {0}(?, {1})
    ($f := function($x) {{ {0} }}; $f({1}))
""".strip().split("\n")


def call(name: str, count: int) -> str:
    """``$name({0}, {1})``, a form with ``count`` places."""
    return f"${name}({', '.join(f'{{{number}}}' for number in range(count))})"


CALLS = [call(name, min(builtin.get_number_of_args(), 3)) for name, builtin in BUILTINS.items()]
CALLS += [call(name, 1) for name in BUILTINS]
CALLS += [
    f"${name}({{0}}, function($x, $i) {{{{ {{1}} }}}})" for name in ("map", "filter", "each", "sift", "reduce", "sort")
]
ALL_FORMS = [*FORMS * 4, *(f"({{0}} {operator} {{1}})" for operator in OPERATORS * 4), *CALLS]


def grammar(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One step up: expressions made of smaller ones."""
    return st.builds(lambda form, *parts: form.strip().format(*parts), st.sampled_from(ALL_FORMS), inner, inner, inner)


sources = st.recursive(atoms, grammar, max_leaves=8)


def outcome(source: str, names: dict[str, Any]) -> Any:
    """The value, checked to be JSON, or the error."""
    try:
        value = compile_expression(source).evaluate(names, LIMITS)
    except ExpressionError as error:
        return error
    check(value)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def check(value: Any) -> None:
    """Plain JSON, of exact types."""
    assert type(value) in (type(None), bool, int, float, str, list, dict)
    if isinstance(value, float):
        assert math.isfinite(value)
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check(item)


@unhurried
@given(st.text(max_size=60))
def test_random_text(source: str) -> None:
    """Any text is refused when it is compiled, or evaluates to JSON or an ExpressionError."""
    outcome(source, DOCUMENT)


@unhurried
@given(st.lists(fragments, max_size=25).map("".join))
def test_random_tokens(source: str) -> None:
    """So is any sequence of what the language is made of."""
    outcome(source, DOCUMENT)


@unhurried
@given(sources, json_values)
def test_grammar(source: str, value: Any) -> None:
    """So is any expression on any data, and the data stays as it was."""
    names = {"data": value, "nodes": {"a": value}, "item": value}
    before = copy.deepcopy(names)
    outcome(source, names)
    outcome(source, DOCUMENT)
    assert names == before


@unhurried
@given(sources)
def test_references_leave_nothing_out(source: str) -> None:
    """An expression that is given only what its references name has the same value."""
    if "$random" in source or "$shuffle" in source or "$now" in source or "$millis" in source or "[Y]" in source:
        return
    full = outcome(source, DOCUMENT)
    try:
        references = compile_expression(source).references
    except ExpressionError:
        return
    names = {name: value for name, value in DOCUMENT.items() if name in references.names}
    if not references.all_nodes and "nodes" in names:
        names["nodes"] = {key: value for key, value in names["nodes"].items() if key in references.nodes}
    less = outcome(source, names)
    if isinstance(full, ExpressionError):
        assert isinstance(less, ExpressionError)
    else:
        assert less == full


@unhurried
@given(
    st.lists(sources.map(lambda source: f"{{{{ {source} }}}}") | st.text("{}$ a", max_size=4), max_size=4).map("".join)
)
def test_templates(template: str) -> None:
    """A template of any expressions renders to JSON or raises an ExpressionError."""
    try:
        check(render(template, DOCUMENT, LIMITS))
    except ExpressionError:
        return


@given(json_values)
def test_identity(value: Any) -> None:
    """Whatever JSON goes in comes out again."""
    assert compile_expression("data").evaluate({"data": value}) == value
    assert compile_expression("data.x").evaluate({"data": {"x": value}}) == value
    assert compile_expression("$clone([data])").evaluate({"data": value}) == (
        [value] if not isinstance(value, list) else value
    )
