"""What one run of a plan comes to: state transitions, Lambda invocations, and their price.

Counted on the plan as ``asl.emit`` lays it out, so a run that takes the same ports counts the same. Where a choice
leaves it open, the dearest way is taken. How many items a loop will have is unknown: it counts with one, and what each
item costs is told beside it. Whether a node with late joins is ready when it is visited depends on how long others
take: a run counts as if all were, and beside that it counts as if none was. Retries count nothing. Prices are list
prices, kept with their date in ``prices.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.compiler import prices
from chalicelib.compiler.asl.emit import planned
from chalicelib.compiler.asl.layout import Caps, Layout
from chalicelib.compiler.plan import Chain, Choice, Gate, Loop, Parallel, Part, Plan, PlanNode, Region, Step, inner
from chalicelib.nodes.control import wait
from chalicelib.nodes.io import script

VISIT_SECONDS = 0.1  # of the node runner, assumed: waiting for others is what a node may take longer for


@dataclass(frozen=True, slots=True)
class Cost:
    transitions: int = 0
    invocations: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.transitions + other.transitions, self.invocations + other.invocations)

    def to_json(self) -> dict[str, Any]:
        return {
            "stateTransitions": self.transitions,
            "lambdaInvocations": self.invocations,
            "priceUsd": round(price(self), 9),
        }


@dataclass(frozen=True)
class Estimate:
    run: Cost  # with one item in each loop, and every node ready when it is visited
    at_most: Cost  # the same, where no node with late joins is
    per_item: dict[str, Cost]  # by loop node: what each further item adds to ``run``

    def to_json(self) -> dict[str, Any]:
        listed = prices.prices()
        return {
            **self.run.to_json(),
            "atMost": self.at_most.to_json(),
            "perLoopItem": {loop: cost.to_json() for loop, cost in self.per_item.items()},
            "pricesOf": listed["date"],
            "assumptions": [
                f"list prices of {listed['region']}, {listed['date']}",
                f"a visit of the node runner takes {VISIT_SECONDS} s with {prices.NODE_GIGABYTES} GB of memory",
                "every choice goes the dearest way, every loop has one item, nothing is tried again",
                "nodes with late joins are ready when they are visited, or soon after; atMost: none is",
            ],
        }


def estimate(plan: Plan, layout: Layout | None = None) -> Estimate:
    """What a run of ``plan`` comes to; ``layout`` is that of ``planned``, where it is known."""
    layout = layout or planned(plan)
    per_item: dict[str, Cost] = {}
    run = START + _cost(layout.root.region, plan, layout.caps, per_item)
    at_most = START + _cost(layout.root.region, plan, layout.caps, {}, MISS)
    return Estimate(run, at_most, per_item)


START = Cost(transitions=1)  # Step Functions counts the start of an execution as one

#: What a node that is visited too early comes to beside what it comes to anyway: its Task once more, and a gate.
MISS = Cost(prices.MISS_TRANSITIONS, prices.MISS_INVOCATIONS)


def _cost(
    region: Region | None, plan: Plan, caps: Mapping[str, Caps], per_item: dict[str, Cost], late_join: Cost = Cost()
) -> Cost:
    parts = [_cost(part, plan, caps, per_item, late_join) for part in inner(region)] if region else []
    if isinstance(region, Loop) and parts:
        per_item[region.node] = parts[0]
    return cost(region, parts, plan, caps, late_join)


def cost(
    region: Region | None, parts: Sequence[Cost], plan: Plan, caps: Mapping[str, Caps], late_join: Cost = Cost()
) -> Cost:
    """What passing through a region comes to that is made of regions which come to ``parts``.

    ``late_join``: what a node comes to for having late joins, which is nothing where it is ready.
    """
    total = sum(parts, Cost())
    match region:
        case Step(node):
            return _cost_of_step(plan.nodes[node])
        case Parallel():
            return Cost(transitions=1) + total
        case Choice():
            return Cost(transitions=1) + max(parts, key=price, default=Cost())
        case Loop(_, None, _):
            return Cost(1, 1)
        case Gate():
            return total + (late_join if region.is_tried else Cost(transitions=1))
        case Chain():
            return Cost(1, 1)
        case Loop(node):
            # A Task that finds the items, a Choice by their number, a Map, a Task that gathers the results; items that
            # have an execution of their own: a Task, its start, a Choice and a Map.
            return Cost(4 if caps[node].inline else 7, 2) + total
        case Part():
            return Cost(transitions=1) + START + total
    return total


def _cost_of_step(node: PlanNode) -> Cost:
    if node.type == wait.TYPE.name or node.awaits:
        return Cost(3, 2)  # a Task that begins it, the Wait or the gate, a Task that ends it
    return Cost(1, 2 if node.type == script.TYPE.name else 1)  # a script runs in a Lambda of its own


def price(cost: Cost, seconds: float | None = None) -> float:
    """In US dollars, of functions that ran for ``seconds``: as long as visits are assumed to take, if unknown."""
    seconds = cost.invocations * VISIT_SECONDS if seconds is None else seconds
    return prices.of(cost.transitions, cost.invocations, seconds)
