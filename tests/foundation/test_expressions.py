"""What expressions mean: JSONata as its documentation has it, and the places where the library alone would not."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.expressions import ExpressionError, References, compile_expression

NAMES: dict[str, Any] = {
    "data": {
        "user": {"id": 7, "name": "Ada"},
        "items": [
            {"sku": "a", "price": 2.5, "tags": ["x", "y"], "note": None},
            {"sku": "b", "price": 10, "tags": ["z"]},
            {"sku": "a", "price": 4, "tags": []},
        ],
        "one": [{"price": 3}],
        "nulls": [1, None, 2],
        "nothing": None,
        "empty": [],
        "matrix": [[1, None], [3]],
        "whole": 3.0,
    },
    "nodes": {"fetch": {"status": 200}, "odd id": {"ok": True}},
}


def evaluate(source: str, names: dict[str, Any] = NAMES) -> Any:
    return compile_expression(source).evaluate(names)


def fault(source: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        evaluate(source)
    return caught.value


_LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.sampled_from(["", "é", "a"])
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from("abc"), _VALUES), st.lists(st.sampled_from("abc"), min_size=1, max_size=4))
def test_a_path_of_names_is_what_its_evaluation_would_be(names: dict[str, Any], path: list[str]) -> None:
    """Nothing but names is looked up without one; ``$`` in front of them asks for it, and changes nothing."""
    looked_up = ".".join(path)
    evaluated = f"$.{looked_up}"
    assert compile_expression(looked_up).path == tuple(path)
    assert compile_expression(evaluated).path is None
    for wrap in ("{}", "[{}]", '{{"x": {}}}', "$type({})", "({})[0]", "{} = null"):
        assert evaluate(wrap.format(looked_up), names) == evaluate(wrap.format(evaluated), names)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        # Paths
        ("data.user.id", 7),
        ("data.missing.deeper", None),
        ("nodes.fetch.status", 200),
        ("nodes.'odd id'.ok", True),
        ("nodes.`odd id`.ok", True),
        ("data.items.price", [2.5, 10, 4]),
        ("data.items[price > 3].sku", ["b", "a"]),
        ("data.items[-1].price", 4),
        ("data.items.tags", ["x", "y", "z"]),  # arrays of a path are flattened
        ("data.one.price", 3),  # and one value is the value itself,
        ("data.one.price[]", [3]),  # unless an array is asked for
        ("data.missing[]", None),
        ("data.items^(>price).price", [10, 4, 2.5]),
        ("data.items#$i[sku = 'a'].$i", [0, 2]),
        ("data.items.%.user.name", ["Ada", "Ada", "Ada"]),
        # Constructors
        ("{'prices': [data.one.price]}", {"prices": [3]}),
        ("[data.items.price]", [2.5, 10, 4]),
        ("[[1, 2], [3]]", [[1, 2], [3]]),
        ("data.items.[sku, price]", [["a", 2.5], ["b", 10], ["a", 4]]),
        ("data.items{sku: $sum(price)}", {"a": 6.5, "b": 10}),
        ("data.items{sku: tags}", {"a": ["x", "y"], "b": ["z"]}),
        ("{'a': data.missing}", {}),
        # Functions
        ("$count(data.items)", 3),
        ("$count(data.missing)", 0),
        ("$append([1], 2)", [1, 2]),
        ("$append(data.missing, 2)", 2),
        ("$map([1, 2], function($x) { $x * 2 })", [2, 4]),
        ("$filter([1, 2, 3], function($x, $i) { $i > 0 })", [2, 3]),
        ("$reduce([1..5], function($a, $b) { $a + $b })", 15),
        ("$lookup(nodes, 'fetch').status", 200),
        ("$merge([{'a': 1}, {'b': 2}])", {"a": 1, "b": 2}),
        ("$spread({'a': 1, 'b': 2})", [{"a": 1}, {"b": 2}]),
        ("$each({'a': 1}, function($v, $k) { $k & $v })", "a1"),
        ("$zip([1, 2], ['a', 'b'])", [[1, "a"], [2, "b"]]),
        ("$substring(?, 1)('abc')", "bc"),
        ("'abc' ~> $uppercase ~> $length", 3),
        ("$type(data.user) & $type($count) ", "objectfunction"),
        ("$formatNumber(12345.6, '#,###.00')", "12,345.60"),
        ("$fromMillis(0)", "1970-01-01T00:00:00.000Z"),
        ("$toMillis('1970-01-02T00:00:00Z')", 86_400_000),
        ("$fromMillis(0, '[D01]/[M01]/[Y0001]')", "01/01/1970"),
        # Conditions
        ("data.missing ? 1 : 2", 2),
        ("data.missing ?? 'default'", "default"),
        ("data.empty ?: 'default'", "default"),
        ("data.user.id in [7, 8] and 'a' < 'b'", True),
        ("data | user | {'id': 8}, 'name' |", None),
        ("(data ~> | user | {'id': 8}, 'name' |).user", {"id": 8}),
    ],
)
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_jsonata(source: str, value: Any) -> None:
    """The language is JSONata; undefined comes out as None."""
    if source.startswith("data |"):  # a transform is a function, applied with ~>
        fault(source)
    else:
        assert evaluate(source) == value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        # null is a value, undefined is none
        ("data.nothing = null", True),
        ("data.missing = null", False),
        ("data.nulls[1] = null", True),
        ("$map(data.nulls, function($x) { $x = null })", [False, True, False]),
        ("$count(data.nulls[$ = null])", 1),
        ("data.matrix[0][1] = null", True),
        ("data.items[0].note = null", True),
        ("$exists(data.items[0].note) and $not($exists(data.items[1].note))", True),
        ("{'n': data.nothing, 'l': data.nulls} = {'n': null, 'l': [1, null, 2]}", True),
        ("$type(data.nothing)", "null"),
        ("$count(null)", 1),
        ("$each({'a': null}, function($v) { $type($v) })", "null"),
        ("[null, data.nothing, data.missing]", [None, None]),
        # numbers
        ("5.5 % 2", 1.5),
        ("-5 % 3", -2),
        ("0.1 + 0.2 & ''", "0.3"),
        ("[0..data.whole]", [0, 1, 2, 3]),
        ("$number('0x1F') + $number('0b11')", 34),
        ("$round(2.5) & $round(3.5)", "24"),
        ("$round(1.25, 1)", 1.2),
        ("1 in [true]", False),
        ("$distinct([1, true, 1.0, '1'])", [1, True, "1"]),
        ("{'a': 1} = {'a': true}", False),
        # text
        ("$string({'price': 0.1 + 0.2, 'name': 'é', 'n': data.whole})", '{"price":0.3,"name":"é","n":3}'),
        ("$lowercase('STRAßE')", "straße"),
        ("'\\uD83D\\uDE00'", "\N{GRINNING FACE}"),
        ("$split('a1b2c', /([0-9])/)", ["a", "b", "c"]),
        ("$replace('a.b.c', '.', '$0')", "a$0b$0c"),
        ("$replace('John Smith', /(\\w+) (\\w+)/, '$2, $1 $$')", "Smith, John $"),
        ("$replace('aaa', /a/, 'aa', 2)", "aaaaa"),
        ("$replace('abc', /b/, function($m) { '<' & $m.match & '>' })", "a<b>c"),
        ("$match('ab', /(a)|(b)/).groups", ["a", None, None, "b"]),
        ("$filter(['ab', 'cd'], /b/)", "ab"),
        ("/a(b)/('xab').groups", ["b"]),
        ("$toMillis('1.2.2020', '[D].[M].[Y0001]')", 1_580_515_200_000),
        ("$toMillis('1x2x2020', '[D].[M].[Y0001]')", None),
        # order
        (
            "$sort(['b1', 'a', 'b0'], function($l, $r) { $substring($l, 0, 1) > $substring($r, 0, 1) })",
            ["a", "b1", "b0"],
        ),
        # groups
        ("data.empty{'k': 1}", {"k": 1}),
        ("($s := $sum; $s([1, 2]))", 3),
    ],
)
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_where_the_library_differs(source: str, value: Any) -> None:
    """Where jsonata-python departs from the documentation, ours does not."""
    found = evaluate(source)
    assert found == value
    assert type(found) is type(value)


def test_result_is_plain_json_of_its_own() -> None:
    """A result has no types of the library, and shares no object with the input."""
    result = evaluate("{'items': data.items[price > 1], 'user': data.user, 'range': [1..3]}")
    assert type(result["items"]) is list
    assert type(result["range"]) is list
    result["user"]["id"] = "changed"
    result["items"][0]["tags"].append("changed")
    assert NAMES["data"]["user"]["id"] == 7
    assert NAMES["data"]["items"][0]["tags"] == ["x", "y"]


@pytest.mark.parametrize(
    "source",
    [
        "data.empty{'k': 1}",
        "(data ~> | items | {'price': 0}, 'sku' |)",
        "$sort(data.items, function($a, $b) { $a.price > $b.price })",
        "$reverse($append(data.items, data.one))",
        "data.items^(price)#$i.{'i': $i}",
        "$merge([data.user, {'id': 1}])",
    ],
)
def test_input_is_never_changed(source: str) -> None:
    """An evaluation leaves its document as it was."""
    names = copy.deepcopy(NAMES)
    evaluate(source, names)
    assert names == NAMES


def test_read_only_values_are_taken_as_well() -> None:
    """Tuples and other mappings are arrays and objects."""
    from types import MappingProxyType

    names: dict[str, Any] = {"data": MappingProxyType({"pair": (1, None), "in": MappingProxyType({"a": 1})})}
    assert evaluate("[data.pair[1] = null, data.in.a, $count(data.pair)]", names) == [True, 1, 2]
    assert evaluate("data", names) == {"pair": [1, None], "in": {"a": 1}}


def test_large_integers_pass_through() -> None:
    """An integer that no float holds keeps its digits as long as nothing is computed with it."""
    assert evaluate("data", {"data": 2**70 + 1}) == 2**70 + 1


def test_now_is_one_instant_of_its_evaluation() -> None:
    """``$now`` and ``$millis`` agree within an evaluation, and go on with the clock from one to the next."""
    expression = compile_expression("[$millis(), $toMillis($now()), $millis()]")
    first: Any = expression.evaluate({})
    assert first[0] == first[1] == first[2]
    threading.Event().wait(0.005)
    second: Any = expression.evaluate({})
    assert second[0] > first[0]


@pytest.mark.parametrize(
    ("source", "position", "reason"),
    [
        ("", None, "end of expression"),
        ("data.", 5, "end of expression"),
        ("data.user[", 10, "Expected ]"),
        ("data..user", 6, ".."),
        ("1 + + 2", 5, "+"),
        ("(1", 2, "Expected )"),
        ("'abc", 4, "matching quote"),
        ('"\\', 2, "malformed"),
        ("a ! b", 3, "malformed"),
        ("/[/", 3, "regular expression"),
        ("$match('a', /(/)", 16, "regular expression"),
        ("function($x)<(n>{1}", 17, "malformed"),
        ("$eval('1')", 5, "$eval is not available"),
        ("$map(['1'], $eval)", 17, "$eval is not available"),
    ],
)
def test_malformed_source(source: str, position: int | None, reason: str) -> None:
    """Malformed source is told when it is compiled, with its position."""
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source)
    assert reason in caught.value.reason
    assert caught.value.position == position
    assert caught.value.source == source


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "finite"),
        ("1 % 0", "finite"),
        ("1e308 * 10", "finite"),
        ("$power(10, 400)", "out of range"),
        ("$sum([1e308, 1e308])", "finite"),
        ("function($x) { $x }", "function"),
        ("{'f': [$sum]}", "function"),
        ("$nothing(1)", "there is no function $nothing"),
        ("data.user(1)", "not a function"),
        ("$error('out of stock')", "out of stock"),
        ("$assert(data.user.id = 8, 'wrong user')", "wrong user"),
        ("'a' + 1", "must evaluate to a number"),
        ("$length(1)", "argument 1 of $length"),
        ("$uppercase(null)", "argument 1 of $uppercase"),
        ("$sum(['a'])", "array of numbers"),
        ("$number('1_000')", "Unable to cast value to a number: 1_000"),
        ("$number('nan')", "Unable to cast"),
        ("$sort([1, 'a'])", "sort"),
        ("$toMillis('yesterday')", "yesterday"),
        ("$base64decode('?')", "Base64"),
        ("$formatNumber(1, '0', {'exponent-separator': '(a+)+$'})", "one character"),
        ("$replace('abc', /x*/, '-')", "zero length"),
        ("'\\uD800'", "surrogate"),
        ("{1: 2}", "Key in object structure must evaluate to a string"),
        ("$single([1, 2])", "exactly 1"),
    ],
)
def test_failing_evaluation(source: str, reason: str) -> None:
    """What goes wrong is an ExpressionError, which fails a node for good, in words."""
    error = fault(source)
    assert reason in error.reason
    assert isinstance(error, Permanent)
    assert error.name == "ExpressionError"
    assert error.reason in error.message


def test_position_of_a_failing_evaluation() -> None:
    """A failure of an evaluation has the position of the innermost part that failed."""
    assert fault("data.user.id & (1 / 0)").position == 19


def test_messages_do_not_quote_documents() -> None:
    """A message names the kind of a large value, and cuts text and source short."""
    names: dict[str, Any] = {"data": {"list": ["secret" * 100] * 100, "text": "x" * 1_000}}
    with pytest.raises(ExpressionError) as caught:
        evaluate("-data.list", names)
    assert "an array" in caught.value.reason
    with pytest.raises(ExpressionError) as caught:
        evaluate("$number(data.text)" + " " * 1_000, names)
    assert len(caught.value.reason) < 150
    assert len(caught.value.source) == 200


def test_printing_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A failed call prints nothing, which the library does with the value that is no function."""
    fault("('secret')(1)")
    assert capsys.readouterr() == ("", "")


