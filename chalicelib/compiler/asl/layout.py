"""What of a plan runs in which execution: its regions weighed, and parted where one execution could not hold them.

An execution has a history of 25,000 events and a definition of 1 MB at most. So each region is weighed: how many events
it may come to and how many bytes of definition, by what it is emitted as. Regions are weighed from within, once each.
Where one exceeds what is planned for, its parts are grouped in the order in which they run, and each group becomes a
``Part``: a region with an execution of its own. So no region is larger than an execution, and the work is linear.

How many items a loop will have nobody knows, so how many may run where is decided here, and the state machine looks at
the count (``Caps``): a few items run in the execution of the loop itself; more are handed to an execution of their own,
by their numbers; and a range that is too long even for that is divided into ranges again. So no count exceeds an
execution either, and loops within loops do not multiply: an inner loop weighs at most what its few items weigh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from chalicelib.compiler.asl import quotas
from chalicelib.compiler.plan import Choice, Gate, Loop, Parallel, Part, Plan, Region, Series, Step, inner, with_inner
from chalicelib.compiler.retries import NOT_READY
from chalicelib.foundation.json_types import dumps

_SHELL_BYTES = 1_000  # of a Parallel without branches, at most
#: Of a range of items that has an execution of its own, in the one that has it.
_RANGE_EVENTS = quotas.ITERATION_EVENTS + quotas.SUBMITTED_TASK_EVENTS


@dataclass(frozen=True, slots=True)
class Budget:
    """What is planned for in one execution."""

    events: int = quotas.PLANNED_EVENTS
    bytes: int = quotas.PLANNED_BYTES
    nesting: int = quotas.PLANNED_NESTING
    iterations: int = quotas.PLANNED_ITERATIONS  # of one Map
    #: Events that the items of a loop may come to in the execution of the loop itself; a fifth of it for each loop
    #: around, as its items multiply.
    inline_events: int = 2_000
    inline_bytes: int = 100_000  # of a loop's body: a larger one is defined once, not in two places

    def holds(self, weight: Weight) -> bool:
        return weight.events <= self.events and weight.bytes <= self.bytes and weight.nesting <= self.nesting


@dataclass(frozen=True, slots=True)
class Weight:
    """What one passage comes to at most. Of a choice its largest case counts, of a loop as many items as may be."""

    events: int = 0
    bytes: int = 0
    nesting: int = 0  # levels of Parallel and Map

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.events + other.events, self.bytes + other.bytes, max(self.nesting, other.nesting))


@dataclass(frozen=True, slots=True)
class Caps:
    """How the items of a loop are spread."""

    inline: int  # items that run in the execution of the loop; 0: they always have their own
    in_range: int  # items that one execution of their own can hold
    at_once: int  # of them, that run side by side
    ranges_at_once: int  # executions of their own, that run side by side
    ranges: int  # at most, that one execution falls into


@dataclass(frozen=True, slots=True)
class Laid:
    """A region as it is laid out, with its weight, made of others."""

    region: Region
    weight: Weight
    inner: tuple[Laid, ...] = ()


@dataclass(frozen=True)
class Layout:
    root: Laid
    caps: Mapping[str, Caps]  # by loop node


#: The states that a region is emitted as, where loops have the given caps.
StatesOf = Callable[[Region, Mapping[str, Caps]], Mapping[str, Any]]


def lay_out(plan: Plan, states_of: StatesOf, budget: Budget) -> Layout:
    """How ``plan`` is spread over executions."""
    planner = _Planner(states_of, budget)
    return Layout(planner.region(plan.root, 0), planner.caps)


class _Planner:
    def __init__(self, states_of: StatesOf, budget: Budget) -> None:
        self._states_of = states_of
        self._budget = budget
        self._keys = count(1)
        self._part = _weight_of(states_of(_stub(0), {}))  # a Task that has an execution
        self.caps: dict[str, Caps] = {}

    def region(self, region: Region, loops: int) -> Laid:
        """A region within so many loops, parted until it fits."""
        within = [self.region(each, loops + isinstance(region, Loop)) for each in inner(region)]
        laid = self._laid(region, within, loops)
        return laid if self._budget.holds(laid.weight) else self._parted(region, within, loops)

    def _laid(self, region: Region, within: Sequence[Laid], loops: int) -> Laid:
        """A region made of others that are laid out."""
        if isinstance(region, Loop) and within:
            self.caps[region.node] = _caps(region, within[0].weight, loops, self._budget)
        made = with_inner(region, [laid.region for laid in within])
        return Laid(made, self._weight(made, [laid.weight for laid in within]), tuple(within))

    def _parted(self, region: Region, within: Sequence[Laid], loops: int) -> Laid:
        """The same region, with what is within it grouped, and groups in executions of their own: the heaviest ones.

        A gate goes with what is behind it: there the node is that comes back to it.
        """
        if isinstance(region, Gate):
            return self._apart(self._laid(region, within, loops))
        groups = self._groups(region, within)
        wholes = [group[0] if len(group) == 1 else self._laid(_like(region, group), group, loops) for group in groups]
        room = self._own(region, len(groups)) + sum((self._part for _ in groups), Weight())
        inline = set()
        for number in sorted(range(len(groups)), key=lambda number: wholes[number].weight.events):
            grown = room + wholes[number].weight
            if self._budget.holds(replace(grown, nesting=grown.nesting + isinstance(region, Parallel))):
                room = grown
                inline.add(number)
        made: list[Laid] = []
        for number, (group, whole) in enumerate(zip(groups, wholes, strict=True)):
            made += group if number in inline else [self._apart(whole)]
        laid = self._laid(_like(region, made), made, loops)
        if self._budget.holds(laid.weight) or len(made) >= len(within):
            return laid  # what does not fit now is one state that is too large, or a choice with too many cases
        return self._parted(_like(region, made), made, loops)

    def _apart(self, laid: Laid) -> Laid:
        """The same in an execution of its own."""
        if isinstance(laid.region, Part):
            return laid
        return Laid(Part(f"part.{next(self._keys)}", laid.region), self._part, (laid,))

    def _groups(self, region: Region, within: Sequence[Laid]) -> list[list[Laid]]:
        """As many as fit together, one after the other; cases of a choice stay by themselves."""
        if not isinstance(region, (Series, Parallel)):
            return [[laid] for laid in within]
        own = self._own(region, len(within))
        shell = Weight(own.events, own.bytes // len(within) + 1)  # bytes for each
        groups: list[list[Laid]] = []
        total = Weight()
        for laid in within:
            total += laid.weight + Weight(bytes=shell.bytes)
            whole = Weight(total.events + shell.events, total.bytes + _SHELL_BYTES, total.nesting + 1)
            if not groups or not self._budget.holds(whole):
                groups.append([])
                total = laid.weight + Weight(bytes=shell.bytes)
            groups[-1].append(laid)
        return groups

    def _weight(self, region: Region, within: Sequence[Weight]) -> Weight:
        own = self._own(region, len(within))
        total = sum(within, own)
        deepest = max((weight.nesting for weight in within), default=0)
        match region:
            case Choice():
                events = own.events + max((weight.events for weight in within), default=0)
                return Weight(events, total.bytes, deepest)
            case Parallel():
                return Weight(total.events, total.bytes, deepest + 1)
            case Loop(node, body, _) if body is not None:
                inline = self.caps[node].inline
                if not inline:
                    return own
                items = inline * (within[0].events + quotas.ITERATION_EVENTS)
                return Weight(own.events + items, total.bytes, deepest + 1)
        return total

    def _own(self, region: Region, parts: int) -> Weight:
        """What a region weighs without what is within it: emitted with stubs, which are taken off again."""
        if isinstance(region, Series):
            return Weight()
        if isinstance(region, Gate) and region.is_tried:
            return self._own_of_gate(region)
        hollow = with_inner(region, [_stub(number) for number in range(parts)])
        states = _weight_of(self._states_of(hollow, self.caps))
        if isinstance(region, Loop) and parts and not self.caps[region.node].inline:
            parts = 0  # its body is nowhere in it
        return Weight(states.events - parts * self._part.events, states.bytes - parts * self._part.bytes)

    def _own_of_gate(self, gate: Gate) -> Weight:
        """What a node with late joins weighs more than one without: the gate, and the node's Task once again."""
        alone = Step(gate.node)
        with_gate = _weight_of(self._states_of(Gate(gate.node, gate.awaits, alone), self.caps))
        without = _weight_of(self._states_of(alone, self.caps))
        return Weight(with_gate.events - without.events, with_gate.bytes - without.bytes)


