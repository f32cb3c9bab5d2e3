"""The plan of a run: a graph, analysed once, as frozen data.

One plan serves every engine: the state machine is emitted from its ``root``, and the runner of nodes reads what it
needs of a node from ``nodes``. It is stored under the hash of its content, so a run keeps the very plan it began with.

``root`` is a tree of regions. A region says what runs in which order and nothing else::

    Step(node)                   one node
    Series(parts)                one after the other
    Parallel(branches)           side by side, and all have to end
    Choice(node, cases)          goes on by the port that the node before it took; a port without a case goes on behind
    Loop(node, body)             the body once for each item of the loop node
    Gate(node, awaits, region)   ``region``, which begins with ``node``, once all of ``awaits`` are decided too
    Chain(nodes)                 one after the other, in one visit of the runner

What stands before a region in the tree is decided when it begins; a gate is for what runs beside it: the nodes of
``awaits`` each tell the gate when they are decided (``PlanNode.tells``).

A ``Part`` is a region that Step Functions runs in an execution of its own (``asl.layout``); no stored plan has one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeAlias

from chalicelib.foundation.json_types import Json, canonical
from chalicelib.graph.model import OnError, Retry
from chalicelib.graph.structure import topological_order

FORMAT = 1  # of the stored plan; a reader refuses what it does not know


@dataclass(frozen=True, slots=True)
class Step:
    node: str


@dataclass(frozen=True, slots=True)
class Series:
    parts: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    branches: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class Case:
    port: str
    region: Region


@dataclass(frozen=True, slots=True)
class Choice:
    node: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    node: str
    body: Region | None
    max_concurrency: int | None


@dataclass(frozen=True, slots=True)
class Gate:
    node: str
    awaits: tuple[str, ...]
    region: Region

    @property
    def is_tried(self) -> bool:
        """Whether the node is visited first, and the gate waits only where that finds it not ready.

        A parallel region begins with several nodes at once, so there the gate comes first.
        """
        return isinstance(self.region, (Step, Chain, Loop))


@dataclass(frozen=True, slots=True)
class Chain:
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    key: str
    region: Region


Region: TypeAlias = Step | Series | Parallel | Choice | Loop | Gate | Chain | Part


@dataclass(frozen=True, slots=True)
class Inbound:
    """A connection, seen from its target."""

    source: str
    source_port: str
    target_port: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A node that is attached to an agent: what the agent has to know of it."""

    port: str  # ``ai`` or ``tools``
    name: str  # by which a model calls a tool; unique among those of its agent
    type: str
    label: str
    config: Mapping[str, Json]


class Join(StrEnum):
    """By what the input of a node is keyed that several connections lead to, be they live or not."""

    BY_PORT = "port"  # theirs all differ
    BY_SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Tell:
    """A gate that a node has to tell when it is decided."""

    gate: str  # key of the node behind it
    needed: int  # how many tell it, all in all


@dataclass(frozen=True, slots=True)
class PlanNode:
    """What the runner has to know of one node."""

    id: str
    key: str  # its name in the state machine: unique, and harmless there whatever the id holds
    type: str
    label: str
    config: Mapping[str, Json]
    input_mappings: Mapping[str, str] = field(default_factory=dict)
    pass_through: Mapping[str, str] = field(default_factory=dict)
    inbound: tuple[Inbound, ...] = ()  # those that this start may reach
    join: Join | None = None  # None: one connection or none, in the whole graph
    reads: tuple[str, ...] = ()  # other nodes whose output its expressions name
    loops: tuple[str, ...] = ()  # the loops that it is in, outermost first
    body_sinks: tuple[str, ...] = ()  # of a loop: the nodes whose outputs make the result of an item
    guarded: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # by port: nodes that run only when it is taken
    tells: tuple[Tell, ...] = ()
    retry: Retry = field(default_factory=Retry)
    timeout_s: int | None = None
    on_error: OnError = OnError.FAIL
    awaits: bool = False  # it waits to be told something from outside
    contained: bool = False  # in the body of a loop that goes on when an item fails: a failure ends the item only
    attachments: tuple[Attachment, ...] = ()  # of an agent

    @property
    def settles(self) -> bool:
        """Whether a failure that its record could not be told of has somewhere to go but the end of the run."""
        return self.timeout_s is not None or self.on_error is not OnError.FAIL or self.contained


@dataclass(frozen=True, slots=True)
class Given:
    """A node whose output is given, and the port from which that leaves."""

    node: PlanNode
    port: str


