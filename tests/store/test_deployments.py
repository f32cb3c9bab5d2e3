"""Deployments in the store: what is wanted changes in an order, and triggers and stops meet at the fence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.foundation.errors import PreconditionFailed
from chalicelib.graph.deployment_records import Deployment, Desired, Observation
from chalicelib.graph.deployments import Deployed, DeploymentStatus, StoppedReason
from chalicelib.graph.lifecycle import AlwaysOn, ScheduledWindow, Window
from chalicelib.graph.model import WorkflowStatus
from chalicelib.store import keys
from chalicelib.store.deployments import DeploymentRepository, undeployed_check
from chalicelib.store.table import ABSENT, ConditionFailed, Table, put

AT, LATER = "2026-01-05T09:00:00.000Z", "2026-01-05T09:01:00.000Z"
DEPLOYED = Deployed("acme", "wf_1", "ann", 1, 3, "hash", 30, None)
BLANK = Deployment("acme", "wf_1")
RUNNING = replace(BLANK, desired=Desired.RUNNING, deployed=DEPLOYED, started_at=AT, look_at=LATER)


@pytest.fixture
def deployments(table: Table) -> DeploymentRepository:
    return DeploymentRepository(table)


def test_nothing_is_kept_of_most(deployments: DeploymentRepository) -> None:
    """A workflow that was never deployed has the default policy, and no item."""
    assert deployments.get("acme", "wf_1") == BLANK
    assert BLANK.status is DeploymentStatus.NOT_DEPLOYED
    assert deployments.get_many("acme", ["wf_1", "wf_2"]) == {}


@pytest.mark.parametrize(
    "wanted",
    [
        RUNNING,
        replace(BLANK, policy=ScheduledWindow("Europe/Zurich", (Window((0, 6), "22:00", "06:00"),))),
        replace(RUNNING, desired=Desired.STOPPED, stopped_reason=StoppedReason.IDLE, replicas=3, policy=AlwaysOn()),
        replace(
            RUNNING,
            deployed=replace(DEPLOYED, max_concurrent_runs=2),
            moves_from=WorkflowStatus.DRAFT,
            applied=1,
            applied_at=AT,
            observed=Observation(DeploymentStatus.FAILED, 0, "no image", AT, AT),
        ),
    ],
)
def test_what_is_kept_is_read_again(deployments: DeploymentRepository, wanted: Deployment) -> None:
    """Every field; and what is taken away is gone."""
    kept = deployments.replace(BLANK, wanted)
    assert kept == replace(wanted, revision=1)
    assert deployments.get("acme", "wf_1") == kept
    assert deployments.get_many("acme", ["wf_1"]) == {"wf_1": kept}
    bare = deployments.replace(kept, BLANK)
    assert deployments.get("acme", "wf_1") == bare == replace(BLANK, revision=2)


def test_who_comes_second_is_refused(deployments: DeploymentRepository, table: Table) -> None:
    """The first change and any other, also where something else of the transaction is not as it has to be."""
    kept = deployments.replace(BLANK, RUNNING)
    for before in (BLANK, replace(kept, revision=7)):
        with pytest.raises(PreconditionFailed):
            deployments.replace(before, RUNNING)
    taken = put({"pk": "x", "sk": "x"}, ABSENT)
    table.write(taken)
    with pytest.raises(ConditionFailed):
        deployments.replace(kept, BLANK, [taken])
    assert deployments.get("acme", "wf_1") == kept


def test_what_is_told_of_it_moves_no_revision(deployments: DeploymentRepository) -> None:
    """And is not told of something that is wanted no more."""
    kept = deployments.replace(BLANK, RUNNING)
    seen = Observation(DeploymentStatus.RUNNING, 1, None, AT, AT)
    deployments.mark_applied(kept, AT)
    deployments.look_next(kept, AT)
    told = deployments.observe(kept, seen)
    assert told == replace(kept, applied=1, applied_at=AT, observed=seen, look_at=AT)
    assert told.is_applied
    newer = deployments.replace(told, replace(told, desired=Desired.STOPPED, observed=None))
    assert not newer.is_applied
    assert deployments.mark_applied(told, LATER) is deployments.observe(told, seen) is None
    assert deployments.look_next(told, LATER) is deployments.moved(told) is deployments.cleared(told) is None
    assert deployments.get("acme", "wf_1") == newer


def test_a_trigger_keeps_it_from_being_stopped(deployments: DeploymentRepository) -> None:
    """Whoever read the deployment before the trigger was let in, does not stop it; a user does, and keeps the time."""
    kept = deployments.replace(BLANK, RUNNING)
    stopped = replace(kept, desired=Desired.STOPPED, stopped_reason=StoppedReason.IDLE)
    first = deployments.let_in(kept, AT)
    assert first == replace(kept, triggered_at=AT)
    with pytest.raises(PreconditionFailed):
        deployments.replace(kept, stopped, unless_triggered=True)
    deployments.let_in(kept, LATER)
    with pytest.raises(PreconditionFailed):
        deployments.replace(first, stopped, unless_triggered=True)
    deployments.replace(kept, stopped)
    assert deployments.get("acme", "wf_1").triggered_at == LATER


def test_a_trigger_is_not_let_into_what_is_stopped(deployments: DeploymentRepository) -> None:
    """It finds that before it goes to the pods."""
    assert deployments.let_in(BLANK, AT) is None
    kept = deployments.replace(BLANK, replace(RUNNING, desired=Desired.STOPPED))
    assert deployments.let_in(kept, AT) is None
    assert deployments.get("acme", "wf_1") == kept


def test_one_looks_after_it_at_a_time(deployments: DeploymentRepository) -> None:
    """When it is due, and as long as anything of it is there."""
    kept = deployments.replace(BLANK, RUNNING)
    assert deployments.due(AT, 10) == []
    (due,) = deployments.due(LATER, 10)
    assert deployments.claim(due, "2026-01-05T09:02:00.000Z") is not None
    assert deployments.claim(due, "2026-01-05T09:02:00.000Z") is None
    deployments.cleared(kept)
    assert deployments.due("2027-01-01T00:00:00.000Z", 10) == []


def test_whether_anything_is_deployed(deployments: DeploymentRepository, table: Table) -> None:
    """What deletes a workflow demands that it is not; a policy by itself does not matter."""
    key = keys.deployment("acme", "wf_1")
    assert undeployed_check("acme", "wf_1").key == key
    kept = BLANK
    for desired, passes in ((None, True), (Desired.RUNNING, False), (Desired.STOPPED, False), (Desired.REMOVED, True)):
        kept = deployments.replace(kept, replace(kept, desired=desired))
        if passes:
            table.transact([undeployed_check("acme", "wf_1")])
        else:
            with pytest.raises(ConditionFailed):
                table.transact([undeployed_check("acme", "wf_1")])
