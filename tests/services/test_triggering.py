"""Triggers: sent to pods, which are started where they are not there; nothing that is answered is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.cloud.cluster import PodAnswer
from chalicelib.foundation.clock import SystemClock
from chalicelib.foundation.errors import Conflict, Downstream, DownstreamTimeout, IdempotencyMismatch, Unavailable
from chalicelib.foundation.json_types import dumps
from chalicelib.foundation.settings import Settings
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.deployments import Deployed, StoppedReason
from chalicelib.graph.lifecycle import AlwaysOn, IdleShutdown, OnDemand, Policy, ScheduledWindow, Window
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.services.executions import Origin
from chalicelib.services.triggering import TriggerAnswer, TriggerRequest
from tests.fake_cluster import FakeCluster, echoed
from tests.fakes import CountingIds, FakeClock, Killed, graph, node
from tests.runs import OWNER, Runs, parsed
from tests.state_machines import StepFunctions

GRAPH = graph([node("t", "manual-trigger"), node("a", expression="{'sum': data.n + 1}")], "t -> a")
OTHER = graph([node("t", "manual-trigger"), node("a", expression="'other'")], "t -> a")
NIGHTS = ScheduledWindow("UTC", (Window((0, 1, 2, 3, 4, 5, 6), "22:00", "06:00"),))  # it is nine in the morning
DAYS = ScheduledWindow("UTC", (Window((1,), "09:00", "10:00"),))
SYNC = TriggerRequest(inputs={"n": 1}, sync=True)
ASYNC = TriggerRequest(inputs={"n": 1})


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
def workflow(runs: Runs, clock: FakeClock) -> Workflow:
    """A deployed one."""
    deployed = runs.services.deployments.deploy(OWNER, runs.workflow(GRAPH)).workflow
    clock.advance(3600)
    return deployed


def trigger(runs: Runs, workflow: Workflow, request: TriggerRequest = SYNC) -> TriggerAnswer:
    return runs.services.triggering.trigger(workflow, request)


def stop(runs: Runs, workflow: Workflow, policy: Policy, reason: StoppedReason) -> None:
    """Stops it as ``reason`` says, under a policy."""
    service = runs.services.deployments
    service.set_policy(OWNER, workflow, policy)
    if reason is StoppedReason.USER:
        service.stop(OWNER, workflow)
    else:
        runs.services.upkeep.run()
    assert service.find(workflow).stopped_reason is reason


def test_a_pod_answers(runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """What was asked goes to it, under an id that was chosen here, with as long as there is time; so does its answer
    come back.
    """
    answer = trigger(runs, workflow, TriggerRequest("cron", {"n": 1}, sync=True, request_id="r1"))
    assert answer == TriggerAnswer(answer.execution_id, "succeeded", {"n": 1})
    ((body, headers, timeout_s),) = cluster.triggers
    assert body == dumps({"trigger_type": "cron", "inputs": {"n": 1}, "sync": True}).encode()
    assert headers["Millrace-Execution-Id"] == answer.execution_id
    assert headers["X-Request-Id"] == "r1"
    assert headers["Prefer"] == "wait=26"
    assert 26 < timeout_s < 29
    assert trigger(runs, workflow, ASYNC).status == "started"
    assert "Prefer" not in cluster.triggers[1][1]


def test_a_run_that_fails_is_told(runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """With its error, as an answer like any other."""
    error = {"name": "Boom", "message": "no", "nodeId": "a"}

    def answer(deployed: Deployed, headers: Mapping[str, str], body: bytes) -> PodAnswer:
        told = {"status": "failed", "execution_id": headers["Millrace-Execution-Id"], "output": {}, "error": error}
        return PodAnswer(200, {}, dumps(told).encode())

    cluster.answer = answer
    told = trigger(runs, workflow)
    assert (told.status, told.error) == ("failed", error)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (IdleShutdown(30), StoppedReason.IDLE),
        (IdleShutdown(30), StoppedReason.USER),
        (OnDemand(), StoppedReason.ON_DEMAND),
        (OnDemand(), StoppedReason.USER),
        (ScheduledWindow("UTC", (Window((1,), "09:00", "12:00"),)), StoppedReason.USER),
    ],
)
def test_a_trigger_starts_what_is_stopped(
    runs: Runs, workflow: Workflow, cluster: FakeCluster, policy: Policy, reason: StoppedReason
) -> None:
    """And waits until a pod takes it."""
    stop(runs, workflow, policy, reason)
    cluster.comes_up_after = 4
    assert trigger(runs, workflow).output == {"n": 1}
    assert cluster.counts["scale"] == 2
    assert runs.services.deployments.find(workflow).stopped_reason is None


@pytest.mark.parametrize("case", ["never", "undeployed", "paused", "archived", "by hand", "closed", "closed and up"])
def test_what_is_not_let_in(runs: Runs, workflow: Workflow, cluster: FakeCluster, case: str) -> None:
    """409 that says why; nothing is recorded, nothing started."""
    service = runs.services.deployments
    if case == "never":
        workflow = runs.workflow(GRAPH)
    elif case == "undeployed":
        workflow = service.undeploy(OWNER, workflow).workflow
    elif case in ("paused", "archived"):
        workflow = runs.services.workflows.set_status(OWNER, workflow, WorkflowStatus(case))
    elif case == "by hand":
        stop(runs, workflow, AlwaysOn(), StoppedReason.USER)
    elif case == "closed":
        stop(runs, workflow, NIGHTS, StoppedReason.OUTSIDE_WINDOW)
    else:
        service.set_policy(OWNER, workflow, NIGHTS)
    words = {"never": "not-deployed", "undeployed": "not-deployed", "by hand": "stopped by a user"}
    words |= {"closed": "outside its window", "closed and up": "outside its window"}
    before = cluster.counts["scale"], cluster.counts["apply"]
    with pytest.raises(Conflict, match=words.get(case, case)):
        trigger(runs, workflow)
    assert (cluster.counts["scale"], cluster.counts["apply"]) == before
    assert cluster.triggers == []


@pytest.mark.parametrize("sync", [True, False])
def test_what_no_pod_takes_in_time_runs_elsewhere(
    runs: Runs, workflow: Workflow, cluster: FakeCluster, clock: FakeClock, sync: bool
) -> None:
    """Recorded under its id with the version that is deployed, and begun; the answer comes in time."""
    runs.services.workflows.update(OWNER, workflow, WorkflowChange(nodes=parsed(OTHER).nodes))
    stop(runs, workflow, OnDemand(), StoppedReason.ON_DEMAND)
    cluster.comes_up_after = None
    began = clock.now()
    answer = trigger(runs, workflow, SYNC if sync else ASYNC)
    assert timedelta(seconds=20) < clock.now() - began < timedelta(seconds=29)
    assert (answer.status, answer.output) == ("running" if sync else "started", None)
    run = runs.end(answer.execution_id)
    assert run.output == {"sum": 2}
    assert (run.execution.trigger.type, run.execution.started_by) == ("api", "ann")


def test_what_will_not_come_up_is_not_waited_for(
    runs: Runs, workflow: Workflow, cluster: FakeCluster, clock: FakeClock
) -> None:
    """The run goes elsewhere at once."""
    stop(runs, workflow, OnDemand(), StoppedReason.ON_DEMAND)
    cluster.failure = "ErrImagePull"
    began = clock.now()
    answer = trigger(runs, workflow, ASYNC)
    assert clock.now() - began < timedelta(seconds=2)
    assert runs.end(answer.execution_id).output == {"sum": 2}


def record(runs: Runs, workflow: Workflow, execution_id: str) -> None:
    """What a pod does that takes a trigger."""
    origin = Origin("ann", "api", "api", execution_id)
    runs.services.executions.start_once(workflow, {"n": 1}, origin)


@pytest.mark.parametrize("error", [DownstreamTimeout, Downstream, "500", "no JSON", "another run"])
@pytest.mark.parametrize("taken", [True, False])
def test_nobody_knows_whether_a_pod_has_taken_it(
    runs: Runs, workflow: Workflow, cluster: FakeCluster, error: Any, taken: bool
) -> None:
    """It is one run: the one that the pod has recorded, or else one that is recorded here."""

    def answer(deployed: Deployed, headers: Mapping[str, str], body: bytes) -> PodAnswer:
        if taken:
            record(runs, workflow, headers["Millrace-Execution-Id"])
        if error == "500":
            return PodAnswer(500, {}, b"{}")
        if error == "another run":
            return PodAnswer(200, {}, b'{"status": "succeeded", "execution_id": "exec_none"}')
        if error == "no JSON":
            return PodAnswer(200, {}, b"<html>")
        raise error

    cluster.answer = answer
    told = trigger(runs, workflow)
    assert told.status == "running"
    assert len(runs.services.executions.list(OWNER, workflow.id, None, 10, 0).executions) == 1
    assert runs.end(told.execution_id).output == {"sum": 2}


def test_a_pod_that_drains_is_asked_again(runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """Under the same id."""
    refusals = [Unavailable("draining"), Unavailable("draining")]
    ids = []

    def answer(deployed: Deployed, headers: Mapping[str, str], body: bytes) -> PodAnswer:
        ids.append(headers["Millrace-Execution-Id"])
        if refusals:
            raise refusals.pop()
        return echoed(deployed, headers, body)

    cluster.answer = answer
    assert trigger(runs, workflow).status == "succeeded"
    assert len(ids) == 3
    assert len(set(ids)) == 1


@pytest.mark.parametrize(("status", "expected"), [(409, Conflict), (400, Exception), (413, Exception)])
def test_what_a_pod_refuses_is_told(
    runs: Runs, workflow: Workflow, cluster: FakeCluster, status: int, expected: type[Exception]
) -> None:
    """In its words; no run is made of it."""
    cluster.answer = lambda deployed, headers, body: PodAnswer(status, {}, b'{"detail": "in my words"}')
    with pytest.raises(expected, match="in my words"):
        trigger(runs, workflow)
    assert runs.services.executions.list(OWNER, workflow.id, None, 10, 0).executions == ()


def test_a_key_gives_the_first_answer_again(
    runs: Runs, workflow: Workflow, cluster: FakeCluster, clock: FakeClock
) -> None:
    """Whatever became of the workflow, for a day; another request with it is refused."""
    keyed = TriggerRequest(inputs={"n": 1}, sync=True, idempotency_key="k")
    first = trigger(runs, workflow, keyed)
    runs.services.deployments.undeploy(OWNER, workflow)
    assert trigger(runs, workflow, keyed) == first
    assert len(cluster.triggers) == 1
    with pytest.raises(IdempotencyMismatch):
        trigger(runs, workflow, TriggerRequest(inputs={"n": 2}, sync=True, idempotency_key="k"))
    clock.advance(25 * 3600)
    with pytest.raises(Conflict):
        trigger(runs, workflow, keyed)


def test_a_request_that_died_is_repeated(runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """With the same key it is the same run: of a pod that took it, or of one that takes it now."""
    keyed = TriggerRequest(inputs={"n": 1}, idempotency_key="k")
    ids = []

    def die(name: str) -> None:
        if name == "trigger":
            raise Killed

    def answer(deployed: Deployed, headers: Mapping[str, str], body: bytes) -> PodAnswer:
        ids.append(headers["Millrace-Execution-Id"])
        record(runs, workflow, ids[-1])
        return echoed(deployed, headers, body)

    cluster.answer = answer
    for moment in ("before", "after"):
        setattr(cluster, moment, die)
        with pytest.raises(Killed):
            trigger(runs, workflow, keyed)
        setattr(cluster, moment, lambda name: None)
    answer_again = trigger(runs, workflow, keyed)
    assert [answer_again.execution_id] == ids
    assert answer_again.status == "started"


def test_a_refused_key_may_be_used_again(runs: Runs, workflow: Workflow) -> None:
    """What was not let in has done nothing: the same request is let in later."""
    keyed = TriggerRequest(inputs={"n": 1}, sync=True, idempotency_key="k")
    paused = runs.services.workflows.set_status(OWNER, workflow, WorkflowStatus.PAUSED)
    with pytest.raises(Conflict):
        trigger(runs, paused, keyed)
    active = runs.services.workflows.set_status(OWNER, paused, WorkflowStatus.ACTIVE)
    assert trigger(runs, active, keyed).status == "succeeded"


def test_a_sync_run_that_is_over_elsewhere(runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """Its output is that of the record; one that is too large to be told has a link."""

    def answer(deployed: Deployed, headers: Mapping[str, str], body: bytes) -> PodAnswer:
        record(runs, workflow, headers["Millrace-Execution-Id"])
        runs.end(headers["Millrace-Execution-Id"])
        raise DownstreamTimeout

    cluster.answer = answer
    assert trigger(runs, workflow).output == {"sum": 2}
    large = graph([node("t", "manual-trigger"), node("a", expression="data.text")], "t -> a")
    other = runs.services.deployments.deploy(OWNER, runs.workflow(large)).workflow

    def long_answer(deployed: Deployed, headers: Mapping[str, str], body: bytes) -> PodAnswer:
        origin = Origin("ann", "api", "api", headers["Millrace-Execution-Id"])
        runs.services.executions.start_once(other, {"text": "x" * 5_000_000}, origin)
        runs.end(origin.execution_id or "")
        return PodAnswer(200, {}, b'"' + b"x" * 5_000_000 + b'"')

    cluster.answer = long_answer
    told = trigger(runs, other)
    assert (told.status, told.output) == ("succeeded", None)
    assert told.output_url is not None


def test_a_large_output_of_a_pod(runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """What is too large for its answer, the pod gives a link to, which is told as it is."""

    def answer(deployed: Deployed, headers: Mapping[str, str], body: bytes) -> PodAnswer:
        told = {"status": "succeeded", "execution_id": headers["Millrace-Execution-Id"], "output_url": "https://x/y"}
        return PodAnswer(200, {}, dumps(told).encode())

    cluster.answer = answer
    told = trigger(runs, workflow)
    assert (told.status, told.output, told.output_url) == ("succeeded", None, "https://x/y")


def test_triggers_close_to_each_other_write_one_note(runs: Runs, workflow: Workflow, dynamodb_calls: Any) -> None:
    """The fence of the first holds for those right behind it."""
    trigger(runs, workflow)
    dynamodb_calls.clear()
    for _ in range(5):
        trigger(runs, workflow)
    assert dynamodb_calls.operations == ["GetItem"] * 5


def test_whoever_starts_it_dies(runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """Those who wait do it after some seconds."""
    stop(runs, workflow, OnDemand(), StoppedReason.ON_DEMAND)

    def die(name: str) -> None:
        if name == "scale":
            raise Killed

    cluster.before = die
    with pytest.raises(Killed):
        trigger(runs, workflow)
    cluster.before = lambda name: None
    assert cluster.objects[workflow.id].replicas == 0
    assert trigger(runs, workflow).status == "succeeded"


def test_the_cluster_is_out_of_order(runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """What is triggered runs all the same, on Step Functions."""
    stop(runs, workflow, OnDemand(), StoppedReason.ON_DEMAND)

    def fail(name: str) -> None:
        raise Downstream("the cluster is out of order")

    cluster.before = fail
    assert runs.end(trigger(runs, workflow, ASYNC).execution_id).output == {"sum": 2}


def test_stopped_while_it_waits(runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """By a user, under always-on: nobody has taken it, and it is told that it is not let in."""
    runs.services.deployments.set_policy(OWNER, workflow, AlwaysOn())
    cluster.objects[workflow.id].is_ready = False
    cluster.comes_up_after = None
    asked: list[str] = []

    def come(name: str) -> None:
        asked.append(name)
        if asked.count("observe") == 3 and name == "observe":
            runs.services.deployments.stop(OWNER, workflow)

    cluster.before = come
    with pytest.raises(Conflict, match="stopped by a user"):
        trigger(runs, workflow)


def test_many_at_once_start_it_once(
    settings: Settings, runs: Runs, workflow: Workflow, cluster: FakeCluster, clock: FakeClock
) -> None:
    """Twelve triggers in twelve processes find it stopped: one scales it, all are answered by its pods."""
    stop(runs, workflow, IdleShutdown(30), StoppedReason.IDLE)
    cluster.comes_up_after = 20
    cluster.made.clear()

    def in_its_own_process(number: int) -> TriggerAnswer:
        own = services(settings, clock=clock, sleep=lambda seconds: time.sleep(seconds / 50))
        own.cluster = cluster
        return own.triggering.trigger(workflow, TriggerRequest(inputs={"n": number}, sync=True))

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(in_its_own_process, range(12)))
    assert [answer.output for answer in answers] == [{"n": number} for number in range(12)]
    assert len({answer.execution_id for answer in answers}) == 12
    assert cluster.counts["scale"] == 1
    assert cluster.counts["apply"] == 0


def test_triggers_and_upkeep_at_once(settings: Settings, runs: Runs, workflow: Workflow, cluster: FakeCluster) -> None:
    """However they interleave, each trigger is answered, by a pod or by a run that is recorded."""
    runs.services.deployments.set_policy(OWNER, workflow, OnDemand())

    class Fast:
        """Two hundred times as fast as any clock."""

        def __init__(self) -> None:
            self._begin, self._since = SystemClock().now() + timedelta(hours=2), time.monotonic()

        def now(self) -> Any:
            return self._begin + timedelta(seconds=(time.monotonic() - self._since) * 200)

    fast = Fast()

    def made() -> Services:
        own = services(settings, clock=fast, sleep=lambda seconds: time.sleep(seconds / 200))
        own.cluster = cluster
        return own

    def some(number: int) -> list[TriggerAnswer]:
        own = made()
        found = []
        for _ in range(4):
            found.append(own.triggering.trigger(workflow, ASYNC))
            time.sleep(0.2 * number)
        return found

    def look(stop: Callable[[], bool]) -> int:
        own, stops = made(), 0
        while not stop():
            before = cluster.counts["scale"]
            for job in own.deployments.due():
                job()
            stops += cluster.counts["scale"] - before
        return stops

    with ThreadPoolExecutor(5) as pool:
        triggers = [pool.submit(some, number) for number in range(4)]
        stops = pool.submit(look, lambda: all(each.done() for each in triggers))
        answers = [answer for each in triggers for answer in each.result()]
    assert stops.result() > 0
    assert len(answers) == 16
    taken = {headers["Millrace-Execution-Id"] for _, headers, _ in cluster.triggers}
    recorded = {run.id for run in runs.services.executions.list(OWNER, workflow.id, None, 100, 0).executions}
    assert {answer.execution_id for answer in answers} <= taken | recorded
