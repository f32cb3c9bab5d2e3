"""Large runs on Step Functions: a graph of a thousand nodes, and a loop over ten thousand items.

On a local stack of its own. That they come to their end, whole, is what is held against a limit; how long they take is
the emulator's doing for the most part, which runs every state, every function and the table on this one machine.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from bench import graphs
from bench.report import Cell, Figures, Progress
from bench.stack import Machines, local_stack
from chalicelib.store import keys
from tests.stack.api import FINAL, Api, Run
from tests.stack.conftest import LocalStack

NODES = 1_000
ITEMS = 10_000
COLUMNS = ("run", "nodes and items", "seconds", "per second", "first page of tasks, ms")
_DEADLINE_S = 2_400  # for one run
_TOLD_WITHIN_S = 300  # that the API has to tell of its end: it takes the emulator a second to query a large partition
_POLL_S = 2.0


def measure(progress: Progress) -> Sequence[Figures]:
    """One table; ``broken`` where a run does not succeed with all that belongs to it."""
    runs = {
        f"random layers of ten, {NODES:,} nodes": (graphs.layered(NODES), NODES),
        f"loop of {ITEMS:,} items": (graphs.loop(ITEMS), ITEMS + 1),
    }
    rows: list[list[Cell]] = []
    broken: list[str] = []
    with local_stack(progress) as stack:
        api, machines = Api(stack), Machines(stack)
        for name, (shape, size) in runs.items():
            progress(name)
            execution = machines.of_workflow(shape)()
            seconds = machines.seconds(execution, _DEADLINE_S, every=_POLL_S)
            run = Run(api, execution.rpartition(":")[2])
            status = _told(run)
            looked = time.monotonic()
            api.detail(run.id)
            rows.append([name, size, seconds, size / seconds, (time.monotonic() - looked) * 1000])
            done = _steps(stack, run.id)
            if (status, done) != ("SUCCESS", {"succeeded": size}):
                broken.append(f"{name}: {status}, with steps {dict(done)}")
    return [Figures("Large runs on the emulator", COLUMNS, rows, broken)]


def _told(run: Run) -> str:
    """How the API tells that a run has ended, or stands when it is waited for no longer."""
    deadline = time.monotonic() + _TOLD_WITHIN_S
    status = ""
    while status not in FINAL and time.monotonic() < deadline:
        answer = run.api.send("GET", f"/api/v1/executions/{run.id}?limit=1")
        status = answer.body["execution"]["status"] if answer.status == 200 else str(answer)
        time.sleep(_POLL_S)
    return status


def _steps(stack: LocalStack, execution_id: str) -> Counter[str]:
    """How many steps stand how."""
    pages = (
        stack.client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=stack.table_name,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :step)",
            ProjectionExpression="#status",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={
                ":pk": {"S": keys.execution(stack.org_id, execution_id)["pk"]},
                ":step": {"S": keys.STEP_PREFIX},
            },
        )
    )
    return Counter(item["status"]["S"] for page in pages for item in page["Items"])
