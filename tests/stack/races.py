"""Many runs at once of graphs that are not series-parallel, whose nodes take no time: every late join is a race.

``race`` is for the test, and for ``make bench``, which has the time for more.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from random import Random
from typing import Any

from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Gate, walk
from chalicelib.nodes.registry import CATALOG
from tests.fakes import graph, node
from tests.runs import parsed
from tests.stack.api import Api, Run

GRAPHS = 10
AT_ONCE = 8
NODES = 6

#: One more than what all predecessors have put out: whose output is missing, is missed in the end.
_SUM = "1 + ($type(data) = 'object' ? $sum($each(data, function($v) { $v })) : data)"
_ALONE = {"retry": {"maxAttempts": 2}}  # a state of its own, so that as much as possible happens at once


def _random_edges(seed: int) -> dict[int, list[int]]:
    """Predecessors of each node: none of the first two, one or two of the others."""
    random = Random(seed)
    return {
        index: sorted(random.sample(range(index), random.choice([1, 2, 2]))) if index > 1 else []
        for index in range(NODES)
    }


def _shape(before: Mapping[int, list[int]], seed: int) -> dict[str, Any]:
    random = Random(seed)
    nodes = [
        node(f"n{index}", expression=_SUM if origins else "1", settings=random.choice([{}, _ALONE]))
        for index, origins in before.items()
    ]
    return graph(nodes, *(f"n{origin} -> n{index}" for index, origins in before.items() for origin in origins))


def _racing() -> list[tuple[Mapping[int, list[int]], dict[str, Any]]]:
    """Graphs with a late join at least."""
    found: list[tuple[Mapping[int, list[int]], dict[str, Any]]] = []
    for seed in count():
        before = _random_edges(seed)
        shape = _shape(before, seed)
        regions = walk(compile_plan(parsed(shape), CATALOG).root)
        if any(isinstance(region, Gate) for region in regions):
            found.append((before, shape))
        if len(found) == GRAPHS:
            return found
    raise AssertionError("there are enough of them")


def race(api: Api, runs: int) -> int:
    """Runs each graph so often, and checks every run: that it ended, with every node run once, none before its
    predecessors had ended, and nothing missed. How many runs there were.
    """
    workflows = [(before, api.create(shape)) for before, shape in _racing()]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = [(before, pool.submit(_ended, api, workflow)) for _ in range(runs) for before, workflow in workflows]
        for before, told in ended:
            _check(before, told.result())
    return len(ended)


def _ended(api: Api, workflow: str) -> dict[str, Any]:
    return Run(api, api.execute(workflow).body["executionId"]).wait(120)


def _check(before: Mapping[int, list[int]], told: Mapping[str, Any]) -> None:
    assert told["execution"]["status"] == "SUCCESS", told
    tasks = {task["taskId"]: task for task in told["tasks"]}
    assert len(tasks) == len(told["tasks"]) == NODES
    values: dict[int, int] = {}
    for index, origins in before.items():
        task = tasks[f"n{index}"]
        values[index] = 1 + sum(values[origin] for origin in origins)
        assert (task["status"], task["attempts"], task["outputs"]) == ("SUCCESS", 1, str(values[index])), told
        assert all(tasks[f"n{origin}"]["finishedAt"] <= task["startedAt"] for origin in origins), told