def test_threads_share_an_expression() -> None:
    """Threads that evaluate one expression at once do not see each other's values."""
    expression = compile_expression(
        "($f := function($n) { $n = 0 ? data.id : $f($n - 1) };"
        "[$f(20), $map([1..20], function($i) { data.id })[19], $replace('a', /a/, data.id), $substring(?, 0)(data.id)])"
    )
    barrier = threading.Barrier(4, timeout=30)

    def work(number: int) -> bool:
        barrier.wait()
        identifier = f"thread {number}"
        return all(expression.evaluate({"data": {"id": identifier}}) == [identifier] * 4 for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_threads_compile_at_once() -> None:
    """Threads that compile different sources at once get each its own."""
    with ThreadPoolExecutor(4) as pool:
        compiled = pool.map(lambda n: compile_expression(f"data.items[{n}].%.x & '{n}'"), range(200))
        assert [expression.source for expression in compiled] == [f"data.items[{n}].%.x & '{n}'" for n in range(200)]


def test_compiled_once() -> None:
    """The same source gives the same compiled expression."""
    assert compile_expression("data.user.id + 1") is compile_expression("data.user.id + 1")


def refs(*nodes: str, names: str = "nodes", every: bool = False) -> References:
    return References(frozenset(nodes), every, frozenset(names.split()))


ALL = refs(names="data execution item loop nodes trigger vars", every=True)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("1", refs(names="")),
        ("data.user.id", refs(names="data")),
        ("$$.data.user", refs(names="data")),
        ("$.data.user", refs(names="data")),
        ("nodes.fetch", refs("fetch")),
        ("nodes.fetch.body.nodes.other", refs("fetch")),
        ("nodes.'odd id'.x & nodes.`b c`", refs("odd id", "b c")),
        ("nodes.a[nodes.b > $$.nodes.c].x", refs("a", "c")),  # in brackets, names are those of an item
        ("data.items[price > $$.vars.limit]", refs(names="data vars")),
        ("$map(data.items, function($i) { $i.price * nodes.rate.value })", refs("rate", names="data nodes")),
        ("data.items.(price * $$.nodes.rate)", refs("rate", names="data nodes")),
        ("{'a': nodes.a, trigger.key: [loop.index, item]}", refs("a", names="nodes trigger loop item")),
        ("nodes.a ~> | x | {'y': nodes.b} |", refs("a")),
        ("$x := nodes.a", refs("a")),
        ("data@$d.nodes.a", refs("a", names="data nodes")),  # @ leaves the context at the root
        ("data.items#$i.nodes", refs(names="data")),
        ("data.items{sku: $sum(price)}", refs(names="data")),
        ("data.items^(>price)", refs(names="data")),
        ("$count(data.items)", refs(names="data")),
        ("$map(data.items, $string)", refs(names="data")),
        ("data ~> $keys", refs(names="data")),
        ("data ~> $lookup('x')", refs(names="data")),
        ("(nodes.a; nodes.b) ? nodes.c : nodes.d", refs("a", "b", "c", "d")),
        ("nodes", refs(every=True)),
        ("nodes[0].a", refs(every=True)),
        ("nodes.*", refs(every=True)),
        ("nodes.(a)", refs(every=True)),
        ("nodes#$i.a", refs(every=True)),
        ("nodes.a@$x.b", refs(every=True)),  # b is a field of nodes
        ("$lookup(nodes, 'a')", refs(every=True)),
        ("($n := nodes; $n.a)", refs(every=True)),
        ("nodes{'k': a}", refs(every=True)),
        ("$$", ALL),
        ("$", ALL),
        ("*", ALL),
        ("**.x", ALL),
        ("$$.*", ALL),
        ("$$[data]", ALL),
        ("data.%.nodes.a", ALL),
        ("$lookup('nodes')", ALL),
        ("$keys()", ALL),
        ("$sift(function($v) { true })", ALL),
        ("$sift(data, function($v) { true })", refs(names="data")),
        ("($k := $keys; $k())", ALL),
        ("$map([1], function($x)<j-:j> { $x })", ALL),
    ],
)
def test_references(source: str, found: References) -> None:
    """References say what an expression reads, and "all" where the source does not tell."""
    assert compile_expression(source).references == found


