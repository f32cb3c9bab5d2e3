"""Workflows that would call themselves: circles of ``sub-workflow`` nodes, as far as their configs name them.

What a template names is known only when it runs, and is refused then (``children``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chalicelib.graph.model import Graph
from chalicelib.graph.validate import Problem
from chalicelib.nodes.control import sub_workflow

MAX_READ = 100  # workflows that are looked at

Load = Callable[[str], Graph | None]


def circles(workflow_id: str, graph: Graph, load: Load) -> list[Problem]:
    """A problem for each node whose call leads back to the workflow; ``load`` reads others, None where there is none.

    Example: of ``wf_a`` with a node that calls ``wf_b``, which calls ``wf_a``, the message has ``wf_a -> wf_b ->
    wf_a``.
    """
    found = []
    for index, node_id, called in _calls(graph):
        if way := _way_back(workflow_id, called, load):
            message = f"Workflows call each other: {' -> '.join([workflow_id, *way])}"
            found.append(Problem("cycle", message, node_id, f"nodes[{index}].config.workflowId"))
    return found


def _way_back(workflow_id: str, called: str, load: Load) -> list[str] | None:
    """The workflows from ``called`` to ``workflow_id``, both included; the shortest way, None where there is none."""
    ways = [[called]]
    seen = {called}
    for way in ways:
        if way[-1] == workflow_id:
            return way
        if len(seen) <= MAX_READ and (graph := load(way[-1])) is not None:
            further = [target for _, _, target in _calls(graph) if target not in seen]
            ways += [[*way, target] for target in dict.fromkeys(further)]
            seen.update(further)
    return None


def _calls(graph: Graph) -> Iterator[tuple[int, str, str]]:
    """Place, id, and the workflow that is called, of each node that names one."""
    for index, node in enumerate(graph.nodes):
        called = node.config.get("workflowId")
        if node.type == sub_workflow.TYPE.name and isinstance(called, str) and "{{" not in called:
            yield index, node.id, called
