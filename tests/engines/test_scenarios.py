"""Both engines mean the same: every scenario ends on each as its file says."""

from __future__ import annotations

import pytest

from chalicelib.graph.validate import validate
from chalicelib.nodes.registry import CATALOG
from tests.conftest import ACCOUNT, REGION
from tests.fakes import FakeClock, World
from tests.runs import Runs
from tests.scenario import SCENARIOS, Scenario, told
from tests.state_machines import StepFunctions


@pytest.fixture
def step_functions(aws: None, clock: FakeClock) -> StepFunctions:
    """State machines whose waits and delays move the clock."""
    return StepFunctions(ACCOUNT, REGION, clock)


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
def test_scenarios(scenario: Scenario, runs: Runs, world: World) -> None:
    """The state machine, walked over the real node runner, ends with the records that the file says."""
    for run in scenario.runs:
        run.prepare(world)
        ended = runs.run(scenario.graph.to_json(), run.trigger, **scenario.settings)
        assert told(ended.execution, ended.steps.values(), ended.output) == run.expected, f"run {run.number}"
