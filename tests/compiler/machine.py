"""A small interpreter of Amazon States Language: as much of its JSONata mode as our state machines use.

It follows the specification, and knows nothing of plans. Branches and iterations run one after the other in an order
that the caller shuffles: whatever crosses from one to another will sooner or later be met in the wrong order. A field
that is not known is an error, not passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

from jsonata import Jsonata

#: Called with the Arguments of a Task; returns its result or raises ``TaskFailed``.
Task = Callable[[dict[str, Any]], dict[str, Any]]

_FIELDS = {
    "Task": {"Type", "Resource", "Arguments", "Retry", "Catch", "TimeoutSeconds", "Next", "End"},
    "Choice": {"Type", "Choices", "Default"},
    "Parallel": {"Type", "Branches", "Output", "Next", "End"},
    "Map": {"Type", "Items", "ItemSelector", "ItemProcessor", "MaxConcurrency", "Output", "Next", "End"},
    "Wait": {"Type", "Timestamp", "Next", "End"},
    "Succeed": {"Type"},
}


class TaskFailed(Exception):
    """A Task ended with the error of this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


class Machine:
    def __init__(self, definition: str, task: Task, random: Random | None = None) -> None:
        self._machine = json.loads(definition)
        self._task = task
        self._random = random

    def run(self, execution_input: Mapping[str, Any]) -> Any:
        """The output of an execution with this input. Raises ``TaskFailed`` where it fails."""
        return self._states(self._machine, execution_input, {"Execution": {"Input": execution_input}})

    def _states(self, machine: Mapping[str, Any], value: Any, context: dict[str, Any]) -> Any:
        name: str | None = machine["StartAt"]
        while name is not None:
            name, value = self._state(machine["States"][name], value, context)
        return value

    def _state(self, state: Mapping[str, Any], value: Any, context: dict[str, Any]) -> tuple[str | None, Any]:
        assert state.keys() <= _FIELDS[state["Type"]], f"a field that the interpreter does not know: {state}"
        states = {"input": value, "context": context}
        match state["Type"]:
            case "Task":
                return self._run_task(state, states)
            case "Choice":
                for rule in state["Choices"]:
                    if _evaluated(rule["Condition"], states):
                        return rule["Next"], value
                return state["Default"], value
            case "Parallel":
                for branch in self._shuffled(state["Branches"]):
                    self._states(branch, value, context)
                value = _evaluated(state["Output"], states)
            case "Map":
                for item in self._shuffled(_evaluated(state["Items"], states)):
                    within = {**context, "Map": {"Item": {"Value": item}}}
                    selected = _evaluated(state["ItemSelector"], {"input": value, "context": within})
                    self._states(state["ItemProcessor"], selected, within)
                value = _evaluated(state["Output"], states)
            case "Wait":
                assert isinstance(_evaluated(state["Timestamp"], states), str)
        return state.get("Next"), value

    def _run_task(self, state: Mapping[str, Any], states: dict[str, Any]) -> tuple[str | None, Any]:
        try:
            return state.get("Next"), self._task(_evaluated(state["Arguments"], states))
        except TaskFailed as error:
            for catch in state.get("Catch", ()):
                assert catch["ErrorEquals"] == ["States.ALL"]
                return catch["Next"], _evaluated(catch["Output"], {**states, "errorOutput": {"Error": error.name}})
            raise

    def _shuffled(self, items: Sequence[Any]) -> list[Any]:
        return self._random.sample(items, len(items)) if self._random else list(items)


def _evaluated(template: Any, states: dict[str, Any]) -> Any:
    if isinstance(template, dict):
        return {key: _evaluated(item, states) for key, item in template.items()}
    if isinstance(template, str) and template.startswith("{%") and template.endswith("%}"):
        expression = _expression(template[2:-2])
        frame = expression.create_frame()
        frame.bind("states", states)
        return expression.evaluate(None, frame)
    return template


@cache
def _expression(source: str) -> Jsonata:
    return Jsonata(source)
