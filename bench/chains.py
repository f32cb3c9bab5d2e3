"""How long a chain takes on Step Functions: fused, not fused, and over state machines that somebody wrote by hand.

On a local stack of its own. The chains have twenty nodes with a constant. One machine by hand calls twenty times a
function that does nothing; another one a function that reads an item and writes two, which is what makes the work of a
node durable: what Millrace adds beside that is the ratio of the two.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench import graphs
from bench.report import Cell, Figures, Progress
from bench.stack import Machines, local_stack
from chalicelib.cloud.sdk import CONNECT_TIMEOUT_S, MAX_ATTEMPTS, READ_TIMEOUT_S
from tests.stack.conftest import LocalStack

_NODES = 20
_TRIES = 9  # of each, in turns; before them one that starts the workers
_DEADLINE = 60  # seconds for one run
_CALLS = 100  # of each operation
_EMPTY = "def handler(event, context):\n    return event\n"
_DURABLE = f"""
import os
import boto3
from botocore.config import Config

config = Config(connect_timeout={CONNECT_TIMEOUT_S}, read_timeout={READ_TIMEOUT_S},
                retries={{"mode": "standard", "total_max_attempts": {MAX_ATTEMPTS}}})
table = boto3.client("dynamodb", config=config)
key = {{"pk": {{"S": "bench"}}, "sk": {{"S": "by hand"}}}}
name = os.environ["TABLE"]

def handler(event, context):
    table.get_item(TableName=name, Key=key, ConsistentRead=True)
    for status in ("running", "succeeded"):
        table.put_item(TableName=name, Item=key | {{"status": {{"S": status}}}})
    return event
"""


def measure(progress: Progress) -> Sequence[Figures]:
    """Two tables: the chains, and what the single calls take of which they are made. Times break nothing."""
    with local_stack(progress) as stack:
        return [_chains(stack, progress), _calls(stack, progress)]


def _chains(stack: LocalStack, progress: Progress) -> Figures:
    machines = Machines(stack)
    starts = {
        "by hand, empty functions": _by_hand(machines, "empty", _EMPTY),
        "by hand, a read and two writes": _by_hand(machines, "durable", _DURABLE, TABLE=stack.table_name),
        "Millrace, fused": machines.of_workflow(graphs.chain(_NODES)),
        "Millrace, not fused": machines.of_workflow(graphs.chain_of_states(_NODES)),
    }
    took: dict[str, list[float]] = {name: [] for name in starts}
    for number in range(_TRIES + 1):
        progress(f"run {number} of {_TRIES}")
        for name, start in starts.items():
            seconds = machines.seconds(start(), _DEADLINE)
            if number:
                took[name].append(seconds * 1000)
    medians = {name: statistics.median(times) for name, times in took.items()}
    empty, durable, _, unfused = medians.values()
    rows: list[list[Cell]] = [
        [name, median, median / _NODES, median / empty, median / durable, median / unfused]
        for name, median in medians.items()
    ]
    columns = ("chain", "ms", "ms/node", "times empty", "times durable", "times not fused")
    return Figures(f"A chain of {_NODES} on the emulator, medians of {_TRIES} in turns", columns, rows)


def _by_hand(machines: Machines, name: str, code: str, **environment: str) -> Callable[[], str]:
    function = machines.function(f"bench-{name}", code, **environment)
    names = [f"t{index}" for index in range(_NODES)]
    states = {
        state: {"Type": "Task", "Resource": function} | ({"Next": after} if after else {"End": True})
        for state, after in zip(names, [*names[1:], None], strict=True)
    }
    return machines.by_hand(f"bench-{name}", {"StartAt": names[0], "States": states})


def _calls(stack: LocalStack, progress: Progress) -> Figures:
    """What single calls take from this process, which is to do nothing else."""
    progress("single calls")
    table, functions = stack.client("dynamodb"), stack.client("lambda")
    name, key = stack.table_name, {"pk": {"S": "bench"}, "sk": {"S": "single"}}
    calls: dict[str, Callable[[], Any]] = {
        "Invoke, of an empty function": lambda: functions.invoke(FunctionName="bench-empty", Payload=b"{}"),
        "GetItem": lambda: table.get_item(TableName=name, Key=key, ConsistentRead=True),
        "BatchGetItem, of three": lambda: table.batch_get_item(
            RequestItems={name: {"Keys": [key | {"sk": {"S": each}} for each in ("single", "a", "b")]}}
        ),
        "PutItem": lambda: table.put_item(TableName=name, Item=key | {"status": {"S": "succeeded"}}),
    }
    rows: list[list[Cell]] = []
    for label, call in calls.items():
        whole, own = zip(*(_timed(call) for _ in range(_CALLS)), strict=True)
        rows.append([label, statistics.median(whole) * 1000, statistics.median(own) * 1000])
    columns = ("call", "ms", "of it the SDK's own, processor ms")
    return Figures(f"Single calls to the emulator, medians of {_CALLS}", columns, rows)


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor
