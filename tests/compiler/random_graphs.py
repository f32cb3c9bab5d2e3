"""Random graphs without errors, and series-parallel ones."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from chalicelib.graph.model import Connection, Graph, Node
from chalicelib.graph.structure import Successors
from chalicelib.nodes.registry import CATALOG
from tests.notation import node

KINDS = st.sampled_from(["transform", "transform", "transform", "condition", "condition", "switch", "loop"])
SWITCH: dict[str, Any] = {"expression": "data", "cases": ["red", 'it\'s "blue"', 3]}


@st.composite
def workflows(draw: st.DrawFn, max_nodes: int = 12) -> Graph:
    """A graph of up to ``max_nodes`` nodes, maybe with triggers and loops, its nodes in any order."""
    draft = _Draft(draw, draw(st.integers(1, max_nodes)))
    top = draft.scope(depth=0)
    for index in range(draw(st.integers(0, 2))):
        trigger = node(f"t{index}", "manual-trigger")
        draft.nodes.append(trigger)
        for target in _some(draw, top, at_least=1):
            draft.connect(trigger.id, "output", target.id)
    return Graph(tuple(draw(st.permutations(draft.nodes))), tuple(draft.connections))


@st.composite
def woven(draw: st.DrawFn) -> Graph:
    """Conditions and others, each under one or two earlier ones: seldom series-parallel, and branches close."""
    nodes: list[Node] = []
    connections: list[Connection] = []
    for index in range(draw(st.integers(4, 12))):
        above = _some(draw, nodes, at_least=1)[: draw(st.sampled_from([1, 1, 2]))] if index > 1 else []
        for source in above:
            port = draw(st.sampled_from(_ports(source)))
            connections.append(Connection(f"c{len(connections)}", source.id, f"n{index}", port))
        nodes.append(node(f"n{index}", draw(st.sampled_from(["transform", "condition"]))))
    return Graph(tuple(nodes), tuple(connections))


class _Draft:
    def __init__(self, draw: st.DrawFn, budget: int) -> None:
        self.nodes: list[Node] = []
        self.connections: list[Connection] = []
        self._draw = draw
        self._left = budget

    def scope(self, depth: int) -> list[Node]:
        """Nodes of a new scope, each connected to earlier ones; loops get bodies while there are nodes left."""
        size = self._draw(st.integers(1, self._left)) if depth else self._left
        members: list[Node] = []
        while len(members) < size and self._left > 0:
            member = self._node(depth)
            for source in _some(self._draw, members):
                for port in self._draw(st.lists(st.sampled_from(_ports(source)), unique=True, min_size=1, max_size=2)):
                    self.connect(source.id, port, member.id)
            members.append(member)
        return members

    def connect(self, source: str, port: str, target: str) -> None:
        self.connections.append(Connection(f"c{len(self.connections)}", source, target, port))

    def _node(self, depth: int) -> Node:
        kind = self._draw(KINDS)
        settings = self._draw(st.sampled_from([{}, {}, {"onError": "port"}, {"timeoutSeconds": 5}]))
        more: dict[str, Any] = {"config": SWITCH} if kind == "switch" else {}
        made = node(f"n{len(self.nodes)}", kind, settings=settings, **more)
        self.nodes.append(made)
        self._left -= 1
        if kind == "loop" and depth < 2 and self._left:
            self._body(made, depth)
        return made

    def _body(self, loop: Node, depth: int) -> None:
        body = self.scope(depth + 1)
        entered = {connection.target for connection in self.connections}
        others = [member for member in body if member.id in entered]
        for member in [member for member in body if member.id not in entered] + _some(self._draw, others):
            self.connect(loop.id, "item", member.id)


def _some(draw: st.DrawFn, nodes: list[Node], at_least: int = 0) -> list[Node]:
    if not nodes:
        return []
    places = st.integers(0, len(nodes) - 1)
    return [nodes[place] for place in draw(st.lists(places, unique=True, min_size=at_least, max_size=3))]


def _ports(node: Node) -> list[str]:
    kind = CATALOG.find(node.type)
    assert kind is not None
    ports = [port for port in kind.ports_out(node.config) if port != kind.body_port]
    return [*ports, "error"] if node.settings.get("onError") == "port" else ports


@st.composite
def dags(draw: st.DrawFn, max_nodes: int = 12) -> tuple[list[str], Successors]:
    """Nodes in any order, and successors without a cycle."""
    size = draw(st.integers(1, max_nodes))
    names = [f"n{index}" for index in range(size)]
    edges = {
        name: draw(st.lists(st.sampled_from(names[index + 1 :]), unique=True)) if index + 1 < size else []
        for index, name in enumerate(names)
    }
    return draw(st.permutations(names)), edges


@st.composite
def series_parallel(draw: st.DrawFn) -> tuple[list[str], Successors]:
    """A graph put together by nothing but "one after the other" and "side by side"."""
    shape = draw(
        st.recursive(
            st.just("node"),
            lambda inner: st.tuples(st.booleans(), st.lists(inner, min_size=2, max_size=3)),
            max_leaves=12,
        )
    )
    edges: dict[str, list[str]] = {}
    _build(shape, edges)
    return draw(st.permutations(list(edges))), edges


def _build(shape: Any, edges: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """Adds the nodes of a shape; returns its sources and its sinks."""
    if shape == "node":
        name = f"n{len(edges)}"
        edges[name] = []
        return [name], [name]
    in_series, parts = shape
    ends = [_build(part, edges) for part in parts]
    if not in_series:
        return [name for sources, _ in ends for name in sources], [name for _, sinks in ends for name in sinks]
    for (_, sinks), (sources, _) in pairwise(ends):
        for sink in sinks:
            edges[sink].extend(sources)
    return ends[0][0], ends[-1][1]
