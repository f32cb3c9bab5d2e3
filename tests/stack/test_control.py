"""Runs that people hold, let go on and take up again, on Step Functions: what was done stays done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes import graph, node
from tests.stack.api import Api, eventually
from tests.stack.conftest import LocalStack
from tests.stack.upstream import Upstream, upstream


@pytest.fixture
def api(stack: LocalStack) -> Api:
    return Api(stack)


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


def calls(server: Upstream, *names: str) -> list[dict[str, object]]:
    return [node(name, "http-request", method="GET", url=server.url(f"/{name}")) for name in names]


def told(api: Api, run_id: str, verb: str, body: object = None) -> int:
    return api.send("POST", f"/api/v1/executions/{run_id}/{verb}", body).status


def test_a_run_is_held_and_goes_on(api: Api, server: Upstream) -> None:
    """What is under way ends, nothing begins; resumed, the rest runs, and nothing twice."""
    held = server.hold("/a")
    run = api.start(graph(calls(server, "a", "b"), "a -> b"))
    eventually(lambda: server.calls("/a"), "the call of a")
    assert told(api, run.id, "pause") == 200
    held.set()
    eventually(lambda: run.tasks["a"]["status"] == "SUCCESS", "the end of a")
    assert (run.status, server.calls("/b")) == ("PAUSED", [])
    assert told(api, run.id, "resume") == 200
    assert run.wait()["execution"]["status"] == "SUCCESS"
    assert (len(server.calls("/a")), len(server.calls("/b"))) == (1, 1)


def test_a_run_that_failed_is_retried_and_restarted(api: Api, server: Upstream) -> None:
    """Retried, only what failed runs again; restarted from a step, that and what is behind it. The history stays."""
    server.answers["/b"] = [500]
    run = api.start(graph(calls(server, "a", "b", "c"), "a -> b -> c"))
    assert run.wait()["execution"]["status"] == "FAILED"
    assert told(api, run.id, "resume") == 409
    assert told(api, run.id, "retry") == 200
    assert run.wait()["execution"]["status"] == "SUCCESS"
    assert [len(server.calls(f"/{name}")) for name in "abc"] == [1, 2, 1]
    assert told(api, run.id, "restart", {"fromStep": "b"}) == 200
    assert run.wait()["execution"]["status"] == "SUCCESS"
    assert [len(server.calls(f"/{name}")) for name in "abc"] == [1, 3, 2]
    assert [attempt["round"] for attempt in run.tasks["b"]["attemptHistory"]] == [1, 2, 3]
    assert run.execution["cost"]["stateTransitions"] == 3 + 4 + 4
