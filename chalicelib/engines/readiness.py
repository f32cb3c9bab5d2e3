"""When a node is ready: as soon as the source of every connection into it is decided.

Counted per scope (the top level, the body of a loop), from the connections of the plan alone. A node that an
expression merely names is not waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from chalicelib.compiler.plan import Plan, PlanNode


@dataclass
class Scope:
    """The nodes of one scope and what leads to what among them."""

    nodes: list[PlanNode] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)  # by node: connections into it
    targets: dict[str, list[PlanNode]] = field(default_factory=dict)  # by node: one for each connection out of it


def scopes_of(plan: Plan) -> Mapping[tuple[str, ...], Scope]:
    """The scopes of a plan by the loops around them, outermost first.

    A connection counts where both its ends are in the scope: that from a loop into its body does not, because the body
    is begun by the loop, nor does one from a node that this start never reaches.
    """
    scopes: dict[tuple[str, ...], Scope] = {}
    for node in plan.nodes.values():
        scope = scopes.setdefault(node.loops, Scope())
        scope.nodes.append(node)
        for edge in node.inbound:
            source = plan.nodes.get(edge.source)
            if source is not None and source.loops == node.loops:
                scope.sources[node.id] += 1
                scope.targets.setdefault(source.id, []).append(node)
    return scopes


class Readiness:
    """Which nodes of a scope are ready, in one pass through it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._awaited = dict(scope.sources)
        self._skipped: set[str] = set()
        self.undecided = len(scope.nodes)

    def first(self) -> list[PlanNode]:
        """The nodes that nothing leads to."""
        return [node for node in self._scope.nodes if node.id not in self._awaited]

    def decided(self, node: PlanNode, port: str) -> list[PlanNode]:
        """The nodes that became ready because ``node`` has taken ``port``; those that it skipped are decided too."""
        for other, names in node.guarded.items():
            if other != port:
                self._skipped.update(names)
        return list(self._ready_after(node))

    def _ready_after(self, node: PlanNode) -> Iterator[PlanNode]:
        done = [node]
        while done:
            self.undecided -= 1
            for target in self._scope.targets.get(done.pop().id, ()):
                self._awaited[target.id] -= 1
                if self._awaited[target.id]:
                    continue
                if target.id in self._skipped:
                    done.append(target)
                else:
                    yield target
