"""All that is wrong with a graph, and all that is odd about it, told at once.

An error keeps the graph from running; a warning does not. Both may be saved, because an editor saves what is half done.
The types are those that docs/graphs.md explains to users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chalicelib.foundation.errors import Fault
from chalicelib.foundation.expressions import ExpressionError, compile_expression
from chalicelib.graph.attachments import AI, TOOLS, Detached, attachments, detach
from chalicelib.graph.catalog import Catalog
from chalicelib.graph.model import ERROR_PORT, Graph, Node, OnError
from chalicelib.graph.structure import (
    MAX_NESTED_LOOPS,
    cycles,
    entered_loops,
    loops_around,
    loops_on,
    successors,
)

ERROR_TYPES = (
    "cycle",
    "broken-connection",
    "unknown-node",
    "unknown-port",
    "invalid-config",
    "invalid-expression",
    "loop-leak",
    "empty-workflow",
)
WARNING_TYPES = ("missing-config", "missing-trigger", "disconnected-node", "unknown-config")


@dataclass(frozen=True, slots=True)
class Problem:
    type: str  # one of the types above
    message: str
    node_id: str | None = None
    path: str | None = None  # where in the graph, as `nodes[3].config.url`

    @property
    def is_error(self) -> bool:
        return self.type in ERROR_TYPES

    def to_json(self) -> dict[str, Any]:
        optional = {"nodeId": self.node_id, "path": self.path}
        return {"type": self.type, "message": self.message, **{k: v for k, v in optional.items() if v is not None}}


def validate(graph: Graph, catalog: Catalog) -> list[Problem]:
    """Every problem of ``graph``, errors first, each in the order of nodes and connections."""
    if not graph.nodes:
        return [Problem("empty-workflow", "The workflow has no nodes.")]
    apart = detach(graph, catalog)
    found = [
        *_node_problems(graph, catalog, apart),
        *_connection_problems(graph, catalog),
        *_attachment_problems(graph, catalog, apart),
        *_cycle_problems(graph),
        *_loop_problems(apart.graph, catalog),
        *_entry_problems(graph, catalog, apart),
    ]
    return sorted(found, key=lambda problem: not problem.is_error)


def errors(graph: Graph, catalog: Catalog) -> list[Problem]:
    """Only what keeps ``graph`` from running."""
    return [problem for problem in validate(graph, catalog) if problem.is_error]


def _node_problems(graph: Graph, catalog: Catalog, apart: Detached) -> Iterator[Problem]:
    tools = {item.node.id for found in apart.attached.values() for item in found if item.port == TOOLS}
    for index, node in enumerate(graph.nodes):
        kind = catalog.find(node.type)
        where = f"nodes[{index}]"
        if kind is None:
            message = f"There is no node type {node.type!r} in the catalog."
            yield Problem("unknown-node", message, node.id, f"{where}.nodeId")
            continue
        if node.on_error is OnError.PORT and ERROR_PORT in kind.ports_out(node.config):
            message = f'Node "{node.name}" has a port {ERROR_PORT!r} of its own: its errors cannot leave by that.'
            yield Problem("invalid-config", message, node.id, f"{where}.settings.onError")
        report = kind.check(node.config)
        for fault in report.invalid:
            yield _config_problem("invalid-config", fault, node, where)
        for fault in report.malformed_expressions:
            yield _config_problem("invalid-expression", fault, node, where)
        for field, source in node.input_mappings.items():
            try:
                compile_expression(source)
            except ExpressionError as error:
                yield Problem("invalid-expression", error.message, node.id, f"{where}.inputMappings.{field}")
        if report.missing and node.id not in tools:  # what a tool leaves open is for the model to say
            names = ", ".join(report.missing)
            message = f'Node "{node.name}" ({node.type}) needs configuration: {names}'
            yield Problem("missing-config", message, node.id, f"{where}.config")
        for name in report.unknown:
            message = f"{node.type} has no setting {name!r}; it is ignored."
            yield Problem("unknown-config", message, node.id, f"{where}.config.{name}")


def _config_problem(kind: str, fault: Fault, node: Node, where: str) -> Problem:
    return Problem(kind, fault.message, node.id, f"{where}.config.{fault.path}" if fault.path else f"{where}.config")


def _connection_problems(graph: Graph, catalog: Catalog) -> Iterator[Problem]:
    nodes = graph.by_id()
    attaching = {index for index, _ in attachments(graph, catalog)}
    for index, connection in enumerate(graph.connections):
        where = f"connections[{index}]"
        for end, name in (("sourceNodeId", connection.source), ("targetNodeId", connection.target)):
            if name not in nodes:
                message = f"The connection names a node {name!r} that is not there."
                yield Problem("broken-connection", message, None, f"{where}.{end}")
        source, target = nodes.get(connection.source), nodes.get(connection.target)
        if source and (kind := catalog.find(source.type)) and index not in attaching:
            ports = kind.ports_out(source.config)
            if source.on_error is OnError.PORT:
                ports = (*ports, ERROR_PORT)
            if connection.source_port not in ports:
                yield _unknown_port(source, connection.source_port, "out", ports, f"{where}.sourcePort")
        known = kind.ports_in if target and (kind := catalog.find(target.type)) else None
        if target and known is not None and connection.target_port not in known:
            yield _unknown_port(target, connection.target_port, "in", known, f"{where}.targetPort")


def _unknown_port(node: Node, port: str, direction: str, known: tuple[str, ...], path: str) -> Problem:
    has = f"it has {', '.join(known)}" if known else "it has none"
    hint = "; the port 'error' needs settings.onError = 'port'" if port == ERROR_PORT and direction == "out" else ""
    return Problem("unknown-port", f'Node "{node.name}" has no port {port!r} {direction}: {has}{hint}.', node.id, path)


def _attachment_problems(graph: Graph, catalog: Catalog, apart: Detached) -> Iterator[Problem]:
    nodes, places = graph.by_id(), {node.id: index for index, node in enumerate(graph.nodes)}
    attaching = dict(attachments(graph, catalog))
    for index, connection in attaching.items():
        source, port = nodes[connection.source], connection.target_port
        kind = catalog.find(source.type)
        if kind is not None and kind.attaches_to != port:
            wanted = "a model" if port == AI else "a node that works on data or calls something, and ends at once"
            message = (
                f'Node "{source.name}" ({source.type}) cannot be attached to the port {port!r}: it takes {wanted}.'
            )
            yield Problem("invalid-config", message, source.id, f"connections[{index}].targetPort")
    agents = {c.source: nodes[c.target] for c in attaching.values()}
    for index, connection in enumerate(graph.connections):
        if index in attaching:
            continue
        for name in (connection.source, connection.target):
            if name in agents:
                message = (
                    f'Node "{nodes[name].name}" is attached to "{agents[name].name}": nothing else leads to or from it.'
                )
                yield Problem("unknown-port", message, name, f"connections[{index}]")
    for node in apart.graph.nodes:
        kind = catalog.find(node.type)
        if kind is None or AI not in kind.attachment_ports:
            continue
        models = [item for item in apart.attached.get(node.id, ()) if item.port == AI]
        if not models:
            message = f'Node "{node.name}" ({node.type}) needs a model, attached to its port {AI!r}.'
            yield Problem("missing-config", message, node.id, f"nodes[{places[node.id]}]")
        elif len(models) > 1:
            message = f'Node "{node.name}" has {len(models)} models attached; it takes one.'
            yield Problem("invalid-config", message, node.id, f"nodes[{places[node.id]}]")


def _cycle_problems(graph: Graph) -> Iterator[Problem]:
    for cycle in cycles([node.id for node in graph.nodes], successors(graph)):
        yield Problem("cycle", f"Nodes wait for each other: {' -> '.join([*cycle, cycle[0]])}", cycle[0])


def _loop_problems(graph: Graph, catalog: Catalog) -> Iterator[Problem]:
    around = loops_around(graph, catalog)
    entered = entered_loops(graph, catalog)
    too_deep = {loops[MAX_NESTED_LOOPS] for loops in around.values() if len(loops) > MAX_NESTED_LOOPS}
    for index, node in enumerate(graph.nodes):
        if node.id in too_deep:
            message = f"Loop {node.id!r} stands in {MAX_NESTED_LOOPS} loops, one within the other: they nest no deeper."
            yield Problem("invalid-config", message, node.id, f"nodes[{index}]")
    leaks = (
        (loop, connection.target, connection)
        for connection in graph.connections
        if (inside := around.get(connection.target))
        for loop in set(inside) - {*loops_on(connection, around, entered), connection.target}
    )
    for loop, member, connection in sorted(leaks, key=lambda leak: leak[:2]):
        message = (
            f"Node {member!r} is in the body of loop {loop!r} and is also reached from outside of it, from "
            f"{connection.source!r} by port {connection.source_port!r}: nothing may leave or enter a body."
        )
        yield Problem("loop-leak", message, member)


def _entry_problems(graph: Graph, catalog: Catalog, apart: Detached) -> Iterator[Problem]:
    steps = {node.id for node in apart.graph.nodes}
    triggers = {node.id for node in graph.nodes if (kind := catalog.find(node.type)) and kind.is_trigger}
    targets = {connection.target for connection in apart.graph.connections}
    sources = {connection.source for connection in graph.connections}
    if not triggers:
        message = "The workflow has no trigger node: it runs from the nodes without inbound connections."
        yield Problem("missing-trigger", message)
    for index, node in enumerate(graph.nodes):
        if node.id in triggers or node.id in targets or node.id not in steps or len(steps) == 1:
            continue
        if triggers:
            message = f'Nothing leads to node "{node.name}": it is skipped.'
            yield Problem("disconnected-node", message, node.id, f"nodes[{index}]")
        elif node.id not in sources:
            message = f'Node "{node.name}" is connected to nothing.'
            yield Problem("disconnected-node", message, node.id, f"nodes[{index}]")
