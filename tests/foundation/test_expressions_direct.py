"""The shorter way of simple expressions leads where the evaluation does: same value and types, same error and place.

The reference is the same expression with the way closed.
"""

from __future__ import annotations

import collections
import copy
import types
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chalicelib.foundation.expressions import ExpressionError, Limits, Template, compile_expression, compiled, templates
from chalicelib.foundation.expressions.compiled import LIMITS, Expression
from chalicelib.foundation.expressions.direct import MAX_CHARS, MAX_NODES, MAX_SOURCE_CHARS, ROOMY, leaves_room
from chalicelib.foundation.expressions.limits import Meter
from chalicelib.foundation.expressions.syntax import parse
from chalicelib.foundation.expressions.values import ELSEWHERE
from chalicelib.foundation.json_types import dumps

NAMES: dict[str, Any] = {
    "data": {
        "greeting": "Hello, Ada!",
        "n": 42,
        "half": 0.5,
        "yes": True,
        "no": False,
        "nothing": None,
        "list": [1, None],
        "object": {"a": 1},
    },
    "trigger": {"name": "Ada", "n": 42},
}


def evaluated(source: str, names: Any, limits: Limits = LIMITS) -> Any:
    """By an evaluation in any case."""
    expression = Expression(source, parse(source))
    vars(expression)["direct"] = None
    return expression.evaluate(names, limits)


def exactly(value: Any) -> Any:
    """What tells 1 from 1.0 and True, 0.0 from -0.0, a list from what only behaves like one, and the order of keys."""
    if type(value) is dict:
        return dict, [(type(key), key, exactly(item)) for key, item in value.items()]
    if type(value) is list:
        return list, [exactly(item) for item in value]
    return type(value), repr(value)


def outcome(call: Any, *arguments: Any) -> Any:
    try:
        value = call(*arguments)
    except ExpressionError as error:
        return error.code, error.reason, error.position, error.source, str(error)
    return exactly(value), dumps(value)


def taken(source: str, names: Any = NAMES) -> Any:
    """The value by the shorter way; ``ELSEWHERE`` where it is not gone to its end."""
    short = compile_expression(source).direct
    try:
        return ELSEWHERE if short is None else short(names)
    except (ArithmeticError, ValueError):
        return ELSEWHERE


# Any expression, on any document

KEYS = st.sampled_from(["a", "b", "c", "é", "odd key"])
NUMBERS = (
    st.integers(-3, 3)
    | st.integers()
    | st.sampled_from([2**53 - 1, 2**53, 2**53 + 1, 10**17, 10**18 - 1, 10**18, -(10**18), 10**400])
    | st.sampled_from([0.0, -0.0, 0.5, 2.0, -2.5, 1e15, 9007199254740993.0, 1e16, 1e308, -1e308, 5e-324])
    | st.floats()
)
TEXTS = st.sampled_from(
    ["", "a", "b", "é", "1", "x" * MAX_CHARS, "x" * (MAX_CHARS + 1), "\ud83d\ude00", "\ud800", "😀"]
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=8,
)
COMMON = ("a", "b", "c", "é")


def fields(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict.fromkeys(COMMON[:2], values), optional=dict.fromkeys(COMMON[2:], values))


#: Often of values that go together, so that not every expression is an error.
DOCUMENTS = st.fixed_dictionaries(
    {"data": st.one_of(fields(st.integers(-9, 9) | st.floats(-9, 9)), fields(TEXTS), fields(SCALARS), fields(VALUES))},
    optional={"item": VALUES, "a": SCALARS},
)

PATHS = [
    *["data.a", "data.b"] * 8,
    *("data.c", "data.é", "data.a.b", "data.`odd key`", "item", "item.a", "a", "data", "missing.a"),
]
LITERALS = [
    "0", "1", "-1", "2.5", "-0", "1e3", "1e308", "9007199254740993", "0.1", "''", "'a'", "'é'", '"\\ud83d\\ude00"',
    '"\\ud800"', "true", "false", "null", "[]", "{}",
]  # fmt: skip
OPERATORS = ["+", "-", "*", "/", "%", "=", "!=", "<", "<=", ">", ">=", "&", "and", "or"]
SIMPLE_FORMS = [
    *(f"{{0}} {operator} {{1}}" for operator in OPERATORS),
    *(f"({{0}} {operator} {{1}})" for operator in OPERATORS),
    "-{0}", "-({0})", "({0})", "{0} ? {1} : {2}", "({0} ? {1} : {2})", "({0} ? {1})", "({0} ?: {1})", "({0} ?? {1})",
    "[{0}]", "[{0}, {1}]", "[[{0}], {1}]", "[([{0}]), {1}]",
    "{{'k': {0}}}", "{{'k': {0}, 'é': {1}, '': {2}}}", "{{'k': {0}, 'k': {1}}}", '{{"\\ud800": {0}}}',
] * 4  # fmt: skip
OTHER_FORMS = [
    "({0}; {1})", "({0})[0]", "{0}[]", "[{0}][{1}]", "{{'k': {0}}}.k", "$string({0})", "[{0}..{1}]", "{0} in {1}",
    "{{{0}: {1}}}", "{0}{{'k': {1}}}",
]  # fmt: skip
SOURCES = st.recursive(
    st.sampled_from(PATHS * 2 + LITERALS),
    lambda inner: st.builds(
        lambda form, *parts: form.format(*parts), st.sampled_from(SIMPLE_FORMS + OTHER_FORMS), inner, inner, inner
    ),
    max_leaves=8,
)
thoroughly = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])


