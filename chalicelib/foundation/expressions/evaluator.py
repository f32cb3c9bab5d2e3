"""The library's evaluator, bounded and corrected.

jsonata-python is a faithful port by hand, and most of it is used as it is: the parser, signatures, lambdas, tail
calls, ``@``, ``#`` and ``%``, dates and number pictures. This subclass replaces what does not hold for expressions
that strangers write and for data that is not ours:

* every step is counted (``eval``), so that time and depth hold; what can grow is charged before it grows;
* one evaluation is one object. The library keeps its state in the compiled expression and in a slot per thread, which
  makes ``$now()`` tell the time of some earlier compilation;
* the input is never changed (the library appends to an empty array that is grouped), and nulls in arrays stay nulls;
* steps that took quadratic time are linear; arithmetic is that of JSONata (``5.5 % 2`` is 1.5).

Each difference has a test that says it in a sentence.
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from jsonata.functions import Functions
from jsonata.jexception import JException
from jsonata.jsonata import Jsonata
from jsonata.parser import Parser
from jsonata.utils import Utils

from .functions import builtins
from .limits import CELL_BYTES, ENTRY_BYTES, LimitPassed, Meter
from .syntax import Node, parse
from .values import ELSEWHERE, NULL, equal, is_number, named, normal, plain, text, truth

ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": math.fmod,
}
_JList = Utils.JList
_SIMPLE = {str, int, float, bool, dict}  #: types of items that need no second look
_INTEGER_BYTES = 36  #: an int and its place in a list
_OBJECT_BYTES = 200  #: an empty array or object
_CLOSURE_BYTES = 500
_BINDING_BYTES = 300  #: one element of a tuple stream, a dict


class Frame(Jsonata.Frame):  # type: ignore[misc]
    """Variables. A chain of frames can be as long as a program runs, so it is not searched by recursion."""

    def bind(self, name: str, value: Any) -> None:
        self.bindings[name] = value

    def lookup(self, name: str) -> Any:
        frame: Any = self
        while frame is not None:
            if name in frame.bindings:
                return frame.bindings[name]
            frame = frame.parent
        return None


BUILTINS = builtins()
_ROOT = Frame(None)
_ROOT.bindings.update(BUILTINS)
_QUIET = Parser()  #: asked by the library whether to print each step; never parses


class Evaluator(Jsonata):  # type: ignore[misc]
    """One evaluation. Not to be shared, and used once."""

    def __init__(self, meter: Meter) -> None:
        # The library's initialiser would parse; what it leaves behind for the methods that are kept is this.
        self.meter = meter
        self.parser = _QUIET
        self.environment = _ROOT
        self.timestamp = time.time_ns() // 1_000_000
        self.fault_position: int | None = None
        self._depth = 0
        self._max_depth = meter.limits.max_depth
        self._taken: dict[int, tuple[list[Any], list[Any]]] = {}

    def run(self, ast: Node, document: Mapping[str, Any]) -> Any:
        """The value, with ``NULL`` and library types in it. Raises whatever the library raises."""
        environment = Frame(_ROOT)
        environment.bind("$", document)
        Jsonata.CURRENT.jsonata = self
        try:
            return self.eval(ast, document, environment)
        finally:
            del Jsonata.CURRENT.jsonata

    def eval(self, expr: Any, input: Any, environment: Any) -> Any:
        meter = self.meter
        meter.step()
        if self._depth >= self._max_depth:
            raise LimitPassed(f"evaluation is nested deeper than {self._max_depth} levels")
        self._depth += 1
        try:
            kind = expr.type
            result = _EVALUATE[kind](self, expr, input, environment)
            if expr.predicate is not None:
                for predicate in expr.predicate:
                    result = self.evaluate_filter(predicate.expr, result, environment)
            if expr.group is not None and kind != "path":
                result = self.evaluate_group_expression(expr.group, result, environment)
        except Exception:
            if self.fault_position is None and expr.position > 0:
                self.fault_position = expr.position
            raise
        finally:
            self._depth -= 1
        if isinstance(result, _JList) and result.sequence and not result.tuple_stream:
            if expr.keep_array:
                result.keep_singleton = True
            if not result:
                return None
            if len(result) == 1 and not result.keep_singleton:
                return result[0]
        return result

    # Taking values out of the input

    def evaluate_path(self, expr: Any, input: Any, environment: Any) -> Any:
        if expr.names is not None:
            found = named(expr.names, input)
            if found is not ELSEWHERE:
                return self._taken_list(found) if type(found) is list else found
        return super().evaluate_path(expr, input, environment)

    def taken(self, value: Any) -> Any:
        """A value of the input, ready to be worked on: null is ``NULL``, in arrays too."""
        if value is None:
            return NULL
        if isinstance(value, list):
            return self._taken_list(value)
        if isinstance(value, str | int | float | dict) or value is NULL:
            return value
        if isinstance(value, Mapping):
            return dict(value)
        return self._taken_list(list(value)) if isinstance(value, Sequence) else value

    def _taken_list(self, value: list[Any]) -> list[Any]:
        known = self._taken.get(id(value))
        if known is None:
            self.meter.step()
            items: list[Any] = value
            if not _SIMPLE.issuperset(map(type, value)):
                self.meter.build(CELL_BYTES * len(value))
                items = [self.taken(item) for item in value]
                items = value if all(map(operator.is_, items, value)) else items
            known = self._taken[id(value)] = (value, items)  # keeps the list alive, and so its id
        return known[1]

    def lookup(self, value: Any, key: Any) -> Any:
        if isinstance(value, dict):
            return self.taken(value[key]) if key in value else None
        if not isinstance(value, list):
            return None
        found = Utils.create_sequence()
        for item in value:
            self.meter.step()
            self._extend(found, self.lookup(item, key))
        return found

    def _extend(self, sequence: list[Any], value: Any) -> None:
        """Adds a value, or the items of an array."""
        if isinstance(value, list):
            self.meter.build(CELL_BYTES * len(value))
            sequence.extend(value)
        elif value is not None:
            self.meter.build(CELL_BYTES)
            sequence.append(value)

    def flattened(self, values: Iterable[Any]) -> list[Any]:
        flat: list[Any] = []
        for value in values:
            self.meter.step()
            self._extend(flat, self.flattened(value) if isinstance(value, list) else value)
        return flat

    def appended(self, values: Iterable[Any]) -> list[Any]:
        joined: list[Any] = Utils.JList()
        for value in values:
            self._extend(joined, value)
        return joined

    # Nodes

    def evaluate_name(self, expr: Any, input: Any, _environment: Any) -> Any:
        return self.lookup(input, expr.value)

    def evaluate_literal(self, expr: Any, _input: Any, _environment: Any) -> Any:
        return NULL if expr.value is None else expr.value

    def evaluate_parent(self, expr: Any, _input: Any, environment: Any) -> Any:
        return environment.lookup(expr.slot.label)

    def evaluate_wildcard(self, _expr: Any, input: Any, _environment: Any) -> Any:
        found = Utils.create_sequence()
        for value in input.values() if isinstance(input, dict) else input if isinstance(input, list) else ():
            self.meter.step()
            taken = self.taken(value)
            self._extend(found, self.flattened(taken) if isinstance(taken, list) else taken)
            found.sequence = found.sequence and not isinstance(taken, list)  # an array's items stay an array
        return found

    def evaluate_descendants(self, _expr: Any, input: Any, _environment: Any) -> Any:
        if input is None:
            return None
        found = Utils.create_sequence()
        pending = [input]
        while pending:
            self.meter.step()
            value = self.taken(pending.pop())
            if not isinstance(value, list):
                self._extend(found, value)
            children = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
            self.meter.build(CELL_BYTES * len(children))
            pending.extend(reversed(list(children)))
        return found[0] if len(found) == 1 else found

    def evaluate_step(self, expr: Any, input: Any, environment: Any, last_step: bool) -> Any:
        if expr.type == "sort":
            return super().evaluate_step(expr, input, environment, last_step)
        results = []
        for item in input:
            result = self.eval(expr, item, environment)
            for stage in expr.stages or ():
                result = self.evaluate_filter(stage.expr, result, environment)
            if result is not None:
                results.append(result)
        if last_step and len(results) == 1 and isinstance(results[0], list) and not Utils.is_sequence(results[0]):
            return results[0]
        joined = Utils.create_sequence()
        for result in results:
            if getattr(result, "cons", False):
                joined.append(result)
            else:
                self._extend(joined, result)
        return joined

    def evaluate_tuple_step(self, expr: Any, input: Any, tuple_bindings: Any, environment: Any) -> Any:
        if expr.type == "sort":
            return super().evaluate_tuple_step(expr, input, tuple_bindings, environment)
        stream = Utils.create_sequence()
        stream.tuple_stream = True
        for binding in [{"@": item} for item in input] if tuple_bindings is None else tuple_bindings:
            result = self.eval(expr, binding["@"], self.create_frame_from_tuple(environment, binding))
            if result is None:
                continue
            items = result if isinstance(result, list) else [result]
            self.meter.build(_BINDING_BYTES * len(items))
            nested = getattr(items, "tuple_stream", False)
            stream.extend(_bound(expr, binding, item, index, nested) for index, item in enumerate(items))
        return stream if expr.stages is None else self.evaluate_stages(expr.stages, stream, environment)

    def evaluate_filter(self, predicate: Any, input: Any, environment: Any) -> Any:
        kept = Utils.create_sequence()
        kept.tuple_stream = stream = getattr(input, "tuple_stream", False)
        items = input if isinstance(input, list) else [] if input is None else [input]
        if predicate.type == "number":
            index = math.floor(predicate.value)
            if not -len(items) <= index < len(items):
                return kept
            if isinstance(items[index], list):
                return items[index]
            kept.append(items[index])
            return kept
        for index, item in enumerate(items):
            env = self.create_frame_from_tuple(environment, item) if stream else environment
            if self._keeps(self.eval(predicate, item["@"] if stream else item, env), index, len(items)):
                kept.append(item)
        return kept

    def _keeps(self, result: Any, index: int, size: int) -> bool:
        """A predicate keeps an item if it is true for it, or is its number, or an array with its number."""
        numbers = result if isinstance(result, list) else [result]
        if numbers and all(map(is_number, numbers)):
            return any(math.floor(number) in (index, index - size) for number in numbers)
        return truth(result, self.meter)

    def evaluate_group_expression(self, expr: Any, input: Any, environment: Any) -> dict[str, Any]:
        stream = getattr(input, "tuple_stream", False)
        groups: dict[str, tuple[int, list[Any]]] = {}
        for item in (input or [None]) if isinstance(input, list) else [input]:
            env = self.create_frame_from_tuple(environment, item) if stream else environment
            for number, (key_expr, _) in enumerate(expr.lhs_object):
                key = self.eval(key_expr, item["@"] if stream else item, env)
                if key is None:
                    continue
                if not isinstance(key, str):
                    raise JException("T1003", expr.position, key)
                owner, items = groups.setdefault(key, (number, []))
                if owner != number:
                    raise JException("D1009", expr.position, key)
                items.append(item)
        self.meter.build(_OBJECT_BYTES + ENTRY_BYTES * len(groups))
        result = {}
        for key, (number, items) in groups.items():
            context, env = self._reduced(items, environment) if stream else (self._grouped(items), environment)
            value = self.eval(expr.lhs_object[number][1], context, env)
            if value is not None:
                result[key] = value
        return result

    def _object(self, expr: Any, input: Any, environment: Any) -> dict[str, Any]:
        """The same of one item, where no two keys can be alike."""
        self.meter.build(_OBJECT_BYTES + ENTRY_BYTES * len(expr.keys))
        result = {}
        for key, (_, value_expr) in zip(expr.keys, expr.lhs_object, strict=True):
            value = self.eval(value_expr, input, environment)
            if value is not None:
                result[key] = value
        return result

    def _grouped(self, items: list[Any]) -> Any:
        return items[0] if len(items) == 1 else self.appended(items)

    def _reduced(self, bindings: list[dict[str, Any]], environment: Any) -> tuple[Any, Any]:
        """One context and one frame for a group of a tuple stream: each name holds its values from all of them."""
        merged = {name: self._grouped([binding.get(name) for binding in bindings]) for name in bindings[0]}
        return merged.pop("@"), self.create_frame_from_tuple(environment, merged)

    def evaluate_unary(self, expr: Any, input: Any, environment: Any) -> Any:
        if expr.keys is not None and not isinstance(input, list):
            return self._object(expr, input, environment)
        if expr.value == "{":
            return self.evaluate_group_expression(expr, input, environment)
        if expr.value != "[":
            value = self.eval(expr.expression, input, environment)
            if value is not None and not is_number(value):
                raise JException("D1002", expr.position, value)
            return None if value is None else normal(-float(value))
        self.meter.build(_OBJECT_BYTES)
        array: list[Any] = Utils.JList()
        for item in expr.expressions:
            value = self.eval(item, input, environment)
            self._extend(array, [value] if item.type == "unary" and item.value == "[" else value)
        array.cons = expr.consarray  # type: ignore[attr-defined]
        return array

    def evaluate_binary(self, expr: Any, input: Any, environment: Any) -> Any:
        left = self.eval(expr.lhs, input, environment)
        op = expr.value
        if op in ("and", "or"):
            left = truth(left, self.meter)
            return left if left == (op == "or") else truth(self.eval(expr.rhs, input, environment), self.meter)
        right = self.eval(expr.rhs, input, environment)
        match op:
            case "+" | "-" | "*" | "/" | "%":
                return self.evaluate_numeric_expression(left, right, op)
            case "=" | "!=":
                return self.evaluate_equality_expression(left, right, op)
            case "<" | "<=" | ">" | ">=":
                return self.evaluate_comparison_expression(left, right, op)
            case "&":
                return self.evaluate_string_concat(left, right)
            case "..":
                return self.evaluate_range_expression(left, right)
            case "in":
                return self.evaluate_includes_expression(left, right)
        raise ValueError(f"there is no operator {op}")

    def evaluate_numeric_expression(self, lhs: Any, rhs: Any, op: str) -> float | None:
        for operand, code in ((lhs, "T2001"), (rhs, "T2002")):
            if operand is not None and not is_number(operand):
                raise JException(code, -1, op, operand)
        if lhs is None or rhs is None:
            return None
        try:
            return normal(ARITHMETIC[op](float(lhs), float(rhs)))
        except (ZeroDivisionError, OverflowError, ValueError) as error:
            raise JException("D1001", -1, f"{lhs} {op} {rhs}") from error

    def evaluate_equality_expression(self, lhs: Any, rhs: Any, op: str) -> bool:
        if lhs is None or rhs is None:
            return False
        return equal(lhs, rhs, self.meter) == (op == "=")

    def evaluate_includes_expression(self, lhs: Any, rhs: Any) -> bool:
        if lhs is None or rhs is None:
            return False
        return any(equal(lhs, item, self.meter) for item in (rhs if isinstance(rhs, list) else [rhs]))

    def evaluate_string_concat(self, lhs: Any, rhs: Any) -> str:
        left, right = ("" if side is None else text(side, self.meter) for side in (lhs, rhs))
        self.meter.build(len(left) + len(right))
        return left + right

    def evaluate_range_expression(self, lhs: Any, rhs: Any) -> list[int] | None:
        for bound, code in ((lhs, "T2003"), (rhs, "T2004")):
            if bound is not None and not (is_number(bound) and float(bound).is_integer()):
                raise JException(code, -1, bound)
        if lhs is None or rhs is None or lhs > rhs:
            return None
        self.meter.build(_INTEGER_BYTES * (int(rhs) - int(lhs) + 1))
        return list(range(int(lhs), int(rhs) + 1))

    def evaluate_condition(self, expr: Any, input: Any, environment: Any) -> Any:
        if truth(self.eval(expr.condition, input, environment), self.meter):
            return self.eval(expr.then, input, environment)
        return None if expr._else is None else self.eval(expr._else, input, environment)

    def evaluate_transform_expression(self, expr: Any, _input: Any, environment: Any) -> Any:
        return Jsonata.JFunction(_Transformer(self, expr, environment), "<(oa):o>")

    # Functions

    def call(self, function: Any, *args: Any) -> Any:
        """Calls what an expression passed as a function, with as many of ``args`` as it takes (at least the first)."""
        self.meter.step()
        if not self.is_function_like(function):
            raise JException("T1006", -1)
        taken = args[: max(1, Functions.get_function_arity(function))]
        return self.apply(function, list(taken), None, self.environment)

    def apply_inner(self, proc: Any, args: Any, input: Any, environment: Any) -> Any:
        if not self.is_function_like(proc):  # the library prints it
            raise JException("T1006", -1)
        return super().apply_inner(proc, args, input, environment)

    def evaluate_lambda(self, expr: Any, input: Any, environment: Any) -> Any:
        self.meter.build(_CLOSURE_BYTES)
        closure = Node()
        closure._jsonata_lambda = True
        closure.input, closure.environment = input, environment
        closure.arguments, closure.signature, closure.body = expr.arguments, expr.signature, expr.body
        closure.thunk = expr.thunk
        return closure

    def partial_apply_native_function(self, native: Any, args: list[Any]) -> Any:
        if native.function_name is None:
            raise JException("T1008", -1)
        return self.partial_apply_procedure(
            _forwarding(native.function_name, min(len(args), native.get_number_of_args())), args
        )

    def create_frame(self, enclosing_environment: Any = None) -> Frame:
        return Frame(enclosing_environment)


def _bound(expr: Any, binding: dict[str, Any], item: Any, index: int, nested: bool) -> dict[str, Any]:
    """What a step binds for one item: the context ``@``, and the names that ``@$x``, ``#$i`` and ``%`` ask for."""
    if nested:
        return {**binding, **item}
    bound = {**binding, "@": item}
    if expr.focus is not None:
        bound[expr.focus], bound["@"] = item, binding["@"]
    if expr.index is not None:
        bound[expr.index] = index
    if expr.ancestor is not None:
        bound[expr.ancestor.label] = binding["@"]
    return bound


