"""Any graph of the right shape: what a body that has passed the API's checks may hold, sensible or not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from chalicelib.graph.model import Connection, Graph, Node
from chalicelib.nodes.registry import CATALOG

IDS = st.sampled_from(["a", "b", "c", "d", "e.output", 'f"', "{% g %}", "ü", "nodes[0]"])
PORTS = st.sampled_from(["input", "output", "true", "false", "item", "done", "error", "default", "x", "{{ data }}"])
TYPES = st.sampled_from([*(kind.name for kind in CATALOG), "nobody-knows"])

TEXTS = st.sampled_from(
    ["", "data", "$", "((", "{{ data.x }}", "{{", "{{ )( }}", "a{{1}}b", "nodes.a", "$sum(", "\u0000", "ü"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(sorted({key for kind in CATALOG for key in kind.config_keys} | {"surplus", ""}))
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "onError": st.sampled_from(["fail", "continue", "port"]),
        "timeoutSeconds": st.integers(1, 100),
        "retry": st.fixed_dictionaries({}, optional={"maxAttempts": st.integers(1, 20)}),
    },
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    names = draw(st.lists(IDS, unique=True, max_size=6))
    nodes = tuple(
        Node(
            id=name,
            type=draw(TYPES),
            config=draw(st.dictionaries(KEYS, VALUES, max_size=4)),
            input_mappings=draw(st.dictionaries(TEXTS, TEXTS, max_size=2)),
            settings=draw(SETTINGS),
        )
        for name in names
    )
    return Graph(nodes, tuple(_connection(draw, number) for number in range(draw(st.integers(0, 8)))))


def _connection(draw: st.DrawFn, number: int) -> Connection:
    return Connection(f"c{number}", draw(IDS), draw(IDS), draw(PORTS), draw(PORTS))


@st.composite
def edges(draw: st.DrawFn, size: int = 8) -> tuple[list[str], dict[str, list[str]]]:
    """Nodes and their successors, with whatever cycles come about."""
    nodes = [f"n{index}" for index in range(draw(st.integers(0, size)))]
    if not nodes:
        return [], {}
    targets = st.lists(st.sampled_from(nodes), unique=True, max_size=3)
    found: dict[str, Any] = {node: draw(targets) for node in nodes}
    return nodes, found