@thoroughly
@given(SOURCES, DOCUMENTS)
@example("data.a < data.b", {"data": {"a": 2**53 + 1, "b": 2.0**53}})
@example("data.a = data.b", {"data": {"a": 2**53 + 1, "b": 2.0**53}})
@example("[data.a * 0, -data.a]", {"data": {"a": -0.0}})
def test_value_and_error_are_those_of_the_evaluation(source: str, names: dict[str, Any]) -> None:
    """Of every expression on every document; and the document stays as it was."""
    try:
        expression = compile_expression(source)
    except ExpressionError:
        return
    before = copy.deepcopy(names)
    assert outcome(expression.evaluate, names) == outcome(evaluated, source, names)
    assert repr(names) == repr(before)


OPERANDS = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(KEYS, SCALARS, max_size=1)


@thoroughly
@given(OPERANDS, OPERANDS)
def test_each_operator(a: Any, b: Any) -> None:
    """On any two values, and on one and the same."""
    for right in (a, b):
        names = {"data": {"a": a, "b": right}}
        for source in (*(f"data.a {sign} data.b" for sign in OPERATORS), "-data.a", "data.a ? 1 : 2"):
            assert outcome(compile_expression(source).evaluate, names) == outcome(evaluated, source, names)


@settings(thoroughly, max_examples=100)
@given(SOURCES, DOCUMENTS, st.builds(Limits, st.just(1_000), *[st.integers(1, 300)] * 3))
def test_tight_limits(source: str, names: dict[str, Any], limits: Limits) -> None:
    """They hold to the byte: nothing is taken the shorter way under them."""
    try:
        expression = compile_expression(source)
    except ExpressionError:
        return
    assert outcome(expression.evaluate, names, limits) == outcome(evaluated, source, names, limits)


# What is taken


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('{"greeting": data.greeting, "n": data.n * 2}', {"greeting": "Hello, Ada!", "n": 84}),
        ("data.n > 10", True),
        ('{"text": data.greeting & "!", "n": data.n}', {"text": "Hello, Ada!!", "n": 42}),
        ("trigger.name", "Ada"),
        # Each kind of node
        ("data.nothing", None),
        ("data.missing", None),
        ("'text'", "text"),
        ("null", None),
        ("[1, null, [2], {'a': [3]}]", [1, None, [2], {"a": [3]}]),
        ("{'a': data.nothing, 'b': {}}", {"a": None, "b": {}}),
        ("(data.n + 1) / 2", 21.5),
        ("-data.n % 5", -2),
        ("data.half * 2", 1),
        ("data.n = 42.0 and data.half != 1 or data.missing", True),
        ("data.no or data.yes", True),
        ("data.yes = 1", False),
        ("data.nothing = null", True),
        ("data.n <= 42 ? 'small' : 'large'", "small"),
        ("'n=' & data.n & data.yes", "n=42true"),
        ("data.greeting >= 'Hello'", True),
        ("{} ? 1 : data.missing ", ELSEWHERE),
    ],
)
def test_simple_expressions_take_the_shorter_way(source: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an evaluator, and without a meter."""
    assert exactly(taken(source)) == exactly(value)
    if value is ELSEWHERE:
        return
    assert exactly(evaluated(source, NAMES)) == exactly(value)
    forbid_evaluation(monkeypatch)
    assert exactly(compile_expression(source).evaluate(NAMES)) == exactly(value)
    assert exactly(compile_expression(source).evaluate(lambda _: NAMES, Limits(timeout_ms=1_000))) == exactly(value)


def test_so_does_a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether an expression is the whole of a string or a part, text or a number."""
    forbid_evaluation(monkeypatch)
    template = Template(
        {"greeting": "Hello, {{ trigger.name }}!", "n": "{{ trigger.n }}", "t": "{{ trigger.n }} times"}
    )
    assert template.render(NAMES) == {"greeting": "Hello, Ada!", "n": 42, "t": "42 times"}


def forbid_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: Any) -> Any:
        raise AssertionError("an evaluation has begun")

    monkeypatch.setattr(compiled, "Evaluator", unexpected)
    for module in (compiled, templates):
        monkeypatch.setattr(module, "Meter", unexpected)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("data.list", [1, None]),
        ("{'a': data.object}", {"a": {"a": 1}}),
        ("data.missing > 1", None),
        ("{'a': data.missing}", {}),
        ("data.no ? 1", None),
        ("[data.list]", [1, None]),
        ("[([1])]", [1]),
        ("data.half & ''", "0.5"),
        ("data.list and true", True),
        ("[data.no] ? 1 : 2", 2),
        ("[data.no] or [[]]", False),
        ("$string(data.n)", "42"),
        ("data.object.*", 1),
        ("data.n[]", [42]),
        ("(data.n; data.half)", 0.5),
        ("{data.greeting: 1}", {"Hello, Ada!": 1}),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_anything_else_is_evaluated(source: str, value: Any) -> None:
    """And has its value, too."""
    assert taken(source) is ELSEWHERE
    assert exactly(compile_expression(source).evaluate(NAMES)) == exactly(value)


