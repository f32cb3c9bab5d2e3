"""Runs the state machines that moto only keeps: walks a definition, state by state, as Step Functions reads it.

It knows what ``stepfn_templates/`` use and nothing more: Task with Retry and Catch, Choice, Wait, Map, Parallel and
Succeed, in JSONata. What Step Functions runs at once takes turns here: one branch runs until it waits at a gate, then
the next. Waits and retry delays pass on a clock that is moved by hand, where one is given; the time-out of a gate comes
when nothing else is left to happen. A ``Killed`` in a Task is what Lambda calls ``Runtime.ExitError``; a ``Hung`` one
lasts until it is cut off.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

from jsonata import Jsonata
from moto.stepfunctions.models import stepfunctions_backends

from chalicelib.cloud.sdk import client
from chalicelib.compiler.asl.emit import Definition
from chalicelib.foundation.clock import parse_timestamp
from tests.fakes import FakeClock, Hung, Killed

Invoke = Callable[[dict[str, Any]], dict[str, Any]]

EVENTS = Path(__file__).parent / "events"
_MAX_VISITS = 10_000  # of states, in one run
_CALLBACK = ".waitForTaskToken"
_EXECUTION = ".sync:2"
_OPEN = "DynamoDb.ConditionalCheckFailedException"

#: A part of a machine under way. It yields while it waits, and returns the value that goes on and, of a state, where.
Part = Generator[None, None, Any]


class StateFailed(Exception):
    def __init__(self, error: str, cause: str) -> None:
        self.error, self.cause = error, cause
        super().__init__(f"{error}: {cause}")


class MachineTimedOut(Exception):
    """The time of the whole execution is up."""


class Tokens:
    """Task tokens, and what was answered to them."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._answers: dict[str, Any] = {}

    def new(self) -> str:
        return f"token-{next(self._numbers)}"

    def succeed(self, token: str, output: str) -> None:
        self._answers.setdefault(token, json.loads(output))

    def fail(self, token: str, error: str | None = None, cause: str = "") -> None:
        self._answers.setdefault(token, StateFailed(error or "", cause))

    def is_answered(self, token: str) -> bool:
        return token in self._answers

    def result(self, token: str) -> Any:
        """Raises ``StateFailed`` where that was the answer."""
        answer = self._answers[token]
        if isinstance(answer, StateFailed):
            raise answer
        return answer


def update_item(request: dict[str, Any]) -> bool:
    """What a gate asks of DynamoDB. False where its condition does not hold."""
    dynamodb = client("dynamodb", "us-east-1")
    try:
        dynamodb.update_item(**request)
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def always_open(request: dict[str, Any]) -> bool:
    """For walks that ask no DynamoDB: nothing waits at any gate."""
    return False


