"""A plan as a state machine: Amazon States Language, JSONata mode.

What travels between states is ``{"path": "[3]"}``, the loop iteration, and what the runner answers beside it: ``port``
for a choice, ``until`` for a wait, ``count`` for a map, ``gate`` and ``seconds`` for what waits to be told something.
Which run it is stands in the execution's input as ``run`` and is read from there by every state. So no payload ever
meets a size limit, and a state machine holds no data of a customer.

A node is one Task. What lasts has two: one that begins it, one that ends it (``<key>.leave``). A node with late joins
is visited as any other; what the runner finds not ready it refuses (``NotReady``), and the Task goes on to the gate
(``<key>.gate``), which comes back to it when all is decided, with ``late`` in its input. A node that goes on after an
error, has a time limit, or whose failure ends an item of a loop only, has a state that settles what the
runner could not record by itself (``<key>.settle``): it was cut off, or its items failed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from chalicelib.compiler.asl.fragments import fill
from chalicelib.compiler.asl.layout import Budget, Caps, Layout, lay_out
from chalicelib.compiler.asl.quotas import GATE_KEPT_S, MAX_DEFINITION_BYTES
from chalicelib.compiler.asl.validate import require_sound
from chalicelib.compiler.plan import (
    Case,
    Chain,
    Choice,
    Gate,
    Loop,
    Parallel,
    Part,
    Plan,
    PlanNode,
    Region,
    Series,
    Step,
)
from chalicelib.compiler.retries import INFRASTRUCTURE, NOT_READY, RetryRule, retry_rules
from chalicelib.foundation.errors import Conflict
from chalicelib.foundation.json_types import dumps
from chalicelib.nodes.control import wait

States = dict[str, Any]


#: What fails a state at a gate whose run has ended.
GATE_CLOSED = "RunEnded"


#: With what a gate comes back to the Task before it: that all is decided need not be found out again.
_LATE = "{% $merge([$states.input, {'late': true}]) %}"


BUDGET = Budget()


@dataclass(frozen=True)
class Definition:
    """A state machine, and those that it has executions of."""

    name: str
    text: str  # compact JSON
    children: Mapping[str, str]  # definitions by name, each after those that it has executions of itself


def emit(plan: Plan, node_function: str, table: str, machines: str, budget: Budget = BUDGET) -> Definition:
    """The state machine that runs ``plan`` by the Lambda with the ARN ``node_function``; its gates lie in the DynamoDB
    table ``table``. With ``machines`` the ARNs of state machines begin, behind it stands the hash of the definition.

    Raises ``Conflict`` where a single state is larger than Step Functions takes.
    """
    layout = planned(plan, budget)
    children = _Children(plan.nodes, node_function, table, machines, layout.caps)
    states: States = {}
    start = _Emitter(children).region(layout.root.region, states, None)
    comment = "Made by Millrace: nodes run in the node runner, by id; their data stays in the store."
    machine = fill("machine", Comment=comment, StartAt=start, States=states)
    if plan.timeout_s is not None:
        machine["TimeoutSeconds"] = plan.timeout_s
    text = _text(machine)
    return Definition(children.name(text), text, children.texts)


def planned(plan: Plan, budget: Budget = BUDGET) -> Layout:
    """What of a plan runs in which execution, wherever it is emitted for."""

    def states_of(region: Region, caps: Mapping[str, Caps]) -> States:
        states: States = {}
        _Emitter(_NoChildren(plan.nodes, _SOME_ARN, "t" * 40, _SOME_ARN, caps)).region(region, states, "n" * 24)
        return states

    return lay_out(plan, states_of, budget)


#: Of the length that ARNs have.
_SOME_ARN = "arn:aws:lambda:eu-central-1:123456789012:function:millrace-of-a-long-stage-node"


def _text(machine: Mapping[str, Any]) -> str:
    text = dumps(machine)
    if len(text) > MAX_DEFINITION_BYTES:
        raise Conflict(
            f"The workflow is too large: {len(text)} bytes of state machine, {MAX_DEFINITION_BYTES} at most."
        )
    require_sound(machine, len(text))
    return text


class _Children:
    """The state machines that others have executions of, each made when it is first asked for."""

    def __init__(
        self, nodes: Mapping[str, PlanNode], node_function: str, table: str, machines: str, caps: Mapping[str, Caps]
    ) -> None:
        self.nodes = nodes
        self.function = node_function
        self.table = table
        self.caps = caps
        self.texts: dict[str, str] = {}  # by name, each after those that it names
        self._machines = machines
        self._made: dict[str, str] = {}  # ARNs by part or loop

    def name(self, text: str) -> str:
        digest = hashlib.sha256(text.encode()).hexdigest()[:40]
        return self._machines.rpartition(":")[2] + digest

    def part(self, key: str, region: Region, /) -> str:
        """The ARN of the state machine that runs a part of the plan."""
        if key not in self._made:
            states: States = {}
            start = _Emitter(self).region(region, states, None)
            comment = "Made by Millrace: a part of a plan."
            self._made[key] = self._arn(fill("machine", Comment=comment, StartAt=start, States=states))
        return self._made[key]

    def range(self, node: PlanNode, body: Region, /) -> str:
        """The ARN of the state machine that runs a range of the items of a loop."""
        if node.id not in self._made:
            self._made[node.id] = self._arn(_Emitter(self).range(node, body))
        return self._made[node.id]

    def _arn(self, machine: Mapping[str, Any]) -> str:
        text = _text(machine)
        name = self.name(text)
        self.texts[name] = text
        return self._machines.rpartition(":")[0] + ":" + name


class _NoChildren(_Children):
    """For weighing: what has an execution of its own weighs nothing."""

    def part(self, *_: object) -> str:
        return _SOME_ARN

    def range(self, *_: object) -> str:
        return _SOME_ARN


class _Emitter:
    def __init__(self, children: _Children) -> None:
        self._children = children
        self._nodes = children.nodes
        self._function = children.function
        self._table = children.table
        self._gates: dict[str, str] = {}  # by node that is tried: the state in which it waits
        self._parallels = count(1)
        self._finishes = count(1)

    def region(self, region: Region, states: States, following: str | None) -> str:
        """Adds the states of ``region`` to ``states`` and returns the first; the last goes on to ``following``, or
        ends.
        """
        match region:
            case Step(name):
                return self._step(self._nodes[name], states, following)
            case Series(parts):
                for part in reversed(parts):
                    following = self.region(part, states, following)
                assert following is not None
                return following
            case Parallel(branches):
                return self._parallel(branches, states, following)
            case Choice(name, cases):
                return self._choice(self._nodes[name], cases, states, following)
            case Loop(name, body, _):
                return self._loop(self._nodes[name], body, states, following)
            case Part(key, whole):
                states[key] = _child(self._children.part(key, whole), f"'{key}', $states.input.path")
                states[key] |= _then(following)
                return key
            case Gate(name, awaits, behind):
                node, gate = self._nodes[name], f"{self._nodes[name].key}.gate"
                if not region.is_tried:
                    inner = self.region(behind, states, following)
                    return self._gate(_of_round(node), len(awaits), states, inner, gate)
                self._gates[name] = gate
                inner = self.region(behind, states, following)
                self._gate(_of_round(node), len(awaits), states, inner, gate, output=_LATE)
                return inner
            case Chain(nodes):
                return self._task(self._nodes[nodes[0]], states, following)

    def _step(self, node: PlanNode, states: States, following: str | None) -> str:
        if node.type != wait.TYPE.name and not node.awaits:
            return self._task(node, states, following)
        leave = self._leave(node, states, following)
        if node.awaits:
            gate = self._gate("$states.input.gate", 1, states, leave, f"{node.key}.told")
            states[gate] |= {"TimeoutSeconds": "{% $states.input.seconds %}"}
            states[gate]["Catch"] += [fill("late", Next=leave), *self._catch(node).get("Catch", ())]
            return self._task(node, states, gate, settled=leave)
        states[f"{node.key}.wait"] = fill("wait") | {"Next": leave}
        return self._task(node, states, f"{node.key}.wait", settled=leave)

    def _loop(self, node: PlanNode, body: Region | None, states: States, following: str | None) -> str:
        if body is None:
            return self._task(node, states, following)
        key, inline = node.key, self._children.caps[node.id].inline
        leave = self._leave(node, states, following)
        if inline:
            items = self._items(node, body, "0..$states.input.count - 1")
            states[f"{key}.items"] = items | self._catch(node) | {"Next": leave}
        at_once = self._children.caps[node.id].ranges_at_once
        wanted = f"{{'from': 0, 'to': $states.input.count, 'atOnce': {at_once}}}, "
        ranges = _child(self._children.range(node, body), f"'{key}', $states.input.path", wanted)
        states[f"{key}.many"] = ranges | self._catch(node) | {"Next": leave}
        few = f"{key}.items" if inline else leave
        states[f"{key}.size"] = fill("size", Inline=inline, Few=few, Many=f"{key}.many")
        return self._task(node, states, f"{key}.size", settled=leave)

    def range(self, node: PlanNode, body: Region) -> States:
        """The state machine that runs items of a loop: those of a range, or in turn the ranges that it falls into."""
        caps = self._children.caps[node.id]
        which = f"'{node.key}', $states.input.path, $states.input.from, $states.input.to"
        return fill(
            "range",
            Loop=node.key,
            Items=self._items(node, body, "$states.input.from..$states.input.to - 1") | {"End": True},
            Child=_child("{% $states.context.StateMachine.Id %}", which) | {"End": True},
            InRange=caps.in_range,
            AtOnce=min(caps.in_range, caps.at_once),
            Ranges=caps.ranges,
        )

    def _items(self, node: PlanNode, body: Region, numbers: str) -> States:
        inner: States = {}
        start = self.region(body, inner, None)
        at_once = self._children.caps[node.id].at_once
        return fill("map", Range=numbers, StartAt=start, States=inner, MaxConcurrency=at_once)

    def _parallel(self, branches: tuple[Region, ...], states: States, following: str | None) -> str:
        name = f"parallel.{next(self._parallels)}"
        filled = []
        for branch in branches:
            inner: States = {}
            start = self.region(branch, inner, None)
            filled.append({"StartAt": start, "States": inner})
        states[name] = fill("parallel", Branches=filled) | _then(following)
        return name

    def _choice(self, node: PlanNode, cases: tuple[Case, ...], states: States, following: str | None) -> str:
        default = following
        if default is None:
            default = f"finish.{next(self._finishes)}"
            states[default] = fill("finish")
        rules = [
            fill("rule", Port=_escape(case.port), Next=self.region(case.region, states, following)) for case in cases
        ]
        name = f"{node.key}.port"
        states[name] = fill("choice", Rules=rules, Default=default)
        return name

    def _task(self, node: PlanNode, states: States, following: str | None, settled: str | None = None) -> str:
        """The Task of a node.

        ``settled`` is where a failure goes on that does not end the run, if not to ``following``.
        """
        if (gate := self._gates.get(node.id)) is None:
            task = fill("task", NodeFunction=self._function, Node=node.key, Retry=_retry(*retry_rules(node)))
        else:
            rules = _retry(NOT_READY, *retry_rules(node))
            task = fill("joining", NodeFunction=self._function, Node=node.key, Retry=rules, Gate=gate)
        if node.timeout_s is not None:
            task["TimeoutSeconds"] = node.timeout_s
        if node.settles:
            self._settle(node, states, settled or following)
            task["Catch"] = [*task.get("Catch", ()), *self._catch(node)["Catch"]]
        states[node.key] = task | _then(following)
        return node.key

    def _leave(self, node: PlanNode, states: States, following: str | None) -> str:
        name = f"{node.key}.leave"
        task = fill("leave", NodeFunction=self._function, Node=node.key, Retry=_retry(*retry_rules(node)))
        states[name] = task | self._catch(node) | _then(following)
        return name

    def _gate(
        self, gate: str, needed: int, states: States, following: str, name: str, output: str = "{% $states.input %}"
    ) -> str:
        """A state that waits until ``needed`` have arrived at a gate; ``gate`` is a JSONata expression of its name."""
        states[name] = fill(
            "gate",
            Table=self._table,
            Name=gate,
            Needed=str(needed),
            KeptSeconds=GATE_KEPT_S,
            Output=output,
            Retry=_GATE_RETRY,
            Next=following,
        )
        return name

    def _catch(self, node: PlanNode) -> States:
        return {"Catch": [fill("catch", Next=f"{node.key}.settle")]} if node.settles else {}

    def _settle(self, node: PlanNode, states: States, following: str | None) -> None:
        task = fill("settle", NodeFunction=self._function, Node=node.key, Retry=_retry(INFRASTRUCTURE))
        states[f"{node.key}.settle"] = task | _then(following)


def _of_round(node: PlanNode) -> str:
    """The name of a gate before ``node``: each round of a run has its own, as in each all is told anew."""
    return f"$string($states.context.Execution.Input.run.round) & '.{node.key}'"


def _child(machine: str, which: str, more: str = "") -> States:
    """A Task that has an execution of another state machine, with the input of its own and ``more`` (JSONata).

    The name of the execution is made of the run's, its round and ``which`` (JSONata), so a second start is the same
    start.
    """
    return fill("child", Machine=machine, Which=which, Input=f"{more}{{'run': {_RUN}}}", Retry=_retry(_NOT_STARTED))


_RUN = "$states.context.Execution.Input.run"


def _then(following: str | None) -> dict[str, Any]:
    return {"End": True} if following is None else {"Next": following}


#: An execution that could not be started yet: nothing of it has run. The name of an exception of the service is told
#: with and without its ending.
_NOT_STARTED = RetryRule(
    (
        *(
            f"StepFunctions.{name}{ending}"
            for name in ("Throttling", "ExecutionLimitExceeded", "StateMachineDoesNotExist", "StateMachineDeleting")
            for ending in ("", "Exception")
        ),
        "StepFunctions.SdkClientException",
        "StepFunctions.AWSStepFunctionsException",
    ),
    tries=8,
    max_delay_s=60,
    jitter=True,
)


#: Whatever else fails about a gate is DynamoDB's own, and is over soon.
_GATE_RETRY = [
    {"ErrorEquals": ["DynamoDb.ConditionalCheckFailedException", GATE_CLOSED], "MaxAttempts": 0},
    {"ErrorEquals": ["States.TaskFailed"], "MaxAttempts": 6},
]


def _retry(*rules: RetryRule) -> list[dict[str, Any]]:
    return [rule.to_asl() for rule in rules]


def _escape(text: str) -> str:
    """``text`` for a JSONata literal within ``{% %}``.

    Whatever could end either is written as an escape of its UTF-16 units.
    """
    return re.sub(r"[^A-Za-z0-9 _.-]", _as_escapes, text)


def _as_escapes(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[index : index + 4]}" for index in range(0, len(units), 4))