@pytest.mark.parametrize(
    ("source", "reason", "position"),
    [
        ("data.n / 0", "not a finite number: 42 / 0", 8),
        ("data.n % 0", "not a finite number: 42 % 0", 8),
        ("{'a': data.n, 'b': 1e308 * data.n}", "not a finite number", 26),
        ("data.n + data.greeting", "number", 8),
        ("data.nothing > 1", "numeric", 14),
    ],
)
def test_what_goes_wrong_is_told_by_the_evaluation(source: str, reason: str, position: int) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        compile_expression(source).evaluate(NAMES)
    assert caught.value.position == position


def test_how_much_is_simple() -> None:
    """Trees, sources and texts up to a size."""
    assert taken(" + ".join(["1"] * (MAX_NODES // 2))) == MAX_NODES // 2
    assert taken(" + ".join(["1"] * (MAX_NODES // 2 + 1))) is ELSEWHERE
    assert taken("(" * (MAX_NODES - 1) + "1" + ")" * (MAX_NODES - 1)) == 1
    assert taken("(" * MAX_NODES + "1" + ")" * MAX_NODES) is ELSEWHERE
    assert taken(f"'{'x' * (MAX_SOURCE_CHARS - 2)}'") == "x" * (MAX_SOURCE_CHARS - 2)
    assert taken(f"'{'x' * (MAX_SOURCE_CHARS - 1)}'") is ELSEWHERE
    assert taken("a", {"a": "é" * MAX_CHARS}) == "é" * MAX_CHARS
    assert taken("a", {"a": "é" * (MAX_CHARS + 1)}) is ELSEWHERE
    assert taken("a", {"a": 10**18 - 1}) == 10**18 - 1
    assert taken("a", {"a": 10**18}) is ELSEWHERE


@pytest.mark.parametrize(
    "source",
    [
        "[" + ", ".join(["a"] * (MAX_NODES - 1)) + "]",
        " & ".join(["a"] * (MAX_NODES // 2)),
        "{" + ", ".join(f"'{number}': a" for number in range(MAX_NODES - 1)) + "}",
        "[" * (MAX_NODES - 1) + "a" + "]" * (MAX_NODES - 1),
        f"{{'{'x' * (MAX_SOURCE_CHARS - 8)}': a}}",
    ],
)
def test_nothing_that_is_simple_passes_roomy_limits(source: str) -> None:
    """The largest that is taken would not have failed if it had been evaluated and metered."""
    names = {"a": "😀" * MAX_CHARS}
    assert taken(source, names) == evaluated(source, names, ROOMY)
    assert leaves_room(ROOMY)
    assert leaves_room(LIMITS)


@pytest.mark.parametrize("field", ["timeout_ms", "max_depth", "max_built_bytes", "max_output_bytes"])
def test_limits_that_leave_no_room(field: str) -> None:
    """Each of them, as soon as it is tighter."""
    assert not leaves_room(Limits(**{**vars(ROOMY), field: getattr(ROOMY, field) - 1}))


def test_mappings_that_are_no_plain_objects() -> None:
    """Are left to the evaluation, and are not asked for what they do not have."""
    fields = collections.defaultdict(lambda: 1, {"a": 2})
    for names in (types.MappingProxyType({"data": fields}), {"data": fields}, collections.OrderedDict(data=fields)):
        assert compile_expression("data.a + 1").evaluate(names) == 3
        assert compile_expression("data.b + 1").evaluate(names) is None
    assert fields == {"a": 2}


def test_values_are_fresh() -> None:
    """What one evaluation has given may be changed; the next is as the first."""
    expression = compile_expression("{'a': [data.n], 'b': {}}")
    first: Any = expression.evaluate(NAMES)
    first["a"].append(1)
    first["b"]["x"] = 1
    assert expression.evaluate(NAMES) == {"a": [42], "b": {}}


def test_expressions_of_a_template_share_their_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that need one: it is made once, for the first of them."""
    made: list[Meter] = []

    def meter(limits: Limits) -> Meter:
        made.append(Meter(limits))
        return made[-1]

    monkeypatch.setattr(templates, "Meter", meter)
    metered = "{{ $string(data.n) }}"
    Template(["{{ data.n }}", metered, "n: {{ data.n }}", f"n: {metered}", "{{ data.list }}"]).render(NAMES)
    assert len(made) == 1
    large = Template(["{{ data.n }}", "{{ $pad('x', 10000) }}"] * 11)
    with pytest.raises(ExpressionError, match="larger than 100000 bytes"):
        large.render(NAMES, Limits(max_output_bytes=100_000))
