"""What an expression reads, told from its tree: which records have to be loaded before a node can run.

The answer never leaves anything out; where the source does not tell (a bare ``nodes``, ``$$``, a wildcard at the root,
``%``), it says "all". The *root* is the document of names; a name is looked up in it only where it is the context:
``price`` in ``data.items[price > 3]`` is a field of an item.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .evaluator import BUILTINS
from .syntax import Node, children

#: Every name that a document may hold (see the package's docstring).
NAMES = frozenset({"data", "execution", "item", "loop", "nodes", "trigger", "vars"})
#: They pass the arguments on, so a builtin that is given to them never falls back on the context.
_PASSING = frozenset({"map", "filter", "single", "reduce", "sift", "each", "sort"})


@dataclass(frozen=True)
class References:
    """``names``: top-level names that are read; ``nodes``: ids read as ``nodes.<id>``; ``all_nodes``: others may be
    read too.
    """

    nodes: frozenset[str] = frozenset()
    all_nodes: bool = False
    names: frozenset[str] = frozenset()

    def __or__(self, other: References) -> References:
        if other is NOTHING or self is NOTHING:  # as of most nodes of a tree
            return self if other is NOTHING else other
        return References(self.nodes | other.nodes, self.all_nodes or other.all_nodes, self.names | other.names)


EVERYTHING = References(all_nodes=True, names=NAMES)
NOTHING = References()


def references_of(tree: Node) -> References:
    try:
        return _of(tree, at_root=True)
    except RecursionError:  # deeper than an evaluation may go, so it fails whatever is loaded
        return EVERYTHING


def _of(node: Node, at_root: bool) -> References:
    """What ``node`` reads when its context is the root, or something else."""
    context_free = _union(_of(child, False) for child in [*_predicates(node), *([node.group] if node.group else [])])
    match node.type:
        case "path":
            return context_free | _of_path(node.steps, at_root)
        case "variable":
            return context_free | _of_variable(node, at_root)
        case "name":
            return context_free | (_of_name(node.value) if at_root else NOTHING)
        case "wildcard" | "descendant":
            return EVERYTHING if at_root else NOTHING
        case "parent":
            return EVERYTHING  # may climb up to the root
        case "function" | "partial":
            return context_free | _of_call(node, at_root, 0)
        case "lambda" if at_root and node.signature is not None and any(p.context for p in node.signature._params):
            return EVERYTHING
        case "apply":
            if _is_builtin(node.rhs):
                return context_free | _of(node.lhs, at_root)
            right = _of_call(node.rhs, at_root, 1) if node.rhs.type == "function" else _of(node.rhs, at_root)
            return context_free | _of(node.lhs, at_root) | right
        case "transform":
            return context_free | _union(_of(child, False) for child in children(node))
        case _:
            below = [
                child for child in children(node) if child is not node.group and child not in (node.predicate or [])
            ]
            return context_free | _union(_of(child, at_root) for child in below)


def _of_path(steps: list[Node], at_root: bool) -> References:
    found = NOTHING
    for position, step in enumerate(steps):
        following = steps[position + 1] if position + 1 < len(steps) else None
        stays = step.focus is not None  # ``@$x`` binds, and leaves the context where it is
        if _is_root(step, at_root):
            if following is None or following.type != "name" or step.stages or step.predicate or stays:
                return EVERYTHING
            at_root = True
            continue
        if step.type == "sort":
            found |= _union(_of(term.expression, False) for term in step.terms)
        elif step.type == "name" and at_root:
            # What follows is a field of it, unless an ``@`` on either leaves the context where it was.
            known = following is not None and following.type == "name" and following.focus is None
            known = known and not (step.stages or step.index or stays)
            found |= _of_name(step.value, following.value if known and following is not None else None)
        else:
            found |= _of(step, at_root)
        found |= _union(_of(predicate, False) for predicate in _predicates(step))
        at_root = at_root and stays
    return found


def _of_name(name: str, node_id: str | None = None) -> References:
    if name != "nodes":
        return References(names=frozenset({name}))
    return References(frozenset() if node_id is None else frozenset({node_id}), node_id is None, frozenset({name}))


def _of_variable(node: Node, at_root: bool) -> References:
    if _is_root(node, at_root) or (at_root and node.value in BUILTINS and BUILTINS[node.value].context_could_be_root):
        return EVERYTHING
    return NOTHING


def _is_root(node: Node, at_root: bool) -> bool:
    return node.type == "variable" and (node.value == "$" or (node.value == "" and at_root))


def _is_builtin(node: Node) -> bool:
    return node.type == "variable" and node.value in BUILTINS


def _of_call(call: Node, at_root: bool, given: int) -> References:
    """A call with ``given`` arguments besides those in its brackets. A builtin may take the context for the first."""
    name = str(call.procedure.value) if _is_builtin(call.procedure) else ""
    builtin = BUILTINS.get(name) if at_root else None
    if builtin and builtin.context_could_be_root and given + len(call.arguments) < builtin.args_without_context:
        return EVERYTHING
    arguments = [node for node in call.arguments if not (name in _PASSING and _is_builtin(node))]
    return _union(_of(node, at_root) for node in [*arguments, *([] if name else [call.procedure])])


def _predicates(node: Node) -> list[Node]:
    """The conditions in brackets; their context is an item."""
    stages = [*(node.predicate or []), *(node.stages or [])]
    return [stage.expr for stage in stages if stage.expr is not None]


def _union(many: Iterable[References]) -> References:
    found = NOTHING
    for one in many:
        found |= one
    return found
