"""What the nodes of a workflow need, as scopes."""

from __future__ import annotations

from chalicelib.graph.catalog import Catalog
from chalicelib.graph.model import Graph


def required_scopes(graph: Graph, catalog: Catalog) -> tuple[str, ...]:
    """What all nodes need together, sorted, each once. Nodes of unknown types need nothing that we know of."""
    kinds = ((catalog.find(node.type), node) for node in graph.nodes)
    return tuple(sorted({scope for kind, node in kinds if kind for scope in kind.scopes_of(node.config)}))
