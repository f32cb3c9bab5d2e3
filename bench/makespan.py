"""How long a run takes on Step Functions, over a state machine that somebody wrote by hand.

On a local stack of its own. Both have ten Tasks in a chain; the hand-written ones call a function that does nothing.
The ratio is what records, inputs and outputs cost in time; the emulator's own overhead is in both.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import graphs
from bench.report import Cell, Figures, Progress
from examples.api_client import ApiClient
from tests.stack.conftest import LocalStack, bring_up, new_home, run

_TASKS = 10
_TRIES = 7  # of each, in turns; before them one that starts the workers
_DEADLINE = 60  # seconds for one run
_POLL = 0.05  # seconds
_EMPTY = "def handler(event, context):\n    return event\n"
_ROLE = "arn:aws:iam::000000000000:role/bench"


def measure(progress: Progress) -> Sequence[Figures]:
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        home = new_home(Path(folder))
        try:
            progress("bringing up a local stack")
            return [_measured(bring_up(home), progress)]
        finally:
            run(home, "infra.local.down")


def _measured(stack: LocalStack, progress: Progress) -> Figures:
    by_hand, ours = _by_hand(stack), _ours(stack)
    took: dict[str, list[float]] = {"by hand": [], "ours": []}
    for number in range(_TRIES + 1):
        progress(f"run {number} of {_TRIES}")
        for name, start in (("by hand", by_hand), ("ours", ours)):
            seconds = _makespan(stack, start())
            if number:
                took[name].append(seconds * 1000)
    medians = {name: statistics.median(times) for name, times in took.items()}
    rows: list[list[Cell]] = [
        [f"{_TASKS} Tasks, {name}", median, median / medians["by hand"]] for name, median in medians.items()
    ]
    return Figures("Makespan on the emulator, median of 7", ("state machine", "ms", "times by hand"), rows)


def _by_hand(stack: LocalStack) -> Callable[[], str]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("empty.py", _EMPTY)
    function = stack.client("lambda").create_function(
        FunctionName="bench-empty", Runtime="python3.13", Role=_ROLE, Handler="empty.handler",
        Code={"ZipFile": packed.getvalue()}, MemorySize=512,
    )  # fmt: skip
    names = [f"t{index}" for index in range(_TASKS)]
    states = {
        name: {"Type": "Task", "Resource": function["FunctionArn"]} | ({"Next": after} if after else {"End": True})
        for name, after in zip(names, [*names[1:], None], strict=True)
    }
    definition = {"QueryLanguage": "JSONata", "StartAt": names[0], "States": states}
    machines = stack.client("stepfunctions")
    machine = machines.create_state_machine(name="bench-by-hand", definition=json.dumps(definition), roleArn=_ROLE)
    arn = machine["stateMachineArn"]
    return lambda: str(machines.start_execution(stateMachineArn=arn, input="{}")["executionArn"])


def _ours(stack: LocalStack) -> Callable[[], str]:
    """Started through the API; timed by Step Functions, so that the request itself is not in it."""
    api = ApiClient(stack.api_url, stack.api_key)
    workflow = api.create_workflow({"name": "bench", **graphs.chain(_TASKS)})
    machines = stack.client("stepfunctions")

    def start() -> str:
        execution = api.execute(workflow, {})
        return next(
            str(found["executionArn"])
            for machine in machines.list_state_machines()["stateMachines"]
            if machine["name"].startswith("millrace-")
            for found in machines.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]
            if found["name"] == execution
        )

    return start


def _makespan(stack: LocalStack, execution: str) -> float:
    """Seconds from start to stop, as Step Functions tells them."""
    machines = stack.client("stepfunctions")
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        found: dict[str, Any] = machines.describe_execution(executionArn=execution)
        if found["status"] != "RUNNING":
            assert found["status"] == "SUCCEEDED", found
            return float((found["stopDate"] - found["startDate"]).total_seconds())
        time.sleep(_POLL)
    raise TimeoutError(f"{execution} did not end within {_DEADLINE} s")
