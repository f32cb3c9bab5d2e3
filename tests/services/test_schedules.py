"""Schedules: Scheduler is brought to what workflows say, whoever dies, and each due time starts one run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from chalice.test import Client

from app import app
from chalicelib.bootstrap import Services, lambda_services
from chalicelib.cloud.sdk import client
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.services.scheduled_runs import ScheduledCall
from tests.conftest import REGION
from tests.fakes import FakeClock, Killed, graph, node, watched
from tests.runs import OWNER, Runs, parsed

GROUP = "millrace-test"
DAILY = graph([node("s", "schedule-trigger", cron="30 9 * * mon-fri", timezone="Europe/Zurich"), node("a")], "s -> a")
EITHER_DAY = graph([node("s", "schedule-trigger", cron="0 0 13 * fri"), node("a")], "s -> a")
TIME = "2026-01-05T08:30:00Z"


@pytest.fixture
def scheduler(aws: None) -> Any:
    found = client("scheduler", REGION)
    found.create_schedule_group(Name=GROUP)
    return found


@pytest.fixture
def active(runs: Runs, scheduler: Any) -> Workflow:
    return set_status(runs, runs.workflow(DAILY), WorkflowStatus.ACTIVE)


def set_status(runs: Runs, workflow: Workflow, status: WorkflowStatus) -> Workflow:
    return runs.services.workflows.set_status(OWNER, workflow, status)


def change(runs: Runs, workflow: Workflow, body: dict[str, Any]) -> Workflow:
    found = parsed(body)
    changed = WorkflowChange(nodes=found.nodes, connections=found.connections)
    return runs.services.workflows.update(OWNER, workflow, changed)


def there(scheduler: Any) -> dict[str, dict[str, Any]]:
    """The schedules that there are, by name."""
    listed = scheduler.list_schedules(GroupName=GROUP)["Schedules"]
    return {found["Name"]: scheduler.get_schedule(GroupName=GROUP, Name=found["Name"]) for found in listed}


def expressions(scheduler: Any) -> list[str]:
    return sorted(found["ScheduleExpression"] for found in there(scheduler).values())


def upkeep(services: Services) -> int:
    """One call, in which nothing fails; how many workflows it has looked after."""
    reports = services.upkeep.run()
    assert not [failure for report in reports for failure in report.failures]
    return next(report.done for report in reports if report.part == "schedules")


def call_of(found: dict[str, Any], time: str = TIME) -> dict[str, Any]:
    """What Scheduler calls the Lambda with."""
    event: dict[str, Any] = json.loads(found["Target"]["Input"].replace("<aws.scheduler.scheduled-time>", time))
    return event


def due(services: Services, found: dict[str, Any], time: str = TIME) -> str | None:
    event = call_of(found, time)
    call = ScheduledCall(
        event["organization"], event["workflow"], event["node"], event["schedule"], event["scheduledTime"]
    )
    return services.scheduled_runs.start(call)


def test_an_active_workflow_has_its_schedule(active: Workflow, scheduler: Any) -> None:
    """In the zone that the trigger names, calling our function with our role, failing into our queue."""
    [found] = there(scheduler).values()
    assert found["Name"].startswith(f"{active.id}-")
    assert (found["ScheduleExpression"], found["ScheduleExpressionTimezone"]) == (
        "cron(30 9 ? * 2-6 *)",
        "Europe/Zurich",
    )
    assert found["State"] == "ENABLED"
    target = found["Target"]
    assert target["Arn"].endswith(":function:millrace-test-schedules")
    assert target["RoleArn"].endswith(":role/scheduler")
    assert target["DeadLetterConfig"]["Arn"].endswith("-dead")


@pytest.mark.parametrize("status", [WorkflowStatus.PAUSED, WorkflowStatus.ARCHIVED, WorkflowStatus.DRAFT])
def test_it_goes_with_the_status(runs: Runs, active: Workflow, scheduler: Any, status: WorkflowStatus) -> None:
    """Only active workflows have schedules; they come back with the status."""
    workflow = set_status(runs, active, status)
    assert there(scheduler) == {}
    if status is not WorkflowStatus.ARCHIVED:
        set_status(runs, workflow, WorkflowStatus.ACTIVE)
        assert len(there(scheduler)) == 1


def test_it_goes_with_the_workflow(runs: Runs, active: Workflow, scheduler: Any) -> None:
    """A deleted workflow leaves no schedule."""
    runs.services.workflows.delete(OWNER, active)
    assert there(scheduler) == {}


def test_it_follows_the_config(runs: Runs, active: Workflow, scheduler: Any) -> None:
    """A changed cron is another schedule; one that needs two has two; without the trigger there is none."""
    workflow = change(runs, active, EITHER_DAY)
    assert expressions(scheduler) == ["cron(0 0 13 * ? *)", "cron(0 0 ? * 6 *)"]
    change(runs, workflow, graph([node("t", "manual-trigger")]))
    assert there(scheduler) == {}


def test_what_changes_no_schedule_asks_scheduler_nothing(runs: Runs, active: Workflow, scheduler: Any) -> None:
    """A new name, a new node: those who do not schedule do not wait for Scheduler."""
    with watched(scheduler) as calls:
        changed = runs.services.workflows.update(OWNER, active, WorkflowChange(name="another"))
        set_status(runs, runs.workflow(graph([node("t", "manual-trigger")])), WorkflowStatus.ACTIVE)
    assert calls.made == []
    assert changed.name == "another"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_whoever_dies_upkeep_does_the_rest(
    runs: Runs, scheduler: Any, clock: FakeClock, number: int, moment: str
) -> None:
    """Killed at any call to Scheduler, the change is made all the same, and Scheduler is brought to it a minute later:
    what is missing is made, what is too much deleted."""
    workflow = set_status(runs, runs.workflow(DAILY), WorkflowStatus.ACTIVE)
    with watched(scheduler) as calls:

        def die(made: int) -> None:
            if made == number:
                raise Killed

        setattr(calls, moment, die)
        with pytest.raises(Killed):
            change(runs, workflow, EITHER_DAY)
    assert upkeep(runs.services) == 0
    clock.advance(61)
    assert upkeep(runs.services) == 1
    assert expressions(scheduler) == ["cron(0 0 13 * ? *)", "cron(0 0 ? * 6 *)"]
    clock.advance(600)
    assert upkeep(runs.services) == 0


def test_scheduler_out_of_order(runs: Runs, scheduler: Any, clock: FakeClock) -> None:
    """A change succeeds though Scheduler does not answer; upkeep tries until it does."""
    with watched(scheduler) as calls:

        def fail(number: int) -> None:
            raise EndpointConnectionError(endpoint_url="https://scheduler")

        calls.before = fail
        active = set_status(runs, runs.workflow(DAILY), WorkflowStatus.ACTIVE)
        assert active.status is WorkflowStatus.ACTIVE
        clock.advance(61)
        reports = {report.part: report for report in runs.services.upkeep.run()}
    assert len(reports["schedules"].failures) == 1
    clock.advance(301)
    upkeep(runs.services)
    assert len(there(scheduler)) == 1


def test_upkeep_looks_once_a_day(active: Workflow, runs: Runs, scheduler: Any, clock: FakeClock) -> None:
    """What was deleted by hand comes back, what was made beside goes, within a day."""
    [name] = there(scheduler)
    found = scheduler.get_schedule(GroupName=GROUP, Name=name)
    stray = {key: found[key] for key in ("GroupName", "ScheduleExpression", "Target", "FlexibleTimeWindow")}
    scheduler.create_schedule(Name=f"{active.id}-stray", **stray)
    scheduler.delete_schedule(GroupName=GROUP, Name=name)
    clock.advance(23 * 3600)
    assert upkeep(runs.services) == 0
    clock.advance(2 * 3600)
    assert upkeep(runs.services) == 1
    assert list(there(scheduler)) == [name]


def test_who_overslept_undoes_what_is_too_late(runs: Runs, scheduler: Any) -> None:
    """Somebody is about to make a schedule while the workflow is paused: they see it afterwards, and delete it."""
    workflow = runs.workflow(DAILY)
    with watched(scheduler) as calls:

        def pause(made: int) -> None:
            if calls.operations[-1] == "CreateSchedule" and calls.operations.count("CreateSchedule") == 1:
                present = runs.services.workflows.find(OWNER, workflow.id)
                set_status(runs, present, WorkflowStatus.PAUSED)

        calls.before = pause
        set_status(runs, workflow, WorkflowStatus.ACTIVE)
    assert there(scheduler) == {}


def test_what_was_made_too_late_goes(runs: Runs, active: Workflow, scheduler: Any, clock: FakeClock) -> None:
    """The same, and they die: upkeep looks once more a day after the last schedule went, and then never again."""
    [found] = there(scheduler).values()
    again = {key: found[key] for key in ("Name", "GroupName", "ScheduleExpression", "Target", "FlexibleTimeWindow")}
    runs.services.workflows.delete(OWNER, active)
    scheduler.create_schedule(**again)
    days = []
    for _ in range(5):
        clock.advance(24 * 3600 + 1)
        days.append(upkeep(runs.services))
    assert there(scheduler) == {}
    assert days == [1, 1, 0, 0, 0]


def test_a_due_time_starts_one_run(active: Workflow, runs: Runs, scheduler: Any) -> None:
    """However often Scheduler calls; the trigger says for which time, and the run goes to its end."""
    [found] = there(scheduler).values()
    first, second = due(runs.services, found), due(runs.services, found)
    other = due(runs.services, found, "2026-01-06T08:30:00Z")
    assert first is not None
    assert first == second != other
    run = runs.end(first).execution
    assert (run.trigger.type, run.trigger.source, run.started_by) == ("schedule", "s", "ann")
    assert runs.end(first).output == {"scheduled_time": TIME, "cron": "30 9 * * mon-fri", "timezone": "Europe/Zurich"}


def test_two_schedules_of_a_cron_start_one_run(runs: Runs, scheduler: Any) -> None:
    """On Friday the 13th both are due."""
    set_status(runs, runs.workflow(EITHER_DAY), WorkflowStatus.ACTIVE)
    started = {due(runs.services, found, "2026-02-13T00:00:00Z") for found in there(scheduler).values()}
    assert len(there(scheduler)) == 2
    assert len(started) == 1


def test_each_trigger_starts_its_own_branch(runs: Runs, scheduler: Any) -> None:
    """Two nodes due at the same time start two runs, each of what hangs from it."""
    body = graph(
        [node("s", "schedule-trigger", cron="0 9 * * *"), node("u", "schedule-trigger", cron="0 9 * * *"),
         node("a", expression="'a'"), node("b", expression="'b'")],
        "s -> a", "u -> b",
    )  # fmt: skip
    set_status(runs, runs.workflow(body), WorkflowStatus.ACTIVE)
    started = {due(runs.services, found) for found in there(scheduler).values()}
    assert {runs.end(run or "").output for run in started} == {"a", "b"}


def test_a_schedule_that_nobody_wants_deletes_itself(active: Workflow, runs: Runs, scheduler: Any) -> None:
    """One that fires for a paused workflow, an old cron, or nothing that there is, starts nothing and goes."""
    [found] = there(scheduler).values()
    again = {key: found[key] for key in ("Name", "GroupName", "ScheduleExpression", "Target", "FlexibleTimeWindow")}
    set_status(runs, active, WorkflowStatus.PAUSED)
    scheduler.create_schedule(**again)
    assert due(runs.services, found) is None
    assert there(scheduler) == {}
    assert due(runs.services, found) is None
    assert runs.services.executions.list(OWNER, active.id, None, 10, 0).total == 0


def test_the_lambda(active: Workflow, runs: Runs, scheduler: Any) -> None:
    """The function takes the very event that Scheduler is told to send."""
    [found] = there(scheduler).values()
    lambda_services.cache_clear()
    try:
        Client(app).lambda_.invoke("schedules", call_of(found))
    finally:
        lambda_services.cache_clear()
    [run] = runs.services.executions.list(OWNER, active.id, None, 10, 0).executions
    assert run.trigger.type == "schedule"


@pytest.mark.parametrize(
    ("config", "problems"),
    [
        ({"cron": "61 * * * *"}, {"nodes[0].config.cron": "minute: 61 is not from 0 to 59"}),
        ({"cron": "{{ data.cron }}"}, {"nodes[0].config.cron": "five fields"}),  # there is nobody to render it
        ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, {"nodes[0].config.timezone": "no time zone"}),
        ({"cron": "x", "timezone": "x"}, {"nodes[0].config.cron": "", "nodes[0].config.timezone": ""}),
        ({"cron": "* * * * *", "timezone": "../etc/passwd"}, {"nodes[0].config.timezone": "no time zone"}),
        ({"cron": "* * * * *", "timezone": "America/Argentina/Buenos_Aires"}, {}),
        ({"cron": "* * * * *"}, {}),
    ],
)
def test_config_is_judged(runs: Runs, config: dict[str, str], problems: dict[str, str]) -> None:
    """Every fault of cron and time zone is an error of validation: such a workflow does not become active."""
    workflow = runs.workflow(graph([node("s", "schedule-trigger", **config)]))
    found = {problem.path or "": problem for problem in runs.services.workflows.judge(workflow).errors}
    assert found.keys() == problems.keys()
    for path, text in problems.items():
        assert found[path].type == "invalid-config"
        assert text in found[path].message


def test_missing_cron_has_no_schedule(runs: Runs, scheduler: Any) -> None:
    """It is a warning only, so such a workflow may be active; nothing comes of it."""
    workflow = replace(runs.workflow(graph([node("s", "schedule-trigger")])))
    set_status(runs, workflow, WorkflowStatus.ACTIVE)
    assert there(scheduler) == {}
