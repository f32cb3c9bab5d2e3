"""Workflows that are started when a run of another one fails."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any

import pytest

from chalicelib.graph.executions import Execution
from chalicelib.graph.model import Workflow
from chalicelib.services.lifecycle import STALE_AFTER
from tests.fakes import FakeClock, Killed, graph, node, watched
from tests.runs import OWNER, Runs

FAILS = graph([node("f", "fail", label="Breaks", error="E", message="m")])
STALE = STALE_AFTER.total_seconds() + 1


@pytest.fixture
def handler(runs: Runs) -> Workflow:
    return runs.workflow(graph([node("t", "manual-trigger")]))


def handled(runs: Runs, handler: Workflow) -> list[Execution]:
    """The runs that were started because another one failed."""
    found = runs.services.executions.list(OWNER, handler.id, None, 100, 0).executions
    assert all(run.trigger.type == "error" for run in found)
    return list(found)


def test_what_it_is_told(runs: Runs, handler: Workflow) -> None:
    """Which run of which workflow failed at which task, and how."""
    failed = runs.run(FAILS, errorWorkflowId=handler.id)
    (started,) = handled(runs, handler)
    assert started.trigger.source == failed.execution.id
    told = runs.end(started.id).output
    assert isinstance(told, dict)
    task: Any = told["task"]
    assert told["executionId"] == failed.execution.id
    assert told["workflowId"] == failed.execution.workflow_id
    assert told["error"] == {"name": "E", "message": "m", "nodeId": "f"}
    assert {name: task[name] for name in ("taskId", "taskName", "taskType", "attempts")} == {
        "taskId": "f",
        "taskName": "Breaks",
        "taskType": "fail",
        "attempts": 1,
    }


def test_a_run_that_took_too_long(runs: Runs, handler: Workflow, clock: FakeClock) -> None:
    """It has failed too; no task is to blame."""
    execution_id = runs.start(graph([node("w", "wait", seconds=60)]), timeout=30, errorWorkflowId=handler.id)
    runs.visit(execution_id, "w")
    clock.advance(30)
    assert runs.detail(execution_id).execution.status == "timed_out"
    (started,) = handled(runs, handler)
    told = runs.end(started.id).output
    assert isinstance(told, dict)
    assert (told["error"]["name"], told["task"]) == ("RunTimedOut", None)


def test_other_ends_start_nothing(runs: Runs, handler: Workflow) -> None:
    """A run that succeeds, or that somebody cancels."""
    runs.run(graph([node("a")]), errorWorkflowId=handler.id)
    execution_id = runs.start(FAILS, errorWorkflowId=handler.id)
    runs.services.control.cancel(OWNER, execution_id)
    assert handled(runs, handler) == []


def test_an_end_that_is_told_again(runs: Runs, handler: Workflow, clock: FakeClock) -> None:
    """The error workflow is started once, however often the end is heard of."""
    failed = runs.run(FAILS, errorWorkflowId=handler.id)
    runs.tell_end(failed.execution.id)
    clock.advance(STALE)
    runs.detail(failed.execution.id)
    assert len(handled(runs, handler)) == 1


def test_an_error_workflow_that_fails(runs: Runs) -> None:
    """Its own failure starts nothing: neither itself again, nor another one for it."""
    second = runs.workflow(FAILS)
    first = runs.workflow(FAILS, errorWorkflowId=second.id)
    runs.run(FAILS, errorWorkflowId=first.id)
    (started,) = handled(runs, first)
    assert runs.end(started.id).status == "failed"
    assert handled(runs, second) == []


@pytest.mark.parametrize("missing", ["absent", "of another user", "archived", "no id"])
def test_an_error_workflow_that_cannot_run(runs: Runs, missing: str) -> None:
    """The run fails as it would; that nothing was started is noted, once."""
    wanted = {"absent": "wf_none", "no id": "a b"}.get(missing, "")
    if missing == "of another user":
        bob = OWNER.__class__("acme", "bob", frozenset({"workflows:write"}))
        wanted = runs.workflow(graph([node("a")]), bob).id
    if missing == "archived":
        workflow = runs.workflow(graph([node("a")]))
        runs.services.workflows.set_status(OWNER, workflow, workflow.status.__class__("archived"))
        wanted = workflow.id
    failed = runs.run(FAILS, errorWorkflowId=wanted)
    runs.tell_end(failed.execution.id)
    assert failed.status == "failed"
    entries = runs.services.audit.recent(OWNER, failed.execution.workflow_id, 10, 0)
    (note,) = [entry for entry in entries if entry.action == "workflow.error-workflow-not-started"]
    assert (note.detail["execution"], note.detail["errorWorkflow"]) == (failed.execution.id, wanted)


@pytest.mark.parametrize("repaired_by", ["the event", "a read", "upkeep"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_whoever_ends_a_run_may_die_anywhere(
    runs: Runs, dynamodb: Any, handler: Workflow, clock: FakeClock, moment: str, repaired_by: str
) -> None:
    """Told again, or looked at by anybody, the run has failed and the error workflow is started, once."""
    for fatal in itertools.count(1):
        before = len(handled(runs, handler))
        execution_id = runs.start(FAILS, errorWorkflowId=handler.id)
        runs.walk(execution_id)
        with watched(dynamodb) as calls, suppress(Killed):

            def die(number: int, fatal: int = fatal) -> None:
                if number == fatal:
                    raise Killed

            setattr(calls, moment, die)
            runs.tell_end(execution_id)
        died = len(calls.made) >= fatal
        clock.advance(7200)
        match repaired_by:
            case "the event":
                runs.tell_end(execution_id)
            case "a read":
                runs.detail(execution_id)
            case _:
                assert not any(report.failures for report in runs.services.upkeep.run())
        assert runs.detail(execution_id).execution.status == "failed"
        started = handled(runs, handler)
        assert len(started) == before + 1, f"{moment} call {fatal}"
        assert started[0].status == "running"
        if not died:
            return
