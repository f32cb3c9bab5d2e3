"""From a graph to a state machine, in stages. Each is a pure function with one kind of input and one of output; none
calls AWS.

::

    graph ── detach ──> the steps; what is attached to agents orders nothing
          ── prune ──> what this start reaches
          ── analyse_scopes ──> the top level and each loop's body, a loop counting as one node of its scope
    each scope, innermost first:
          ── reduce ──> the connections that order anything
          ── split ──> blocks in series and in parallel; what is neither is grown as a tree with late joins
          ── guard ──> regions, with a choice wherever a branch is closed
    all   ── annotate ──> what the runner has to know of each node
          ── fuse ──> the plan: regions, with a chain wherever nodes need no state of their own
    plan  ── asl.emit ──> a state machine definition

Exactness: Step Functions has only structured parallelism, and series-parallel graphs are just those that it can say.
Those are split without adding or losing an order. What splits no further becomes a tree, which it can say as well, and
gates for the edges that are not in the tree: so every node starts when the last of its predecessors has ended, and no
node waits for anything else.

The compiler trusts that the graph has no errors (``graph.validate``); refusing one is the caller's business.
"""

from __future__ import annotations

from collections.abc import Collection

from chalicelib.compiler.passes.annotate import annotate, state_key
from chalicelib.compiler.passes.fuse import fuse, is_fusible
from chalicelib.compiler.passes.guard import Guards, guard
from chalicelib.compiler.passes.prune import prune, prune_to
from chalicelib.compiler.passes.reduce import reduce
from chalicelib.compiler.passes.split import split
from chalicelib.compiler.plan import Given, Loop, Plan, PlanNode, Region
from chalicelib.compiler.scopes import Scope, analyse_scopes
from chalicelib.graph.attachments import detach
from chalicelib.graph.model import ERROR_PORT, Connection, Graph, Node, OnError, Retry
from chalicelib.nodes.control import loop
from chalicelib.nodes.registry import Registry
from chalicelib.nodes.spec import NodeType

MANUAL = "manual-trigger"


def compile_plan(
    graph: Graph,
    catalog: Registry,
    *,
    trigger: str = MANUAL,
    default_retry: Retry | None = None,
    timeout_s: int | None = None,
    start_node: str | None = None,
    pinned: Collection[str] = (),
    fused: bool = True,
) -> Plan:
    """The plan of a run of ``graph`` that ``trigger`` starts, a trigger node or the first one of a type.

    ``default_retry`` applies to nodes without a setting of their own; ``timeout_s`` bounds the whole run. With
    ``start_node`` it is the plan of a run of that node and what is downstream of it (``prune_to``). Without ``fused``,
    each node has a state of its own; that is for those who measure.
    """
    apart = detach(graph, catalog)
    if start_node is None:
        start = prune(apart.graph, catalog, trigger)
    else:
        start = prune_to(apart.graph, catalog, start_node, pinned)
    scope = analyse_scopes(start.graph, catalog)
    root = _region(scope, start.graph.by_id(), catalog)
    assert root is not None, "a graph without nodes was refused"
    nodes = annotate(start.graph, scope, root, catalog, default_retry or Retry(), apart.attached, apart.graph, start)
    return Plan(
        nodes=nodes,
        root=fuse(root, lambda name: is_fusible(nodes[name], catalog)) if fused else root,
        dead=tuple(map(_without_a_state, start.dead)),
        given=tuple(Given(_without_a_state(node), _kind(node, catalog).continue_port) for node in start.given),
        sinks=scope.sinks,
        trigger=start.trigger,
        timeout_s=timeout_s,
    )


def _kind(node: Node, catalog: Registry) -> NodeType:
    kind = catalog.find(node.type)
    assert kind is not None, "the graph was validated"
    return kind


def _without_a_state(node: Node) -> PlanNode:
    return PlanNode(node.id, state_key(node.id), node.type, node.name, {})


def _region(scope: Scope, nodes: dict[str, Node], catalog: Registry) -> Region | None:
    if not scope.nodes:
        return None
    loops = {
        name: Loop(name, _region(body, nodes, catalog), loop.concurrency(nodes[name].config))
        for name, body in scope.bodies.items()
    }
    edges: dict[str, dict[str, None]] = {name: {} for name in scope.nodes}
    inbound: dict[str, list[Connection]] = {}
    for connection in scope.connections:
        edges[connection.source][connection.target] = None
    for connection in (*scope.connections, *scope.entries):
        inbound.setdefault(connection.target, []).append(connection)
    reduced = reduce(scope.nodes, {name: list(targets) for name, targets in edges.items()})
    branching = frozenset(name for name in scope.nodes if _branches(nodes[name], catalog))
    durations = {name: kind.duration for name in scope.nodes if (kind := catalog.find(nodes[name].type))}
    return guard(split(scope.nodes, reduced, durations), Guards(inbound, branching, loops))


def _branches(node: Node, catalog: Registry) -> bool:
    kind = _kind(node, catalog)
    ports = {*kind.ports_out(node.config)} - {kind.body_port}
    if node.on_error is OnError.PORT:
        ports.add(ERROR_PORT)
    return len(ports) > 1
