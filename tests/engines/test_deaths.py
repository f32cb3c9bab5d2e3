"""Wherever a process dies, the run ends right, and each step has had its effect once.

``POINTS`` is the list of these places; ``docs/executions.md`` tells the same list. Each is a function that brings a run
through the death, or through what happens twice or late, and to its end. What a step does to the world is counted at a
server (``tests.effects``) that takes the idempotency key of ``http-request``: requests may be more, effects are not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import pytest

from chalicelib.bootstrap import Services, services
from chalicelib.cloud.http import GuardedHttpClient
from chalicelib.cloud.sdk import client
from chalicelib.compiler.asl.quotas import NODE_FUNCTION_LIMIT_S
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.engines.records import Recording
from chalicelib.engines.visit import NotReady
from chalicelib.foundation.settings import Settings
from chalicelib.graph.approvals import ApprovalStatus
from chalicelib.graph.deployments import Deployed
from chalicelib.graph.executions import StepStatus
from chalicelib.graph.model import Workflow
from chalicelib.nodes.registry import CATALOG
from chalicelib.services.deployed import Asked, DeployedRuns, Observer, Told
from chalicelib.services.in_process import LEASE
from chalicelib.services.lifecycle import FIRST_LOOK, STALE_AFTER
from chalicelib.store.table import Table
from tests.conftest import REGION, TABLE
from tests.docs.pages import page, sections
from tests.effects import Effects, MortalHttp, serving
from tests.fakes import AtOnce, Calls, CountingIds, FakeClock, Killed, World, graph, node, said, watched
from tests.runs import OWNER, Runs
from tests.virtual_time import Timeline

STALE = STALE_AFTER.total_seconds() + 1
NO_GATE: Any = tuple  #: orders of a walk in which `y` of `joined` is ready when it is visited, or waits at its gate
AT_GATE: Any = lambda parts: parts[::-1]  # noqa: E731


class Stage:
    """What a point needs: runs whose steps have effects that are counted, and who may die in them."""

    def __init__(
        self, runs: Runs, clock: FakeClock, world: World, timeline: Timeline, http: MortalHttp, effects: Effects
    ) -> None:
        self.runs = runs
        self.control = runs.services.control
        self.clock = clock
        self.world = world
        self.timeline = timeline
        self.http = http
        self._effects = effects
        self._clients = {"dynamodb": client("dynamodb", REGION), "stepfunctions": client("stepfunctions", REGION)}
        self._started = 0

    def call(self, name: str, **settings: Any) -> dict[str, Any]:
        """A node with an effect of this name."""
        url = f"{self._effects.url}/{{{{ trigger.run }}}}/{name}"
        return node(name, "http-request", method="POST", url=url, idempotencyKey=True, settings=settings)

    def chain(self, *names: str) -> dict[str, Any]:
        return graph([self.call(name) for name in names], *([" -> ".join(names)] if len(names) > 1 else []))

    @property
    def joined(self) -> dict[str, Any]:
        """``y`` stands under ``b`` and waits for ``a`` at a gate."""
        return graph([self.call(name) for name in "abxy"], "a -> x", "a -> y", "b -> y")

    def inputs(self) -> dict[str, Any]:
        """For a run whose effects are counted by themselves."""
        self._started += 1
        return {"run": f"run{self._started}"}

    def start(self, shape: Mapping[str, Any]) -> str:
        return self.runs.start(shape, self.inputs())

    @contextmanager
    def death(
        self, operation: str, moment: str = "before", number: int = 1, service: str = "dynamodb"
    ) -> Iterator[None]:
        """Whoever makes this call, for the so-manieth time from here on, dies before or after it has taken effect."""
        with watched(self._clients[service]) as calls:

            def die(_: int) -> None:
                if calls.operations[-1] == operation and calls.operations.count(operation) == number:
                    raise Killed

            setattr(calls, moment, die)
            with suppress(Killed):
                yield
        assert calls.operations.count(operation) >= number, "nobody died"

    @contextmanager
    def watched(self) -> Iterator[Calls]:
        with watched(self._clients["dynamodb"]) as calls:
            yield calls

    def known(self) -> list[str]:
        """Ids of all recorded runs, the newest first."""
        return [run.id for run in self.runs.services.executions.list(OWNER, None, None, 100, 0).executions]

    def read_later(self, execution_id: str, seconds: float = STALE) -> None:
        """Somebody reads a run of which nothing was heard for a while."""
        self.clock.advance(seconds)
        self.runs.detail(execution_id)

    def upkeep(self) -> None:
        self.clock.advance(FIRST_LOOK.total_seconds() + 1)
        assert not [failure for report in self.runs.services.upkeep.run() for failure in report.failures]

    def end(self, execution_id: str, **options: Any) -> None:
        """Step Functions brings a run to its end, and tells of it."""
        self.runs.walk(execution_id, **options)
        self.runs.tell_end(execution_id)

    def check(self, execution_id: str, *more: str, but: tuple[str, ...] = (), status: str = "succeeded") -> None:
        """The run has ended right, and each call in its graph had its effect once; so had ``more`` besides.

        What is among ``more`` and in the graph was done twice, on purpose; what is among ``but`` was not.
        """
        detail = self.runs.detail(execution_id)
        assert detail.execution.status == status
        if status == "succeeded":
            assert {step.status for step in detail.steps} == {StepStatus.SUCCEEDED}
        inputs: Any = self.runs.services.payloads.get(detail.execution.trigger.payload)
        plan = self.runs.services._plans.get(detail.execution.plan)
        calls = Counter(node.id for node in plan.nodes.values() if node.type == "http-request")
        assert self._effects.below(inputs["run"]) == calls + Counter(more) - Counter(but)


Play: TypeAlias = Callable[[Stage], None]
POINTS: dict[str, Play] = {}


def point(name: str) -> Callable[[Play], Play]:
    def add(play: Play) -> Play:
        assert name not in POINTS
        POINTS[name] = play
        return play

    return add


# -------------------------------------------------------------------------------------------------------------- a start


def request(stage: Stage, workflow: Workflow, inputs: Any) -> str:
    """A start that the client may repeat."""
    return stage.runs.services.executions.start(OWNER, workflow, inputs=inputs, idempotency_key="once")


@point("the API, before a run is recorded")
def _(stage: Stage) -> None:
    workflow, inputs = stage.runs.workflow(stage.chain("a", "b")), stage.inputs()
    with stage.death("TransactWriteItems"):
        request(stage, workflow, inputs)
    assert (stage.known(), stage.runs.step_functions.executions()) == ([], {})
    execution_id = request(stage, workflow, inputs)
    stage.end(execution_id)
    stage.check(execution_id)


@point("the API, after a run is recorded and before it is started")
def _(stage: Stage) -> None:
    calls = [("StartExecution", "before"), ("CreateStateMachine", "before"), ("CreateStateMachine", "after")]
    for number, (operation, moment) in enumerate(calls):
        with stage.death(operation, moment, service="stepfunctions"):
            stage.start(stage.chain(f"a{number}", "b"))  # a state machine of its own
        execution_id = stage.known()[0]
        assert execution_id not in stage.runs.step_functions.executions()
        stage.runs.detail(execution_id)
        assert execution_id not in stage.runs.step_functions.executions(), "too early: the starter may live"
        stage.read_later(execution_id)
        stage.end(execution_id)
        stage.check(execution_id)


@point("the API, after a run is started and before that is noted")
def _(stage: Stage) -> None:
    with stage.death("StartExecution", "after", 2, service="stepfunctions"):  # the first finds no state machine
        stage.start(stage.chain("a", "b"))
    (execution_id,) = stage.known()
    stage.read_later(execution_id)
    assert [*stage.runs.step_functions.executions()] == [execution_id]
    stage.end(execution_id)
    stage.check(execution_id)


# ------------------------------------------------------------------------------------------------------ the node runner


@point("the node runner, before an attempt is noted")
def _(stage: Stage) -> None:
    for operation in ("BatchGetItem", "UpdateItem"):
        execution_id = stage.start(stage.chain("a", "b"))
        with stage.death(operation):
            stage.runs.walk(execution_id)
        stage.runs.tell_end(execution_id)
        stage.check(execution_id)


@point("the node runner, in the middle of a node")
def _(stage: Stage) -> None:
    for moment in ("before", "after"):
        execution_id = stage.start(stage.chain("a", "b"))
        stage.http.deaths = [moment]
        stage.end(execution_id)
        stage.check(execution_id)
        assert [len(step.attempts) for step in stage.runs.detail(execution_id).steps] == [2, 1]


@point("the node runner, before an outcome is written")
def _(stage: Stage) -> None:
    execution_id = stage.start(stage.joined)
    with stage.death("PutItem"):
        stage.runs.walk(execution_id)
    stage.runs.tell_end(execution_id)
    stage.check(execution_id)


@point("the node runner, after an outcome is written and before late joins are told")
def _(stage: Stage) -> None:
    for order in (NO_GATE, AT_GATE):
        execution_id = stage.start(stage.joined)
        with stage.death("PutItem", "after", 1 if order is NO_GATE else 2):  # the outcome of `a`
            stage.runs.walk(execution_id, order=order)
        stage.runs.tell_end(execution_id)
        stage.check(execution_id)


@point("the node runner, after a join is told and before who waits there is woken")
def _(stage: Stage) -> None:
    for moment in ("before", "after"):
        execution_id = stage.start(stage.joined)
        with stage.death("SendTaskSuccess", moment, service="stepfunctions"):
            stage.runs.walk(execution_id, order=AT_GATE)
        stage.runs.tell_end(execution_id)
        stage.check(execution_id)


@point("the node runner, while a node waits that is not ready")
def _(stage: Stage) -> None:
    for moment in ("before", "after"):
        execution_id = stage.start(stage.joined)
        with stage.death("BatchGetItem", moment, 4):  # `b`, `y`, and what that waits for: twice
            stage.runs.walk(execution_id, order=AT_GATE)
        stage.runs.tell_end(execution_id)
        stage.check(execution_id)


@point("the node runner, after it has found a node not ready and before that goes to its gate")
def _(stage: Stage) -> None:
    execution_id = stage.start(stage.joined)
    died: list[str] = []

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        try:
            return stage.runs.invoke(event)
        except NotReady:
            if died:
                raise
            died.append(event["node"])
            raise Killed from None

    stage.end(execution_id, invoke=invoke, order=AT_GATE)
    assert died == ["y"]
    stage.check(execution_id)


@point("the node runner, at a node that comes back from its gate")
def _(stage: Stage) -> None:
    for moment in ("before", "after"):
        execution_id = stage.start(stage.joined)
        died: list[str] = []

        def invoke(event: dict[str, Any], moment: str = moment, died: list[str] = died) -> dict[str, Any]:
            dies = event.get("late") and not died
            answer = {} if dies and moment == "before" else stage.runs.invoke(event)
            if dies:
                died.append(event["node"])
                raise Killed
            return answer

        stage.end(execution_id, invoke=invoke, order=AT_GATE)
        assert died == ["y"]
        stage.check(execution_id)


@point("the node runner, before it answers")
def _(stage: Stage) -> None:
    execution_id = stage.start(stage.joined)
    died = set()

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        answer = stage.runs.invoke(event)
        if event["node"] not in died:
            died.add(event["node"])
            raise Killed
        return answer

    stage.end(execution_id, invoke=invoke)
    assert died == {*"abxy"}
    stage.check(execution_id)
    assert [len(step.attempts) for step in stage.runs.detail(execution_id).steps] == [1] * 4


@point("the node runner, between two nodes of a chain")
def _(stage: Stage) -> None:
    nodes = [*(node(name, "log", message=name) for name in "pqr"), stage.call("z")]
    # After a second a chain writes what it has; what was not written runs again, and only computes.
    for seconds, said_by in [(0, "ppqr"), (2, "pqr")]:
        stage.world.log.messages.clear()
        deaths = ["q"]

        def write(message: str, seconds: int = seconds, deaths: list[str] = deaths) -> None:
            stage.clock.advance(seconds)
            if message in deaths:
                deaths.remove(message)
                raise Killed

        stage.world.log.on_write = write
        execution_id = stage.start(graph(nodes, "p -> q -> r -> z"))
        stage.end(execution_id)
        stage.check(execution_id)
        assert "".join(stage.world.log.messages) == said_by


@point("the node runner, between turns of an agent")
def _(stage: Stage) -> None:
    for operation, number in [("PutItem", 1), ("PutItem", 2), ("PutItem", 3), ("PutItem", 4)]:
        execution_id = stage.start(agent(stage))
        with stage.death(operation, "after", number):
            stage.runs.walk(execution_id)
        stage.runs.tell_end(execution_id)
        stage.check(execution_id, "tool", "tool")


@point("the node runner, while a tool of an agent is at work")
def _(stage: Stage) -> None:
    for moment in ("before", "after"):
        execution_id = stage.start(agent(stage))
        stage.http.deaths = [moment]
        stage.end(execution_id)
        stage.check(execution_id, "tool", "tool")


def agent(stage: Stage) -> dict[str, Any]:
    """One that uses its tool once in each of two turns."""

    def reply(asked: Mapping[str, Any]) -> Mapping[str, Any]:
        return said("Done.") if len(asked["messages"]) == 5 else said("Next.", ("tool", {}))

    stage.world.bedrock.reply = reply
    nodes = [node("t", "manual-trigger"), node("a", "agent", goal="Go."), node("m", "bedrock-model", modelId="m")]
    return graph([*nodes, stage.call("tool")], "t -> a", "m -> a:ai", "tool -> a:tools")


@point("the node runner, after it has started another run and before that is noted")
def _(stage: Stage) -> None:
    known: set[str] = set()
    for child, wait in [("child", True), ("other", False)]:
        execution_id = stage.start(calling(stage, child, wait))
        with stage.death("StartExecution", "after", 2, service="stepfunctions"):  # the first finds no state machine
            stage.runs.walk(execution_id)
        stage.runs.tell_end(execution_id)
        started = [run for run in stage.known() if run not in known | {execution_id}]
        assert len(started) == 1
        known |= {execution_id, *started}
        if not wait:
            stage.end(started[0])
        stage.check(execution_id, child)


def calling(stage: Stage, child: str, wait: bool = True) -> dict[str, Any]:
    """Of a run that calls another, whose effects count as its own."""
    called = stage.runs.workflow(stage.chain(child))
    return graph([node("s", "sub-workflow", workflowId=called.id, wait=wait), stage.call("z")], "s -> z")


# ---------------------------------------------------------------------------------------------------- those who wake it


@point("who approves, delivers an event or ends a run that another waits for, before the run that waits is woken")
def _(stage: Stage) -> None:
    nodes = [stage.call("a"), node("ask", "approval"), node("e", "wait-for-event", eventType="e"), stage.call("z")]
    execution_id = stage.start(graph(nodes, "a -> ask", "ask:approved -> e -> z"))
    approvals, events = stage.runs.services.approvals, stage.runs.services.events

    def approve() -> None:
        asked = approvals.find(OWNER, str(stage.runs.steps(execution_id)["ask"].approval))
        approvals.decide(OWNER, asked, ApprovalStatus.APPROVED, None)

    def deliver() -> None:
        events.deliver(OWNER.organization_id, "e", None)

    def dies(tell: Callable[[], None]) -> Callable[[], None]:
        def die() -> None:
            with stage.death("SendTaskSuccess", service="stepfunctions"):
                tell()

        return die

    # The approval is told again, the event is found by a read.
    acts: Iterator[Callable[[], None]] = iter(
        [dies(approve), approve, dies(deliver), partial(stage.read_later, execution_id)]
    )

    def idle() -> bool:
        next(acts)()
        return True

    stage.end(execution_id, idle=idle)
    stage.check(execution_id)


@point("whoever ends a run, before those who have to hear of it have")
def _(stage: Stage) -> None:
    execution_id = stage.start(calling(stage, "child"))

    def end_child() -> bool:
        child = str(stage.runs.steps(execution_id)["s"].child)
        stage.runs.step_functions.run(child, stage.runs.invoke)
        with stage.death("UpdateItem", "after"):  # its end is recorded
            stage.runs.tell_end(child)
        assert stage.runs.services._executions.get(OWNER.organization_id, child).status.is_final  # type: ignore[union-attr]
        stage.read_later(child, 0)
        return True

    stage.runs.step_functions.run(execution_id, stage.runs.invoke, idle=end_child)
    stage.runs.tell_end(execution_id)
    stage.check(execution_id, "child")


# --------------------------------------------------------------------------------------------------------- end of a run


@point("the event that a run has ended never comes")
def _(stage: Stage) -> None:
    for notice in (stage.read_later, lambda _: stage.upkeep()):
        execution_id = stage.start(stage.chain("a", "b"))
        stage.runs.walk(execution_id)
        assert stage.runs.is_under_way(execution_id)
        notice(execution_id)
        stage.check(execution_id)


@point("the event comes twice, or late")
def _(stage: Stage) -> None:
    execution_id = stage.start(stage.chain("a", "b"))
    stage.end(execution_id)
    first = stage.runs.detail(execution_id)
    stage.clock.advance(3600)
    stage.runs.tell_end(execution_id)
    assert stage.runs.detail(execution_id) == first
    stage.check(execution_id)


@point("upkeep, in the middle of anything")
def _(stage: Stage) -> None:
    with stage.death("StartExecution", service="stepfunctions"):
        stage.start(stage.chain("a", "b"))
    (execution_id,) = stage.known()
    with stage.death("CreateStateMachine", "after", service="stepfunctions"):
        stage.upkeep()
    stage.upkeep()
    stage.end(execution_id)
    stage.check(execution_id)


@point("a cancelled run's node ends")
def _(stage: Stage) -> None:
    execution_id = stage.start(stage.chain("a", "b"))
    with stage.watched() as calls:

        def meanwhile(_: int) -> None:
            if once(calls, calls.operations[-1] == "PutItem"):
                stage.control.cancel(OWNER, execution_id)

        calls.before = meanwhile
        stage.end(execution_id)
    stage.check(execution_id, but=("b",), status="cancelled")
    (step,) = stage.runs.detail(execution_id).steps
    assert (step.status, step.is_cut_off) == (StepStatus.CANCELLED, False)


def once(calls: Calls, now: bool) -> bool:
    """Whether it is time; then it is not again."""
    if now:
        calls.before = lambda _: None
    return now


# ----------------------------------------------------------------------------------------------------- its next rounds


@point("the API, after a run was ended and before its steps are closed")
def _(stage: Stage) -> None:
    execution_id = stage.start(stage.chain("a", "b"))
    stage.http.deaths = ["after"]
    with suppress(Killed):
        stage.runs.visit(execution_id, "a")
    with stage.death("TransactWriteItems", "after"):
        stage.control.cancel(OWNER, execution_id)
    stage.check(execution_id, but=("b",), status="cancelled")
    assert [step.status for step in stage.runs.detail(execution_id).steps] == [StepStatus.CANCELLED]


@point("the API, before a run that was recorded whole is marked as taken up again")
def _(stage: Stage) -> None:
    # The first call finds the steps in the execution, the second one makes items of them, the third one takes it up.
    for moment, number in (("before", 1), ("before", 2), ("after", 2), ("before", 3)):
        pod, asked = triggered(stage, ONLY_COMPUTES)
        execution_id = asked_of(stage, pod, asked).execution_id
        before = stage.runs.detail(execution_id)
        with stage.death("TransactWriteItems", moment, number):
            stage.control.restart(OWNER, execution_id, "q")
        assert stage.runs.detail(execution_id) == before
        stage.control.restart(OWNER, execution_id, "q")
        stage.end(execution_id)
        stage.check(execution_id)
        assert stage.runs.detail(execution_id).execution.round == 2


@point("the API, after a run was marked as taken up again and before its records are set aside, or half way")
def _(stage: Stage) -> None:
    for number in (1, 2):
        execution_id = stage.start(stage.chain("a", "b"))
        stage.end(execution_id)
        with stage.death("TransactWriteItems", "after", number):
            stage.control.restart(OWNER, execution_id, "b")
        stage.read_later(execution_id)
        stage.end(execution_id)
        stage.check(execution_id, "b")
        assert stage.runs.detail(execution_id).execution.round == 2


@point("a node of an earlier round begins or ends")
def _(stage: Stage) -> None:
    execution_id = stage.start(stage.chain("a", "b"))
    with stage.watched() as calls:

        def meanwhile(_: int) -> None:
            if once(calls, calls.operations[-1] == "PutItem"):
                stage.control.pause(OWNER, execution_id)
                stage.control.resume(OWNER, execution_id)

        calls.before = meanwhile
        stage.runs.visit(execution_id, "a")
    stage.runs.step_functions.run(execution_id, stage.runs.invoke)  # the first round, were it not stopped
    assert "taken up again" in stage.runs.step_functions.executions()[execution_id].cause
    stage.end(execution_id)
    stage.check(execution_id)


@point("the node runner, in the middle of a node, and the run is paused")
def _(stage: Stage) -> None:
    execution_id = stage.start(stage.chain("a", "b"))
    stage.http.deaths = ["after"]
    with suppress(Killed):
        stage.runs.visit(execution_id, "a")
    stage.control.pause(OWNER, execution_id)
    stage.control.resume(OWNER, execution_id)
    stage.clock.advance(NODE_FUNCTION_LIMIT_S)
    stage.end(execution_id)
    stage.check(execution_id)


# ------------------------------------------------------------------------------------------------ the engine in process


def taken_over(stage: Stage, recording: Recording) -> None:
    """A process dies before any call to the store or after any request, and Step Functions takes its run up, when its
    lease is over.
    """
    for number in range(1, 3):
        ended = in_process(stage, recording, requests=["", "after"][-number:])
        assert not ended
    calls = 0
    while not in_process(stage, recording, fatal=calls + 1):
        calls += 1
    assert calls >= (9 if recording is Recording.STEP else 3)


def in_process(stage: Stage, recording: Recording, fatal: int | None = None, requests: Sequence[str] = ()) -> bool:
    """A run that is begun in process, and comes to its end one way or the other. False where the process died."""
    workflow = stage.runs.workflow(graph([stage.call("a"), node("p"), stage.call("b")], "a -> p -> b"))
    execution_id = stage.runs.services.executions.start(OWNER, workflow, inputs=stage.inputs(), launch=False)
    stage.http.deaths = [*requests]

    def die(number: int) -> None:
        if fatal is not None and number >= fatal:  # whatever threads are left die with it
            raise Killed

    with stage.watched() as calls:
        calls.before = die
        ended = False
        with suppress(Killed):
            run = stage.runs.services.in_process.run(OWNER.organization_id, execution_id, recording)
            ended = stage.timeline.run(run)
    if not ended:
        stage.runs.detail(execution_id)
        assert execution_id not in stage.runs.step_functions.executions(), "its lease is not over"
        stage.read_later(execution_id, LEASE.total_seconds() + STALE)
        if stage.runs.is_under_way(execution_id):
            stage.end(execution_id)
    stage.check(execution_id)
    return ended


@point("a process that runs a run itself and records each step, at any moment")
def _(stage: Stage) -> None:
    taken_over(stage, Recording.STEP)


@point("a process that runs a run itself and records all at its end, at any moment")
def _(stage: Stage) -> None:
    taken_over(stage, Recording.RUN)


# -------------------------------------------------------------------------------------------------------------- the pod


def triggered(stage: Stage, shape: Mapping[str, Any]) -> tuple[DeployedRuns, Asked]:
    """A pod that serves a graph, and what is asked of it; the caller chooses the id of the run."""
    workflow = stage.runs.workflow(shape)
    plan = compile_plan(workflow.graph, CATALOG)
    stage.runs.services._plans.put(plan)
    deployed = Deployed(OWNER.organization_id, workflow.id, OWNER.user_id, 1, 1, plan.hash)
    pod = stage.runs.services.deployed_runs(deployed, at_once=10, observer=Observer())
    return pod, Asked(stage.inputs(), sync=True, execution_id=f"exec_{workflow.id}")


def asked_of(stage: Stage, pod: DeployedRuns, asked: Asked) -> Told:
    return stage.timeline.run(pod.trigger(asked))


def another_pod(stage: Stage, shape: Mapping[str, Any], operation: str, moment: str, number: int = 1) -> str:
    """A pod dies at a call to DynamoDB; what is asked again, with the same id, is answered. The id."""
    pod, asked = triggered(stage, shape)
    with stage.death(operation, moment, number):
        asked_of(stage, pod, asked)
    told = asked_of(stage, triggered_again(stage, pod), asked)
    assert told.status is not None
    assert told.execution_id == asked.execution_id
    return told.execution_id


def triggered_again(stage: Stage, pod: DeployedRuns) -> DeployedRuns:
    """Another pod of the same deployment."""
    return stage.runs.services.deployed_runs(pod._deployed, at_once=10, observer=Observer())


ONLY_COMPUTES = graph([node("t", "manual-trigger"), node("p"), node("q")], "t -> p -> q")


@point("a pod, before a run is recorded")
def _(stage: Stage) -> None:
    pod, asked = triggered(stage, ONLY_COMPUTES)
    with stage.death("PutItem"):  # which would have recorded all of it
        asked_of(stage, pod, asked)
    assert stage.known() == []
    assert asked_of(stage, triggered_again(stage, pod), asked).status == "succeeded"
    stage.check(str(asked.execution_id))
    pod, asked = triggered(stage, stage.chain("a", "b"))
    with stage.death("PutItem"):
        asked_of(stage, pod, asked)
    assert asked.execution_id not in stage.known()
    assert asked_of(stage, triggered_again(stage, pod), asked).status == "succeeded"
    stage.check(str(asked.execution_id))


def left_alone(stage: Stage, execution_id: str) -> None:
    """Nobody asks again: upkeep notices that the lease is over, within two minutes."""
    for _ in range(2):
        assert stage.runs.is_under_way(execution_id)
        stage.upkeep()
    assert execution_id in stage.runs.step_functions.executions()
    stage.end(execution_id)
    stage.check(execution_id)


@point("a pod, after a run is recorded and before its first node")
def _(stage: Stage) -> None:
    pod, asked = triggered(stage, stage.chain("a", "b"))
    with stage.death("PutItem", "after"):
        asked_of(stage, pod, asked)
    assert str(stage.runs.detail(str(asked.execution_id)).execution.status) == "running"
    left_alone(stage, str(asked.execution_id))


@point("a pod, in the middle of a run")
def _(stage: Stage) -> None:
    for moment in ("before", "after"):
        pod, asked = triggered(stage, stage.chain("a", "b"))
        stage.http.deaths = [moment]
        with suppress(Killed):
            asked_of(stage, pod, asked)
        left_alone(stage, str(asked.execution_id))


@point("a pod, before the end of a run is recorded")
def _(stage: Stage) -> None:
    pod, asked = triggered(stage, stage.chain("a", "b"))
    with stage.death("TransactWriteItems"):
        asked_of(stage, pod, asked)
    left_alone(stage, str(asked.execution_id))


@point("a pod, after the end of a run is recorded and before it answers")
def _(stage: Stage) -> None:
    for shape, operation in ((ONLY_COMPUTES, "PutItem"), (stage.chain("a", "b"), "TransactWriteItems")):
        execution_id = another_pod(stage, shape, operation, "after")
        assert not stage.runs.is_under_way(execution_id)
        stage.check(execution_id)


@point("a pod, while it hands a run over")
def _(stage: Stage) -> None:
    shape = graph([stage.call("a"), node("w", "wait", seconds=600), stage.call("b")], "a -> w -> b")
    for moment in ("before", "after"):  # of giving up the lease
        pod, asked = triggered(stage, shape)
        with stage.watched() as calls:

            def die(_: int, calls: Calls = calls) -> None:
                if calls.made[-1][1].get("UpdateExpression") == "REMOVE leasedBy, leasedUntil":
                    raise Killed

            setattr(calls, moment, die)
            assert asked_of(stage, pod, asked).status == "running"
        assert "REMOVE leasedBy, leasedUntil" in [params.get("UpdateExpression") for _, params in calls.made]
        assert asked.execution_id not in stage.runs.step_functions.executions()
        left_alone(stage, str(asked.execution_id))
    pod, asked = triggered(stage, shape)
    with stage.death("StartExecution", service="stepfunctions"):
        assert asked_of(stage, pod, asked).status == "running"
    left_alone(stage, str(asked.execution_id))


# ------------------------------------------------------------------------------------------------------------ the tests


@pytest.fixture
def http() -> MortalHttp:
    return MortalHttp(GuardedHttpClient(allow_loopback=True))


@pytest.fixture
def app_services(settings: Settings, clock: FakeClock, world: World, timeline: Timeline, http: MortalHttp) -> Services:
    """Wired as in a Lambda, but that HTTP may be the death of who uses it."""
    capabilities = replace(world.capabilities, http=http)
    return services(
        settings, clock=clock, ids=CountingIds(), capabilities=capabilities, pool=timeline.threads,
        commits=AtOnce(Table(client("dynamodb", REGION), TABLE)),
    )  # fmt: skip


@pytest.fixture
def stage(runs: Runs, clock: FakeClock, world: World, timeline: Timeline, http: MortalHttp) -> Iterator[Stage]:
    with serving() as effects:
        yield Stage(runs, clock, world, timeline, http, effects)


@pytest.mark.parametrize("name", POINTS)
def test_every_step_has_its_effect_once(stage: Stage, name: str) -> None:
    """Whoever dies there, or whatever happens twice: the run ends right, and no step is lost or done twice."""
    POINTS[name](stage)


def test_the_page_tells_the_same_points() -> None:
    """What ``docs/executions.md`` says of deaths is what is tried here, and all of it."""
    told = sections(page("executions.md"), 2)["What happens when something dies"]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", told, re.M)
    assert [row for row in rows if not row.startswith("---")][1:] == list(POINTS)
