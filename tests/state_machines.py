"""Runs the state machines that moto only keeps: walks a definition, state by state, as Step Functions reads it.

It knows what ``stepfn_templates/`` use and nothing more: Task with Retry and Catch, Choice, Wait, Map, Parallel and
Succeed, in JSONata. Branches and items run one after the other, waits and retry delays take no time. A ``Killed`` in a
Task is what Lambda calls ``Runtime.ExitError``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jsonata import Jsonata
from moto.stepfunctions.models import stepfunctions_backends

from tests.fakes import Killed

Invoke = Callable[[dict[str, Any]], dict[str, Any]]

EVENTS = Path(__file__).parent / "events"
_MAX_VISITS = 10_000  # of states, in one run


class StateFailed(Exception):
    def __init__(self, error: str, cause: str) -> None:
        self.error, self.cause = error, cause
        super().__init__(f"{error}: {cause}")


@dataclass
class Walk:
    """One execution of a state machine.

    ``invoke`` is the Lambda behind every Task; ``order`` says in which order branches and items run that Step Functions
    runs at once.
    """

    definition: Mapping[str, Any]
    invoke: Invoke
    order: Callable[[Sequence[Any]], Sequence[Any]] = tuple
    visited: list[str] = field(default_factory=list)  #: names of states, in the order in which they were entered

    def run(self, value: Any) -> Any:
        """Raises ``StateFailed``."""
        return self._machine(self.definition, value, {"Execution": {"Input": value}})

    def _machine(self, machine: Mapping[str, Any], value: Any, context: dict[str, Any]) -> Any:
        name: str | None = machine["StartAt"]
        while name is not None:
            self.visited.append(name)
            assert len(self.visited) < _MAX_VISITS, "the state machine runs in circles"
            value, name = self._state(machine["States"][name], value, context)
        return value

    def _state(self, state: Mapping[str, Any], value: Any, context: dict[str, Any]) -> tuple[Any, str | None]:
        following = state.get("Next")
        match state["Type"]:
            case "Succeed":
                return value, None
            case "Wait":
                assert isinstance(_evaluated(state["Timestamp"], value, context), str)
                return value, following
            case "Choice":
                rules = (rule for rule in state["Choices"] if _evaluated(rule["Condition"], value, context) is True)
                rule = next(rules, None)
                return value, rule["Next"] if rule else state["Default"]
            case "Parallel":
                for branch in self.order(state["Branches"]):
                    self._machine(branch, value, context)
                return _evaluated(state["Output"], value, context), following
            case "Map":
                items = list(enumerate(_evaluated(state["Items"], value, context)))
                for index, item in self.order(items):
                    inner = {**context, "Map": {"Item": {"Index": index, "Value": item}}}
                    self._machine(state["ItemProcessor"], _evaluated(state["ItemSelector"], value, inner), inner)
                return _evaluated(state["Output"], value, context), following
            case "Task":
                return self._task(state, value, context)
        raise AssertionError(f"no state of ours is a {state['Type']}")

    def _task(self, state: Mapping[str, Any], value: Any, context: dict[str, Any]) -> tuple[Any, str | None]:
        tried: Counter[int] = Counter()
        while True:
            try:
                # What Lambda is given and gives back is JSON.
                event = json.loads(json.dumps(_evaluated(state["Arguments"], value, context)))
                return json.loads(json.dumps(self.invoke(event))), state.get("Next")
            except (Exception, Killed) as failure:
                error = "Runtime.ExitError" if isinstance(failure, Killed) else type(failure).__name__
                rule = _matching(state.get("Retry", ()), error)
                if rule is not None and tried[rule] < state["Retry"][rule].get("MaxAttempts", 3):
                    tried[rule] += 1
                    continue
                caught = _matching(state.get("Catch", ()), error)
                if caught is None:
                    raise StateFailed(error, str(failure)) from failure
                output = {"Error": error, "Cause": str(failure)}
                handler = state["Catch"][caught]
                return _evaluated(handler["Output"], value, context, output), handler["Next"]


def _matching(rules: Any, error: str) -> int | None:
    """The first rule for an error."""
    for index, rule in enumerate(rules):
        if error in rule["ErrorEquals"] or "States.ALL" in rule["ErrorEquals"]:
            return index
    return None


def _evaluated(template: Any, value: Any, context: dict[str, Any], error: Any = None) -> Any:
    """A field of a state with its ``{% %}`` evaluated."""
    if isinstance(template, dict):
        return {key: _evaluated(item, value, context, error) for key, item in template.items()}
    if isinstance(template, str) and template.startswith("{%") and template.endswith("%}"):
        expression = _compiled(template[2:-2].strip())
        frame = expression.create_frame()
        frame.bind("states", {"input": value, "context": context, "errorOutput": error})
        return expression.evaluate(None, frame)
    return template


@cache
def _compiled(source: str) -> Jsonata:
    return Jsonata(source)


class StepFunctions:
    """The executions that moto keeps, run by a ``Walk`` each."""

    def __init__(self, account: str, region: str) -> None:
        self._backend = stepfunctions_backends[account][region]

    def executions(self) -> dict[str, Any]:
        """moto's own records, by name."""
        return {run.name: run for machine in self._backend.state_machines for run in machine.executions}

    def definition(self, name: str) -> dict[str, Any]:
        machine = self._backend.describe_state_machine(self.executions()[name].state_machine_arn)
        found: dict[str, Any] = json.loads(machine.definition)
        return found

    def input(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.executions()[name].execution_input)
        return found

    def run(self, name: str, invoke: Invoke) -> Walk:
        """Runs the execution ``name`` to its end, which ``DescribeExecution`` then tells."""
        run = self.executions()[name]
        walk = Walk(self.definition(name), invoke)
        try:
            walk.run(self.input(name))
        except StateFailed as failure:
            run.status, run.error, run.cause = "FAILED", failure.error, failure.cause
        else:
            run.status = "SUCCEEDED"
        return walk

    def status_event(self, name: str) -> dict[str, Any]:
        """What EventBridge tells of the execution ``name``: AWS's own example with its particulars."""
        run = self.executions()[name]
        event: dict[str, Any] = json.loads((EVENTS / "execution_status_change.json").read_text())
        event["detail"] |= {
            "executionArn": run.execution_arn,
            "stateMachineArn": run.state_machine_arn,
            "name": run.name,
            "status": run.status,
            "input": run.execution_input,
            "error": run.error,
            "cause": run.cause,
        }
        return event
