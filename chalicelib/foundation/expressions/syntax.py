"""From source to a tree, and what a tree tells without being evaluated.

The library parses. Its symbols carry some fifty attributes each and hold on to the parser; compiled expressions are
cached, so the tree is copied into ``Node``s that store only what is set (a tenth of the memory) and nothing evaluates
or changes but the evaluator's own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from jsonata.jexception import JException
from jsonata.parser import Parser

from .functions import REFUSED
from .limits import ExpressionError
from .messages import explain
from .patterns import Pattern
from .values import EXACT


class Node(Parser.Symbol):  # type: ignore[misc]
    """A symbol of the library. What is not set is looked up in the class."""

    def __init__(self) -> None:
        """Sets nothing."""

    #: Of a path that is nothing but names, ``("nodes", "fetch", "body")`` for ``nodes.fetch.body``.
    names: tuple[str, ...] | None = None
    #: Of an object whose keys are all given as text, and differ: those.
    keys: tuple[str, ...] | None = None


_SYMBOL = vars(Parser.Symbol(None))
for _name, _default in _SYMBOL.items():
    setattr(Node, _name, _default)
_PARSE_ONLY = {"_outer_instance", "id", "bp", "lbp", "seeking_parent", "next_function", "rhs_object", "rhs_terms"}
_KEPT = {name: default for name, default in _SYMBOL.items() if name not in _PARSE_ONLY}
_LOCAL = threading.local()  #: making a parser takes five times as long as a short expression takes it


def parse(source: str) -> Node:
    """Raises ``ExpressionError`` for malformed source, and for functions that are refused."""
    parser = _parser()
    try:
        tree = _copied(parser.parse(source, Pattern), {})
    except JException as error:
        raise ExpressionError(explain(error), error.location if error.location > 0 else None, source) from error
    except RecursionError:
        raise ExpressionError("the expression is nested too deeply", None, source) from None
    except ExpressionError as error:
        raise ExpressionError(error.reason, error.position, source) from None
    except Exception as error:  # the library lets IndexError, KeyError and others through
        reached = min(parser.lexer.position, len(source)) if parser.lexer is not None else 0
        reason = str(error) if isinstance(error, ValueError) else "the expression is malformed"
        raise ExpressionError(reason, reached, source) from error
    _LOCAL.parser = parser  # only one that has not failed is used again
    return tree


def _parser() -> Parser:
    """This thread's parser, in its initial state."""
    parser = vars(_LOCAL).pop("parser", None) or Parser()
    parser.errors, parser.ancestry = [], []
    parser.ancestor_label = parser.ancestor_index = 0
    return parser


def _copied(symbol: Any, copies: dict[int, Node]) -> Node:
    """The tree as nodes; parts that the parser shares stay shared."""
    if id(symbol) in copies:
        return copies[id(symbol)]
    node = copies[id(symbol)] = Node()
    attributes = vars(symbol)
    for name, default in _KEPT.items():
        value = attributes.get(name, default)
        if value is not default:
            setattr(node, name, _copied_value(value, copies))
    if node.type == "number" and isinstance(node.value, int) and abs(node.value) > EXACT:
        node.value = float(node.value)
    if node.type == "variable" and node.value in REFUSED:
        raise ExpressionError(f"the function ${node.value} is not available", node.position)
    if (names := _names_of(node)) is not None:
        node.names = names
    if (keys := _keys_of(node)) is not None:
        node.keys = keys
    return node


def _names_of(node: Node) -> tuple[str, ...] | None:
    steps = node.steps if node.type == "path" and vars(node).keys() == {"type", "steps"} else None
    if not steps or any(step.type != "name" or vars(step).keys() - {"type", "value", "position"} for step in steps):
        return None
    return tuple(str(step.value) for step in steps)


def _keys_of(node: Node) -> tuple[str, ...] | None:
    if node.type != "unary" or node.value != "{":
        return None
    keys = [key for key, _ in node.lhs_object]
    if any(key.type != "string" or vars(key).keys() - {"type", "value", "position"} for key in keys):
        return None
    texts = tuple(str(key.value) for key in keys)
    return texts if len(set(texts)) == len(texts) else None


def _copied_value(value: Any, copies: dict[int, Node]) -> Any:
    if isinstance(value, Parser.Symbol):
        return _copied(value, copies)
    if isinstance(value, list):
        return [_copied_value(item, copies) for item in value]
    return value


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below, in no order that matters."""
    for name, value in vars(node).items():
        if name not in ("slot", "ancestor"):
            yield from _nodes(value)


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)
