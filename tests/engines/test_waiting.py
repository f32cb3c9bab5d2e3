"""Nodes that wait to be told something: by a person, an event, or another run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from chalicelib.bootstrap import services
from chalicelib.cloud.sdk import client
from chalicelib.foundation.errors import Conflict
from chalicelib.foundation.json_types import Json
from chalicelib.foundation.settings import Settings
from chalicelib.graph.approvals import Approval, ApprovalStatus
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.executions import ExecutionStatus, StepRecord, StepStatus
from chalicelib.graph.model import WorkflowStatus
from chalicelib.services.lifecycle import STALE_AFTER
from tests.fakes import FakeClock, Killed, graph, node, watched
from tests.runs import OWNER, Run, Runs

STALE = STALE_AFTER.total_seconds() + 1

ASKED = graph(
    [node("ask", "approval", message="{{ data.n }} of them?"), node("yes"), node("no", expression="'no'")],
    "ask:approved -> yes",
    "ask:rejected -> no",
)


def pending(runs: Runs) -> list[Approval]:
    return list(runs.services.approvals.list(OWNER, 100, 0).approvals)


def decides(runs: Runs, status: ApprovalStatus, comment: str | None = None) -> Callable[[], bool]:
    """Somebody who decides whatever there is to decide."""

    def idle() -> bool:
        found = pending(runs)
        for approval in found:
            runs.services.approvals.decide(OWNER, approval, status, comment)
        return bool(found)

    return idle


def test_approved(runs: Runs) -> None:
    """Who approves sends the run out of that port, with the decision beside the input."""
    run = runs.run(ASKED, {"n": 3}, decides(runs, ApprovalStatus.APPROVED, "fine"))
    assert run.output == {"n": 3, "approval": {"decision": "approved", "by": "ann", "comment": "fine"}}
    assert run.statuses() == {"ask": "succeeded", "yes": "succeeded", "no": "skipped"}


def test_rejected(runs: Runs) -> None:
    """So does who rejects; no comment is null."""
    run = runs.run(ASKED, {"n": 3}, decides(runs, ApprovalStatus.REJECTED))
    assert run.statuses() == {"ask": "succeeded", "no": "succeeded", "yes": "skipped"}
    step = run.steps["ask"]
    assert runs.output(step) == {"n": 3, "approval": {"decision": "rejected", "by": "ann", "comment": None}}


def test_an_approval_in_time_that_nobody_gives(runs: Runs, clock: FakeClock) -> None:
    """After its time limit the node fails, and nobody is asked any more."""
    execution_id = runs.start(graph([node("ask", "approval", timeoutSeconds=60)]))
    run = runs.end(execution_id)
    assert run.status == "failed"
    assert run.execution.error == {
        "name": "ApprovalTimeout",
        "message": "Nobody decided in time.",
        "nodeId": "ask",
    }
    assert pending(runs) == []
    approval_id = run.steps["ask"].approval
    assert approval_id is not None
    assert runs.services.approvals.find(OWNER, approval_id).status is ApprovalStatus.EXPIRED


def test_the_input_of_an_approval_that_is_no_object(runs: Runs) -> None:
    """It stands beside the decision under a name of its own."""
    asked = graph([node("a", expression="[1, 2]"), node("ask", "approval")], "a -> ask")
    run = runs.run(asked, idle=decides(runs, ApprovalStatus.APPROVED))
    assert run.output == {"input": [1, 2], "approval": {"decision": "approved", "by": "ann", "comment": None}}


def test_approvals_in_a_loop(runs: Runs) -> None:
    """Each item asks for itself."""
    shape = graph(
        [
            node("l", "loop", items="[1, 2]"),
            node("ask", "approval", message="#{{ data }}"),
            node("r", expression="data"),
        ],
        "l:item -> ask",
        "ask:rejected -> r",
    )

    def idle() -> bool:
        found = pending(runs)
        for approval in found:
            status = ApprovalStatus.APPROVED if approval.message == "#1" else ApprovalStatus.REJECTED
            runs.services.approvals.decide(OWNER, approval, status, None)
        return bool(found)

    run = runs.run(shape, idle=idle)
    assert run.statuses() == {
        "l": "succeeded",
        "ask[0]": "succeeded",
        "ask[1]": "succeeded",
        "r[0]": "skipped",
        "r[1]": "succeeded",
    }


EVENT = graph(
    [
        node("w", "wait-for-event", eventType="order.*.paid", timeoutSeconds=60),
        node("got"),
        node("late", expression="'late'"),
    ],
    "w:output -> got",
    "w:timeout -> late",
)


def delivers(runs: Runs, *events: tuple[str, Json]) -> Callable[[], bool]:
    """Events that come, one each time that nothing else happens."""
    waiting = list(events)

    def idle() -> bool:
        if waiting:
            event_type, data = waiting.pop(0)
            runs.services.events.deliver(OWNER.organization_id, event_type, data)
            return True
        return False

    return idle


def test_an_event(runs: Runs) -> None:
    """Its payload is the output; events of other types, or of other organisations, are none of it."""
    idle = delivers(runs, ("order.7.opened", 1), ("order.7.paid", {"sum": 9}))
    runs.services.events.deliver("other", "order.7.paid", 2)
    run = runs.run(EVENT, {}, idle)
    assert run.output == {"sum": 9}
    assert run.statuses() == {"w": "succeeded", "got": "succeeded", "late": "skipped"}
    assert runs.services.events.deliver(OWNER.organization_id, "order.7.paid", None) == 0


def test_no_event_in_time(runs: Runs) -> None:
    """Then the run goes on by another port, with its input."""
    run = runs.run(EVENT, {"n": 1}, delivers(runs, ("order.paid", 1)))
    assert run.statuses() == {"w": "succeeded", "late": "succeeded", "got": "skipped"}
    assert runs.output(run.steps["w"]) == {"n": 1}


def test_one_event_for_many(runs: Runs) -> None:
    """An event wakes all that wait for it, whichever way they say so, and tells how many."""
    waits = [node(f"w{index}", "wait-for-event", eventType=kind) for index, kind in enumerate(["a.b", "a.*", "*", "a"])]
    execution_id = runs.start(graph(waits))
    for step in waits:
        runs.visit(execution_id, step["id"])
    assert runs.services.events.deliver(OWNER.organization_id, "a.b", 1) == 3
    assert runs.services.events.deliver(OWNER.organization_id, "a", 1) == 1


def child(expression: str = "data") -> dict[str, Any]:
    return graph([node("c", expression=expression)])


def test_a_sub_workflow(runs: Runs) -> None:
    """The output of the node is that of the other run, which was given its input."""
    called = runs.workflow(child("data.n * 2"))
    run = runs.run(graph([node("s", "sub-workflow", workflowId=called.id), node("z")], "s -> z"), {"n": 4})
    assert run.output == 8
    step = run.steps["s"]
    assert step.child is not None
    other = runs.detail(step.child).execution
    assert (other.status, other.workflow_id) == (ExecutionStatus.SUCCEEDED, called.id)
    assert (other.trigger.type, other.trigger.source) == ("sub-workflow", run.execution.id)


def test_a_sub_workflow_is_given_what_the_config_says(runs: Runs) -> None:
    """``input`` may be anything, templates rendered."""
    called = runs.workflow(child())
    config = {"workflowId": called.id, "input": {"sum": "{{ data.a + data.b }}"}}
    run = runs.run(graph([node("s", "sub-workflow", **config)]), {"a": 1, "b": 2})
    assert run.output == {"sum": 3}


def test_a_sub_workflow_that_nobody_waits_for(runs: Runs) -> None:
    """Its id is the output, and the run goes on at once."""
    called = runs.workflow(child())
    run = runs.run(graph([node("s", "sub-workflow", workflowId=called.id, wait=False)]))
    assert isinstance(run.output, dict)
    other = runs.detail(str(run.output["executionId"])).execution
    assert other.status is ExecutionStatus.RUNNING
    assert runs.end(other.id).status == "succeeded"


def test_a_sub_workflow_that_fails(runs: Runs) -> None:
    """The node fails, and says which run has failed with what."""
    called = runs.workflow(graph([node("f", "fail", error="E", message="m")]))
    run = runs.run(graph([node("s", "sub-workflow", workflowId=called.id)]))
    assert run.status == "failed"
    message = f"Run {run.steps['s'].child} of workflow {called.id} has failed: E: m"
    assert run.execution.error == {"name": "SubWorkflowFailed", "message": message, "nodeId": "s"}


def failure(run: Run) -> str:
    assert run.execution.error is not None
    return str(run.execution.error["name"])


def test_workflows_that_call_each_other(runs: Runs) -> None:
    """A circle is refused where it closes; the node that called fails with what the other says."""
    first = runs.workflow(child())
    second = runs.workflow(graph([node("s", "sub-workflow", workflowId="{{ '" + first.id + "' }}")]))
    nodes = runs.workflow(graph([node("s", "sub-workflow", workflowId=second.id)])).graph.nodes
    runs.services.workflows.update(OWNER, first, WorkflowChange(nodes=nodes))
    execution_id = runs.services.executions.start(OWNER, runs.services.workflows.find(OWNER, first.id), inputs={})
    run = runs.end(execution_id)
    assert failure(run) == "SubWorkflowFailed"
    circle = f"{first.id} -> {second.id} -> {first.id}"
    assert f"SubWorkflowCycle: Workflows call each other: {circle}" in run.execution.error["message"]  # type: ignore[index]


def test_workflows_that_say_so(runs: Runs) -> None:
    """A circle that stands in the configs is an error of each workflow in it: told by validate, and not run."""
    first = runs.workflow(child())
    second = runs.workflow(graph([node("s", "sub-workflow", workflowId=first.id)]))
    third = runs.workflow(graph([node("s", "sub-workflow", workflowId=second.id), node("x")]))
    calls = runs.workflow(graph([node("s", "sub-workflow", workflowId=third.id)])).graph.nodes
    first = runs.services.workflows.update(OWNER, first, WorkflowChange(nodes=calls))
    for workflow in (first, second, third):
        (problem,) = runs.services.workflows.judge(workflow).errors
        assert (problem.type, problem.node_id, problem.path) == ("cycle", "s", "nodes[0].config.workflowId")
        with pytest.raises(Conflict):
            runs.services.executions.start(OWNER, workflow, inputs={})
        with pytest.raises(Conflict):
            runs.services.workflows.set_status(OWNER, workflow, WorkflowStatus.ACTIVE)
    circle = f"{first.id} -> {third.id} -> {second.id} -> {first.id}"
    assert circle in runs.services.workflows.judge(first).errors[0].message
    outside = runs.workflow(graph([node("s", "sub-workflow", workflowId=first.id)]))
    assert runs.services.workflows.judge(outside).errors == ()


def test_runs_are_no_deeper_than_ten(runs: Runs) -> None:
    """Ten runs may stand above a run, not eleven."""
    below = runs.workflow(child("'bottom'"))
    for _ in range(10):
        below = runs.workflow(graph([node("s", "sub-workflow", workflowId=below.id)]))
    start = runs.services.executions.start
    assert runs.end(start(OWNER, below, inputs={})).output == "bottom"
    below = runs.workflow(graph([node("s", "sub-workflow", workflowId=below.id)]))
    run = runs.end(start(OWNER, below, inputs={}))
    assert run.status == "failed"
    assert "SubWorkflowTooDeep" in run.execution.error["message"]  # type: ignore[index]


@pytest.mark.parametrize("workflow_id", ["wf_none", "no id", "{{ data.x }}"])
def test_no_such_workflow(runs: Runs, workflow_id: str) -> None:
    """What is not there cannot be run."""
    run = runs.run(graph([node("s", "sub-workflow", workflowId=workflow_id)]), {"x": "wf_gone"})
    assert failure(run) == "UnknownWorkflow"


def test_a_workflow_that_does_not_run(runs: Runs) -> None:
    """One with errors is not started."""
    broken = runs.workflow(graph([node("a"), node("b")], "a -> b", "b -> a"))
    assert failure(runs.run(graph([node("s", "sub-workflow", workflowId=broken.id)]))) == "WorkflowNotRunnable"


def test_a_run_waits_while_nothing_in_it_runs(runs: Runs) -> None:
    """Its status says so, until something runs again."""
    shape = graph([node("a"), node("ask", "approval"), node("b"), node("c")], "a -> ask:input", "a -> b -> c")
    execution_id = runs.start(shape)

    def status() -> ExecutionStatus:
        (listed,) = runs.services.executions.list(OWNER, None, None, 10, 0).executions
        found = runs.detail(execution_id).execution.status
        assert listed.status is found
        return found

    runs.visit(execution_id, "a")
    assert status() is ExecutionStatus.RUNNING
    runs.visit(execution_id, "ask")
    assert status() is ExecutionStatus.WAITING
    assert runs.steps(execution_id)["ask"].status is StepStatus.WAITING


def test_cancel_ends_what_a_run_waits_for(runs: Runs) -> None:
    """A cancelled run asks nobody, listens to nothing, and stops the runs that it waits for, and theirs."""
    below = runs.workflow(graph([node("ask", "approval")]))
    between = runs.workflow(graph([node("s", "sub-workflow", workflowId=below.id)]))
    called = runs.workflow(graph([node("c")]))
    shape = graph(
        [
            node("s", "sub-workflow", workflowId=between.id),
            node("w", "wait-for-event", eventType="e"),
            node("ask", "approval"),
            node("free", "sub-workflow", workflowId=called.id, wait=False),
        ]
    )
    execution_id = runs.start(shape)
    for step in shape["nodes"]:
        runs.visit(execution_id, step["id"])
    middle = runs.steps(execution_id)["s"].child
    assert middle is not None
    runs.visit(middle, "s")
    bottom = runs.steps(middle)["s"].child
    assert bottom is not None
    runs.visit(bottom, "ask")
    asked = pending(runs)
    assert len(asked) == 2
    runs.services.control.cancel(OWNER, execution_id)
    for run in (execution_id, middle, bottom):
        assert runs.detail(run).execution.status is ExecutionStatus.CANCELLED
        assert runs.step_functions.executions()[run].status == "ABORTED"
    free = runs.output(runs.steps(execution_id)["free"])
    assert isinstance(free, dict)
    assert runs.is_under_way(str(free["executionId"]))
    assert pending(runs) == []
    assert {runs.services.approvals.find(OWNER, each.id).status for each in asked} == {ApprovalStatus.CANCELLED}
    assert runs.services.events.deliver(OWNER.organization_id, "e", None) == 0


def test_a_decision_that_comes_too_late(runs: Runs, clock: FakeClock) -> None:
    """When its time is over, or its run has ended, an approval cannot be decided."""
    for end in (lambda _: clock.advance(60), lambda run: runs.services.control.cancel(OWNER, run)):
        execution_id = runs.start(graph([node("ask", "approval", timeoutSeconds=60)]))
        runs.visit(execution_id, "ask")
        (asked,) = pending(runs)
        end(execution_id)
        assert pending(runs) == []
        with pytest.raises(Conflict):
            runs.services.approvals.decide(OWNER, asked, ApprovalStatus.APPROVED, None)
        assert runs.services.approvals.find(OWNER, asked.id).status is not ApprovalStatus.APPROVED


def test_who_decides_first_decides(runs: Runs) -> None:
    """The same decision again is the same; another one is refused, and the record stays as it is."""
    execution_id = runs.start(ASKED, {"n": 1})
    runs.visit(execution_id, "ask")
    (asked,) = pending(runs)
    decide = runs.services.approvals.decide
    first = decide(OWNER, asked, ApprovalStatus.APPROVED, "a")
    assert decide(replace(OWNER, user_id="bob"), asked, ApprovalStatus.APPROVED, "b") == first
    with pytest.raises(Conflict, match="approved"):
        decide(OWNER, asked, ApprovalStatus.REJECTED, None)
    entries = runs.services.audit.recent(OWNER, asked.id, 10, 0)
    assert [(entry.action, entry.user_id) for entry in entries] == [("approval.approved", "ann")]


def test_ten_who_decide_at_one_time(runs: Runs, settings: Settings, clock: FakeClock) -> None:
    """One of them decides, and the run goes by that."""
    execution_id = runs.start(ASKED, {"n": 1})
    runs.visit(execution_id, "ask")
    (asked,) = pending(runs)
    lambdas = [services(settings, clock=clock) for _ in range(10)]

    def decide(number: int) -> str | None:
        status = (ApprovalStatus.APPROVED, ApprovalStatus.REJECTED)[number % 2]
        try:
            return str(lambdas[number].approvals.decide(OWNER, asked, status, str(number)).comment)
        except Conflict:
            return None

    with ThreadPoolExecutor(10) as pool:
        comments = set(pool.map(decide, range(10))) - {None}
    assert len(comments) == 1
    run = runs.end(execution_id)
    decided = runs.output(run.steps["ask"])
    assert isinstance(decided, dict)
    assert decided["approval"]["comment"] in comments


class Scene:
    """A run that waits, and what tells it."""

    def __init__(self, runs: Runs, what: str) -> None:
        self._runs = runs
        self._what = what
        match what:
            case "approval":
                nodes = [node("w", "approval"), node("z", expression="data.approval.decision")]
                shape = graph(nodes, "w:approved -> z")
            case "event":
                shape = graph([node("w", "wait-for-event", eventType="e.*"), node("z")], "w -> z")
            case _:
                shape = graph([node("w", "sub-workflow", workflowId=runs.workflow(child()).id), node("z")], "w -> z")
        self.id = runs.start(shape, {"n": 1})

    @property
    def _waiting(self) -> StepRecord:
        return self._runs.steps(self.id)["w"]

    def prepare(self) -> None:
        """Whatever has to happen before there is something to tell."""
        if self._waiting.child:
            self._runs.walk(self._waiting.child)

    def tell(self) -> None:
        services = self._runs.services
        match self._what:
            case "approval":
                approval = services.approvals.find(OWNER, str(self._waiting.approval))
                services.approvals.decide(OWNER, approval, ApprovalStatus.APPROVED, None)
            case "event":
                services.events.deliver(OWNER.organization_id, "e.f", {"n": 1})
            case _:
                self._runs.tell_end(str(self._waiting.child))


OUTPUTS = {"approval": "approved", "event": {"n": 1}, "sub-workflow": {"n": 1}}


@pytest.mark.parametrize("repaired_by", ["telling again", "a read"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("service", ["dynamodb", "stepfunctions"])
@pytest.mark.parametrize("what", list(OUTPUTS))
def test_whoever_tells_may_die_anywhere(
    runs: Runs, dynamodb: Any, clock: FakeClock, what: str, service: str, moment: str, repaired_by: str
) -> None:
    """Before or after any call: told again, or found by a read once the reply is made, the run wakes, and rightly."""
    sdk = dynamodb if service == "dynamodb" else client("stepfunctions", "us-east-1")
    for fatal in itertools.count(1):
        scene = Scene(runs, what)
        died = False

        def tell_and_die(scene: Scene = scene, fatal: int = fatal) -> None:
            nonlocal died
            scene.prepare()
            with watched(sdk) as calls, suppress(Killed):
                setattr(calls, moment, die_at(fatal))
                scene.tell()
                return
            died = True

        def read(scene: Scene = scene) -> None:
            clock.advance(STALE)
            runs.detail(scene.id)

        acts = [tell_and_die, read, scene.tell] if repaired_by == "a read" else [tell_and_die, scene.tell]
        runs.step_functions.run(scene.id, runs.invoke, idle=partial(_next, acts))
        runs.tell_end(scene.id)
        detail = runs.detail(scene.id)
        assert detail.execution.status is ExecutionStatus.SUCCEEDED, f"{moment} call {fatal}"
        assert runs.output(detail.execution) == OUTPUTS[what]
        if not died:
            assert fatal > 1
            return


def _next(acts: list[Callable[[], None]]) -> bool:
    """Does what comes next, if anything does."""
    if acts:
        acts.pop(0)()
        return True
    return False


def die_at(fatal: int) -> Callable[[int], None]:
    def check(number: int) -> None:
        if number == fatal:
            raise Killed

    return check


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("what", list(OUTPUTS))
def test_the_runner_may_die_anywhere_at_what_waits(runs: Runs, dynamodb: Any, what: str, moment: str) -> None:
    """Beginning to wait, or leaving: the run ends the same, asks once, and starts the other run once."""
    for fatal in itertools.count(1):
        scene = Scene(runs, what)
        before = len(runs.step_functions.executions())
        made = 0

        def tell(scene: Scene = scene) -> bool:
            scene.prepare()
            scene.tell()
            return True

        def invoke(event: dict[str, Any], fatal: int = fatal) -> dict[str, Any]:
            def count(_: int) -> None:
                nonlocal made
                made += 1
                if made == fatal:
                    raise Killed

            with watched(dynamodb) as calls:
                setattr(calls, moment, count)
                return runs.invoke(event)

        runs.step_functions.run(scene.id, invoke, idle=tell)
        runs.tell_end(scene.id)
        assert runs.output(runs.detail(scene.id).execution) == OUTPUTS[what], f"{moment} call {fatal}"
        assert len(runs.step_functions.executions()) == before + (what == "sub-workflow")
        assert pending(runs) == []
        if made < fatal:
            return
