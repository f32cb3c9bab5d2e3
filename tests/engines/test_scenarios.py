"""Both engines mean the same: every scenario ends on each as its file says."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.engines.records import Recording
from chalicelib.foundation.settings import Settings
from chalicelib.graph.validate import validate
from chalicelib.nodes.registry import CATALOG
from tests.conftest import ACCOUNT, REGION
from tests.fakes import CountingIds, FakeClock, World
from tests.runs import OWNER, Runs
from tests.scenario import SCENARIOS, Scenario, ScenarioRun, told
from tests.state_machines import StepFunctions
from tests.virtual_time import Timeline


@pytest.fixture
def step_functions(aws: None, clock: FakeClock) -> StepFunctions:
    """State machines whose waits and delays move the clock."""
    return StepFunctions(ACCOUNT, REGION, clock)


@pytest.fixture
def app_services(settings: Settings, clock: FakeClock, world: World, timeline: Timeline) -> Services:
    return services(settings, clock=clock, ids=CountingIds(), capabilities=world.capabilities, pool=timeline.threads)


def test_each_has_a_title_of_its_own() -> None:
    """A scenario says one fact, and no other says the same."""
    titles = [scenario.raw["title"] for scenario in SCENARIOS]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_what_validate_says(scenario: Scenario) -> None:
    """A graph that runs has no error; one with errors has those that its file lists."""
    errors = [problem.type for problem in validate(scenario.graph, CATALOG) if problem.is_error]
    assert errors == scenario.problems
    assert bool(errors) != bool(scenario.runs)


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.runs], ids=str)
def test_scenarios(scenario: Scenario, runs: Runs, world: World, timeline: Timeline) -> None:
    """A run ends with the records that the file says: as a state machine that is walked over the real node runner, and
    in process, whichever way it is recorded there. What it has cost is what was walked, and nothing in process.
    """
    for run in scenario.runs:
        run.prepare(world)
        assert on_step_functions(run, runs) == run.expected, f"run {run.number}, Step Functions"
        for recording in Recording:
            run.prepare(world)
            found = in_process(run, runs, recording, timeline)
            assert found == run.expected, f"run {run.number}, in process, recording {recording}"


def on_step_functions(run: ScenarioRun, runs: Runs) -> dict[str, Any]:
    ended = runs.run(run.scenario.graph.to_json(), run.trigger, **run.scenario.settings)
    assert ended.execution.cost is not None
    # Where a time limit cuts something off, it leaves no record of whether its state was left.
    cut_off = sum(step.error is not None and step.error.name == "States.Timeout" for step in ended.steps.values())
    assert abs(ended.execution.cost.transitions - ended.walk.transitions) <= 2 * cut_off
    return told(ended.execution, ended.steps.values(), ended.output)


def in_process(run: ScenarioRun, runs: Runs, recording: Recording, timeline: Timeline) -> Any:
    workflow = runs.workflow(run.scenario.graph.to_json(), **run.scenario.settings)
    execution_id = runs.services.executions.start(OWNER, workflow, inputs=run.trigger, launch=False)
    engine = runs.services.in_process
    assert timeline.run(engine.run(OWNER.organization_id, execution_id, recording))
    found = runs.detail(execution_id)
    assert found.execution.cost is not None
    assert found.execution.cost.transitions == found.execution.cost.milliseconds == 0
    return told(found.execution, found.steps, runs.output(found.execution))
