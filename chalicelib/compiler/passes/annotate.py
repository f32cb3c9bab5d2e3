"""Gathers what the runner has to know of each node."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count

from chalicelib.compiler.passes.prune import Start
from chalicelib.compiler.plan import (
    Attachment,
    Choice,
    Gate,
    Inbound,
    Join,
    PlanNode,
    Region,
    Tell,
    steps_of,
    walk,
)
from chalicelib.compiler.scopes import Scope
from chalicelib.foundation.expressions import compile_expression, template_references
from chalicelib.graph.attachments import Attached
from chalicelib.graph.model import Connection, Graph, Node, Retry
from chalicelib.graph.structure import reachable
from chalicelib.nodes.control import loop
from chalicelib.nodes.registry import Registry
from chalicelib.nodes.spec import NodeType

#: An id that looks like one of our own names is made into one as well: no two ids may share a name.
_PLAIN = re.compile(r"(?!.*-[0-9a-f]{16}$)[A-Za-z0-9_-]{1,60}")

_TOOL_NAME_CHARS = 56  # APIs of models take 64


def state_key(node_id: str) -> str:
    """A name for a node in the state machine: its id where that is plain, else made of it. Holds no dot, so derived
    names never clash.

    No text of a user's reaches the state machine but through here: a value of the form ``{% ... %}`` would be evaluated
    there.
    """
    if _PLAIN.fullmatch(node_id):
        return node_id
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", node_id).strip("-")[:40]
    return f"{slug}-{hashlib.sha256(node_id.encode()).hexdigest()[:16]}"


def annotate(
    graph: Graph,
    scope: Scope,
    root: Region,
    catalog: Registry,
    default_retry: Retry,
    attached: Mapping[str, Sequence[Attached]] | None = None,
    whole: Graph | None = None,
    start: Start | None = None,
) -> dict[str, PlanNode]:
    """A ``PlanNode`` for each node of ``graph``, in its order.

    Example: in ``a -> b`` with ``{{ nodes.a }}`` in the config of ``b``, node ``b`` has one inbound connection and
    reads ``a``. What is ``attached`` to a node belongs to it, with all that it reads. ``whole`` is the graph with what
    this start leaves out: a join of two connections is one although only one of them is left. Into the graph of a
    ``start`` lead connections from nodes that are given as well.
    """
    attached = attached or {}
    inbound: dict[str, list[Connection]] = {node.id: [] for node in graph.nodes}
    sources: dict[str, list[str]] = {node.id: [] for node in graph.nodes}
    for connection in graph.connections if start is None else start.inbound:
        inbound[connection.target].append(connection)
        sources[connection.target].append(connection.source)
    joins = joins_of(whole or graph)
    home = {name: part for part in scope.walk() for name in part.nodes}
    home |= dict.fromkeys((node.id for node in start.given) if start else (), scope)
    place = {node.id: index for index, node in enumerate(graph.nodes)}
    guarded, tells = _guarded(root), _tells(root)
    nodes = graph.by_id()
    return {
        node.id: PlanNode(
            id=node.id,
            key=state_key(node.id),
            type=node.type,
            label=node.name,
            config=node.config,
            input_mappings=node.input_mappings,
            pass_through=node.pass_through_values,
            inbound=tuple(Inbound(c.source, c.source_port, c.target_port) for c in inbound[node.id]),
            join=joins.get(node.id),
            reads=_reads(node, attached.get(node.id, ()), catalog, home, place, sources),
            loops=home[node.id].loops,
            body_sinks=home[node.id].bodies[node.id].sinks if node.id in home[node.id].bodies else (),
            guarded=guarded.get(node.id, {}),
            tells=tuple(tells.get(node.id, ())),
            retry=node.retry or default_retry,
            timeout_s=node.timeout_s,
            on_error=node.on_error,
            awaits=_type(node, catalog).resume is not None,
            contained=any(loop.goes_on(nodes[name].config) for name in home[node.id].loops[-1:]),
            attachments=tuple(_attachments(attached.get(node.id, ()))),
        )
        for node in graph.nodes
    }


def joins_of(graph: Graph) -> dict[str, Join]:
    """By node that several connections lead into, what names their values in its input."""
    ports: dict[str, list[str]] = {}
    for connection in graph.connections:
        ports.setdefault(connection.target, []).append(connection.target_port)
    return {
        node: Join.BY_PORT if len({*names}) == len(names) else Join.BY_SOURCE
        for node, names in ports.items()
        if len(names) > 1
    }


def _type(node: Node, catalog: Registry) -> NodeType:
    kind = catalog.find(node.type)
    assert kind is not None, "the graph was validated"
    return kind


def _attachments(attached: Sequence[Attached]) -> Iterator[Attachment]:
    """A name for each: its label where that leaves letters, with a number where another has it already."""
    taken: set[str] = set()
    for item in attached:
        node = item.node
        label = re.sub(r"[^A-Za-z0-9_-]+", "_", node.name).strip("_-")[:_TOOL_NAME_CHARS] or "tool"
        names = chain([label], (f"{label}_{number}" for number in count(2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        yield Attachment(item.port, name, node.type, node.name, node.config)


def _reads(
    node: Node,
    attached: Sequence[Attached],
    catalog: Registry,
    home: Mapping[str, Scope],
    place: Mapping[str, int],
    sources: Mapping[str, Sequence[str]],
) -> tuple[str, ...]:
    """Nodes whose output the expressions of ``node`` name, as far as they lie in its own scope or around it."""
    found = [compile_expression(source).references for source in node.input_mappings.values()]
    for part in (node, *(item.node for item in attached)):
        kind = _type(part, catalog)
        found.append(template_references(kind.templates(part.config)))
        found += [compile_expression(source).references for source in kind.expressions(part.config)]
    names: set[str] = set()
    if any(references.all_nodes for references in found):
        names |= reachable([node.id], sources)
    for references in found:
        names |= references.nodes
    loops = home[node.id].loops
    known = [
        name
        for name in names
        if name in home and name != node.id and loops[: len(home[name].loops)] == home[name].loops
    ]
    return tuple(sorted(known, key=lambda name: (place.get(name, -1), name)))


def _guarded(root: Region) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        region.node: {case.port: tuple(steps_of(case.region)) for case in region.cases}
        for region in walk(root)
        if isinstance(region, Choice)
    }


def _tells(root: Region) -> dict[str, list[Tell]]:
    """By node: the gates that await it."""
    found: dict[str, list[Tell]] = {}
    for region in walk(root):
        if isinstance(region, Gate):
            for name in region.awaits:
                found.setdefault(name, []).append(Tell(state_key(region.node), len(region.awaits)))
    return found
