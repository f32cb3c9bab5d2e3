"""The graphs that are measured, as requests spell them.

Nodes are ``set-fields`` with a constant, unless a measurement is about expressions: what is left is the work of
Millrace itself.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

WEATHER = Path(__file__).resolve().parents[1] / "examples" / "weather"
Shape = dict[str, Any]

_LAYER = 10  # nodes side by side in a layered graph
_SEED = 1
_numbers = itertools.count()


def chain(size: int) -> Shape:
    """``n0 -> n1 -> ...``"""
    return shape(size, [(index, index + 1) for index in range(size - 1)])


def chain_of_states(size: int) -> Shape:
    """The same, but each node may be tried again, and so is a state of its own."""
    found = chain(size)
    for node in found["nodes"]:
        node["settings"] = {"retry": {"maxAttempts": 2}}
    return found


def fan_out(size: int) -> Shape:
    """One node, ``size`` less two side by side, and one that joins them."""
    middle = range(1, size - 1)
    return shape(size, [*((0, index) for index in middle), *((index, size - 1) for index in middle)])


def layered(size: int) -> Shape:
    """Layers of ten; each node hangs under one to three random nodes of the layer before. Seldom series-parallel."""
    chance = random.Random(_SEED)
    edges = []
    for index in range(_LAYER, size):
        above = range((index // _LAYER - 1) * _LAYER, index // _LAYER * _LAYER)
        edges += [(source, index) for source in chance.sample(above, chance.randint(1, 3))]
    return shape(size, edges)


def chain_of_expressions(size: int) -> Shape:
    """A chain whose nodes each have an expression that no other has, not even in another such chain."""
    shape = chain(size)
    for node in shape["nodes"]:
        node |= {
            "nodeId": "transform",
            "config": {"expression": f"{{'n': data.n + {next(_numbers)}, 'm': nodes.n0.n}}"},
        }
    return shape


def loop(items: int) -> Shape:
    """A loop over so many numbers, of one node."""
    found = shape(2, [])
    found["nodes"][0] |= {"id": "loop", "nodeId": "loop", "config": {"items": f"[1..{items}]"}}
    found["connections"] = [{"id": "c", "sourceNodeId": "loop", "sourcePort": "item", "targetNodeId": "n1"}]
    return found


def demo() -> Shape:
    """The graph of ``make demo``."""
    found: Shape = json.loads((WEATHER / "workflow.json").read_text(encoding="utf-8"))
    return found


def shape(size: int, edges: list[tuple[int, int]]) -> Shape:
    return {
        "nodes": [
            {"id": f"n{index}", "nodeId": "set-fields", "config": {"fields": {"n": index}}} for index in range(size)
        ],
        "connections": [
            {"id": f"c{number}", "sourceNodeId": f"n{source}", "targetNodeId": f"n{target}"}
            for number, (source, target) in enumerate(edges)
        ],
    }
