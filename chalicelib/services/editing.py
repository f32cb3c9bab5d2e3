"""Editing: one node or connection of a workflow at a time.

Edits of several people commute as long as they touch different things, so an edit that comes second is made again on
what the first has left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chalicelib.foundation.errors import InvalidInput
from chalicelib.foundation.ids import Ids
from chalicelib.foundation.json_types import Json
from chalicelib.graph import edit
from chalicelib.graph.changes import NewNode
from chalicelib.graph.edit import NodeChange
from chalicelib.graph.layout import arrange, place_new
from chalicelib.graph.model import Connection, Graph, Node, Workflow
from chalicelib.graph.scopes import required_scopes
from chalicelib.nodes.registry import Registry
from chalicelib.services.access import Principal
from chalicelib.services.workflows import WorkflowService


class EditingService:
    def __init__(self, workflows: WorkflowService, catalog: Registry, ids: Ids) -> None:
        self._workflows = workflows
        self._catalog = catalog
        self._ids = ids

    def category(self, node_type: str) -> str:
        """The category of a node type, empty for one that there is not."""
        kind = self._catalog.find(node_type)
        return kind.category if kind else ""

    def add_node(self, principal: Principal, workflow: Workflow, new: NewNode, if_match: str | None) -> Node:
        """Adds a node, at a free place where none is named. Raises ``InvalidInput`` for a type that there is not."""
        kind = self._catalog.find(new.type)
        if kind is None:
            raise InvalidInput.at("nodeId", f"There is no node type {new.type!r} in the catalog.")
        node = Node(
            id=self._ids.new("node"),
            type=kind.name,
            label=new.label or kind.title,
            position=new.position,
            config=new.config or {},
            version=new.version or kind.version,
        )

        def added(graph: Graph) -> Graph:
            return edit.add_node(graph, replace(node, position=node.position or place_new(graph)))

        graph = self._edit(principal, workflow, added, "node.added", if_match, node.id)
        return edit.node_of(graph, node.id)

    def change_node(
        self, principal: Principal, workflow: Workflow, node_id: str, change: NodeChange, if_match: str | None
    ) -> Node:
        """Raises ``NotFound`` for a node that there is not."""
        graph = self._edit(
            principal,
            workflow,
            lambda graph: edit.change_node(graph, node_id, change),
            "node.changed",
            if_match,
            node_id,
        )
        return edit.node_of(graph, node_id)

    def remove_node(self, principal: Principal, workflow: Workflow, node_id: str, if_match: str | None) -> int:
        """Removes a node with its connections, and says how many those were."""
        removed = 0

        def without(graph: Graph) -> Graph:
            nonlocal removed
            graph, removed = edit.remove_node(graph, node_id)
            return graph

        self._edit(principal, workflow, without, "node.removed", if_match, node_id)
        return removed

    def connect(
        self, principal: Principal, workflow: Workflow, connection: Connection, if_match: str | None
    ) -> Connection:
        """Adds a connection under an id of its own. Raises ``InvalidInput`` for ends that there are not."""
        connection = replace(connection, id=self._ids.new("conn"))
        added = self._edit(
            principal,
            workflow,
            lambda graph: edit.connect(graph, connection),
            "connection.added",
            if_match,
            connection.id,
        )
        return added.connections[-1]

    def disconnect(self, principal: Principal, workflow: Workflow, connection_id: str, if_match: str | None) -> None:
        """Raises ``NotFound``."""
        self._edit(
            principal,
            workflow,
            lambda graph: edit.disconnect(graph, connection_id),
            "connection.removed",
            if_match,
            connection_id,
        )

    def arrange(self, principal: Principal, workflow: Workflow, if_match: str | None) -> int:
        """Lays out all nodes, and says how many have moved."""
        after = self._edit(
            principal, workflow, lambda graph: arrange(graph, self._catalog), "workflow.arranged", if_match, ""
        )
        return _moved(workflow.graph, after)

    def compute_scopes(self, principal: Principal, workflow: Workflow, if_match: str | None) -> tuple[str, ...]:
        """Stores what the nodes of a workflow need, and says it."""

        def computed(present: Workflow) -> Workflow:
            scopes = required_scopes(present.graph, self._catalog)
            return present if scopes == present.scopes else replace(present, scopes=scopes)

        return self._workflows.edit(principal, workflow, computed, "workflow.scopes-computed", if_match).scopes

    def _edit(
        self,
        principal: Principal,
        workflow: Workflow,
        change: Callable[[Graph], Graph],
        action: str,
        if_match: str | None,
        what: str,
    ) -> Graph:
        def changed(present: Workflow) -> Workflow:
            graph = change(present.graph)
            return present if graph == present.graph else replace(present, graph=graph)

        detail: dict[str, Json] = {"id": what} if what else {}
        return self._workflows.edit(principal, workflow, changed, action, if_match, detail=detail).graph


def _moved(before: Graph, after: Graph) -> int:
    old = {node.id: node.position for node in before.nodes}
    return sum(old.get(node.id) != node.position for node in after.nodes)