PLAIN_PATHS = {"data": ("data",), " nodes . /* c */ x ": ("nodes", "x"), "data.`a b`.'c'": ("data", "a b", "c")}


@pytest.mark.parametrize(("source", "path"), PLAIN_PATHS.items())
def test_paths(source: str, path: tuple[str, ...]) -> None:
    """What only names a value says which."""
    assert compile_expression(source).path == path


@pytest.mark.parametrize(
    "source",
    [
        "1", "$", "$.data", "(data)", "data[]", "data[0]", "data.x[0]", "data.*", "data.%", "data.$x", "data^(x)",
        "data{x: y}", "data@$d.x", "data.x + 1", "$string(data)", "data ~> $string", "'data'", "[data]", "-data",
        "data.(x)", "data#$i",
    ],
)  # fmt: skip
def test_what_does_more_than_name(source: str) -> None:
    """Anything else is evaluated: it says no path."""
    assert compile_expression(source).path is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    )
)
def test_what_a_path_names_is_its_value(value: Any) -> None:
    """A large value may be passed on in the place of the evaluation: the same comes of both, lists of one included."""
    assert evaluate("data", {"data": value}) == value
    assert evaluate("nodes.x", {"nodes": {"x": value}}) == value
    assert evaluate("data.`a b`.c", {"data": {"a b": {"c": value, "d": 1}}}) == value


def test_names_are_brought_when_they_are_read() -> None:
    """Names that are given as a function are asked for what the expression refers to."""
    asked: list[References] = []

    def names(used: References) -> dict[str, Any]:
        asked.append(used)
        return {"data": 7, "nodes": {"a": 1}}

    assert compile_expression("data + nodes.a").evaluate(names) == 8
    assert asked == [refs("a", names="data nodes")]
