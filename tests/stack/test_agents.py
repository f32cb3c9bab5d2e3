"""Agents and credentials on a stack: KMS, Bedrock and a chat server over the wire, and a worker that is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chat_server import KEY, ChatServer, chat_server, completion
from tests.fakes import graph, node
from tests.stack.api import Api
from tests.stack.conftest import LocalStack
from tests.stack.upstream import Upstream, upstream
from tests.stack.workers import caller, kill


@pytest.fixture(scope="module")
def api(stack: LocalStack) -> Iterator[Api]:
    api = Api(stack)
    assert api.send("POST", "/api/v1/credentials", {"name": "CHAT_KEY", "value": KEY}).status == 201
    yield api
    assert api.send("DELETE", "/api/v1/credentials/CHAT_KEY").status == 204


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


@pytest.fixture
def shop() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


def agent(chat: ChatServer, shop: Upstream) -> dict[str, Any]:
    """An agent that asks the shop, with a model that needs a key."""
    nodes = [
        node("t", "manual-trigger"),
        node("a", "agent", goal="Ask."),
        node("m", "openai-compatible-model", baseUrl=chat.base_url, model="tiny", apiKey="${CHAT_KEY}"),
        node("ask", "http-request", method="GET", url=shop.url("/shop")),
    ]
    return graph(nodes, "t -> a", "m -> a:ai", "ask -> a:tools")


def test_an_agent_reaches_its_model_with_a_credential(api: Api, chat: ChatServer, shop: Upstream) -> None:
    """The key that KMS opens is sent; it stands in nothing that the API tells, also where the model repeats it."""
    chat.answer = lambda request: (
        (200, completion(None, ("ask", {}))) if len(request["messages"]) == 1 else (200, completion(f"You sent {KEY}."))
    )
    run = api.run(agent(chat, shop))
    assert run.status == "SUCCESS", run.execution["error"]
    assert run.output["answer"] == "You sent ***."
    assert run.output["turns"][0]["toolCalls"][0]["output"]["body"] == {"fine": True}
    assert KEY not in json.dumps(api.detail(run.id))


def test_a_worker_killed_in_the_middle_of_turns(stack: LocalStack, api: Api, chat: ChatServer, shop: Upstream) -> None:
    """Its process dies while the model thinks for the second time: what was said and done before is not repeated."""
    killed: list[int] = []

    def answer(request: Any) -> tuple[int, Any]:
        if len(request["messages"]) == 1:
            return 200, completion(None, ("ask", {}))
        if not killed:
            worker = caller(stack.home, "node", chat.client_port)
            assert worker is not None
            killed.append(worker.pid)
            kill(worker)
        return 200, completion("done")

    chat.answer = answer
    run = api.run(agent(chat, shop))
    assert (run.status, run.output["answer"]) == ("SUCCESS", "done")
    assert killed
    assert run.tasks["a"]["attempts"] == 2
    assert [len(request["messages"]) for request in chat.requests] == [1, 3, 3]
    assert len(shop.calls("/shop")) == 1
