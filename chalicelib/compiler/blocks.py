"""Blocks: a scope on its way from a graph to regions, as a tree of what runs in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Blocks are split no deeper than this, and what is grown then forks no deeper. Every level of nesting is one of Step
#: Functions' own, and of JSON's.
MAX_DEPTH = 40
MAX_FORKS = 10


@dataclass(frozen=True, slots=True)
class Block:
    """A node (``node`` set), parts that run in series or in parallel, or a part behind a gate.

    A gate is named after the first node behind it, ``node``, and opens when all of ``awaits`` are decided.
    """

    kind: str  # "node", "series", "parallel" or "gate"
    node: str = ""
    parts: tuple[Block, ...] = ()
    awaits: tuple[str, ...] = ()

    def nodes(self) -> Iterator[str]:
        """In the order in which they may run."""
        stack = [self]
        while stack:
            top = stack.pop()
            if top.kind == "node":
                yield top.node
            stack.extend(reversed(top.parts))

    def sinks(self) -> Iterator[str]:
        """The nodes that end last, on each of its branches."""
        stack = [self]
        while stack:
            top = stack.pop()
            match top.kind:
                case "node":
                    yield top.node
                case "series":
                    stack.append(top.parts[-1])
                case _:
                    stack.extend(reversed(top.parts))


def series(parts: list[Block]) -> Block:
    return parts[0] if len(parts) == 1 else Block("series", parts=tuple(parts))


def parallel(parts: list[Block]) -> Block:
    return parts[0] if len(parts) == 1 else Block("parallel", parts=tuple(parts))