@lru_cache(maxsize=512)  # builtins times their arguments
def _forwarding(name: str, count: int) -> Node:
    """``function($a, $b) { $name($a, $b) }``: what a partial application of a builtin fills in."""
    params = ", ".join(f"$p{number}" for number in range(count))
    return parse(f"function({params}) {{ ${name}({params}) }}")


class _Transformer(Jsonata.Transformer):  # type: ignore[misc]
    """``| pattern | update |`` on a copy that is charged."""

    def call(self, input: Any, args: list[Any]) -> Any:
        if args[0] is None:
            return None
        meter = self._jsonata.meter
        return super().call(input, [plain(args[0], meter, meter.build, function="")])


_EVALUATE: dict[str, Callable[[Evaluator, Any, Any, Any], Any]] = {
    "path": Evaluator.evaluate_path,
    "binary": Evaluator.evaluate_binary,
    "unary": Evaluator.evaluate_unary,
    "name": Evaluator.evaluate_name,
    "string": Evaluator.evaluate_literal,
    "number": Evaluator.evaluate_literal,
    "value": Evaluator.evaluate_literal,
    "regex": Evaluator.evaluate_literal,
    "wildcard": Evaluator.evaluate_wildcard,
    "descendant": Evaluator.evaluate_descendants,
    "parent": Evaluator.evaluate_parent,
    "condition": Evaluator.evaluate_condition,
    "block": Evaluator.evaluate_block,
    "bind": Evaluator.evaluate_bind_expression,
    "function": lambda run, expr, input, env: run.evaluate_function(expr, input, env, Utils.NONE),
    "variable": Evaluator.evaluate_variable,
    "lambda": Evaluator.evaluate_lambda,
    "partial": Evaluator.evaluate_partial_application,
    "apply": Evaluator.evaluate_apply_expression,
    "transform": Evaluator.evaluate_transform_expression,
}
