"""Scenarios: what graphs mean, as files that every engine has to agree with.

``scenarios/<name>.yaml``::

    title: A call that fails twice is made a third time     the fact under test, as a sentence
    graph: t=manual-trigger -> h=http-request -> end        in the notation of tests.notation
    nodes:                                                  fields of nodes, as requests spell them
      h: {settings: {retry: {maxAttempts: 3}}}
    settings: {timeout: 60}                                 of the workflow
    runs:
      - trigger: {n: 1}                                     what the run is started with; {} where it is absent
        http:                                               answers by URL, one call after the other, the last for ever
          http://127.0.0.1/: [{retryable: Slow}, {body: {n: 2}}]
        expect:
          status: succeeded                                 succeeded where it is absent
          output: {...}                                     of the run
          error: {name: ..., message: ..., nodeId: ...}     of the run, where it has one
          succeeded: [t, h, "x[0..2]"]                      every task, under its status: `x[0..2]` is three of them
          skipped: []                                       and failed, cancelled
          attempts: {h: 3}                                  where it is not 1 (of what was skipped: 0)
          errors: {h: Slow}                                 of tasks: every one that shows an error, by its name

An answer of ``http`` is ``{status, body}``, or ``{retryable: name, message}`` or ``{permanent: ...}`` for a call that
comes to nothing, or ``{hangs: true}`` for one that never ends.

Instead of ``runs``, ``problems`` lists what ``validate`` has to say: such a graph is not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.graph.executions import Execution, StepRecord
from chalicelib.nodes.capabilities import HttpRequest, HttpResponse
from tests.fakes import Hung, World, json_response
from tests.graph_files import GraphFile

FOLDER = Path(__file__).parent / "scenarios"
_STATUSES = ("succeeded", "failed", "skipped", "cancelled")
_RANGE = re.compile(r"\[(\d+)\.\.(\d+)\]")


@dataclass(frozen=True)
class Scenario(GraphFile):
    @property
    def runs(self) -> list[ScenarioRun]:
        return [ScenarioRun(self, number, raw) for number, raw in enumerate(self.raw.get("runs", ()))]

    @property
    def problems(self) -> list[str]:
        """What ``validate`` is to find."""
        return list(self.raw.get("problems", ()))


@dataclass(frozen=True)
class ScenarioRun:
    scenario: Scenario
    number: int
    raw: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.scenario.name}-{self.number}"

    @property
    def trigger(self) -> Any:
        return self.raw.get("trigger", {})

    def prepare(self, world: World) -> None:
        """Has the world answer as this run needs it."""
        world.http.reply = ScriptedHttp(self.raw.get("http", {}))

    @property
    def expected(self) -> dict[str, Any]:
        """What ``told`` has to be."""
        expect = self.raw["expect"]
        tasks = {task: status for status in _STATUSES for task in _spread(expect.get(status, ()))}
        attempts = {task: 0 if status in ("skipped", "cancelled") else 1 for task, status in tasks.items()}
        return {
            "status": expect.get("status", "succeeded"),
            "output": expect.get("output"),
            "error": expect.get("error"),
            "tasks": tasks,
            "attempts": attempts | expect.get("attempts", {}),
            "errors": expect.get("errors", {}),
        }


def told(execution: Execution, steps: Iterable[StepRecord], output: Any) -> dict[str, Any]:
    """What is recorded of a run, as far as every engine has to agree on it."""
    listed = list(steps)
    return {
        "status": str(execution.status),
        "output": output,
        "error": execution.error,
        "tasks": {step.task_id: str(step.status) for step in listed},
        "attempts": {step.task_id: len(step.attempts) for step in listed},
        "errors": {step.task_id: step.error.name for step in listed if step.error},
    }


class ScriptedHttp:
    """The answers of a scenario, by URL."""

    def __init__(self, script: Mapping[str, Any]) -> None:
        self._waiting = {url: list(answers) for url, answers in script.items()}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        waiting = self._waiting[request.url]
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if "hangs" in answer:
            raise Hung
        for word, kind in (("retryable", Retryable), ("permanent", Permanent)):
            if word in answer:
                raise kind(answer[word], answer.get("message", "as the scenario says"))
        return json_response(answer.get("body"), answer.get("status", 200))


def _spread(tasks: Iterable[str]) -> Iterator[str]:
    for task in tasks:
        found = _RANGE.search(task)
        if found is None:
            yield task
        else:
            for index in range(int(found[1]), int(found[2]) + 1):
                yield from _spread([f"{task[: found.start()]}[{index}]{task[found.end() :]}"])


def _load(path: Path) -> Scenario:
    return Scenario(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))


SCENARIOS = [_load(path) for path in sorted(FOLDER.glob("*.yaml"))]
