"""What the rules for graphs say of a run, told naively: for each node whether it runs, by going through the graph once.

And a runner that the state machine may call in the place of the real one: it decides ports as an oracle says, knows who
is live from what was decided before, and notes every visit that should not be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from chalicelib.compiler.plan import Plan, PlanNode
from chalicelib.engines.visit import NotReady
from chalicelib.graph.model import Graph, Node
from chalicelib.graph.structure import loop_bodies, successors, topological_order
from chalicelib.nodes.registry import CATALOG
from tests.fakes import Killed
from tests.state_machines import Tokens

#: A node and the iteration: ("a", ()) at the top, ("a", (1, 0)) in a loop within a loop.
Place = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Oracle:
    """What nodes do when they run: always the same for one seed."""

    seed: int

    def port(self, node: Node, path: tuple[int, ...]) -> str:
        kind = CATALOG.find(node.type)
        assert kind is not None
        ports = [port for port in kind.ports_out(node.config) if port != kind.body_port]
        if node.settings.get("onError") == "port" and self._random("fails", node.id, path).random() < 0.4:
            return "error"
        return self._random("port", node.id, path).choice(ports)

    def count(self, node: Node, path: tuple[int, ...]) -> int:
        return self._random("count", node.id, path).randrange(3)

    def is_cut_off(self, node: Node, path: tuple[int, ...]) -> bool:
        """Whether a node that fails does so without a word, so that the state machine has to settle it."""
        return self._random("cut", node.id, path).random() < 0.5

    def _random(self, question: str, node: str, path: tuple[int, ...]) -> Random:
        return Random(f"{self.seed} {question} {node} {path}")


def ports_taken(graph: Graph, oracle: Oracle) -> dict[Place, str]:
    """Each node that runs, and the port that it takes."""
    bodies = loop_bodies(graph, CATALOG)
    around = {
        node.id: sorted((loop for loop in bodies if node.id in bodies[loop]), key=lambda loop: -len(bodies[loop]))
        for node in graph.nodes
    }
    triggers = [node.id for node in graph.nodes if node.type == "manual-trigger"]
    nodes = graph.by_id()
    order = topological_order(nodes, successors(graph))
    taken: dict[Place, str] = {}

    def run_scope(loops: list[str], path: tuple[int, ...]) -> None:
        for name in order:
            if around[name] == loops and is_live(name, loops, path):
                taken[name, path] = oracle.port(nodes[name], path)
                if name in bodies and taken[name, path] != "error":
                    for index in range(oracle.count(nodes[name], path)):
                        run_scope([*loops, name], (*path, index))

    def is_live(name: str, loops: list[str], path: tuple[int, ...]) -> bool:
        inbound = [connection for connection in graph.connections if connection.target == name]
        if not inbound:
            return name == triggers[0] if triggers else True
        return any(
            connection.source == loops[-1]
            if loops and connection.source_port == "item"
            else taken.get((connection.source, path)) == connection.source_port
            for connection in inbound
        )

    run_scope([], ())
    return taken


class Gates:
    """Gates in memory: what the state of a machine asks of DynamoDB, and what the runner tells."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self._arrived: dict[str, set[str]] = {}
        self._left: dict[str, str] = {}  # tokens

    def update(self, request: Mapping[str, Any]) -> bool:
        """False where the gate is open."""
        name, values = request["Key"]["sk"]["S"], request["ExpressionAttributeValues"]
        if len(self._arrived.get(name, ())) >= int(values[":needed"]["N"]):
            return False
        self._left[name] = values[":token"]["S"]
        return True

    def arrive(self, name: str, who: str, needed: int) -> None:
        arrived = self._arrived.setdefault(name, set())
        arrived.add(who)
        if len(arrived) >= needed and name in self._left:
            self.tokens.succeed(self._left[name], "null")


RUN = {"organization": "o", "execution": "e", "plan": "p", "round": 1}