@dataclass
class Walk:
    """One execution of a state machine, and those that it has of others.

    ``children`` finds their definitions, by ARN; ``invoke`` is the Lambda behind every Task; ``update`` is DynamoDB's
    ``UpdateItem``; ``order`` says in which order branches and items begin that Step Functions runs at once. When all
    that is left waits, ``idle`` may let something happen from outside, and says whether it did.
    """

    definition: Mapping[str, Any]
    invoke: Invoke
    order: Callable[[Sequence[Any]], Sequence[Any]] = tuple
    update: Callable[[dict[str, Any]], bool] = always_open
    tokens: Tokens = field(default_factory=Tokens)
    idle: Callable[[], bool] = lambda: False
    children: Callable[[str], Mapping[str, Any]] = lambda arn: {}
    arn: str = "arn:aws:states:::stateMachine:root"
    clock: FakeClock | None = None
    elapsed_s: float = 0
    visited: list[str] = field(default_factory=list)  #: names of states, in the order in which they were entered
    started: list[str] = field(default_factory=list)  #: names of executions of other state machines
    events: Counter[str] = field(default_factory=Counter)  #: in the history of each execution, by name
    retries: int = 0  #: Tasks that were tried again
    waits: int = 0  #: how often a gate was not open yet
    _ended: int = 0  # branches and items
    _limits: dict[str, float] = field(default_factory=dict)  # of waits at gates, by token: at which ``elapsed_s``

    @property
    def transitions(self) -> int:
        """What Step Functions counts of it: states that were entered, tries again, and starts of executions."""
        return len(self.visited) + self.retries + len(self.started) + 1

    @classmethod
    def of(cls, definition: Definition, invoke: Invoke, **options: Any) -> Self:
        """One that is not kept anywhere, as the compiler makes it."""
        children = {name: json.loads(text) for name, text in definition.children.items()}
        return cls(
            json.loads(definition.text), invoke, children=lambda arn: children[arn.rpartition(":")[2]], **options
        )

    def run(self, value: Any) -> Any:
        """Raises ``StateFailed`` and ``MachineTimedOut``."""
        machine = self._execution(self.definition, self.arn, "", value)
        while True:
            try:
                next(machine)
            except StopIteration as end:
                return end.value
            assert self.idle() or self._time_out(), "all that is left waits at gates: a wake-up was lost"

    def _time_out(self) -> bool:
        """Ends the wait that is the first to time out; False where none ever does."""
        limits = {token: limit for token, limit in self._limits.items() if not self.tokens.is_answered(token)}
        if not limits:
            return False
        first = min(limits, key=limits.__getitem__)
        self._elapse(limits[first] - self.elapsed_s)
        self.tokens.fail(first, "States.Timeout")
        return True

    def _execution(self, machine: Mapping[str, Any], arn: str, name: str, value: Any) -> Part:
        self.events[name] += 2  # ExecutionStarted, ExecutionSucceeded
        context = {"Execution": {"Input": value, "Name": name}, "StateMachine": {"Id": arn}}
        return self._machine(machine, value, context)

    def _machine(self, machine: Mapping[str, Any], value: Any, context: dict[str, Any]) -> Part:
        name: str | None = machine["StartAt"]
        while name is not None:
            self.visited.append(name)
            assert len(self.visited) < _MAX_VISITS, "the state machine runs in circles"
            self.events[context["Execution"]["Name"]] += _events(machine["States"][name])
            value, name = yield from self._state(machine["States"][name], value, context)
        return value

    def _side_by_side(self, parts: Iterable[Part]) -> Generator[None]:
        """Each goes on until it waits. Waits itself when none of them got any further."""
        under_way = list(parts)
        while True:
            before = len(self.visited), self._ended
            under_way = [part for part in under_way if self._goes_on(part)]
            if not under_way:
                return
            if (len(self.visited), self._ended) == before:
                yield

    def _goes_on(self, part: Part) -> bool:
        try:
            next(part)
        except StopIteration:
            self._ended += 1
            return False
        return True

    def _state(self, state: Mapping[str, Any], value: Any, context: dict[str, Any]) -> Part:
        following = state.get("Next")
        match state["Type"]:
            case "Succeed":
                return value, None
            case "Wait":
                until = parse_timestamp(_evaluated(state["Timestamp"], value, context))
                if self.clock is not None:
                    self._elapse((until - self.clock.now()).total_seconds())
                return value, following
            case "Choice":
                rules = (rule for rule in state["Choices"] if _evaluated(rule["Condition"], value, context) is True)
                rule = next(rules, None)
                return value, rule["Next"] if rule else state["Default"]
            case "Parallel":
                yield from self._side_by_side(
                    self._machine(branch, value, context) for branch in self.order(state["Branches"])
                )
                return _evaluated(state["Output"], value, context), following
            case "Map":
                return (yield from self._map(state, value, context))
            case "Task":
                return (yield from self._task(state, value, context))
        raise AssertionError(f"no state of ours is a {state['Type']}")

    def _map(self, state: Mapping[str, Any], value: Any, context: dict[str, Any]) -> Part:
        items = list(enumerate(_evaluated(state["Items"], value, context)))
        try:
            yield from self._side_by_side(
                self._item(state, value, context, index, item) for index, item in self.order(items)
            )
        except StateFailed as failure:
            return _caught(state, failure, value, context)
        return _evaluated(state["Output"], value, context), state.get("Next")

    def _item(self, state: Mapping[str, Any], value: Any, context: dict[str, Any], index: int, item: Any) -> Part:
        inner = {**context, "Map": {"Item": {"Index": index, "Value": item}}}
        self.events[context["Execution"]["Name"]] += 2  # MapIterationStarted, MapIterationSucceeded
        return (
            yield from self._machine(state["ItemProcessor"], _evaluated(state["ItemSelector"], value, inner), inner)
        )

    def _task(self, state: Mapping[str, Any], value: Any, context: dict[str, Any]) -> Part:
        tried: Counter[int] = Counter()
        calls = {_CALLBACK: self._wait, _EXECUTION: self._child}
        call = next((call for ending, call in calls.items() if state["Resource"].endswith(ending)), self._call)
        while True:
            try:
                result = yield from call(state, value, context)
                output = _evaluated(state["Output"], value, context, result=result) if "Output" in state else result
                return output, state.get("Next")
            except MachineTimedOut:
                raise
            except (Exception, Killed, Hung) as failure:
                if isinstance(failure, Hung):
                    self._elapse(state.get("TimeoutSeconds", math.inf))
                error = _name_of(failure)
                rule = _matching(state.get("Retry", ()), error)
                if rule is not None and tried[rule] < state["Retry"][rule].get("MaxAttempts", 3):
                    self._elapse(_delay(state["Retry"][rule], tried[rule]))
                    tried[rule] += 1
                    self.retries += 1
                    continue
                return _caught(state, StateFailed(error, str(failure)), value, context)

    def _call(self, state: Mapping[str, Any], value: Any, context: dict[str, Any]) -> Part:
        # What Lambda is given and gives back is JSON.
        event = json.loads(json.dumps(_evaluated(state["Arguments"], value, context)))
        return json.loads(json.dumps(self.invoke(event)))
        yield

    def _child(self, state: Mapping[str, Any], value: Any, context: dict[str, Any]) -> Part:
        """An execution of another state machine, to its end."""
        arguments = json.loads(json.dumps(_evaluated(state["Arguments"], value, context)))
        arn, name = arguments["StateMachineArn"], arguments["Name"]
        assert re.fullmatch(r"part-[\w-]{1,75}", name)
        assert name not in self.started, "a name of an execution is taken for 90 days"
        self.started.append(name)
        try:
            output = yield from self._execution(self.children(arn), arn, name, arguments["Input"])
        except StateFailed as failure:
            cause = {"ExecutionArn": name, "Error": failure.error, "Cause": failure.cause, "Status": "FAILED"}
            raise StateFailed("States.TaskFailed", json.dumps(cause)) from failure
        return {"ExecutionArn": name, "Output": output, "Status": "SUCCEEDED"}

    def _wait(self, state: Mapping[str, Any], value: Any, context: dict[str, Any]) -> Part:
        """Leaves a token at a gate, and waits until it is answered."""
        token = self.tokens.new()
        if not self.update(_evaluated(state["Arguments"], value, {**context, "Task": {"Token": token}})):
            raise StateFailed(_OPEN, "")
        self.waits += 1
        if "TimeoutSeconds" in state:
            self._limits[token] = self.elapsed_s + _evaluated(state["TimeoutSeconds"], value, context)
        while not self.tokens.is_answered(token):
            yield
        return self.tokens.result(token)

    def _elapse(self, seconds: float) -> None:
        """Lets time pass, no longer than the whole machine has."""
        self.elapsed_s += max(0, seconds)
        if self.elapsed_s >= self.definition.get("TimeoutSeconds", math.inf):
            raise MachineTimedOut
        if self.clock is not None:
            self.clock.advance(max(0, seconds))


