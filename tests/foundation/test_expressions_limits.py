"""Nothing that an expression says takes the process down: each of these ends with an ExpressionError, and in time.

The tests end by the limits under test; where one does not hold, the run's own time-out reports it.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from chalicelib.foundation.expressions import ExpressionError, Limits, compile_expression
from chalicelib.foundation.expressions.limits import LimitPassed, Meter

pytestmark = pytest.mark.timeout(60)

QUICK = Limits(timeout_ms=200)
PATIENT = Limits(timeout_ms=30_000)
NAMES: dict[str, Any] = {"data": {"s": "a" * 40 + "b", "big": "ab," * 300_000, "list": list(range(1_000))}}

#: A value whose parts are shared: small to hold, 2**60 items to walk through.
SHARED = "$reduce([1..60], function($a, $b) { [[$a, $a]] }, [0])"


def reason(source: str, names: dict[str, Any], limits: Limits) -> str | None:
    """Why an evaluation fails; None if it does not."""
    try:
        compile_expression(source).evaluate(names, limits)
    except ExpressionError as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    "source",
    [
        # loops
        "($f := function($x) { $f($x) }; $f(1))",
        "$map([1..1000000], function($x) { $map([1..1000], function($y) { $y }) })",
        "$map([1..500000], $string)",
        "data.list.($$.data.list.($$.data.list))",
        "$sort(data.list, function($a, $b) { $sort(data.list, function($a, $b) { true }) })",
        "data.list^($sum($$.data.list^(-$ + $sum($$.data.list))))",
        # regular expressions that backtrack, written or made
        "$match(data.s, /(a|aa)+$/)",
        "$contains(data.s, /(a|aa)+$/)",
        "$split(data.s, /(a|aa)+$/)",
        "$replace(data.s, /(a|aa)+$/, '-')",
        "/(a|aa)+$/(data.s)",
        # values that share their parts
        f"{SHARED}",
        f"$string({SHARED})",
        f"$boolean({SHARED})",
        f"{SHARED} = {SHARED}",
        f"{SHARED} in [[{SHARED}]]",
        f"$distinct([{SHARED}, {SHARED}])",
        f"{SHARED}.name",
        f"$lookup({SHARED}, 'name')",
        f"$keys({SHARED})",
        f"$spread({SHARED})",
        f"{SHARED}.*",
        f"{SHARED}.**",
        f"$clone({SHARED})",
        f"{SHARED} ~> | $ | {{'a': 1}} |",
        f"{SHARED} ? 1 : 2",
        f"[1, 2][{SHARED}]",
    ],
)
def test_time(source: str) -> None:
    """Time is bounded, inside of one call of a builtin too."""
    with pytest.raises(ExpressionError, match=r"takes (longer than 200 ms|too long)|builds more|larger than"):
        compile_expression(source).evaluate(NAMES, QUICK)


@pytest.mark.parametrize(
    "source",
    [
        "[1..10000000]",
        "[1..1000000].[1..1000000]",
        "$pad('', 1e9)",
        "$pad('', -1e12, 'ab')",
        "($f := function($s) { $f($s & $s) }; $f('aaaaaaaa'))",
        "$reduce([1..60], function($a, $b) { $append($a, $a) }, [1, 2])",
        "$reduce([1..60], function($a, $b) { [$a, $a] }, [1, 2])",
        "$replace(data.big, 'ab', data.big)",
        "$replace(data.big, /ab/, data.big)",
        "$join($map([1..100], function() { data.big }), data.big)",
        "$split(data.big, '')",
        "$map([1..1000], function($i) { $pad('', 1000000) })",
        "$map([1..1000], function($i) { $uppercase(data.big) })",
        "data.list@$a.$$.data.list@$b.$$.data.list",
        "$zip($append([1..400000], 1), [1..400000], [1..400000])",
    ],
)
def test_memory(source: str) -> None:
    """What an evaluation allocates is bounded: it is charged before it is built."""
    with pytest.raises(ExpressionError, match="builds more than"):
        compile_expression(source).evaluate(NAMES, PATIENT)


@pytest.mark.parametrize(
    "source",
    [
        "$fromMillis(0, '[D,1000000000]')",
        "$fromMillis(0, '[D,1_000_000_000]')",
        "$fromMillis(0, '[D,1 000 000 000]')",
        "$formatNumber(1, $pad('', 100000, '0'))",
        "$formatInteger(1e9, 'I')",
        "$formatInteger(1e300, 'w')",
        "$parseInteger($pad('', 100000, 'z'), 'a')",
        "$toMillis($pad('', 100000, '1'), '[Y]')",
    ],
)
def test_pictures(source: str) -> None:
    """Pictures of numbers and dates cannot ask for the enormous."""
    with pytest.raises(ExpressionError, match=r"width|picture|nested too deeply|beyond"):
        compile_expression(source).evaluate(NAMES, PATIENT)


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
@pytest.mark.parametrize(
    "source",
    [
        "$toMillis($pad('', 90, '1'), '[f][f][f][f][f][f][f][f][f][f][f][f][f]x')",
        "$toMillis($pad('', 90, 'a'), '(a|aa)+$[Y]')",
        "(function($a)<" + "n+" * 20 + ":n> { 1 })(" + "1," * 60 + "'s')",
        "(function($a)<" + "n?" * 40 + ":n> { 1 })(" + "1," * 20 + "'s')",
        "(function($a)<(s](s+)+[)> { 1 })(" + "'a'," * 60 + "1)",
    ],
)
def test_patterns_made_of_signatures_and_pictures(source: str) -> None:
    """Regular expressions that the library makes of signatures and date pictures end as well."""
    assert reason(source, {}, QUICK) in (None, "a regular expression takes too long") or "argument" in str(
        reason(source, {}, QUICK)
    )


@pytest.mark.parametrize(
    "source",
    [
        "($f := function($x) { 1 + $f($x) }; $f(1))",
        "($f := function($x) { $map([1], function($y) { $f($y) })[0] + 1 }; $f(1))",
        "($f := function($x) { $sort([1, 2], function($a, $b) { $f($x) }) }; $f(1))",
        "($f := function($x) { [1, 2]^($f($x)) }; $f(1))",
        "($f := function($x) { $replace('a', /a/, function($m) { $f($x) }) }; $f(1))",
        "data ~> | $ | {'self': $} |",
        "(" * 300 + "1" + ")" * 300 + "+" + "-(" * 300 + "1" + ")" * 300,
        "1" + "+1" * 4_000,
        "(" * 4_900 + "1" + ")" * 4_900,
        "[" * 2_000 + "]" * 2_000,
        "-" * 9_000 + "1",
    ],
)
def test_depth(source: str) -> None:
    """Recursion ends with an error, in a thread with a small stack too."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            compile_expression(source).evaluate({"data": {"a": 1}}, PATIENT)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=50)
    assert [type(error) for error in errors] == [ExpressionError]
    assert "nested" in str(errors[0]) or "larger than" in str(errors[0])