@dataclass(frozen=True)
class Plan:
    nodes: Mapping[str, PlanNode]
    root: Region
    dead: tuple[PlanNode, ...] = ()  # nodes outside of loops that this start never reaches: recorded as skipped
    given: tuple[Given, ...] = ()  # nodes outside of loops to which this start does not lead, with a given output
    sinks: tuple[str, ...] = ()  # nodes whose outputs make the output of the run
    trigger: str | None = None  # the trigger node that fires
    timeout_s: int | None = None  # bounds the whole run

    @cached_property
    def order(self) -> dict[str, int]:
        """The place of each node among all, by id: behind those that lead to it, else as the graph has them."""
        after: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for edge in node.inbound:
                if edge.source in after:
                    after[edge.source].append(node.id)
        return {name: place for place, name in enumerate(topological_order(self.nodes, after))}

    @cached_property
    def by_key(self) -> dict[str, PlanNode]:
        return {node.key: node for node in self.nodes.values()}

    @cached_property
    def chains(self) -> dict[str, tuple[str, ...]]:
        """The nodes of each chain, by the key of the first: that is whom a state machine calls for."""
        chains = (region.nodes for region in walk(self.root) if isinstance(region, Chain))
        return {self.nodes[names[0]].key: names for names in chains}

    @cached_property
    def late_joins(self) -> dict[str, tuple[str, ...]]:
        """What nodes wait for that runs beside them, by key, where a node is visited to find out whether it has to."""
        gates = (region for region in walk(self.root) if isinstance(region, Gate))
        return {self.nodes[gate.node].key: gate.awaits for gate in gates if gate.is_tried}

    @cached_property
    def tasks_total(self) -> int:
        """Nodes that will be decided, those in loop bodies aside."""
        return sum(not node.loops for node in self.nodes.values()) + len(self.dead) + len(self.given)

    def loops_around(self, name: str) -> tuple[str, ...]:
        """The loops that a node is in, outermost first; none for one that is dead or given."""
        return self.nodes[name].loops if name in self.nodes else ()

    @cached_property
    def hash(self) -> str:
        return hash_of(canonical(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "nodes": [_node_to_json(node) for node in self.nodes.values()],
            "root": region_to_json(self.root),
            "dead": [_node_to_json(node) for node in self.dead],
            "given": [[_node_to_json(given.node), given.port] for given in self.given],
            "sinks": list(self.sinks),
            "trigger": self.trigger,
            "timeoutSeconds": self.timeout_s,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Plan:
        """Raises ``ValueError`` for a plan that a later release has written."""
        if raw["format"] != FORMAT:
            raise ValueError(f"a plan of format {raw['format']} cannot be read, only {FORMAT}")
        nodes = [_node_from_json(node) for node in raw["nodes"]]
        return cls(
            nodes={node.id: node for node in nodes},
            root=region_from_json(raw["root"]),
            dead=tuple(_node_from_json(node) for node in raw["dead"]),
            given=tuple(Given(_node_from_json(node), port) for node, port in raw["given"]),
            sinks=tuple(raw["sinks"]),
            trigger=raw["trigger"],
            timeout_s=raw["timeoutSeconds"],
        )


def hash_of(text: bytes) -> str:
    """The name of a plan, made of its canonical JSON."""
    return hashlib.sha256(text).hexdigest()[:40]


def steps_of(region: Region | None) -> Iterator[str]:
    """The nodes of a region in the order in which they may run, those of loop bodies aside."""
    stack = [region]
    while stack:
        match stack.pop():
            case Step(node) | Loop(node):
                yield node
            case Series(parts) | Parallel(parts):
                stack.extend(reversed(parts))
            case Choice(_, cases):
                stack.extend(case.region for case in reversed(cases))
            case Gate(_, _, behind):
                stack.append(behind)
            case Chain(nodes):
                yield from nodes
            case Part(_, whole):
                stack.append(whole)


def walk(region: Region | None) -> Iterator[Region]:
    """A region and all within it, loop bodies included; each before what is within it, in the order of the plan."""
    stack = [region]
    while stack:
        found = stack.pop()
        match found:
            case None:
                continue
            case Series(parts) | Parallel(parts):
                stack.extend(reversed(parts))
            case Choice(_, cases):
                stack.extend(case.region for case in reversed(cases))
            case Loop(_, body, _):
                stack.append(body)
            case Gate(_, _, behind):
                stack.append(behind)
            case Part(_, whole):
                stack.append(whole)
        yield found


def inner(region: Region) -> tuple[Region, ...]:
    """The regions that a region is made of."""
    match region:
        case Series(parts) | Parallel(parts):
            return parts
        case Choice(_, cases):
            return tuple(case.region for case in cases)
        case Loop(_, body, _) if body is not None:
            return (body,)
        case Gate(_, _, behind):
            return (behind,)
        case Part(_, whole):
            return (whole,)
    return ()


def with_inner(region: Region, parts: Sequence[Region]) -> Region:
    """The same region, made of other ones: as many, and in the order of ``inner``."""
    match region:
        case Series():
            return Series(tuple(parts))
        case Parallel():
            return Parallel(tuple(parts))
        case Choice(node, cases):
            return Choice(node, tuple(Case(case.port, part) for case, part in zip(cases, parts, strict=True)))
        case Loop(node, body, limit) if body is not None:
            return Loop(node, parts[0], limit)
        case Gate(node, awaits, _):
            return Gate(node, awaits, parts[0])
        case Part(key, _):
            return Part(key, parts[0])
    return region


def region_to_json(region: Region | None) -> Any:
    """A region as nested lists.

    ``["step", "a"]``, ``["series", ...]``, ``["choice", "c", ["true", ...]]``, ``["loop", "l", 5, ...]``,
    ``["gate", "d", ["b"], ...]``, ``["chain", "a", "b"]``.
    """
    match region:
        case None:
            return None
        case Step(node):
            return ["step", node]
        case Series(parts):
            return ["series", *map(region_to_json, parts)]
        case Parallel(branches):
            return ["parallel", *map(region_to_json, branches)]
        case Choice(node, cases):
            return ["choice", node, *([case.port, region_to_json(case.region)] for case in cases)]
        case Loop(node, body, limit):
            return ["loop", node, limit, region_to_json(body)]
        case Gate(node, awaits, behind):
            return ["gate", node, list(awaits), region_to_json(behind)]
        case Chain(nodes):
            return ["chain", *nodes]
        case Part(key, whole):
            return ["part", key, region_to_json(whole)]


def region_from_json(raw: Any) -> Any:
    """The inverse of ``region_to_json``."""
    match raw:
        case None:
            return None
        case ["step", node]:
            return Step(node)
        case ["series", *parts]:
            return Series(tuple(map(region_from_json, parts)))
        case ["parallel", *branches]:
            return Parallel(tuple(map(region_from_json, branches)))
        case ["choice", node, *cases]:
            return Choice(node, tuple(Case(port, region_from_json(region)) for port, region in cases))
        case ["loop", node, limit, body]:
            return Loop(node, region_from_json(body), limit)
        case ["gate", node, awaits, behind]:
            return Gate(node, tuple(awaits), region_from_json(behind))
        case ["chain", *nodes]:
            return Chain(tuple(nodes))
    raise ValueError(f"not a region: {raw!r}"[:200])


def _node_to_json(node: PlanNode) -> dict[str, Any]:
    optional: dict[str, Any] = {
        "inputMappings": dict(node.input_mappings),
        "passThrough": dict(node.pass_through),
        "inbound": [[edge.source, edge.source_port, edge.target_port] for edge in node.inbound],
        "join": None if node.join is None else str(node.join),
        "reads": list(node.reads),
        "loops": list(node.loops),
        "bodySinks": list(node.body_sinks),
        "guarded": {port: list(names) for port, names in node.guarded.items()},
        "tells": [[tell.gate, tell.needed] for tell in node.tells],
        "timeoutSeconds": node.timeout_s,
        "retry": _retry_to_json(node.retry),
        "onError": None if node.on_error is OnError.FAIL else str(node.on_error),
        "awaits": node.awaits,
        "contained": node.contained,
        "config": dict(node.config),
        "attachments": [[a.port, a.name, a.type, a.label, dict(a.config)] for a in node.attachments],
    }
    head = {"id": node.id, "key": node.key, "type": node.type, "label": node.label}
    return {**head, **{key: value for key, value in optional.items() if value}}


def _retry_to_json(retry: Retry) -> dict[str, Any] | None:
    if retry == Retry():
        return None
    return {
        "maxAttempts": retry.max_attempts,
        "intervalSeconds": retry.interval_s,
        "backoffRate": retry.backoff_rate,
        "maxDelaySeconds": retry.max_delay_s,
    }


def _node_from_json(raw: Mapping[str, Any]) -> PlanNode:
    return PlanNode(
        id=raw["id"],
        key=raw["key"],
        type=raw["type"],
        label=raw["label"],
        config=raw.get("config", {}),
        input_mappings=raw.get("inputMappings", {}),
        pass_through=raw.get("passThrough", {}),
        inbound=tuple(Inbound(*edge) for edge in raw.get("inbound", ())),
        join=Join(raw["join"]) if "join" in raw else None,
        reads=tuple(raw.get("reads", ())),
        loops=tuple(raw.get("loops", ())),
        body_sinks=tuple(raw.get("bodySinks", ())),
        guarded={port: tuple(names) for port, names in raw.get("guarded", {}).items()},
        tells=tuple(Tell(*tell) for tell in raw.get("tells", ())),
        retry=Retry.from_json(raw.get("retry", {})),
        timeout_s=raw.get("timeoutSeconds"),
        on_error=OnError(raw.get("onError", OnError.FAIL)),
        awaits=raw.get("awaits", False),
        contained=raw.get("contained", False),
        attachments=tuple(Attachment(*found) for found in raw.get("attachments", ())),
    )