def _caught(state: Mapping[str, Any], failure: StateFailed, value: Any, context: dict[str, Any]) -> tuple[Any, str]:
    """With what a failure goes on that a state catches, and where; raises it where none of the state's rules does."""
    caught = _matching(state.get("Catch", ()), failure.error)
    if caught is None:
        raise failure
    handler = state["Catch"][caught]
    error = {"Error": failure.error, "Cause": failure.cause}
    return _evaluated(handler["Output"], value, context, error=error), handler["Next"]


def _events(state: Mapping[str, Any]) -> int:
    """What the history of an execution has of a state that is passed through, by the list of events that there are."""
    match state["Type"]:
        case "Task":  # entered, scheduled, started, succeeded, exited; and submitted
            return 6 if state["Resource"].endswith((_CALLBACK, _EXECUTION)) else 5
        case "Parallel" | "Map":  # entered, started, succeeded, exited
            return 4
    return 2


def _delay(rule: Mapping[str, Any], tried: int) -> float:
    seconds = rule.get("IntervalSeconds", 1) * rule.get("BackoffRate", 2) ** tried
    return float(min(seconds, rule.get("MaxDelaySeconds", math.inf)))


def _name_of(failure: BaseException) -> str:
    if isinstance(failure, StateFailed):
        return failure.error
    return _NAMES.get(type(failure), type(failure).__name__)


