"""Deployments: recorded, brought to the cluster, looked after, whoever dies in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.foundation.errors import Conflict, Downstream, Forbidden, MillraceError, PreconditionFailed, Unavailable
from chalicelib.foundation.settings import Settings
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.deployment_records import Deployment
from chalicelib.graph.deployments import DeploymentStatus, StoppedReason
from chalicelib.graph.lifecycle import AlwaysOn, IdleShutdown, OnDemand, Policy, ScheduledWindow, Window
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.services.access import Principal
from tests.fake_cluster import FakeCluster
from tests.fakes import CountingIds, FakeClock, Killed, graph, node, watched
from tests.runs import OWNER, Runs
from tests.state_machines import StepFunctions

GRAPH = graph([node("t", "manual-trigger"), node("a")], "t -> a")
NIGHTS = ScheduledWindow("UTC", (Window((0, 1, 2, 3, 4, 5, 6), "22:00", "06:00"),))  # it is nine in the morning


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def app_services(settings: Settings, clock: FakeClock, cluster: FakeCluster) -> Services:
    """As everywhere, with a cluster, and waiting moves the clock."""
    found = services(settings, clock=clock, ids=CountingIds(), sleep=clock.advance)
    found.cluster = cluster
    return found


@pytest.fixture
def runs(app_services: Services, step_functions: StepFunctions) -> Runs:
    return Runs(app_services, step_functions)


@pytest.fixture
def workflow(runs: Runs) -> Workflow:
    return runs.workflow(GRAPH)


@pytest.fixture
def deployed(runs: Runs, workflow: Workflow) -> Workflow:
    return runs.services.deployments.deploy(OWNER, workflow).workflow


@pytest.fixture
def look(runs: Runs, clock: FakeClock) -> Callable[..., int]:
    """Upkeep, some minutes later: how many deployments it has looked after. Nothing of it fails."""

    def upkeep(minutes: float = 1) -> int:
        clock.advance(minutes * 60)
        reports = {report.part: report for report in runs.services.upkeep.run()}
        assert reports["deployments"].failures == ()
        return reports["deployments"].done

    return upkeep


def status(runs: Runs, workflow: Workflow) -> WorkflowStatus:
    return runs.services.workflows.find(OWNER, workflow.id).status


def state(runs: Runs, workflow: Workflow) -> Deployment:
    return runs.services.deployments.find(workflow)


def give(runs: Runs, workflow: Workflow, policy: Policy) -> None:
    runs.services.deployments.set_policy(OWNER, workflow, policy)


def audited(runs: Runs, workflow: Workflow) -> list[str]:
    return [entry.action for entry in runs.services.audit.recent(OWNER, workflow.id, 50, 0)][::-1]


def test_deploy(runs: Runs, workflow: Workflow, cluster: FakeCluster, step_functions: StepFunctions) -> None:
    """The plan and the state machine are there before the pods; the workflow is active when those are ready."""
    cluster.comes_up_after = 2
    done = runs.services.deployments.deploy(OWNER, workflow)
    assert (done.workflow.status, done.deployment.status) == (WorkflowStatus.ACTIVE, DeploymentStatus.RUNNING)
    there = cluster.objects[workflow.id]
    assert (there.replicas, there.deployed.revision, there.deployed.owner_id) == (1, workflow.revision, "ann")
    execution = runs.services.executions.start(OWNER, workflow, inputs={})
    assert runs.detail(execution).execution.plan == there.deployed.plan
    assert audited(runs, workflow)[-2:] == ["workflow.deployed", "workflow.status-changed"]


def test_deploy_makes_the_state_machine(runs: Runs, deployed: Workflow, cluster: FakeCluster) -> None:
    """A run that a pod hands over starts without making one first."""
    from chalicelib.cloud.sdk import client
    from tests.conftest import REGION

    with watched(client("stepfunctions", REGION)) as calls:
        runs.services.executions.start(OWNER, deployed, inputs={})
    assert calls.operations == ["StartExecution"]


@pytest.mark.parametrize("broken", ["graph", "archived", "stranger", "revision", "no cluster"])
def test_what_is_not_deployed(
    app_services: Services, settings: Settings, clock: FakeClock, runs: Runs, cluster: FakeCluster, broken: str
) -> None:
    """Nothing is recorded, and the cluster is not asked."""
    workflow = runs.workflow(graph([node("a", "no-such-type")]) if broken == "graph" else GRAPH)
    service, who, etag, expected = app_services.deployments, OWNER, None, Conflict
    if broken == "archived":
        workflow = app_services.workflows.set_status(OWNER, workflow, WorkflowStatus.ARCHIVED)
    elif broken == "stranger":
        workflow = replace(workflow, shared_with=("bob",))
        who, expected = Principal("acme", "bob", frozenset()), Forbidden  # type: ignore[assignment]
    elif broken == "revision":
        etag, expected = '"7"', PreconditionFailed  # type: ignore[assignment]
    elif broken == "no cluster":
        service = services(settings, clock=clock).deployments
    with pytest.raises(expected) as refused:
        service.deploy(who, workflow, etag)
    if broken == "graph":
        assert isinstance(refused.value, Conflict)
        assert [error["type"] for error in refused.value.errors] == ["unknown-node"]
    assert cluster.made == []
    assert state(runs, workflow) == Deployment("acme", workflow.id)


def test_a_rollout_that_takes_longer(
    runs: Runs, workflow: Workflow, cluster: FakeCluster, clock: FakeClock, look: Callable[..., int]
) -> None:
    """It is answered in time with what is true, and upkeep makes the workflow active when it is."""
    cluster.comes_up_after = None
    began = clock.now()
    done = runs.services.deployments.deploy(OWNER, workflow)
    assert timedelta(seconds=20) < clock.now() - began < timedelta(seconds=29)
    assert (done.workflow.status, done.deployment.status) == (WorkflowStatus.DRAFT, DeploymentStatus.DEPLOYING)
    assert look() == 1
    assert status(runs, workflow) is WorkflowStatus.DRAFT
    cluster.ready(workflow.id)
    assert look() == 1
    assert status(runs, workflow) is WorkflowStatus.ACTIVE
    assert state(runs, workflow).status is DeploymentStatus.RUNNING


def test_a_rollout_that_fails(runs: Runs, workflow: Workflow, cluster: FakeCluster, look: Callable[..., int]) -> None:
    """It says why; what becomes of it later is seen all the same."""
    cluster.failure = "ImagePullBackOff: no such image"
    with pytest.raises(Downstream, match="ImagePullBackOff: no such image"):
        runs.services.deployments.deploy(OWNER, workflow)
    assert state(runs, workflow).status is DeploymentStatus.FAILED
    assert status(runs, workflow) is WorkflowStatus.DRAFT
    cluster.failure = None
    look()
    assert state(runs, workflow).status is DeploymentStatus.RUNNING
    assert status(runs, workflow) is WorkflowStatus.ACTIVE


def test_what_never_runs_is_given_up(
    runs: Runs, workflow: Workflow, cluster: FakeCluster, look: Callable[..., int]
) -> None:
    """After a quarter of an hour, where a trigger may try again."""
    cluster.failure = "crash loop"
    with pytest.raises(Downstream):
        runs.services.deployments.deploy(OWNER, workflow)
    for _ in range(14):
        look()
    assert state(runs, workflow).status is DeploymentStatus.FAILED
    look(2)
    assert state(runs, workflow).stopped_reason is StoppedReason.FAILED
    assert cluster.objects[workflow.id].replicas == 0


def test_a_status_that_somebody_has_given_stays(
    runs: Runs, workflow: Workflow, cluster: FakeCluster, look: Callable[..., int]
) -> None:
    """Paused while it came up, it is not made active."""
    cluster.comes_up_after = None
    runs.services.deployments.deploy(OWNER, workflow)
    runs.services.workflows.set_status(OWNER, workflow, WorkflowStatus.PAUSED)
    cluster.ready(workflow.id)
    look()
    assert state(runs, workflow).status is DeploymentStatus.RUNNING
    assert status(runs, workflow) is WorkflowStatus.PAUSED
    assert state(runs, workflow).moves_from is None


def test_deploy_again_rolls_out_the_present_graph(runs: Runs, deployed: Workflow, cluster: FakeCluster) -> None:
    """With as many pods as there were."""
    first = cluster.objects[deployed.id].deployed
    runs.services.deployments.start(OWNER, deployed, 3)
    changed = runs.services.workflows.update(OWNER, deployed, WorkflowChange(settings={"retentionDays": 5}))
    runs.services.deployments.deploy(OWNER, changed)
    there = cluster.objects[deployed.id]
    assert there.replicas == 3
    assert (there.deployed.revision, there.deployed.retention_days) == (changed.revision, 5)
    assert there.deployed.plan == first.plan


def test_stop_and_start(runs: Runs, deployed: Workflow, cluster: FakeCluster, look: Callable[..., int]) -> None:
    """To zero and back, as often as one likes; what a user has stopped, upkeep leaves."""
    service = runs.services.deployments
    for _ in range(2):
        stopped = service.stop(OWNER, deployed)
        assert (stopped.status, stopped.stopped_reason) == (DeploymentStatus.STOPPED, StoppedReason.USER)
        assert cluster.objects[deployed.id].replicas == 0
    give(runs, deployed, AlwaysOn())
    look()
    assert cluster.objects[deployed.id].replicas == 0
    for wanted, count in ((None, 1), (None, 1), (4, 4), (None, 4), (1, 1)):
        started = service.start(OWNER, deployed, wanted)
        assert (started.status, started.replicas) == (DeploymentStatus.RUNNING, count)
        assert cluster.objects[deployed.id].replicas == count
    assert audited(runs, deployed).count("workflow.stopped") == 1
    assert audited(runs, deployed).count("workflow.started") == 3


def test_what_is_not_deployed_is_not_stopped(runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """Nor started, nor undeployed; its policy can be set, and is there when it is deployed."""
    service = runs.services.deployments
    changes: list[Callable[..., object]] = [service.stop, service.start, service.undeploy]
    for change in changes:
        with pytest.raises(Conflict):
            change(OWNER, workflow)
    give(runs, workflow, OnDemand())
    for change in changes:
        with pytest.raises(Conflict):
            change(OWNER, workflow)
    assert cluster.made == []
    assert service.deploy(OWNER, workflow).deployment.policy == OnDemand()


def test_undeploy(runs: Runs, deployed: Workflow, cluster: FakeCluster, look: Callable[..., int]) -> None:
    """Nothing is left, and the workflow is a draft; again is the same; in the end nobody looks any more."""
    cluster.lingers = 2
    done = runs.services.deployments.undeploy(OWNER, deployed)
    assert (done.workflow.status, done.deployment.status) == (WorkflowStatus.DRAFT, DeploymentStatus.NOT_DEPLOYED)
    assert done.deployment.is_applied
    assert cluster.objects == {}
    again = runs.services.deployments.undeploy(OWNER, done.workflow)
    assert again.workflow.revision == done.workflow.revision
    assert [look(61) for _ in range(3)] == [1, 0, 0]
    with pytest.raises(Conflict):
        runs.services.deployments.start(OWNER, deployed)
    redeployed = runs.services.deployments.deploy(OWNER, done.workflow)
    assert redeployed.workflow.status is WorkflowStatus.ACTIVE
    assert deployed.id in cluster.objects


def test_pods_that_take_long_to_end(
    runs: Runs, deployed: Workflow, cluster: FakeCluster, look: Callable[..., int]
) -> None:
    """Undeploy is answered in time; upkeep removes the rest, and leaves alone what a user does with the workflow."""
    cluster.lingers = 100
    done = runs.services.deployments.undeploy(OWNER, deployed)
    assert not done.deployment.is_applied
    assert deployed.id in cluster.objects
    runs.services.workflows.set_status(OWNER, done.workflow, WorkflowStatus.ACTIVE)
    cluster.lingers = 0
    look()
    assert cluster.objects == {}
    assert status(runs, deployed) is WorkflowStatus.ACTIVE


@pytest.mark.parametrize("lingers", [0, 1000])
def test_a_deployed_workflow_is_undeployed_when_it_is_deleted(
    runs: Runs, deployed: Workflow, cluster: FakeCluster, look: Callable[..., int], lingers: int
) -> None:
    """Also where its pods outlive it; who names an older revision deletes nothing."""
    cluster.lingers = lingers
    with pytest.raises(PreconditionFailed):
        runs.services.workflows.delete(OWNER, deployed, '"1"')
    assert cluster.counts["remove"] == 0
    runs.services.workflows.delete(OWNER, deployed, f'"{deployed.revision}"')
    with pytest.raises(MillraceError):
        runs.services.workflows.find(OWNER, deployed.id)
    cluster.lingers = 0
    look()
    assert cluster.objects == {}


@pytest.mark.parametrize("refusals", [3, 1000])
def test_deployed_while_an_earlier_one_is_still_ending(
    runs: Runs, deployed: Workflow, cluster: FakeCluster, look: Callable[..., int], refusals: int
) -> None:
    """It is applied as soon as the cluster takes it: in the time for the answer, or by upkeep."""
    runs.services.deployments.undeploy(OWNER, deployed)
    left = [None] * refusals

    def refuse(name: str) -> None:
        if name == "apply" and left:
            left.pop()
            raise Unavailable("What was deployed before is still being removed.")

    cluster.before = refuse
    done = runs.services.deployments.deploy(OWNER, runs.services.workflows.find(OWNER, deployed.id))
    in_time = refusals < 1000
    assert done.deployment.status is (DeploymentStatus.RUNNING if in_time else DeploymentStatus.DEPLOYING)
    assert (done.workflow.status is WorkflowStatus.ACTIVE) == in_time
    left.clear()
    look()
    assert cluster.objects[deployed.id].replicas == 1
    assert status(runs, deployed) is WorkflowStatus.ACTIVE


def test_under_always_on_it_is_healed(
    runs: Runs, deployed: Workflow, cluster: FakeCluster, look: Callable[..., int]
) -> None:
    """What somebody has deleted or scaled by hand comes back, and so does what was idle when the policy came."""
    give(runs, deployed, AlwaysOn())
    look()
    del cluster.objects[deployed.id]
    look(5)
    assert cluster.objects[deployed.id].replicas == 1
    cluster.scale(deployed.id, 0)
    look(5)
    assert cluster.objects[deployed.id].replicas == 1
    give(runs, deployed, IdleShutdown(5))
    for _ in range(6):
        look()
    assert state(runs, deployed).stopped_reason is StoppedReason.IDLE
    give(runs, deployed, AlwaysOn())
    look()
    assert cluster.objects[deployed.id].replicas == 1


def test_idle_shutdown(runs: Runs, deployed: Workflow, cluster: FakeCluster, look: Callable[..., int]) -> None:
    """So many minutes after the last run has ended, and not while one is in flight, or while pods do not tell."""
    give(runs, deployed, IdleShutdown(5))
    cluster.objects[deployed.id].in_flight = 1
    for _ in range(8):
        look()
    assert cluster.objects[deployed.id].replicas == 1
    cluster.objects[deployed.id].in_flight = 0
    cluster.objects[deployed.id].last_ended_at = "2026-01-05T09:07:30.000Z"
    for _ in range(4):
        look()
    assert cluster.objects[deployed.id].replicas == 1
    cluster.is_silent = True
    for _ in range(4):
        look()
    assert cluster.objects[deployed.id].replicas == 1
    cluster.is_silent = False
    look()
    assert cluster.objects[deployed.id].replicas == 0
    assert state(runs, deployed).stopped_reason is StoppedReason.IDLE


def test_a_trigger_on_its_way_keeps_it_up(
    runs: Runs, deployed: Workflow, cluster: FakeCluster, look: Callable[..., int]
) -> None:
    """One that comes when it was decided that nothing is in flight."""
    give(runs, deployed, OnDemand())
    late: list[Deployment] = []

    def come(name: str) -> None:
        if name == "activity" and not late:
            late.append(runs.services.deployments.let_in(deployed, state(runs, deployed)))

    cluster.before = come
    look(2)
    assert late
    assert cluster.objects[deployed.id].replicas == 1
    look(2)
    assert cluster.objects[deployed.id].replicas == 0


def test_windows(
    runs: Runs, workflow: Workflow, cluster: FakeCluster, clock: FakeClock, look: Callable[..., int]
) -> None:
    """Deployed outside of its window it is active and has no pods; those come and go with the window."""
    give(runs, workflow, NIGHTS)
    done = runs.services.deployments.deploy(OWNER, workflow)
    assert (done.workflow.status, done.deployment.status) == (WorkflowStatus.ACTIVE, DeploymentStatus.STOPPED)
    assert done.deployment.stopped_reason is StoppedReason.OUTSIDE_WINDOW
    with pytest.raises(Conflict, match="outside its window"):
        runs.services.deployments.start(OWNER, workflow)
    up = {}
    for _ in range(24 * 6):
        look(10)
        up[f"{clock.now():%H:%M}"] = cluster.objects[workflow.id].replicas
    assert {at for at, count in up.items() if count} == {at for at in up if at >= "22:00" or at < "06:00"}


def test_upkeep_asks_for_no_more_than_is_due(runs: Runs, deployed: Workflow, look: Callable[..., int]) -> None:
    """What runs well is looked at every five minutes, what is stopped every hour."""
    assert [look() for _ in range(11)] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    runs.services.deployments.stop(OWNER, deployed)
    assert [look(10) for _ in range(8)] == [1, 0, 0, 0, 0, 0, 1, 0]


def deaths(kind: str) -> list[Any]:
    return [pytest.param(kind, moment, number, id=f"{kind}-{moment}-{number}") for moment in ("before", "after")
            for number in range(1, 5)]  # fmt: skip


@pytest.mark.parametrize("request_", ["deploy", "redeploy", "stop", "start", "undeploy"])
@pytest.mark.parametrize(("service", "moment", "number"), [*deaths("cluster"), *deaths("dynamodb")])
def test_whoever_dies_upkeep_does_the_rest(
    runs: Runs,
    dynamodb: Any,
    workflow: Workflow,
    cluster: FakeCluster,
    look: Callable[..., int],
    request_: str,
    service: str,
    moment: str,
    number: int,
) -> None:
    """Killed at any call to the cluster or the table: either nothing has happened, or two looks later all of it has."""
    deployments = runs.services.deployments
    if request_ != "deploy":
        workflow = deployments.deploy(OWNER, workflow).workflow
    if request_ == "start":
        deployments.stop(OWNER, workflow)
    if request_ == "redeploy":
        workflow = runs.services.workflows.update(OWNER, workflow, WorkflowChange(settings={"retentionDays": 5}))
    before = state(runs, workflow)
    calls = {"cluster": 0}

    def die(_: object) -> None:
        calls["cluster"] += 1
        if calls["cluster"] == number:
            raise Killed

    actions: dict[str, Callable[..., object]] = {
        "deploy": deployments.deploy, "redeploy": deployments.deploy, "stop": deployments.stop,
        "start": deployments.start, "undeploy": deployments.undeploy,
    }  # fmt: skip
    with watched(dynamodb) as table_calls:
        setattr(cluster if service == "cluster" else table_calls, moment, die)
        try:
            actions[request_](OWNER, workflow)
            died = False
        except Killed:
            died = True
    cluster.before = cluster.after = lambda name: None
    recorded = state(runs, workflow).revision > before.revision
    assert recorded or died
    look(1.1)
    look(1.1)
    there = cluster.objects.get(workflow.id)
    if not recorded:
        assert state(runs, workflow).status is before.status
        assert (there is not None) == before.is_deployed
        return
    if request_ == "undeploy":
        assert there is None
        assert status(runs, workflow) is WorkflowStatus.DRAFT
        return
    assert there is not None
    assert there.replicas == (0 if request_ == "stop" else 1)
    assert there.deployed.revision == workflow.revision or request_ in ("stop", "start")
    assert status(runs, workflow) is WorkflowStatus.ACTIVE
    expected = DeploymentStatus.STOPPED if request_ == "stop" else DeploymentStatus.RUNNING
    assert state(runs, workflow).status is expected


def test_two_deploy_at_once(runs: Runs, deployed: Workflow, cluster: FakeCluster) -> None:
    """What was recorded last is what is served, in whatever order the cluster was told."""
    newer = runs.services.workflows.update(OWNER, deployed, WorkflowChange(settings={"retentionDays": 5}))
    other: list[object] = []

    def overtake(name: str) -> None:
        if name == "apply" and not other:
            other.append(None)
            runs.services.deployments.deploy(OWNER, newer)

    cluster.before = overtake
    runs.services.deployments.deploy(OWNER, deployed)
    assert cluster.objects[deployed.id].deployed.revision == newer.revision


def test_one_is_undeployed_while_another_deploys(runs: Runs, deployed: Workflow, cluster: FakeCluster) -> None:
    """Whoever was late to deploy removes what they have made."""
    other: list[object] = []

    def overtake(name: str) -> None:
        if name == "apply" and not other:
            other.append(None)
            runs.services.deployments.undeploy(OWNER, deployed)

    cluster.before = overtake
    runs.services.deployments.deploy(OWNER, deployed)
    assert cluster.objects == {}
    assert state(runs, deployed).status is DeploymentStatus.NOT_DEPLOYED


def test_who_deploys_too_late_and_dies(
    runs: Runs, deployed: Workflow, cluster: FakeCluster, look: Callable[..., int]
) -> None:
    """Upkeep looks once more when nothing was left, and removes what came after."""
    template = cluster.objects[deployed.id].deployed
    runs.services.deployments.undeploy(OWNER, deployed)
    cluster.apply(template, 1)
    look(61)
    assert cluster.objects == {}
    assert look(120) == 0


def test_discover(runs: Runs, cluster: FakeCluster) -> None:
    """Workflows of the app that are deployed, active and visible, also where the app was named after the deployment."""
    made = {}
    for name in ("here", "draft", "other", "later", "left"):
        app = {"other": "shop", "later": None}.get(name, "crm")
        made[name] = runs.workflow(GRAPH, appId=app)
        if name != "draft":
            made[name] = runs.services.deployments.deploy(OWNER, made[name]).workflow
    for name, app in (("later", "crm"), ("left", None)):
        change = WorkflowChange(settings={"appId": app})
        made[name] = runs.services.workflows.update(OWNER, made[name], change)
    service = runs.services.deployments
    found = {workflow.id for workflow in service.discover(OWNER, "crm")}
    assert found == {made["here"].id, made["later"].id}
    assert service.discover(Principal("acme", "cy", frozenset()), "crm") == []
    assert service.discover(Principal("other", "ann", OWNER.scopes), "crm") == []
    service.undeploy(OWNER, made["here"])
    runs.services.workflows.delete(OWNER, made["later"])
    assert service.discover(OWNER, "crm") == []


def test_the_cluster_is_out_of_order(
    runs: Runs, deployed: Workflow, cluster: FakeCluster, look: Callable[..., int], clock: FakeClock
) -> None:
    """A stop is recorded and told to have failed; the last that was seen is told; upkeep does it when it can."""

    def fail(name: str) -> None:
        raise Downstream("the cluster is out of order")

    cluster.before = fail
    assert runs.services.deployments.lifecycle(deployed).status is DeploymentStatus.RUNNING
    with pytest.raises(Downstream):
        runs.services.deployments.stop(OWNER, deployed)
    clock.advance(61)
    reports = {report.part: report for report in runs.services.upkeep.run()}
    assert len(reports["deployments"].failures) == 1
    cluster.before = lambda name: None
    look()
    assert cluster.objects[deployed.id].replicas == 0
