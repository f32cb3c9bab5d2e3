"""A run as somebody sees it who reads it all the time while it is under way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from tests.fakes import graph, node
from tests.stack.api import Api, Run, eventually
from tests.stack.conftest import LocalStack
from tests.stack.upstream import upstream

_SEEN_WITHIN_S = 2.0
_NODES = ("a", "b", "c")


def test_each_node_is_seen_at_work(stack: LocalStack) -> None:
    """Within two seconds of its beginning a node is told as RUNNING, with all before it ended, and the run with it."""
    api = Api(stack)
    with upstream() as server:
        held = {name: server.hold(f"/{name}") for name in _NODES}
        calls = [node(name, "http-request", method="GET", url=server.url(f"/{name}")) for name in _NODES]
        run = api.start(graph(calls, "a -> b -> c"))
        for position, name in enumerate(_NODES):
            (begun,) = eventually(partial(server.calls, f"/{name}"), f"the request of {name}")
            wanted = {**dict.fromkeys(_NODES[:position], "SUCCESS"), name: "RUNNING"}
            eventually(partial(_tells, run, wanted), f"{name} at work", within=_SEEN_WITHIN_S)
            assert time.monotonic() - begun.at < _SEEN_WITHIN_S
            assert run.status == "RUNNING"
            held[name].set()
        assert run.wait()["execution"]["status"] == "SUCCESS"


def _tells(run: Run, wanted: Mapping[str, str]) -> bool:
    return {task: told["status"] for task, told in run.tasks.items()} == wanted
