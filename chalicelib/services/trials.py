"""Trying one node of a workflow on an input of one's own, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.compiler.passes.annotate import joins_of
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Inbound, Plan
from chalicelib.engines.trial import Trial, given_values
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Conflict
from chalicelib.foundation.ids import Ids
from chalicelib.foundation.json_types import Json
from chalicelib.graph.attachments import detach
from chalicelib.graph.edit import node_of
from chalicelib.graph.executions import Payload
from chalicelib.graph.model import Graph, Node, Workflow
from chalicelib.graph.validate import errors
from chalicelib.nodes.registry import Registry

#: Calls the node runner and waits for its answer.
RunNode = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class TrialResult:
    """What came of a trial: ``succeeded``, ``waiting`` (for ``until``, if that is known) or ``failed``."""

    status: str
    port: str | None
    output: Payload | None
    until: str | None
    error: Mapping[str, str] | None


class TrialService:
    def __init__(self, catalog: Registry, run_node: RunNode, ids: Ids, clock: Clock) -> None:
        self._catalog = catalog
        self._run_node = run_node
        self._ids = ids
        self._clock = clock

    def run(
        self, workflow: Workflow, node_id: str, data: Json, config: Mapping[str, Json] | None = None
    ) -> TrialResult:
        """Runs a node once on ``data``, with ``config`` in the place of its own.

        Raises ``NotFound`` for a node that there is not, ``InvalidInput`` for an input that it cannot have,
        ``Conflict`` for a node with errors, which it lists, and ``Downstream`` where it cannot be run or takes too
        long.
        """
        graph = workflow.graph
        node = node_of(graph, node_id)
        if config is not None:
            node = replace(node, config=dict(config))
        plan = self._plan(graph, node, workflow)
        given_values(plan.nodes[node.id].inbound, data)
        trial = Trial(
            id=self._ids.new("exec"),
            organization_id=workflow.organization_id,
            workflow_id=workflow.id,
            plan=plan,
            node=plan.nodes[node.id].key,
            data=data,
            now=timestamp(self._clock.now()),
        )
        answer = self._run_node({"phase": "test", "trial": trial.to_json()})
        output = answer.get("output")
        return TrialResult(
            status=answer["status"],
            port=answer.get("port"),
            output=None if output is None else Payload.from_json(output),
            until=answer.get("until"),
            error=answer.get("error"),
        )

    def _plan(self, graph: Graph, node: Node, workflow: Workflow) -> Plan:
        """A plan of this node and what is attached to it; the nodes before it are given."""
        attached = {item.node.id for item in detach(graph, self._catalog).attached.get(node.id, ())}
        alone = Graph(
            nodes=tuple(
                node if each.id == node.id else each for each in graph.nodes if each.id in {node.id, *attached}
            ),
            connections=tuple(c for c in graph.connections if c.source in attached and c.target == node.id),
        )
        if found := errors(alone, self._catalog):
            raise Conflict("The node has errors and cannot be run.", [problem.to_json() for problem in found])
        plan = compile_plan(alone, self._catalog, default_retry=workflow.default_retry)
        inbound = tuple(
            Inbound(c.source, c.source_port, c.target_port)
            for c in graph.connections
            if c.target == node.id and c.source not in attached
        )
        reads = tuple(dict.fromkeys(edge.source for edge in inbound))
        join = joins_of(detach(graph, self._catalog).graph).get(node.id)
        return replace(plan, nodes={node.id: replace(plan.nodes[node.id], inbound=inbound, reads=reads, join=join)})
