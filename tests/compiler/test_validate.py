"""Our own validator of state machines: content with all that is emitted, and with nothing that was tampered with."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.compiler.asl import quotas
from chalicelib.compiler.asl.emit import emit
from chalicelib.compiler.asl.validate import FIELDS, validate
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Parallel, Step
from chalicelib.foundation.json_types import dumps
from chalicelib.nodes.registry import CATALOG
from tests.compiler.golden import GOLDENS, MACHINES, TABLE, Golden, emitted
from tests.compiler.test_goldens import levels
from tests.notation import graph

Machine = dict[str, Any]
Change = Callable[[Machine], object]

BY_NAME = {golden.name: golden for golden in GOLDENS}


def machine_of(name: str) -> Machine:
    machine: Machine = json.loads(BY_NAME[name].compiled())
    return machine


def complaints(machine: Machine) -> list[str]:
    return [f"{fault.path}: {fault.message}" for fault in validate(machine, len(dumps(machine)))]


def state(machine: Machine, kind: str) -> Any:
    """The first state of a type, however deep it stands."""
    return next(each for level in levels(machine) for each in level["States"].values() if each["Type"] == kind)


@pytest.mark.parametrize("golden", GOLDENS, ids=str)
def test_goldens_are_sound(golden: Golden) -> None:
    """Nothing is wrong with what the compiler emits."""
    assert complaints(json.loads(golden.compiled())) == []


def _first(machine: Machine) -> Any:
    return machine["States"][machine["StartAt"]]


def _rename(machine: Machine, old: str, new: str) -> None:
    text = json.dumps(machine).replace(json.dumps(old), json.dumps(new))
    machine.clear()
    machine.update(json.loads(text))


def _branch(machine: Machine) -> Machine:
    branch: Machine = state(machine, "Parallel")["Branches"][0]
    return branch


def _catchers(machine: Machine) -> list[Any]:
    found = (each["Catch"] for level in levels(machine) for each in level["States"].values() if "Catch" in each)
    return next(found)


def _endless(machine: Machine) -> None:
    """The last state leads back to the first."""
    last = next(each for each in machine["States"].values() if each.pop("End", False))
    last["Next"] = machine["StartAt"]


#: golden, what is changed, and what is said of it
TAMPERED: dict[str, tuple[str, Change, str]] = {
    "unknown start": ("diamond", lambda m: m.update(StartAt="x"), "StartAt: there is no state 'x'"),
    "no start": ("diamond", lambda m: m.pop("StartAt"), "StartAt: there is no state None"),
    "no states": ("diamond", lambda m: m.update(States={}), "States: there have to be states"),
    "unknown next": ("diamond", lambda m: _first(m).update(Next="x"), "Next: there is no state 'x' beside it"),
    "unknown default": ("condition", lambda m: state(m, "Choice").update(Default="x"), ".port.Default: there is no"),
    "unknown case": (
        "condition", lambda m: state(m, "Choice")["Choices"][0].update(Next="x"), ".port.Choices[0].Next: there is no",
    ),
    "unknown rescue": (
        "on-error-continue",
        lambda m: _catchers(m)[0].update(Next="x"),
        "Catch[0].Next: there is no state 'x'",
    ),
    "next into a branch": (
        "fan-out", lambda m: _first(m).update(Next=_branch(m)["StartAt"]), "Next: there is no state",
    ),
    "unreached": (
        "diamond", lambda m: m["States"].update(lost={"Type": "Succeed"}), "lost: no way leads to this state",
    ),
    "dead end": ("diamond", lambda m: _first(m).pop("Next"), "a state has either Next or End"),
    "no way out": ("diamond", _endless, "no way leads from this state to an end"),
    "end and next": ("diamond", lambda m: _first(m).update(End=True), "a state has either Next or End"),
    "end that is none": (
        "diamond", lambda m: (_first(m).pop("Next"), _first(m).update(End=False)), "either Next or End",
    ),
    "name used twice": (
        "fan-out",
        lambda m: _branch(m).update(StartAt=m["StartAt"], States={m["StartAt"]: {"Type": "Succeed"}}),
        "another state has this name",
    ),
    "long name": ("diamond", lambda m: _rename(m, m["StartAt"], "n" * 81), "a name has 1 to 80 characters, not 81"),
    "type": ("diamond", lambda m: _first(m).update(Type="Job"), "Type: 'Job' is no type of state"),
    "field of another type": ("diamond", lambda m: _first(m).update(Branches=[]), "Branches: has no meaning here"),
    "field of JSONPath": ("diamond", lambda m: _first(m).update(ResultPath="$"), "ResultPath: has no meaning here"),
    "language": ("diamond", lambda m: m.update(QueryLanguage="JSONPath"), "QueryLanguage: has to be JSONata"),
    "machine field": ("diamond", lambda m: m.update(Name="x"), "Name: has no meaning here"),
    "time limit": ("diamond", lambda m: m.update(TimeoutSeconds=0), "TimeoutSeconds: has to be a whole number from 1"),
    "task time limit": ("diamond", lambda m: _first(m).update(TimeoutSeconds=1.5), "TimeoutSeconds: has to be a whole"),
    "no resource": ("diamond", lambda m: _first(m).pop("Resource"), "a Task needs Resource"),
    "resource": ("diamond", lambda m: _first(m).update(Resource="arn:aws:s3:::b"), "is no function and no integration"),
    "no branch": ("fan-out", lambda m: state(m, "Parallel").update(Branches=[]), "a Parallel needs a branch"),
    "empty branch": ("fan-out", lambda m: _branch(m).update(States={}), "Branches[0].States: there have to be states"),
    "no rule": ("condition", lambda m: state(m, "Choice").update(Choices=[]), "a Choice needs a rule"),
    "rule that decides nothing": (
        "condition", lambda m: state(m, "Choice")["Choices"][0].update(Condition="yes"), "Condition: has to be true",
    ),
    "rule without next": (
        "condition", lambda m: state(m, "Choice")["Choices"][0].pop("Next"), "Choices[0]: a rule needs Next",
    ),
    "choice that ends": ("condition", lambda m: state(m, "Choice").update(End=True), "End: has no meaning here"),
    "wait for nothing": ("wait", lambda m: state(m, "Wait").pop("Timestamp"), "either Seconds or Timestamp"),
    "wait for both": ("wait", lambda m: state(m, "Wait").update(Seconds=1), "either Seconds or Timestamp"),
    "wait until": ("wait", lambda m: state(m, "Wait").update(Timestamp="tomorrow"), "'tomorrow' is no timestamp"),
    "map at once": ("loop", lambda m: state(m, "Map").update(MaxConcurrency=41), "a whole number from 0 to 40"),
    "distributed": (
        "loop",
        lambda m: state(m, "Map")["ItemProcessor"].update(ProcessorConfig={"Mode": "DISTRIBUTED"}),
        "only inline Maps are made",
    ),
    "no items": ("loop", lambda m: state(m, "Map").update(Items="all"), "has to be a list or an expression"),
    "no body": ("loop", lambda m: state(m, "Map").pop("ItemProcessor"), "a Map needs ItemProcessor"),
    "unclosed": ("loop", lambda m: state(m, "Map").update(Items="{% [1] "), "begins with {% and ends with %}"),
    "not JSONata": ("loop", lambda m: state(m, "Map").update(Items="{% [1 %}"), "is no JSONata"),
    "evaluated nowhere": ("diamond", lambda m: _first(m).update(Comment="{% 1 %}"), "no expression is evaluated here"),
    "result too early": (
        "diamond", lambda m: _first(m)["Arguments"].update(path="{% $states.result %}"), "to Output and Assign alone",
    ),
    "no error": (
        "diamond", lambda m: _first(m).update(Output="{% $states.errorOutput %}"), "is known to catchers alone",
    ),
    "error name": (
        "diamond", lambda m: _first(m)["Retry"][0].update(ErrorEquals=["States.Broken"]), "no error 'States.Broken'",
    ),
    "no error name": ("diamond", lambda m: _first(m)["Retry"][0].update(ErrorEquals=[]), "has to be a list of names"),
    "all and another": (
        "diamond", lambda m: _first(m)["Retry"][-1].update(ErrorEquals=["States.ALL", "x"]), "States.ALL stands alone",
    ),
    "all before another": (
        "diamond", lambda m: _first(m)["Retry"][0].update(ErrorEquals=["States.ALL"]), "States.ALL comes last",
    ),
    "all caught first": (
        "on-error-continue",
        lambda m: _catchers(m).append(
            {"ErrorEquals": ["x"], "Next": m["StartAt"]}
        ),
        "Catch[0].ErrorEquals: States.ALL comes last",
    ),
    "attempts": ("diamond", lambda m: _first(m)["Retry"][0].update(MaxAttempts=-1), "MaxAttempts: has to be a whole"),
    "interval": ("diamond", lambda m: _first(m)["Retry"][0].update(IntervalSeconds=0), "IntervalSeconds: has to be"),
    "delay": ("diamond", lambda m: _first(m)["Retry"][0].update(MaxDelaySeconds=31_622_400), "MaxDelaySeconds: has to"),
    "rate": ("diamond", lambda m: _first(m)["Retry"][0].update(BackoffRate=0.5), "BackoffRate: has to be at least 1"),
    "jitter": ("diamond", lambda m: _first(m)["Retry"][0].update(JitterStrategy="SOME"), "has to be FULL or NONE"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_whatever_is_tampered_with_is_refused(name: str) -> None:
    """Each change of a sound machine is told, and where it is."""
    golden, change, complaint = TAMPERED[name]
    machine = machine_of(golden)
    change(machine)
    assert any(complaint in told for told in complaints(machine)), complaints(machine)


def test_size_is_told() -> None:
    """A definition of a byte too many is refused, whatever it holds."""
    machine = machine_of("diamond")
    assert validate(machine, quotas.MAX_DEFINITION_BYTES) == []
    (fault,) = validate(machine, quotas.MAX_DEFINITION_BYTES + 1)
    assert "1048577 bytes of definition, 1048576 at most" in fault.message


def test_the_compiler_makes_nothing_unsound() -> None:
    """What it emits is held against the rules before anybody can create it."""
    with pytest.raises(ValueError, match="'function:node' is no function"):
        emit(BY_NAME["diamond"].plan, "function:node", TABLE, MACHINES)
    twice = Parallel((Step("a"), Step("a")))
    with pytest.raises(ValueError, match="another state has this name"):
        emitted(replace(compile_plan(graph("a"), CATALOG), root=twice))


def test_all_faults_are_told_at_once() -> None:
    """Not the first alone."""
    machine = machine_of("diamond")
    for name in machine["States"]:
        machine["States"][name]["Nonsense"] = 1
    assert len(complaints(machine)) == len(machine["States"])


def test_no_depth_exhausts_the_stack() -> None:
    """Branches may nest as deep as they like."""
    machine: Machine = {"StartAt": "s", "States": {"s": {"Type": "Succeed"}}}
    for number in range(20_000):
        parallel = {"Type": "Parallel", "Branches": [machine], "End": True}
        machine = {"StartAt": f"p{number}", "States": {f"p{number}": parallel}}
    assert validate(machine | {"QueryLanguage": "JSONata"}, 0) == []
    while machine["States"].get("s") is None:  # let go of it one by one: Python would do that in recursion
        machine = next(iter(machine["States"].values()))["Branches"].pop()


@pytest.mark.parametrize("kind", ["Task", "Parallel", "Map", "Choice", "Wait", "Pass", "Succeed", "Fail"])
def test_every_type_of_state_can_be_sound(kind: str) -> None:
    """The least of each type is accepted: the tables refuse nothing that the language has."""
    inner = {"StartAt": "s", "States": {"s": {"Type": "Succeed"}}}
    least: dict[str, Machine] = {
        "Task": {"Resource": "arn:aws:states:::aws-sdk:dynamodb:updateItem.waitForTaskToken", "End": True},
        "Parallel": {"Branches": [inner], "End": True},
        "Map": {"Items": [1], "ItemProcessor": inner, "End": True},
        "Choice": {"Choices": [{"Condition": True, "Next": "after"}], "Default": "after"},
        "Wait": {"Seconds": 1, "End": True},
        "Pass": {"Assign": {"x": "{% $states.input %}"}, "End": True},
        "Succeed": {"Output": "{% 1 %}"},
        "Fail": {"Error": "Failed", "Cause": "{% 'for' & ' reasons' %}"},
    }
    assert least.keys() == FIELDS.keys()
    states = {"it": {"Type": kind, **copy.deepcopy(least[kind])}}
    if kind == "Choice":
        states["after"] = {"Type": "Succeed"}
    assert complaints({"QueryLanguage": "JSONata", "StartAt": "it", "States": states}) == []