def test_deep_references() -> None:
    """References of a tree that is too deep to be walked say "all"."""
    expression = compile_expression("data" + "+1" * 3_000)
    assert "data" in expression.references.names


def test_recursion_that_is_meant() -> None:
    """A hundred levels of recursion are no abuse, and a tail call takes no depth."""
    source = "($f := function($n) { $n < 2 ? 1 : $n * $f($n - 1) }; $f(100))"
    assert compile_expression(source).evaluate({}) == pytest.approx(9.33262154439441e157)
    loop = "($f := function($n, $sum) { $n = 0 ? $sum : $f($n - 1, $sum + $n) }; $f(2000, 0))"
    assert compile_expression(loop).evaluate({}, PATIENT) == 2_001_000


def test_deep_data() -> None:
    """Data nested deeper than the limit is refused, not a crash; ``depth`` counts levels of the result."""
    deep: Any = 1
    for _ in range(450):
        deep = {"a": [deep]}
    shallow = compile_expression("data").evaluate({"data": deep["a"][0]}, Limits(max_depth=1_000))
    assert json.dumps(shallow) == json.dumps(deep["a"][0])
    for source in ("data", "$string(data)", "$clone(data)"):
        assert "nested deeper" in str(reason(source, {"data": deep}, PATIENT))
    for source in ("$count(data.**)", "$boolean(data)", "data = data"):
        assert reason(source, {"data": deep}, PATIENT) is None


def test_output() -> None:
    """A result larger than the limit is refused."""
    limits = Limits(max_output_bytes=1_000)
    assert compile_expression("data").evaluate({"data": "x" * 900}, limits) == "x" * 900
    with pytest.raises(ExpressionError, match="larger than 1000 bytes"):
        compile_expression("data").evaluate({"data": "x" * 1_000}, limits)
    with pytest.raises(ExpressionError, match="larger than 1000 bytes"):
        compile_expression("data").evaluate({"data": [1] * 200}, limits)


def test_source() -> None:
    """Source longer than the limit is refused before it is parsed."""
    assert compile_expression("1" + " " * 9_999).evaluate({}) == 1
    with pytest.raises(ExpressionError, match="longer than 10000 characters"):
        compile_expression("1" + " " * 10_000)


@pytest.mark.parametrize(
    "source",
    [
        "$distinct($map([1..{n}], function($i) {{ $i % 10 }}))",
        "$count($distinct([1..{n}]))",
        "$count($spread([1..{n}].{{'a': $}}))",
        "$count([1..{n}].{{'g': 'x', 'v': $}}{{g: v}}.x)",
        "$count((data#$i.{{'g': 'x', 'v': $i}}{{g: v}}).x)",
        "$count({{'a': [1..{n}], 'b': [1..{n}]}}.*)",
        "$count([1..{n}].{{'a': [$]}}.a)",
    ],
)
def test_linear(source: str) -> None:
    """Steps and bytes grow with the data as the data does."""

    def cost(size: int) -> tuple[int, int]:
        meter = Meter(Limits(timeout_ms=30_000))
        compile_expression(source.format(n=size)).evaluate_under(meter.limits, lambda: meter, {"data": [{}] * size})
        return meter.steps, meter.built_bytes

    (steps, built), (more_steps, more_built) = cost(200), cost(2_000)
    assert more_steps < 12 * steps
    assert more_built < 12 * built


def test_what_a_node_can_bring_in_passes() -> None:
    """Ten megabytes of text, the largest answer that http-request takes, go through an expression."""
    text = "x" * 10 * 1024 * 1024
    assert compile_expression("data").evaluate({"data": text}) == text


def test_only_work_counts() -> None:
    """What an evaluation waits for, because other processes are at work, is not its own time; what it computes is."""

    def work() -> None:
        while True:
            meter.step()

    meter = Meter(Limits(timeout_ms=100))
    threading.Event().wait(0.15)
    meter.step()
    assert meter.remaining_s() > 0
    with pytest.raises(LimitPassed, match="100 ms"):
        work()


def test_meter() -> None:
    """Each limit of a meter raises once it is passed, not before."""
    meter = Meter(Limits(max_built_bytes=10, max_output_bytes=10))
    meter.build(10)
    meter.output(10)
    meter.step()
    with pytest.raises(LimitPassed):
        meter.build(1)
    with pytest.raises(LimitPassed):
        meter.output(1)
    late = Meter(Limits(timeout_ms=-1))
    with pytest.raises(LimitPassed):
        late.step()
    with pytest.raises(LimitPassed):
        late.remaining_s()
