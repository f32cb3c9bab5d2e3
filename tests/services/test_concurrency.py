"""Many at once, each as a Lambda of its own: services that share nothing but the table.

Below the edge, because Chalice serves one request at a time, as Lambda does.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.foundation.errors import Conflict, IdempotencyMismatch, MillraceError, NotFound, PreconditionFailed
from chalicelib.foundation.settings import Settings
from chalicelib.graph.changes import NewNode, WorkflowChange
from chalicelib.graph.edit import NodeChange
from chalicelib.graph.listing import ListQuery
from chalicelib.graph.model import Connection, Workflow
from tests.fakes import graph, node
from tests.runs import OWNER, parsed
from tests.state_machines import StepFunctions

T = TypeVar("T")


@pytest.fixture
def workflow(settings: Settings) -> Workflow:
    found = parsed(graph([node("t", "manual-trigger"), node("a", "set-fields", fields={}), node("b")], "t -> a -> b"))
    change = WorkflowChange(name="w", nodes=found.nodes, connections=found.connections, tags=("etl",))
    return services(settings).workflows.create(OWNER, change)


def at_once(settings: Settings, number: int, do: Callable[[Services, int], T]) -> list[T]:
    """What ``number`` Lambdas make of it that begin at the same moment."""
    barrier = Barrier(number)

    def one(index: int) -> T:
        own = services(settings)
        barrier.wait(timeout=60)
        return do(own, index)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


def test_edits_never_lose_one_another(settings: Settings, workflow: Workflow) -> None:
    """Twenty add a node each to what they have read before any was written: all twenty are there, and counted."""

    def add(own: Services, index: int) -> str:
        new = NewNode("log", label=f"n{index}", position={"x": index, "y": 0})
        return own.editing.add_node(OWNER, workflow, new, None).id

    added = at_once(settings, 20, add)
    own = services(settings)
    found = own.workflows.find(OWNER, workflow.id)
    labels = {node.id: node.label for node in found.graph.nodes}
    assert [labels[identifier] for identifier in added] == [f"n{index}" for index in range(20)]
    assert len(labels) == 23
    assert found.revision == 21
    assert len(own.audit.recent(OWNER, workflow.id, 100, 0)) == 21
    for query in (ListQuery(10), ListQuery(10, tag="etl"), ListQuery(10, status=workflow.status)):
        assert own.workflows.list(OWNER, query).total == 1


def test_different_edits_at_once(settings: Settings, workflow: Workflow) -> None:
    """One configures, one connects, one shares, one renames, one keeps a version: each finds its own in the end."""
    edits: list[Callable[[Services], object]] = [
        lambda own: own.editing.change_node(OWNER, workflow, "a", NodeChange(config={"fields": {"x": 1}}), None),
        lambda own: own.editing.change_node(OWNER, workflow, "a", NodeChange(config={"fields": {"y": 2}}), None),
        lambda own: own.editing.connect(OWNER, workflow, Connection("", "t", "b"), None),
        lambda own: own.sharing.share(OWNER, workflow, "bob", None),
        lambda own: own.sharing.share(OWNER, workflow, "cy", None),
        lambda own: own.workflows.update(OWNER, workflow, WorkflowChange(name="n")),
        lambda own: own.versions.create(OWNER, workflow, "v2", "", None),
        lambda own: own.versions.create(OWNER, workflow, "v3", "", None),
    ]
    at_once(settings, len(edits), lambda own, index: edits[index](own))
    own = services(settings)
    found = own.workflows.find(OWNER, workflow.id)
    assert found.graph.by_id()["a"].config == {"fields": {"x": 1, "y": 2}}
    assert len(found.graph.connections) == 3
    assert (set(found.shared_with), found.name, found.version) == ({"bob", "cy"}, "n", 3)
    assert [version.version for version in own.versions.list(found)] == [1, 2, 3]
    assert found.revision == 1 + len(edits)


def test_one_of_those_that_insist_wins(settings: Settings, workflow: Workflow) -> None:
    """With If-Match nobody writes over what another has written: one of ten is let in, nine are told."""

    def rename(own: Services, index: int) -> str | None:
        try:
            return own.workflows.update(OWNER, workflow, WorkflowChange(name=f"n{index}"), '"1"').name
        except PreconditionFailed:
            return None

    (name,) = filter(None, at_once(settings, 10, rename))
    assert services(settings).workflows.find(OWNER, workflow.id).name == name


def test_a_tag_is_given_once(settings: Settings, workflow: Workflow) -> None:
    """Of five that keep a version under one tag, one does; the count goes up by one."""

    def keep(own: Services, index: int) -> int | None:
        try:
            return own.versions.create(OWNER, workflow, "v2", "", None).version
        except Conflict:
            return None

    assert [number for number in at_once(settings, 5, keep) if number] == [2]
    assert services(settings).workflows.find(OWNER, workflow.id).version == 2


def test_deletion_among_edits(settings: Settings, workflow: Workflow) -> None:
    """It is deleted, whoever else is at it; who comes later is told that it is not there, and no list shows it."""

    def do(own: Services, index: int) -> str:
        try:
            if index == 0:
                own.workflows.delete(OWNER, workflow)
            else:
                own.editing.add_node(OWNER, workflow, NewNode("log", position={"x": 0, "y": 0}), None)
        except MillraceError as error:
            return error.code
        return "done"

    outcomes = at_once(settings, 6, do)
    assert outcomes[0] == "done"
    assert set(outcomes[1:]) <= {"done", NotFound.code}
    own = services(settings)
    assert own.workflows.list(OWNER, ListQuery(10)).total == 0
    assert sum(own.workflows.stats(OWNER).values()) == 0


def test_equal_requests_start_one_run(settings: Settings, workflow: Workflow, step_functions: StepFunctions) -> None:
    """Ten with one Idempotency-Key: one execution, and all ten get its id; another request with the key is refused."""

    def start(own: Services, index: int) -> str:
        return own.executions.start(OWNER, workflow, inputs={"n": 1}, idempotency_key="key")

    (execution_id,) = set(at_once(settings, 10, start))
    assert set(step_functions.executions()) == {execution_id}
    own = services(settings)
    assert own.executions.list(OWNER, None, None, 10, 0).total == 1
    with pytest.raises(IdempotencyMismatch):
        own.executions.start(OWNER, workflow, inputs={"n": 2}, idempotency_key="key")