_NAMES: Mapping[type[BaseException], str] = {Killed: "Runtime.ExitError", Hung: "States.Timeout"}


def _matching(rules: Any, error: str) -> int | None:
    """The first rule for an error."""
    for index, rule in enumerate(rules):
        if {error, "States.ALL"} & {*rule["ErrorEquals"]} or (
            "States.TaskFailed" in rule["ErrorEquals"] and error != "States.Timeout"
        ):
            return index
    return None


def _evaluated(template: Any, value: Any, context: dict[str, Any], *, error: Any = None, result: Any = None) -> Any:
    """A field of a state with its ``{% %}`` evaluated."""
    if isinstance(template, dict):
        return {key: _evaluated(item, value, context, error=error, result=result) for key, item in template.items()}
    if isinstance(template, str) and template.startswith("{%") and template.endswith("%}"):
        expression = _compiled(template[2:-2].strip())
        frame = expression.create_frame()
        frame.bind("states", {"input": value, "context": context, "errorOutput": error, "result": result})
        return expression.evaluate(None, frame)
    return template


@cache
def _compiled(source: str) -> Jsonata:
    expression = Jsonata(source)
    expression.register_lambda("hash", lambda text, algorithm: _digest(algorithm, text))
    return expression


def _digest(algorithm: str, text: str) -> str:
    """What Step Functions adds to JSONata as ``$hash``."""
    return hashlib.new(algorithm.replace("-", ""), text.encode()).hexdigest()


class StepFunctions:
    """The executions that moto keeps, run by a ``Walk`` each. It knows of task tokens, as moto does not."""

    def __init__(self, account: str, region: str, clock: FakeClock | None = None) -> None:
        self.tokens = Tokens()
        self._clock = clock
        self._backend = stepfunctions_backends[account][region]
        self._backend.send_task_success = self.tokens.succeed  # type: ignore[assignment, method-assign]
        self._backend.send_task_failure = self.tokens.fail  # type: ignore[assignment, method-assign]

    def executions(self) -> dict[str, Any]:
        """moto's own records, by name."""
        return {run.name: run for machine in self._backend.state_machines for run in machine.executions}

    def definition(self, name: str) -> dict[str, Any]:
        return self._definition(self.executions()[name].state_machine_arn)

    def _definition(self, arn: str) -> dict[str, Any]:
        """Of a state machine, by its ARN."""
        found: dict[str, Any] = json.loads(self._backend.describe_state_machine(arn).definition)
        return found

    def input(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.executions()[name].execution_input)
        return found

    def run(self, name: str, invoke: Invoke, **options: Any) -> Walk:
        """Runs the execution ``name`` to its end, which ``DescribeExecution`` then tells; ``options`` of ``Walk``."""
        run = self.executions()[name]
        walk = Walk(
            self.definition(name),
            invoke,
            update=update_item,
            tokens=self.tokens,
            clock=self._clock,
            children=self._definition,
            arn=run.state_machine_arn,
            **options,
        )
        try:
            walk.run(self.input(name))
        except StateFailed as failure:
            run.status, run.error, run.cause = "FAILED", failure.error, failure.cause
        except MachineTimedOut:
            run.status = "TIMED_OUT"
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
