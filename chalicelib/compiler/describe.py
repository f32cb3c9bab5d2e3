"""A plan for people: what runs after what, what beside what and in which execution, and what each of it comes to.

::

    12 nodes in 1 execution of 78 events and 9 kB; a run takes 15 transitions and 12 invocations, $0.00040
    at most 17 transitions: 1 node may have to wait for what runs beside it

    series                                                    15 transitions, 78 events, 9 kB
      start
      parallel                                                3 transitions, 25 events, 3 kB
        a
        gate: b waits for c                                   1 transition, 16 events, 2 kB
          b
      loop each: 285 items here, more in executions of 991 each

It is what ``asl.layout`` plans and ``estimate`` counts, so it says what a state machine will do. A loop counts with one
item in transitions, with as many as may be in events and bytes. A node that has to wait for what runs beside it counts
as ready when it is visited in transitions, and as not ready in events.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.compiler.asl.emit import planned
from chalicelib.compiler.asl.layout import Caps, Laid, Weight
from chalicelib.compiler.estimate import START, Cost, cost, estimate
from chalicelib.compiler.plan import Chain, Choice, Gate, Loop, Part, Plan, Region, Step
from chalicelib.foundation.json_types import dumps

_PLAIN = re.compile(r"[\w.-]+")
_WIDTH = 60  # characters before what a region comes to


@dataclass(frozen=True)
class Description:
    """``executions``: what each may come to, by part; that of the run itself has the key ``""``."""

    nodes: int
    run: Cost
    at_most: Cost  # where none is ready of the nodes that have late joins
    late_joins: int  # how many those are
    executions: Mapping[str, Weight]
    root: _Told

    @property
    def lines(self) -> Iterator[str]:
        """As text, the summary first."""
        total = sum(weight.bytes for weight in self.executions.values())
        events = max(weight.events for weight in self.executions.values())
        told = self.run.to_json()
        yield (
            f"{_count(self.nodes, 'node')} in {_count(len(self.executions), 'execution')} of at most "
            f"{_count(events, 'event')}, {_size(total)}; a run takes {_count(self.run.transitions, 'transition')} and "
            f"{_count(self.run.invocations, 'invocation')}, ${told['priceUsd']:.6f}"
        )
        if self.late_joins:
            may_wait = f"{_count(self.late_joins, 'node')} may have to wait for what runs beside it"
            yield f"at most {_count(self.at_most.transitions, 'transition')}: {may_wait}"
        yield ""
        yield from self.root.lines("")

    def to_json(self) -> dict[str, Any]:
        """``{nodes, run, atMost, lateJoins, executions, root}``; a region is ``{kind, ..., parts?}`` and its amount."""
        return {
            "nodes": self.nodes,
            "run": self.run.to_json(),
            "atMost": self.at_most.to_json(),
            "lateJoins": self.late_joins,
            "executions": [
                {"part": key, "events": weight.events, "bytes": weight.bytes} for key, weight in self.executions.items()
            ],
            "root": self.root.to_json(),
        }


@dataclass(frozen=True)
class _Told:
    """A region, with what is within it."""

    region: Region
    weight: Weight
    cost: Cost
    inner: tuple[_Told, ...]
    caps: Caps | None  # of a loop

    def lines(self, indent: str) -> Iterator[str]:
        match self.region:
            case Step(node):
                yield indent + _name(node)
                return
            case Chain(nodes):
                head = f"chain {', '.join(map(_name, nodes))}"
            case Gate(node, awaits, _):
                head = f"gate: {_name(node)} waits for {', '.join(map(_name, awaits))}"
            case Choice(node, _):
                head = f"choice by the port of {_name(node)}"
            case Loop(node, _, limit):
                head = f"loop {_name(node)}{_spread(self.caps)}" + (f", {limit} at once" if limit else "")
            case Part(key, _):
                head = f"{key}, an execution of its own"
            case _:
                head = type(self.region).__name__.lower()
        yield f"{indent + head:<{_WIDTH}}  {self._amount}"
        cases = [case.port for case in self.region.cases] if isinstance(self.region, Choice) else None
        for number, told in enumerate(self.inner):
            if cases is not None:
                yield f"{indent}  {_name(cases[number])}:"
            yield from told.lines(indent + ("  " if cases is None else "    "))

    @property
    def _amount(self) -> str:
        return (
            f"{_count(self.cost.transitions, 'transition')}, {_count(self.weight.events, 'event')}, "
            f"{_size(self.weight.bytes)}"
        )

    def to_json(self) -> dict[str, Any]:
        kind = type(self.region).__name__.lower()
        amount = {
            "stateTransitions": self.cost.transitions,
            "events": self.weight.events,
            "bytes": self.weight.bytes,
        }
        parts = [told.to_json() for told in self.inner]
        match self.region:
            case Step(node):
                return {"kind": kind, "node": node}
            case Chain(nodes):
                return {"kind": kind, "nodes": list(nodes), **amount}
            case Gate(node, awaits, _):
                own: dict[str, Any] = {"node": node, "awaits": list(awaits)}
            case Choice(node, cases):
                own = {"node": node, "ports": [case.port for case in cases]}
            case Loop(node, _, limit):
                own = {"node": node, "maxConcurrency": limit}
                if self.caps:
                    own |= {"itemsHere": self.caps.inline, "itemsPerExecution": self.caps.in_range}
            case Part(key, _):
                own = {"part": key}
            case _:
                own = {}
        return {"kind": kind, **own, **amount, "parts": parts}


def describe(plan: Plan) -> Description:
    """What ``plan`` is, and what it comes to."""
    layout = planned(plan)
    root = _told(layout.root, plan, layout.caps)
    executions = {"": layout.root.weight} | dict(_executions(layout.root))
    at_most = estimate(plan, layout).at_most
    return Description(len(plan.nodes), START + root.cost, at_most, len(plan.late_joins), executions, root)


def _told(laid: Laid, plan: Plan, caps: Mapping[str, Caps]) -> _Told:
    inner = tuple(_told(each, plan, caps) for each in laid.inner)
    own = caps.get(laid.region.node) if isinstance(laid.region, Loop) else None
    return _Told(laid.region, laid.weight, cost(laid.region, [each.cost for each in inner], plan, caps), inner, own)


def _executions(root: Laid) -> Iterator[tuple[str, Weight]]:
    todo = [root]
    while todo:
        laid = todo.pop()
        todo += reversed(laid.inner)
        if isinstance(laid.region, Part):
            yield laid.region.key, laid.inner[0].weight


def _spread(caps: Caps | None) -> str:
    if caps is None:
        return ""
    if not caps.inline:
        return f": {_count(caps.in_range, 'item')} in an execution of their own"
    return f": {_count(caps.inline, 'item')} here, more in executions of {caps.in_range}"


def _name(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else dumps(text)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _size(number: int) -> str:
    return f"{number:,} B" if number < 1000 else f"{round(number / 1000):,} kB"
