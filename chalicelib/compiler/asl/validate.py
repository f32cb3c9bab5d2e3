"""Holds a state machine against the language and the quotas before anybody is asked to make it.

The compiler asks it of whatever it has emitted, so a fault is one of ours: it is told here, with the state it is in,
and not as a run that Step Functions refuses or that never ends. Checked is the part of the language that
``stepfn_templates/`` may ever use: JSONata mode, and no state but those of the table below.

The sources: https://states-language.net/spec.html, and the pages of the developer guide on state types, error
handling, JSONata and quotas. The work is linear in the definition, and nothing recurses, however deep branches nest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from chalicelib.compiler.asl import quotas
from chalicelib.foundation.errors import Fault
from chalicelib.foundation.expressions import ExpressionError, compile_expression

State = Mapping[str, Any]

_MACHINE = frozenset({"Comment", "QueryLanguage", "StartAt", "States", "TimeoutSeconds", "Version"})
_COMMON = frozenset({"Type", "Comment", "QueryLanguage", "Output"})
_GOES_ON = frozenset({"Next", "End", "Assign"})
_MAY_FAIL = frozenset({"Retry", "Catch"})

#: The fields of each type of state, in JSONata mode.
FIELDS: Mapping[str, frozenset[str]] = {
    "Task": _COMMON
    | _GOES_ON
    | _MAY_FAIL
    | {"Resource", "Arguments", "Credentials", "TimeoutSeconds", "HeartbeatSeconds"},
    "Parallel": _COMMON | _GOES_ON | _MAY_FAIL | {"Branches", "Arguments"},
    "Map": _COMMON | _GOES_ON | _MAY_FAIL | {"Items", "ItemSelector", "ItemProcessor", "MaxConcurrency"},
    "Choice": _COMMON | {"Choices", "Default", "Assign"},
    "Wait": _COMMON | _GOES_ON | {"Seconds", "Timestamp"},
    "Pass": _COMMON | _GOES_ON,
    "Succeed": _COMMON,
    "Fail": frozenset({"Type", "Comment", "QueryLanguage", "Error", "Cause"}),
}
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "Task": ("Resource",),
    "Parallel": ("Branches",),
    "Map": ("ItemProcessor",),
    "Choice": ("Choices",),
}
_ENDS = ("Succeed", "Fail")

#: Where ``{% %}`` is evaluated; anywhere else it would be text.
_EVALUATED = frozenset(
    {
        "Arguments", "Assign", "Cause", "Condition", "Credentials", "Error", "HeartbeatSeconds", "ItemSelector",
        "Items", "MaxConcurrency", "Output", "Seconds", "TimeoutSeconds", "Timestamp",
    }
)  # fmt: skip
_NESTED = frozenset({"Branches", "ItemProcessor", "Choices", "Retry", "Catch"})  # looked at by themselves

_RULE = frozenset({"Condition", "Next", "Output", "Assign", "Comment"})
_CATCHER = frozenset({"ErrorEquals", "Next", "Output", "Assign", "Comment"})
_RETRIER = frozenset(
    {
        "ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy", "Comment",
    }
)  # fmt: skip

#: Names that begin with ``States.`` are the language's own.
_RESERVED_ERRORS = frozenset(
    "States." + name
    for name in (
        "ALL", "BranchFailed", "DataLimitExceeded", "HeartbeatTimeout", "ItemReaderFailed", "NoChoiceMatched",
        "Permissions", "QueryEvaluationError", "ResultWriterFailed", "Runtime", "TaskFailed", "Timeout",
        "ExceedToleratedFailureThreshold",
    )
)  # fmt: skip

_ARN = re.compile(r"arn:[a-z-]+:(lambda:[a-z0-9-]*:\d*:function:[\w:$-]+|states:::[\w:.-]+)")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def validate(machine: State, size: int) -> list[Fault]:
    """All that is wrong with a state machine of ``size`` bytes.

    The path of a fault begins with the name of the state, which is unique in the machine: ``a.Retry[1].Next``.
    """
    found = [] if size <= quotas.MAX_DEFINITION_BYTES else [Fault("", _too_large(size))]
    found += _unknown_fields(machine, _MACHINE, "")
    if machine.get("QueryLanguage") != "JSONata":
        found.append(Fault("QueryLanguage", "has to be JSONata"))
    if "TimeoutSeconds" in machine:
        found += _whole_number(machine["TimeoutSeconds"], 1, quotas.MAX_TIMEOUT_S, "TimeoutSeconds")
    names: set[str] = set()
    levels: list[tuple[str, State]] = [("", machine)]
    while levels:
        where, level = levels.pop()
        states = level.get("States")
        if not isinstance(states, Mapping) or not states:
            found.append(Fault(f"{where}States", "there have to be states"))
            continue
        found += _flow(level.get("StartAt"), states, where)
        for name, state in states.items():
            if name in names:
                found.append(Fault(name, "another state has this name"))
            names.add(name)
            if not 1 <= len(name) <= quotas.MAX_STATE_NAME:
                found.append(Fault(name, f"a name has 1 to {quotas.MAX_STATE_NAME} characters, not {len(name)}"))
            found += _state(state, name)
            levels += _inner_levels(state, name)
    return found


def require_sound(machine: State, size: int) -> None:
    """Raises ``ValueError`` for a state machine that Step Functions would refuse: the compiler is wrong then."""
    if found := validate(machine, size):
        told = "; ".join(f"{fault.path}: {fault.message}" for fault in found[:10])
        raise ValueError(f"the compiler has made a state machine with {len(found)} faults: {told}")


def _too_large(size: int) -> str:
    return f"{size} bytes of definition, {quotas.MAX_DEFINITION_BYTES} at most"


def _inner_levels(state: State, path: str) -> Iterator[tuple[str, State]]:
    for index, branch in enumerate(_list(state.get("Branches"))):
        yield f"{path}.Branches[{index}].", branch
    if isinstance(state.get("ItemProcessor"), Mapping):
        yield f"{path}.ItemProcessor.", state["ItemProcessor"]


# --- From state to state ----------------------------------------------------------------------------------------------


def _flow(start: object, states: Mapping[str, State], where: str) -> Iterator[Fault]:
    """Every way leads to a state beside it, every state is reached, and from every state there is a way to the end."""
    if start not in states:
        yield Fault(f"{where}StartAt", f"there is no state {start!r}")
        return
    onward = {name: [target for _, target in _transitions(state)] for name, state in states.items()}
    for name, state in states.items():
        for field, target in _transitions(state):
            if target not in states:
                yield Fault(f"{name}.{field}", f"there is no state {target!r} beside it")
    for name in states.keys() - _reached([start], onward):
        yield Fault(name, "no way leads to this state")
    backward: dict[str, list[str]] = {name: [] for name in states}
    for name, targets in onward.items():
        for target in targets:
            backward.get(target, []).append(name)
    ends = [name for name, state in states.items() if state.get("End") is True or state.get("Type") in _ENDS]
    for name in states.keys() - _reached(ends, backward):
        yield Fault(name, "no way leads from this state to an end")


def _transitions(state: State) -> Iterator[tuple[str, Any]]:
    for field in ("Next", "Default"):
        if field in state:
            yield field, state[field]
    for field in ("Choices", "Catch"):
        for index, part in enumerate(_list(state.get(field))):
            if "Next" in part:
                yield f"{field}[{index}].Next", part["Next"]


def _reached(start: Iterable[Any], ways: Mapping[str, list[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(start)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += ways.get(name, ())
    return seen


# --- One state --------------------------------------------------------------------------------------------------------


def _state(state: State, path: str) -> Iterator[Fault]:
    kind = state.get("Type", "")
    if kind not in FIELDS:
        yield Fault(f"{path}.Type", f"{kind!r} is no type of state")
        return
    yield from _unknown_fields(state, FIELDS[kind], f"{path}.")
    for field in _REQUIRED.get(kind, ()):
        if field not in state:
            yield Fault(path, f"a {kind} needs {field}")
    if "Next" in FIELDS[kind] and (state.get("End") is True) == ("Next" in state):
        yield Fault(path, "a state has either Next or End")
    yield from _expressions(state, path)
    yield from _retriers(_list(state.get("Retry")), f"{path}.Retry")
    yield from _catchers(_list(state.get("Catch")), f"{path}.Catch")
    match kind:
        case "Task":
            yield from _task(state, path)
        case "Parallel" if not _list(state.get("Branches")):
            yield Fault(f"{path}.Branches", "a Parallel needs a branch")
        case "Map":
            yield from _map(state, path)
        case "Choice":
            yield from _choice(state, path)
        case "Wait":
            yield from _wait(state, path)


def _task(state: State, path: str) -> Iterator[Fault]:
    if "Resource" in state and not _ARN.fullmatch(str(state["Resource"])):
        yield Fault(f"{path}.Resource", f"{state['Resource']!r} is no function and no integration")
    for field in ("TimeoutSeconds", "HeartbeatSeconds"):
        if field in state and not _is_expression(state[field]):
            yield from _whole_number(state[field], 1, quotas.MAX_TIMEOUT_S, f"{path}.{field}")


def _map(state: State, path: str) -> Iterator[Fault]:
    processor = state.get("ItemProcessor", {})
    yield from _unknown_fields(processor, frozenset({"ProcessorConfig", "StartAt", "States"}), f"{path}.ItemProcessor.")
    if processor.get("ProcessorConfig", {}).get("Mode", "INLINE") != "INLINE":
        yield Fault(f"{path}.ItemProcessor.ProcessorConfig", "only inline Maps are made")
    if "MaxConcurrency" in state and not _is_expression(state["MaxConcurrency"]):
        yield from _whole_number(state["MaxConcurrency"], 0, quotas.INLINE_MAP_CONCURRENCY, f"{path}.MaxConcurrency")
    items = state.get("Items")
    if items is not None and not isinstance(items, list) and not _is_expression(items):
        yield Fault(f"{path}.Items", "has to be a list or an expression")


def _choice(state: State, path: str) -> Iterator[Fault]:
    if not _list(state.get("Choices")):
        yield Fault(f"{path}.Choices", "a Choice needs a rule")
    for index, rule in enumerate(_list(state.get("Choices"))):
        where = f"{path}.Choices[{index}]"
        yield from _unknown_fields(rule, _RULE, f"{where}.")
        yield from _expressions(rule, where)
        if not isinstance(rule.get("Condition"), bool) and not _is_expression(rule.get("Condition")):
            yield Fault(f"{where}.Condition", "has to be true, false or an expression")
        if "Next" not in rule:
            yield Fault(where, "a rule needs Next")


def _wait(state: State, path: str) -> Iterator[Fault]:
    if ("Seconds" in state) == ("Timestamp" in state):
        yield Fault(path, "a Wait has either Seconds or Timestamp")
    if "Seconds" in state and not _is_expression(state["Seconds"]):
        yield from _whole_number(state["Seconds"], 0, quotas.MAX_TIMEOUT_S, f"{path}.Seconds")
    moment = state.get("Timestamp")
    if moment is not None and not _is_expression(moment) and not _TIMESTAMP.fullmatch(str(moment)):
        yield Fault(f"{path}.Timestamp", f"{moment!r} is no timestamp")


def _unknown_fields(given: State, known: frozenset[str], where: str) -> list[Fault]:
    return [Fault(f"{where}{field}", "has no meaning here") for field in given if field not in known]


def _whole_number(value: object, least: int, most: int, path: str) -> Iterator[Fault]:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        yield Fault(path, f"has to be a whole number from {least} to {most}, not {value!r}")


# --- What is tried again, and what is caught --------------------------------------------------------------------------


def _retriers(retriers: list[State], path: str) -> Iterator[Fault]:
    yield from _error_names(retriers, path)
    for index, retrier in enumerate(retriers):
        where = f"{path}[{index}]."
        yield from _unknown_fields(retrier, _RETRIER, where)
        for field, least, most in (
            ("IntervalSeconds", 1, quotas.MAX_TIMEOUT_S),
            ("MaxAttempts", 0, quotas.MAX_TIMEOUT_S),
            ("MaxDelaySeconds", 1, quotas.MAX_RETRY_DELAY_S),
        ):
            if field in retrier:
                yield from _whole_number(retrier[field], least, most, f"{where}{field}")
        rate = retrier.get("BackoffRate", 2.0)
        if not isinstance(rate, (int, float)) or rate < 1:
            yield Fault(f"{where}BackoffRate", f"has to be at least 1, not {rate!r}")
        if retrier.get("JitterStrategy", "NONE") not in ("FULL", "NONE"):
            yield Fault(f"{where}JitterStrategy", "has to be FULL or NONE")


def _catchers(catchers: list[State], path: str) -> Iterator[Fault]:
    yield from _error_names(catchers, path)
    for index, catcher in enumerate(catchers):
        where = f"{path}[{index}]"
        yield from _unknown_fields(catcher, _CATCHER, f"{where}.")
        yield from _expressions(catcher, where)
        if "Next" not in catcher:
            yield Fault(where, "a catcher needs Next")


def _error_names(rules: list[State], path: str) -> Iterator[Fault]:
    """``States.ALL`` matches whatever is left, so it stands alone, and behind all others."""
    for index, rule in enumerate(rules):
        where = f"{path}[{index}].ErrorEquals"
        names = rule.get("ErrorEquals")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            yield Fault(where, "has to be a list of names of errors")
            continue
        for name in names:
            if name.startswith("States.") and name not in _RESERVED_ERRORS:
                yield Fault(where, f"the language has no error {name!r}")
        if "States.ALL" in names and len(names) > 1:
            yield Fault(where, "States.ALL stands alone")
        if "States.ALL" in names and index + 1 < len(rules):
            yield Fault(where, "States.ALL comes last")


# --- Expressions ------------------------------------------------------------------------------------------------------


def _expressions(part: State, path: str) -> Iterator[Fault]:
    """Whatever looks like an expression is one, stands where it is evaluated, and is JSONata."""
    todo = [(f"{path}.{field}", field, value) for field, value in part.items() if field not in _NESTED]
    while todo:
        where, field, value = todo.pop()
        if isinstance(value, Mapping):
            todo += [(f"{where}.{key}", field, inner) for key, inner in value.items()]
        elif isinstance(value, list):
            todo += [(f"{where}[{index}]", field, inner) for index, inner in enumerate(value)]
        elif isinstance(value, str) and "%" in value:
            yield from _text(value, field, where)


def _text(value: str, field: str, path: str) -> Iterator[Fault]:
    begins, ends = value.startswith("{%"), value.endswith("%}")
    if not begins and not ends:
        return
    if not begins or not ends or len(value) < len("{%%}"):
        yield Fault(path, "an expression begins with {% and ends with %}")
    elif field not in _EVALUATED:
        yield Fault(path, "no expression is evaluated here")
    elif complaint := _malformed(value[2:-2]):
        yield Fault(path, f"is no JSONata: {complaint}")
    elif "$states.result" in value and field not in ("Output", "Assign"):
        yield Fault(path, "$states.result is known to Output and Assign alone")
    elif "$states.errorOutput" in value and ".Catch[" not in path:
        yield Fault(path, "$states.errorOutput is known to catchers alone")


@lru_cache(maxsize=1024)
def _malformed(source: str) -> str | None:
    """What the parser has against an expression. A machine has few that differ."""
    try:
        compile_expression(source.strip())
    except ExpressionError as error:
        return error.message
    return None


def _is_expression(value: object) -> bool:
    return isinstance(value, str) and value.startswith("{%")


def _list(value: object) -> list[State]:
    return value if isinstance(value, list) else []
