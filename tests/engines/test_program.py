"""Programs: what they bring is what visits record, or nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from chalicelib.bootstrap import Services
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Plan
from chalicelib.engines.inprocess import InProcessEngine
from chalicelib.engines.program import LONGEST_S, RESTS, Given, Program, is_program
from chalicelib.engines.records import MemoryRecords, Recording
from chalicelib.engines.visit import decided_before
from chalicelib.foundation.clock import timestamp
from chalicelib.foundation.json_types import Json, dumps
from chalicelib.graph.deployments import Deployed
from chalicelib.graph.executions import Execution, ExecutionStatus, Payload, StepRecord, Trigger
from chalicelib.graph.model import Graph
from chalicelib.nodes.registry import CATALOG
from chalicelib.services.programs import Programs
from chalicelib.services.recording import Started, new_execution
from chalicelib.store.executions import RunSnapshot, whole
from chalicelib.store.forms import Form, slot
from chalicelib.store.run_form import Passage
from chalicelib.store.whole_runs import records_of
from tests.fakes import FakeClock, graph, node

DEPLOYED = Deployed("org", "wf_1", "user_1", 1, 1, "", 7)


class Both:
    """One plan, run by visits and as a program, on a clock that stands still."""

    def __init__(self, services: Services, plan: Plan, clock: FakeClock) -> None:
        services._plans.put(plan)
        self.plan = plan
        self.clock = clock
        self.services = services
        self.engine = InProcessEngine(CATALOG, clock)
        self.program = Program(plan, CATALOG, clock)

    def execution(self, inputs: Json) -> Execution:
        now = self.clock.now()
        trigger = Trigger("api", "api", Payload(text=dumps(inputs)), self.plan.trigger)
        made = new_execution(Started.of("exec_1", DEPLOYED), self.plan, "machine", trigger, None, now)
        return replace(made, status=ExecutionStatus.RUNNING, started_at=timestamp(now))

    def by_visits(self, inputs: Json) -> tuple[Execution, ExecutionStatus, list[StepRecord]]:
        execution = self.execution(inputs)
        memory = MemoryRecords(self.services._executions, RunSnapshot(execution, {}))
        memory.write_unentered(execution, decided_before(self.plan, execution, timestamp(self.clock.now())))
        runner = self.services.steps.recording_to(memory)
        ended = self.engine.burst(execution, self.plan, runner.at_hand())
        if ended is None:  # the machine is slow
            ended = asyncio.run(self.engine.run(execution, self.plan, runner, Recording.RUN))
        steps = memory.load_end("org", "exec_1").steps.values()
        assert ended.status is not None
        return execution, ended.status, sorted(steps, key=lambda step: step.node_id)

    def computed(self, inputs: Json) -> Passage | None:
        names = {"id": "exec_1", "workflowId": "wf_1", "startedAt": timestamp(self.clock.now())}
        return self.program.run(Given(inputs, dumps(inputs)), names, self.clock.now())

    def check(self, inputs: Json) -> Passage | None:
        """What the program brings, if it is just what visits record; None where those fail."""
        execution, status, steps = self.by_visits(inputs)
        computed = self.computed(inputs)
        if computed is None:
            assert status is ExecutionStatus.FAILED
            return None
        assert status is ExecutionStatus.SUCCEEDED
        assert sorted(recorded(self.program, computed), key=lambda step: step.node_id) == steps
        run = RunSnapshot(execution, {(step.node_id, step.path): step for step in steps})
        end, closed = self.services.lifecycle.end_of(execution, run, status, None, by_machine=False)
        assert not closed
        assert (end.output and end.output.text, end.finished_at) == (computed.output, computed.finished_at)
        return computed


def recorded(program: Program, passage: Passage) -> list[StepRecord]:
    """The records of a run."""
    texts = {f"value{place}": value for place, value in enumerate(passage.values)}
    texts |= {f"time{place}": moment for place, moment in enumerate(passage.times)}
    return records_of(Form(program.steps(passage.ports)).filled(texts))


BothOf = Callable[[Mapping[str, Any]], Both]


@pytest.fixture
def both(app_services: Services, clock: FakeClock) -> BothOf:
    return lambda shape: Both(app_services, plan_of(shape), clock)


def plan_of(shape: Mapping[str, Any]) -> Plan:
    connections = [{"id": f"c{index}", **each} for index, each in enumerate(shape["connections"])]
    return compile_plan(Graph.from_json({"nodes": shape["nodes"], "connections": connections}), CATALOG)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-9, 9)
    | st.sampled_from(["", "a", "ä€😀", "%(at)s", '"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "n"]), inner, max_size=3),
    max_leaves=6,
)
EXPRESSIONS = [
    "data", "data.a", "data.n + 1", '{"a": data, "n": 3}', "trigger", "nodes.n0", "nodes.n1.a", "$keys(nodes)",
    "[data, 1]", "data.n > 1", "$string(data)", "execution", "1000000000000000000000", "$error('no')", "$", "2.0",
    "-0.0", '"100% {at}"',
]  # fmt: skip
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "transform": [{"expression": expression} for expression in EXPRESSIONS],
    "set-fields": [
        {"fields": {"a": "{{ data }}", "n": "x{{ trigger.n }}y", "c": [1, {"d": "{{ nodes.n0 }}"}]}},
        {"fields": {"n": 5}, "keepInput": True},
    ],
    "condition": [{"expression": expression} for expression in ("data.n > 1", "data", "true", "nodes.n0.a")],
    "switch": [{"expression": "data.a", "cases": ["a", 3]}],
    "merge": [{"mode": mode} for mode in ("object", "list", "first")],
    "filter": [{"condition": "item != 1"}, {"items": "data.a", "condition": "item > 2"}],
    "json-parse": [{"text": "{{ data }}"}, {"text": "[1, 123456789012345678901]"}],
    "csv-parse": [{"text": "a,b\n1,2\n"}],
    "fail": [{"error": "E", "message": "m"}],
}
KINDS = [*CONFIGS, "transform", "transform", "transform", "condition", "set-fields"]


def _id(made: Mapping[str, Any]) -> str:
    return str(made["id"])


def _ports(made: Mapping[str, Any]) -> tuple[str, ...]:
    kind = CATALOG.find(made["nodeId"])
    assert kind is not None
    return kind.ports_out(made["config"])


@st.composite
def computing(draw: st.DrawFn) -> dict[str, Any]:
    """Graphs of nodes that only compute, of any shape."""
    nodes: list[dict[str, Any]] = []
    connections: list[dict[str, str]] = []
    for number in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(KINDS))
        own: dict[str, Any] = {}
        if draw(st.integers(0, 4)) == 0:
            own["inputMappings"] = {"a": draw(st.sampled_from(EXPRESSIONS)), "n": "data.n"}
        if draw(st.integers(0, 4)) == 0:
            own["passThroughValues"] = {"kept": "n"}
        made = {"id": f"n{number}", "nodeId": kind, "config": draw(st.sampled_from(CONFIGS[kind])), **own}
        for source in draw(st.lists(st.sampled_from(nodes), max_size=3, unique_by=_id)) if nodes else []:
            ports = _ports(source)
            if ports:
                connection = {"sourceNodeId": source["id"], "targetNodeId": made["id"]}
                connection["sourcePort"] = draw(st.sampled_from(ports))
                if kind == "merge":
                    connection["targetPort"] = f"p{len(connections)}"
                connections.append(connection)
        nodes.append(made)
    if draw(st.booleans()):
        nodes.append(node("t", "manual-trigger"))
        connections.append({"sourceNodeId": "t", "targetNodeId": "n0"})
    return {"nodes": nodes, "connections": connections}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
@given(shape=computing(), inputs=st.dictionaries(st.sampled_from(["a", "n"]), VALUES))
def test_a_program_brings_what_visits_record(shape: dict[str, Any], inputs: Json, both: BothOf) -> None:
    """Whatever the graph and the input: the same records, output and times, or a failure."""
    computed = both(shape).check(inputs)
    event("left to visits" if computed is None else "computed")


GREETING = graph(
    [
        node("t", "manual-trigger"),
        node("greet", "set-fields", fields={"text": "Hello, {{ trigger.name }}!"}),
        node("long", "condition", expression="$length(data.text) > 11"),
        node("cut", expression="$substring(data.text, 0, 10)"),
        node("end", "merge", mode="list"),
        node("lost"),
    ],
    "t -> greet -> long",
    "long:true -> cut -> end:a",
    "long:false -> end:b",
)


@pytest.mark.parametrize("name", ["Ada", "Augusta Ada King"])
def test_it_takes_either_way(both: BothOf, name: str) -> None:
    """Skipped nodes are recorded as skipped, and those that nothing leads to as well."""
    one = both(GREETING)
    computed = one.check({"name": name})
    assert computed is not None
    steps = {step.node_id: str(step.status) for step in recorded(one.program, computed)}
    short = name == "Ada"
    assert steps == dict.fromkeys(("t", "greet", "long", "end"), "succeeded") | {
        "cut": "skipped" if short else "succeeded",
        "lost": "skipped",
    }
    assert json.loads(computed.output or "") == ([{"text": "Hello, Ada!"}] if short else ["Hello, Aug"])


ALONE = {
    kind: graph([node("t", "manual-trigger"), {"id": "x", "nodeId": kind, "config": configs[-1]}], "t -> x")
    for kind, configs in CONFIGS.items()
    if kind != "fail"
}


@pytest.mark.parametrize("kind", ALONE)
def test_each_type_that_computes_has_its_part(both: BothOf, kind: str) -> None:
    """None is left to visits without need."""
    assert both(ALONE[kind]).check({"a": [3], "n": 2}) is not None


@pytest.mark.parametrize(
    "more",
    [
        node("x", "log", message="here"),  # done twice it would be written twice
        node("x", "http-request", method="GET", url="http://h"),
        node("x", "set-fields", fields={"token": "${TOKEN}"}),  # credentials are read elsewhere
        node("x", settings={"onError": "continue"}),
        node("x", settings={"retry": {"maxAttempts": 2}}),
        node("x", settings={"timeoutSeconds": 5}),
        node("x", "wait", seconds=1),
        node("x", "loop", items="data"),
        node("x", label=f"with a {slot('id')}"),
    ],
    ids=lambda more: f"{more['nodeId']} {json.dumps(more.get('settings', {}))}",
)
def test_what_does_more_is_no_program(more: dict[str, Any]) -> None:
    assert not is_program(plan_of(graph([node("t", "manual-trigger"), more], "t -> x")), CATALOG)


@pytest.mark.parametrize(
    "expression",
    [
        "$error('on purpose')",
        "data.n + 'x'",
        "$join([1..20000].$string())",  # more than a record holds
        "[1..7000]",  # a little less, but not beside what the others bring
    ],
)
def test_what_does_not_go_well_is_left_to_visits(both: BothOf, expression: str) -> None:
    shape = graph([node("t", "manual-trigger"), node("x", expression=expression)], "t -> x")
    assert both(shape).computed({"n": 1}) is None


class Ticking(FakeClock):
    """Goes on whenever it is looked at, and the processor with it."""

    step_s = 0.0
    processor_s = 0.0

    def now(self) -> datetime:
        self.advance(self.step_s)
        self.processor_s += self.step_s
        return super().now()


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


def on(clock: Ticking, one: Both) -> Program:
    return Program(one.plan, CATALOG, clock, lambda: clock.processor_s)


def outcomes(program: Program, clock: Ticking, number: int) -> set[bool]:
    """Whether there are any of so many runs."""
    inputs = Given({"name": "Ada"}, '{"name":"Ada"}')
    return {program.run(inputs, {"startedAt": ""}, clock.now()) is not None for _ in range(number)}


@pytest.mark.parametrize(("share", "brings"), [(1 / 3, False), (1 / 6, True)])
def test_what_takes_long_is_left_to_visits(both: BothOf, clock: Ticking, share: float, brings: bool) -> None:
    """A program that holds up the event loop ends, and rests, as does one that holds it up for half as long."""
    program = on(clock, both(GREETING))
    clock.step_s = share * LONGEST_S
    assert outcomes(program, clock, 2) == {brings}
    clock.step_s = 0
    assert outcomes(program, clock, RESTS) == {False}
    assert outcomes(program, clock, 2) == {True}


def test_one_that_took_long_by_chance_is_tried_again(both: BothOf, clock: Ticking) -> None:
    program = on(clock, both(GREETING))
    clock.step_s = LONGEST_S
    assert outcomes(program, clock, 1) == {False}
    clock.step_s = 0
    assert outcomes(program, clock, 3) == {True}


def test_what_others_have_of_the_processor_does_not_count(both: BothOf, clock: Ticking) -> None:
    program = Program(both(GREETING).plan, CATALOG, clock, lambda: 0)
    clock.step_s = LONGEST_S / 6
    assert outcomes(program, clock, 10) == {True}


def programs(one: Both, commits: Any = None) -> Programs:
    return Programs(one.program, DEPLOYED, "machine", commits, one.services._table.text, one.clock)


def test_its_item_is_that_of_a_run_recorded_whole(both: BothOf, clock: FakeClock) -> None:
    """Attribute for attribute: what the store would write of the same run, made by visits."""
    one = both(GREETING)
    inputs = {"name": 'A "quoted" % name ä'}
    run = programs(one).finished("exec_1", "api", inputs)
    assert run is not None
    execution, status, steps = one.by_visits(inputs)
    by_order = sorted(steps, key=lambda step: (step.node_id != "lost", step.order))
    end, _ = one.services.lifecycle.end_of(
        execution,
        RunSnapshot(execution, {(step.node_id, ""): step for step in by_order}),
        status,
        None,
        by_machine=False,
    )
    writes = whole(execution, by_order, end)
    assert writes is not None
    (write,) = writes
    assert json.loads(run.write.text or "") == one.services._table._encode(write.item or {})
    assert (run.write.key, run.write.condition, run.write.kind) == (write.key, write.condition, write.kind)
