"""Several people edit one workflow at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.bootstrap import Services
from chalicelib.foundation.errors import PreconditionFailed
from chalicelib.graph.changes import NewNode
from tests.fakes import graph, node
from tests.runs import OWNER, Runs

WRITERS = 20


def test_edits_never_lose_one_another(app_services: Services, runs: Runs) -> None:
    """Twenty threads add a node each to what they read at first: all are there, each in a place of its own."""
    workflow = runs.workflow(graph([node("a"), node("b")], "a -> b"))

    def add(number: int) -> str:
        new = NewNode("log", label=f"Node {number}", config={"message": str(number)})
        return app_services.editing.add_node(OWNER, workflow, new, None).id

    with ThreadPoolExecutor(WRITERS) as pool:
        added = list(pool.map(add, range(WRITERS)))
    found = app_services.workflows.find(OWNER, workflow.id)
    assert {item.id for item in found.graph.nodes} == {"a", "b", *added}
    assert len(added) == len(set(added)) == WRITERS
    assert found.revision == workflow.revision + WRITERS
    places = [(item.position["x"], item.position["y"]) for item in found.graph.nodes if item.position]
    assert len(set(places)) == WRITERS


def test_with_if_match_only_the_first_edit_counts(app_services: Services, runs: Runs) -> None:
    """Who names the revision that they have read is told that it is not the present one any more."""
    workflow = runs.workflow(graph([node("a")]))
    app_services.editing.add_node(OWNER, workflow, NewNode("log"), str(workflow.revision))
    with pytest.raises(PreconditionFailed):
        app_services.editing.add_node(OWNER, workflow, NewNode("log"), str(workflow.revision))
