"""Deployments on the local cluster: real pods, called through its API server, with the table on moto behind a port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import yaml

from chalicelib.bootstrap import Services, services
from chalicelib.cloud.api_server import ApiServer, by_kubeconfig
from chalicelib.cloud.cluster import Cluster
from chalicelib.cloud.manifests import PodOptions
from chalicelib.foundation.errors import Conflict, Downstream
from chalicelib.foundation.settings import Settings
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.deployments import DeploymentStatus
from chalicelib.graph.lifecycle import OnDemand
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.services.triggering import TriggerAnswer, TriggerRequest
from infra.packaging import PROJECT
from tests.clusters import TestCluster, local_cluster, namespace
from tests.conftest import REGION
from tests.fakes import graph, node
from tests.moto_port import moto_port
from tests.runs import OWNER, Runs, parsed
from tests.state_machines import StepFunctions

GRAPH = graph([node("t", "manual-trigger"), node("a", expression="{'sum': data.n + 1}")], "t -> a")
NEWER = graph([node("t", "manual-trigger"), node("a", expression="{'sum': data.n + 1, 'new': true}")], "t -> a")
FAILING = graph([node("t", "manual-trigger"), node("a", "fail", error="Boom", message="no")], "t -> a")


@pytest.fixture(scope="module")
def test_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    with local_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture
def server(test_cluster: TestCluster) -> ApiServer:
    return ApiServer(lambda: by_kubeconfig(str(test_cluster.kubeconfig)))


@pytest.fixture
def place(test_cluster: TestCluster, server: ApiServer) -> Iterator[str]:
    """A namespace with the service account that pods have."""
    with test_cluster.api_client() as api, namespace(api) as name:
        account = yaml.safe_load((PROJECT / "infra" / "k8s" / "service-account.yaml").read_text())
        account["metadata"]["namespace"] = name
        server.ask("POST", f"/api/v1/namespaces/{name}/serviceaccounts", body=account)
        yield name


@pytest.fixture
def app_services(settings: Settings, test_cluster: TestCluster, server: ApiServer, place: str) -> Iterator[Services]:
    """With the clock of the machine, as pods have it."""
    with moto_port() as url:
        reached = {"AWS_ENDPOINT_URL": url, "AWS_REGION": REGION}
        reached |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        environment = {**settings.to_environment(), **reached}
        options = PodOptions(place, test_cluster.image, "test", environment, cpu_request="10m", memory="256Mi")
        found = services(replace(settings, answer_limit_s=60))
        found.cluster = Cluster(server, options)
        yield found


@pytest.fixture
def runs(app_services: Services, step_functions: StepFunctions) -> Runs:
    return Runs(app_services, step_functions)


def trigger(runs: Runs, workflow: Workflow, *, n: int = 1) -> TriggerAnswer:
    return runs.services.triggering.trigger(workflow, TriggerRequest(inputs={"n": n}, sync=True))


def objects(server: ApiServer, place: str) -> list[str]:
    """What there is in a namespace of any workflow."""
    kinds = ("api/v1/{}/services", "api/v1/{}/configmaps", "api/v1/{}/pods", "apis/apps/v1/{}/deployments")
    listed = [server.ask("GET", "/" + kind.format(f"namespaces/{place}")) for kind in kinds]
    names = [item["metadata"]["name"] for found in listed for item in (found or {})["items"]]
    return [name for name in names if name.startswith("workflow-")]


def test_the_life_of_a_deployment(runs: Runs, server: ApiServer, place: str) -> None:
    """Deployed it answers as execute does; stopped, a trigger starts it; undeployed it leaves nothing."""
    service = runs.services.deployments
    done = service.deploy(OWNER, runs.workflow(GRAPH))
    workflow = done.workflow
    assert (workflow.status, done.deployment.status) == (WorkflowStatus.ACTIVE, DeploymentStatus.RUNNING)
    answer = trigger(runs, workflow)
    executed = runs.end(runs.services.executions.start(OWNER, workflow, inputs={"n": 1}))
    assert (answer.status, answer.output) == ("succeeded", executed.output)
    detail = runs.detail(answer.execution_id)
    assert (detail.execution.trigger.type, detail.execution.started_by) == ("api", "ann")
    assert [str(step.status) for step in detail.steps] == ["succeeded"] * 2
    assert service.stop(OWNER, workflow).status is DeploymentStatus.STOPPED
    assert trigger(runs, workflow, n=2).output == {"sum": 3}
    assert service.lifecycle(workflow).status is DeploymentStatus.RUNNING
    assert service.undeploy(OWNER, workflow).deployment.is_applied
    assert objects(server, place) == []
    with pytest.raises(Conflict):
        trigger(runs, workflow)


def test_deployed_again_while_it_is_triggered(runs: Runs) -> None:
    """Not one of the triggers of four who never cease fails; in the end the new version answers."""
    workflow = runs.services.deployments.deploy(OWNER, runs.workflow(GRAPH)).workflow
    is_over = threading.Event()

    def keep_triggering() -> list[TriggerAnswer]:
        found = []
        while not is_over.is_set():
            found.append(trigger(runs, workflow))
        return found

    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(keep_triggering) for _ in range(4)]
        try:
            newer = runs.services.workflows.update(OWNER, workflow, WorkflowChange(nodes=parsed(NEWER).nodes))
            done = runs.services.deployments.deploy(OWNER, newer)
        finally:
            is_over.set()
        answers = [answer for each in busy for answer in each.result()]
    assert done.deployment.status is DeploymentStatus.RUNNING
    assert len(answers) > 20
    assert {answer.status for answer in answers} == {"succeeded"}
    assert trigger(runs, workflow).output == {"sum": 2, "new": True}


def test_a_run_that_fails(runs: Runs) -> None:
    """Its error comes with the answer."""
    workflow = runs.services.deployments.deploy(OWNER, runs.workflow(FAILING)).workflow
    answer = trigger(runs, workflow)
    assert answer.status == "failed"
    assert answer.error is not None
    assert (answer.error["name"], answer.error["nodeId"]) == ("Boom", "a")


def test_many_triggers_start_it_once(runs: Runs) -> None:
    """They wait for its pod, and each is answered by it."""
    workflow = runs.services.deployments.deploy(OWNER, runs.workflow(GRAPH)).workflow
    runs.services.deployments.set_policy(OWNER, workflow, OnDemand())
    runs.services.deployments.stop(OWNER, workflow)
    before = runs.services.deployments.find(workflow).revision
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: trigger(runs, workflow, n=n), range(6)))
    assert [answer.output for answer in answers] == [{"sum": n + 1} for n in range(6)]
    assert runs.services.deployments.find(workflow).revision == before + 1


def test_an_image_that_there_is_not(runs: Runs, server: ApiServer, place: str) -> None:
    """The deployment fails, and says so, and why."""
    runs.services.cluster = Cluster(server, PodOptions(place, "registry.invalid/none:1", "test"))
    with pytest.raises(Downstream, match=r"(ImagePullBackOff|ErrImagePull)"):
        runs.services.deployments.deploy(OWNER, runs.workflow(GRAPH))