@dataclass
class Runner:
    """Stands where the Lambda stands. ``taken`` and ``skipped`` are what it has decided.

    What it has to complain of it keeps: a state machine may catch what a task raises.
    """

    plan: Plan
    graph: Graph
    oracle: Oracle
    taken: dict[Place, str] = field(default_factory=dict)
    skipped: set[Place] = field(default_factory=set)
    open: set[Place] = field(default_factory=set)  # loops that are under way
    complaints: list[str] = field(default_factory=list)
    gates: Gates = field(default_factory=Gates)

    def __call__(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._expect(arguments["run"] == RUN, "a task does not know its run")
        node = self.plan.by_key[arguments["node"]]
        path = _parsed(arguments["path"])
        awaited = self.plan.late_joins.get(node.key, ()) if arguments.get("phase") is None else ()
        self._expect(bool(awaited) or "late" not in arguments, "a task that is always ready is told to be late")
        if not arguments.get("late") and not all(self.is_decided((name, path)) for name in awaited):
            raise NotReady(node.key)
        visit: Callable[[PlanNode, tuple[int, ...]], dict[str, Any]]
        visit = {"enter": self._enter, "leave": self._leave, "settle": self._settle}[arguments.get("phase", "enter")]
        for name in self.plan.chains.get(node.key, (node.id,)):
            answer = visit(self.plan.nodes[name], path)
        return {"path": arguments["path"], "until": "2026-01-01T00:00:00.000Z"} | answer

    def _expect(self, holds: bool, complaint: str) -> None:
        if not holds:
            self.complaints.append(complaint)

    def is_decided(self, place: Place) -> bool:
        return place in self.taken or place in self.skipped

    def _enter(self, node: PlanNode, path: tuple[int, ...]) -> dict[str, Any]:
        place = (node.id, path)
        self._expect(not self.is_decided(place), f"{place} is visited, though it is decided already")
        self._expect(place not in self.open, f"{place} is visited twice")
        for edge in node.inbound:
            source = self.plan.nodes[edge.source]
            at = (source.id, path[: len(source.loops)])
            self._expect(self.is_decided(at) or at in self.open, f"{place} is visited before {at} is decided")
        if node.inbound and not any(self._carries(edge, node, path) for edge in node.inbound):
            self._skip(place)
            return {"port": "", "count": 0}
        given = self.graph.by_id()[node.id]
        port = self.oracle.port(given, path)
        if port == "error" and self.oracle.is_cut_off(given, path):
            raise Killed
        if node.body_sinks and port != "error":
            self.open.add(place)
            return {"port": "", "count": self.oracle.count(given, path)}
        return self._take(place, port)

    def _leave(self, node: PlanNode, path: tuple[int, ...]) -> dict[str, Any]:
        place = (node.id, path)
        if self.is_decided(place):
            return {"port": self.taken.get(place, ""), "count": 0}
        self.open.remove(place)
        return self._take(place, "done")

    def _settle(self, node: PlanNode, path: tuple[int, ...]) -> dict[str, Any]:
        return self._take((node.id, path), "error")

    def _take(self, place: Place, port: str) -> dict[str, Any]:
        self.taken[place] = port
        self._close(place, port)
        return {"port": port, "count": 0}

    def _skip(self, place: Place) -> None:
        self.skipped.add(place)
        self._close(place, None)

    def _close(self, place: Place, port: str | None) -> None:
        """Skips what the plan says runs only when another port is taken, and tells the gates."""
        name, path = place
        decided = [name]
        for guarding, names in self.plan.nodes[name].guarded.items():
            if guarding != port:
                self.skipped |= {(closed, path) for closed in names}
                decided += names
        for node in (self.plan.nodes[each] for each in decided):
            for told in node.tells:
                self.gates.arrive(f"GATE#1.{told.gate}#{_shown(path)}", node.key, told.needed)

    def _carries(self, edge: Any, node: PlanNode, path: tuple[int, ...]) -> bool:
        source = self.plan.nodes[edge.source]
        at = (source.id, path[: len(source.loops)])
        return at in self.open or self.taken.get(at) == edge.source_port


def _parsed(path: str) -> tuple[int, ...]:
    return tuple(int(part) for part in path.replace("]", "").split("[")[1:])


def _shown(path: tuple[int, ...]) -> str:
    return "".join(f"[{index}]" for index in path)
