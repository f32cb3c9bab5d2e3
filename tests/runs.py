"""Whole runs on moto: a workflow is made, started, and its state machine walked over the real node runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.bootstrap import Services
from chalicelib.engines.stepfunctions import MachineRun
from chalicelib.engines.visit import StepAnswer, StepRequest
from chalicelib.foundation.json_types import Json
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.executions import Execution, StepRecord, StepStatus
from chalicelib.graph.model import Graph, Workflow
from chalicelib.services.access import EVERYTHING, Principal
from chalicelib.services.executions import ExecutionDetail
from tests.state_machines import Invoke, StepFunctions, Walk

Idle = Callable[[], bool]

OWNER = Principal("acme", "ann", frozenset({EVERYTHING}))


def parsed(graph: Mapping[str, Any]) -> Graph:
    """A graph as a request spells it, as the core takes it."""
    connections = [{"id": f"c{index}", **connection} for index, connection in enumerate(graph["connections"])]
    return Graph.from_json({"nodes": graph["nodes"], "connections": connections})


class Runs:
    """What a test does with runs. ``invoke`` is the node runner, called as a state calls it."""

    def __init__(self, services: Services, step_functions: StepFunctions) -> None:
        self.services = services
        self.step_functions = step_functions

    def workflow(self, graph: Mapping[str, Any], principal: Principal = OWNER, **settings: Any) -> Workflow:
        found = parsed(graph)
        change = WorkflowChange(name="w", nodes=found.nodes, connections=found.connections, settings=settings)
        return self.services.workflows.create(principal, change)

    def start(self, graph: Mapping[str, Any], inputs: Json = None, **settings: Any) -> str:
        """Starts a run of a new workflow and returns its id."""
        workflow = self.workflow(graph, **settings)
        return self.services.executions.start(OWNER, workflow, inputs={} if inputs is None else inputs)

    def walk(self, execution_id: str, invoke: Invoke | None = None, idle: Idle = lambda: False, **options: Any) -> Walk:
        """Runs the state machine of a run to its end, and of the runs that it waits for.

        ``idle``: what happens when all of it waits, if anything does; ``options`` are those of ``Walk``.
        """
        return self.step_functions.run(
            self.machine(execution_id),
            invoke or self.invoke,
            idle=lambda: self._walk_children(execution_id) or idle(),
            **options,
        )

    def machine(self, execution_id: str) -> str:
        """The name in Step Functions of the latest round of a run: that is its id, and the round if it is not the
        first.
        """
        rounds = [name for name in self.step_functions.executions() if name.split("-")[0] == execution_id]
        return max(rounds, key=lambda name: int(name.partition("-")[2] or 1), default=execution_id)

    def _walk_children(self, execution_id: str) -> bool:
        """Runs what a run waits for to its end, where that has not ended yet."""
        waiting = [step for step in self.detail(execution_id).steps if step.status is StepStatus.WAITING]
        children = [step.child for step in waiting if step.child and self.is_under_way(step.child)]
        for child in children:
            self.walk(child)
            self.tell_end(child)
        return bool(children)

    def is_under_way(self, execution_id: str) -> bool:
        """By its record."""
        return not self.detail(execution_id).execution.status.is_final

    def tell_end(self, execution_id: str) -> None:
        """What the status event of Step Functions does."""
        name = self.machine(execution_id)
        ended = self.step_functions.executions()[name]
        machine = MachineRun.of(ended.status, ended.error, ended.cause)
        round = self.step_functions.input(name)["run"]["round"]
        self.services.lifecycle.ended(OWNER.organization_id, execution_id, round, machine)

    def run(self, graph: Mapping[str, Any], inputs: Json = None, idle: Idle = lambda: False, **settings: Any) -> Run:
        """A run of a new workflow, from its start to its end."""
        return self.end(self.start(graph, inputs, **settings), idle)

    def end(self, execution_id: str, idle: Idle = lambda: False) -> Run:
        """A run that was started, brought to its end."""
        walk = self.walk(execution_id, idle=idle)
        self.tell_end(execution_id)
        return Run(self, self.detail(execution_id), walk)

    def detail(self, execution_id: str) -> ExecutionDetail:
        return self.services.executions.find(OWNER, execution_id)

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        """What a Task of the state machine does."""
        return self.services.chains.run(_request(event["run"], event["node"], **_rest(event))).to_json()

    def visit(self, execution_id: str, node: str, path: str = "", phase: str = "enter", error: str = "") -> StepAnswer:
        """One delivery of one node, whether it is in a chain or not."""
        run = self.step_functions.input(self.machine(execution_id))["run"]
        return self.services.steps.run(_request(run, node, path, phase, error))

    def steps(self, execution_id: str) -> dict[str, StepRecord]:
        """The records of a run, by task id."""
        return {step.task_id: step for step in self.detail(execution_id).steps}

    def output(self, of: Execution | StepRecord) -> Json:
        return self.services.payloads.get(of.output)


def _rest(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("path", "phase", "error", "late") if name in event}


def _request(
    run: Mapping[str, Any], node: str, path: str = "", phase: str = "enter", error: str = "", late: bool = False
) -> StepRequest:
    return StepRequest(run["organization"], run["execution"], run["plan"], node, path, phase, error, run["round"], late)


class Run:
    """A run that has ended."""

    def __init__(self, runs: Runs, detail: ExecutionDetail, walk: Walk) -> None:
        self._runs = runs
        self.execution: Execution = detail.execution
        self.steps = {step.task_id: step for step in detail.steps}
        self.walk = walk

    @property
    def status(self) -> str:
        return str(self.execution.status)

    @property
    def output(self) -> Json:
        return self._runs.output(self.execution)

    def statuses(self) -> dict[str, str]:
        return {task: str(step.status) for task, step in self.steps.items()}
