"""Whole lives of random runs: nodes fail and die, people pause, cancel, retry and restart at any moment; and in the end
all is as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chalicelib.bootstrap import Services, services
from chalicelib.compiler.asl.quotas import NODE_FUNCTION_LIMIT_S
from chalicelib.engines.records import Recording
from chalicelib.foundation.errors import Conflict, InvalidInput, Permanent, Retryable
from chalicelib.foundation.settings import Settings
from chalicelib.graph.executions import Execution, ExecutionStatus, StepStatus
from chalicelib.graph.model import Graph, Node
from chalicelib.nodes.capabilities import HttpRequest, HttpResponse
from chalicelib.store.executions import RunSnapshot
from tests.compiler.random_graphs import woven
from tests.conftest import ACCOUNT, REGION, on_moto
from tests.fakes import CountingIds, FakeClock, Killed, World, json_response
from tests.runs import OWNER, Runs
from tests.state_machines import StepFunctions
from tests.virtual_time import Timeline

#: What may happen while a node is at work.
FAULTS = ("fails", "fails for good", "dies", "dies late")
ACTS = ("pause", "cancel", "pause, resume", "cancel, retry", "restart")


@dataclass(frozen=True)
class Life:
    graph: Graph
    events: tuple[str, ...]  # one for each request, from the first on; then none
    restarts: tuple[int, ...]  # of the run that has succeeded, from these nodes on
    in_process: bool  # until something happens
    seed: int  # of the order in which branches begin


@st.composite
def lives(draw: st.DrawFn) -> Life:
    drawn = draw(woven())
    nodes = tuple(_calling(node, draw(st.integers(1, 3))) for node in drawn.nodes)
    quiet = st.just("")
    return Life(
        replace(drawn, nodes=nodes),
        tuple(draw(st.lists(quiet | st.sampled_from(FAULTS + ACTS), max_size=8))),
        tuple(draw(st.lists(st.integers(0, len(nodes) - 1), max_size=1))),
        draw(st.booleans()),
        draw(st.integers(0, 1_000_000)),
    )


def _calling(node: Node, attempts: int) -> Node:
    """A node whose effect is seen and whose output tells all that led to it; or a condition that depends on that."""
    if node.type == "condition":
        return replace(node, config={"expression": "$length($string(data)) % 2 = 0"})
    config = {"method": "POST", "url": f"http://{node.id}", "body": "{{ data }}"}
    return replace(node, type="http-request", config=config, settings={"retry": {"maxAttempts": attempts}})


class Lived:
    """A life as it goes on, and what is always true of it."""

    def __init__(self, runs: Runs, clock: FakeClock, world: World, timeline: Timeline, life: Life) -> None:
        self._runs = runs
        self._control = runs.services.control
        self._clock = clock
        self._timeline = timeline
        self._life = life
        self._events = list(life.events)
        self._restarts = list(life.restarts)
        self._random = Random(life.seed)
        self._before = {
            node.id: [edge.source for edge in life.graph.connections if edge.target == node.id]
            for node in life.graph.nodes
        }
        self._on_step_functions = not life.in_process
        self.wrong: list[str] = []
        self.id = ""
        world.http.reply = self._reply

    def to_its_end(self) -> Execution:
        workflow = self._runs.workflow(self._life.graph.to_json())
        inputs = {"n": 1}
        self.id = self._runs.services.executions.start(OWNER, workflow, inputs=inputs, launch=not self._life.in_process)
        if self._life.in_process:
            engine = self._runs.services.in_process
            with suppress(Killed):
                self._timeline.run(engine.run(OWNER.organization_id, self.id, Recording.STEP))
            self._on_step_functions = True
            self._clock.advance(60)
            self._runs.detail(self.id)
        for _ in range(3 * len(self._life.events) + 10):
            self._round()
            execution = self._run.execution
            assert execution is not None
            match execution.status:
                case ExecutionStatus.SUCCEEDED:
                    if not self._restarts:
                        return execution
                    self._restart(self._restarts.pop())
                case ExecutionStatus.PAUSED:
                    self._control.resume(OWNER, self.id)
                case ExecutionStatus.FAILED | ExecutionStatus.CANCELLED:
                    self._control.retry(OWNER, self.id)
                case other:
                    assert other in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING), other
        raise AssertionError("it never ends")

    @property
    def _run(self) -> RunSnapshot:
        """As it is recorded; nothing looks after it on the way."""
        return self._runs.services._executions.load_run(OWNER.organization_id, self.id)

    def _round(self) -> None:
        """Walks the present round, if it is under way."""
        self._clock.advance(NODE_FUNCTION_LIMIT_S)
        machine = self._runs.step_functions.executions().get(self._runs.machine(self.id))
        if machine is not None and machine.status == "RUNNING":
            self._runs.walk(self.id, order=lambda parts: self._random.sample(parts, len(parts)))
            self._runs.tell_end(self.id)
        else:
            self._runs.detail(self.id)

    def _reply(self, request: HttpRequest) -> HttpResponse:
        name = request.url.removeprefix("http://").rstrip("/")
        self._check(name)
        event = self._events.pop(0) if self._events else ""
        match event:
            case "fails":
                raise Retryable("Slow", "not now")
            case "fails for good":
                raise Permanent("Down", "not now")
            case "dies":
                raise Killed
            case "restart":
                with suppress(Conflict):
                    self._control.pause(OWNER, self.id)
                    self._restart(len(self._events))
            case _:
                for verb in filter(None, event.split(", ")):
                    with suppress(Conflict):  # another node was at work, and has seen to it
                        getattr(self._control, verb)(OWNER, self.id)
        if event == "dies late":
            raise Killed
        return json_response({"node": name, "of": sha256(request.body or b"").hexdigest()})

    def _restart(self, number: int) -> None:
        nodes = self._life.graph.nodes
        with suppress(InvalidInput):  # it was never decided
            self._control.restart(OWNER, self.id, nodes[number % len(nodes)].id)

    def _check(self, name: str) -> None:
        """No node runs that is decided, none before what it depends on is, and none while the run is held or over."""
        run = self._run
        assert run.execution is not None
        steps = {node: step for (node, _), step in run.steps.items()}
        status = run.execution.status
        # In process, others may have begun at the same time.
        if self._on_step_functions and status not in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING):
            self.wrong.append(f"{name} runs, and the run is {status}")
        if steps[name].status.is_final:
            self.wrong.append(f"{name} runs, and is {steps[name].status}")
        for source in self._before[name]:
            if source not in steps or steps[source].status not in (StepStatus.SUCCEEDED, StepStatus.SKIPPED):
                self.wrong.append(f"{name} runs before {source}")


@pytest.fixture
def step_functions(aws: None, clock: FakeClock) -> StepFunctions:
    """State machines whose waits and delays move the clock."""
    return StepFunctions(ACCOUNT, REGION, clock)


@pytest.fixture
def app_services(settings: Settings, clock: FakeClock, world: World, timeline: Timeline) -> Services:
    return services(settings, clock=clock, ids=CountingIds(), capabilities=world.capabilities, pool=timeline.threads)


@hypothesis_settings(on_moto, max_examples=20)
@given(life=lives())
def test_any_life_ends_well(
    runs: Runs, clock: FakeClock, world: World, timeline: Timeline, empty_table: Callable[[], None], life: Life
) -> None:
    """Whatever happens, the run can be brought to its end, with the statuses and the output of an undisturbed one."""
    empty_table()
    found = []
    for each in (replace(life, events=(), restarts=(), in_process=False), life):
        lived = Lived(runs, clock, world, timeline, each)
        execution = lived.to_its_end()
        steps: dict[str, Any] = {name: step.status for name, step in runs.steps(execution.id).items()}
        assert lived.wrong == []
        found.append((runs.output(execution), steps))
    assert found[0] == found[1]