def _stub(number: int) -> Region:
    return Part(f"stub.{number}", Series(()))


def _like(region: Region, within: Sequence[Laid]) -> Region:
    """A region of the same kind; of a series or parallel one with as many parts as there are."""
    regions = tuple(laid.region for laid in within)
    match region:
        case Series():
            return Series(regions)
        case Parallel():
            return Parallel(regions)
    return with_inner(region, regions)


def _caps(loop: Loop, body: Weight, loops: int, budget: Budget) -> Caps:
    """How items are spread that each weigh as much as ``body``, in a loop with so many around it."""
    limit = loop.max_concurrency or quotas.INLINE_MAP_CONCURRENCY
    ranges_at_once = -(-limit // quotas.INLINE_MAP_CONCURRENCY)
    per_item = body.events + quotas.ITERATION_EVENTS
    inline = min(budget.inline_events // 5**loops // per_item, budget.iterations)
    if ranges_at_once > 1:
        inline = min(inline, quotas.INLINE_MAP_CONCURRENCY)
    if body.bytes > budget.inline_bytes or body.nesting >= budget.nesting:
        inline = 0
    return Caps(
        inline=inline,
        in_range=max(1, min(budget.events // per_item, budget.iterations)),
        at_once=limit // ranges_at_once,
        ranges_at_once=ranges_at_once,
        ranges=min(budget.iterations, max(2, budget.events // _RANGE_EVENTS)),
    )


def _weight_of(states: Mapping[str, Any]) -> Weight:
    """What states weigh, those in branches and bodies among them."""
    events = 0
    todo = [states]
    while todo:
        for state in todo.pop().values():
            events += _events(state)
            todo += [branch["States"] for branch in state.get("Branches", ())]
            if "ItemProcessor" in state:
                todo.append(state["ItemProcessor"]["States"])
    return Weight(events, len(dumps(states)))


def _events(state: Mapping[str, Any]) -> int:
    if state["Type"] == "Task" and state["Resource"].endswith(quotas.SUBMITTED_TASKS):
        return quotas.SUBMITTED_TASK_EVENTS
    caught = {name for catcher in state.get("Catch", ()) for name in catcher["ErrorEquals"]}
    visits = 1 if caught.isdisjoint(NOT_READY.errors) else 2  # it comes back from its gate
    return visits * quotas.STATE_EVENTS[state["Type"]]
