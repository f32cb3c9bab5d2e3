"""Pods of a stack's own cluster that die the hard way, in the middle of runs that do things which can be counted.

``kill_in_runs`` is for the test, and for ``make bench``, which has the time for more.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import psutil

from chalicelib.graph.deployments import resource_name
from tests.effects import Effects, serving
from tests.fakes import graph, node
from tests.stack.api import Api, Run, eventually

STEPS = 10
_STEP_S = 0.05  # that the server takes for a step: long enough for most deaths to come in the middle of one
_ENDED_WITHIN_S = 240  # a lease has to lapse, and upkeep to notice


@dataclass(frozen=True)
class Killed:
    """What came of runs whose pod was killed."""

    runs: int
    cut_off: int  # those that had not ended when it was
    tried_again: int  # steps that were under way then
    faults: list[str]  # what is wrong with a run; nothing is to be


def processes(workflow_id: str) -> list[psutil.Process]:
    """Of the pods of a deployed workflow, on the cluster of a local stack."""
    return [found for found in psutil.process_iter() if _pod(found).startswith(f"{resource_name(workflow_id)}-")]


def _pod(found: psutil.Process) -> str:
    with suppress(psutil.Error):
        if "chalicelib.pod" in found.cmdline():
            return found.environ().get("POD_NAME", "")
    return ""


def steps(url: str) -> dict[str, Any]:
    """A chain of nodes each of which does something, once for each idempotency key."""
    names = [f"s{index}" for index in range(STEPS)]
    calls = [
        node(name, "http-request", method="POST", url=f"{url}/{{{{ execution.id }}}}/{name}", idempotencyKey=True)
        for name in names
    ]
    return graph(calls, " -> ".join(names))


def kill_in_runs(api: Api, kills: int, seed: int = 1) -> Killed:
    """Deploys a workflow of ten steps and kills its pod in so many runs, each at a random moment; waits for all to end.

    A run is as it has to be where it has succeeded, did each thing once, and ran no step again that was recorded as
    done.
    """
    with serving(_STEP_S) as effects:
        workflow = api.create(steps(effects.url))
        assert api.send("POST", f"/api/v1/workflows/{workflow}/deploy").status == 200
        longest_s = _seconds(api, workflow)
        chance = Random(seed)
        runs = []
        for _ in range(kills):
            answer = api.send("POST", f"/api/v1/workflows/{workflow}/trigger", {"inputs": {}})
            assert (answer.status, answer.body["status"]) == (200, "started"), answer
            runs.append(Run(api, answer.body["execution_id"]))
            time.sleep(chance.uniform(0, longest_s))  # the moment is what is random here: nothing is waited for
            eventually(partial(_others, workflow, _kill(workflow)), "another pod", 60)
        told = [run.wait(_ENDED_WITHIN_S) for run in runs]
        assert api.send("POST", f"/api/v1/workflows/{workflow}/undeploy").status == 200
        return Killed(
            runs=len(told),
            cut_off=sum(bool(api.machine_runs(run.id)) for run in runs),
            tried_again=sum(task["attempts"] > 1 for run in told for task in run["tasks"]),
            faults=[fault for run in told for fault in _faults(run, effects)],
        )


def _seconds(api: Api, workflow: str) -> float:
    """How long a run takes in which nothing dies, with the way to the pod and back."""
    began = time.monotonic()
    answer = api.send("POST", f"/api/v1/workflows/{workflow}/trigger", {"inputs": {}, "sync": True})
    assert answer.body["status"] == "succeeded", answer
    return time.monotonic() - began


def _others(workflow_id: str, than: set[psutil.Process]) -> set[psutil.Process]:
    return set(processes(workflow_id)) - than


def _kill(workflow_id: str) -> set[psutil.Process]:
    found = processes(workflow_id)
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    return set(found)


def _faults(told: Mapping[str, Any], effects: Effects) -> list[str]:
    execution = told["execution"]
    wrong = [] if execution["status"] == "SUCCESS" else [f"{execution['id']} is {execution['status']}"]
    done = effects.below(execution["id"])
    for task in told["tasks"]:
        attempts = task["attemptHistory"]
        ended_well = [attempt for attempt in attempts if attempt["finishedAt"] and attempt["error"] is None]
        requests = effects.requests[f"/{execution['id']}/{task['taskId']}"]
        if ended_well != attempts[-1:] or done[task["taskId"]] != 1 or requests > len(attempts):
            wrong.append(f"{execution['id']}: {task['taskId']} has {attempts}, was asked for {requests} times")
    if len(told["tasks"]) != STEPS:
        wrong.append(f"{execution['id']} has {len(told['tasks'])} steps")
    return wrong
