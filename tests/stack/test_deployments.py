"""Deployed workflows on the cluster of the local stack: through the API, API Gateway and Lambda, to pods that are
processes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from kubernetes import client, config

from chalicelib.graph.deployments import resource_name
from tests.fakes import graph, node
from tests.stack.api import Answer, Api, Run, eventually
from tests.stack.conftest import LocalStack
from tests.stack.pods import kill_in_runs, processes

WORKFLOWS = "/api/v1/workflows"
CONNECTIONS = 16
KILLS = 6  # the benchmark has fifty


@pytest.fixture
def api(stack: LocalStack) -> Api:
    return Api(stack)


@pytest.fixture
def cluster(stack: LocalStack) -> Iterator[client.ApiClient]:
    """The official client, as anybody has it who was given the kubeconfig."""
    with config.new_client_from_config(str(stack.home.kubeconfig)) as found:
        yield found


def ask(api: Api, workflow: str, verb: str, body: Any = None) -> Answer:
    return api.send("POST", f"{WORKFLOWS}/{workflow}/{verb}", body)


def deployed(api: Api, shape: dict[str, Any]) -> str:
    workflow = api.create(shape)
    answer = ask(api, workflow, "deploy")
    assert (answer.status, answer.body["status"]) == (200, "active"), answer
    return workflow


def triggered(api: Api, workflow: str, inputs: dict[str, Any]) -> Answer:
    return ask(api, workflow, "trigger", {"inputs": inputs, "sync": True})


def pure(marker: str = "a") -> dict[str, Any]:
    nodes = [
        node("start", "manual-trigger"),
        node("left", expression="data.n * 2"),
        node("right", expression="data.n + 1"),
        node("both", expression="data.left + data.right"),
        node("end", "set-fields", fields={"sum": "{{ data }}", "version": marker}),
    ]
    return graph(nodes, "start -> left -> both -> end", "start -> right -> both")


def lifecycle(api: Api, workflow: str) -> dict[str, Any]:
    answer = api.send("GET", f"{WORKFLOWS}/{workflow}/lifecycle")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.body
    return found


def left_of(cluster: client.ApiClient, workflow: str, namespace: str) -> list[str]:
    """Names of what is in the cluster of a workflow."""
    owned = {"namespace": namespace, "label_selector": f"millrace.dev/workflow={workflow}"}
    core, apps = client.CoreV1Api(cluster), client.AppsV1Api(cluster)
    network, policy = client.NetworkingV1Api(cluster), client.PolicyV1Api(cluster)
    lists = [
        apps.list_namespaced_deployment(**owned),
        apps.list_namespaced_replica_set(**owned),
        core.list_namespaced_pod(**owned),
        core.list_namespaced_service(**owned),
        core.list_namespaced_config_map(**owned),
        policy.list_namespaced_pod_disruption_budget(**owned),
        network.list_namespaced_network_policy(**owned),
    ]
    return [item.metadata.name for found in lists for item in found.items]


def test_the_life_of_a_deployment(stack: LocalStack, api: Api, cluster: client.ApiClient) -> None:
    """Deployed, it answers as execute does; stopped, it holds nothing and a trigger starts it; undeployed, nothing is
    left.
    """
    workflow = deployed(api, pure())
    assert lifecycle(api, workflow)["deploymentStatus"] == "running"
    answer = triggered(api, workflow, {"n": 5})
    assert (answer.status, answer.body["status"]) == (200, "succeeded"), answer
    in_pod = Run(api, answer.body["execution_id"])
    on_step_functions = Run(api, api.execute(workflow, {"n": 5}).body["executionId"])
    on_step_functions.wait()
    assert answer.body["output"] == in_pod.output == on_step_functions.output == {"sum": 16, "version": "a"}
    assert in_pod.status == "SUCCESS"
    assert [(name, task["outputs"]) for name, task in sorted(in_pod.tasks.items())] == [
        (name, task["outputs"]) for name, task in sorted(on_step_functions.tasks.items())
    ]

    assert ask(api, workflow, "stop").body == {"workflowId": workflow, "deploymentStatus": "stopped"}
    eventually(lambda: not processes(workflow), "the end of its pods")
    assert (lifecycle(api, workflow)["stoppedReason"], lifecycle(api, workflow)["deploymentStatus"]) == (
        "user",
        "stopped",
    )
    again = triggered(api, workflow, {"n": 6})
    assert (again.status, again.body["status"], again.body["output"]) == (200, "succeeded", {"sum": 19, "version": "a"})

    assert ask(api, workflow, "undeploy").status == 200
    eventually(lambda: not processes(workflow), "the end of its pods")
    eventually(lambda: not left_of(cluster, workflow, stack.namespace), "an empty cluster")
    assert triggered(api, workflow, {"n": 1}).status == 409


def test_a_pod_ends_its_runs_before_it_goes(api: Api) -> None:
    """What is under way when a deployment is stopped is finished there, as long as there is time."""
    workflow = deployed(api, graph([node("w", "wait", seconds=10), node("end")], "w -> end"))
    answer = ask(api, workflow, "trigger", {"inputs": {"n": 1}})
    run = Run(api, answer.body["execution_id"])
    eventually(lambda: run.status == "WAITING", "the wait")
    assert ask(api, workflow, "stop").status == 200
    assert run.wait()["execution"]["status"] == "SUCCESS"
    assert api.machine_runs(run.id) == [], "Step Functions had to go on with it"
    eventually(lambda: not processes(workflow), "the end of its pods")
    assert ask(api, workflow, "undeploy").status == 200


def test_what_is_told_of_where_it_is(api: Api, stack: LocalStack) -> None:
    """An app finds the workflows that belong to it."""
    workflow = api.create(pure(), settings={"appId": "app_of_a_test"})
    assert api.send("GET", f"{WORKFLOWS}/discover?appId=app_of_a_test").body == []
    assert ask(api, workflow, "deploy").status == 200
    (found,) = api.send("GET", f"{WORKFLOWS}/discover?appId=app_of_a_test").body
    name = resource_name(workflow)
    url = f"http://{name}.{stack.namespace}.svc.cluster.local/trigger"
    assert (found["id"], found["endpoints"]) == (workflow, {"proxy_url": url, "method": "POST"})
    assert found["deployment"] == {"pod_name": name, "namespace": stack.namespace}
    assert api.send("DELETE", f"{WORKFLOWS}/{workflow}").status == 204
    eventually(lambda: not processes(workflow), "the end of its pods")


def test_pods_that_are_killed(api: Api) -> None:
    """Whenever a pod dies, its runs succeed all the same, and nothing that is done is done again."""
    killed = kill_in_runs(api, KILLS)
    assert (killed.runs, killed.faults) == (KILLS, [])
    assert killed.cut_off, "none was killed in the middle of a run"


def test_redeployed_under_load(api: Api) -> None:
    """No trigger fails while pods are replaced, and then the new version answers."""
    workflow = deployed(api, pure("a"))
    over = threading.Event()
    seen: Counter[str] = Counter()
    failed: list[Answer] = []

    def trigger() -> None:
        while not over.is_set():
            answer = triggered(api, workflow, {"n": 1})
            if answer.status == 200 and answer.body["status"] == "succeeded":
                seen[answer.body["output"]["version"]] += 1
            else:
                failed.append(answer)

    def is_served(marker: str) -> bool:
        return seen[marker] > CONNECTIONS

    threads = [threading.Thread(target=trigger) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        eventually(partial(is_served, "a"), "answers of the first version", 60)
        for marker in ("b", "c"):
            assert api.send("PUT", f"{WORKFLOWS}/{workflow}", pure(marker)).status == 200
            answer = ask(api, workflow, "deploy")
            assert answer.status == 200, answer
            eventually(partial(is_served, marker), f"answers of version {marker}", 60)
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert failed == []
    assert triggered(api, workflow, {"n": 1}).body["output"]["version"] == "c"
    assert ask(api, workflow, "undeploy").status == 200
