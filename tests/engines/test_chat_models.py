"""Agents with a model behind a chat completions API: over sockets, to a server on loopback that is scripted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.bootstrap import services
from chalicelib.cloud.http import GuardedHttpClient
from chalicelib.foundation.json_types import Json
from chalicelib.foundation.settings import Settings
from tests.chat_server import KEY, ChatServer, chat_server, completion
from tests.conftest import TABLE
from tests.fakes import CountingIds, FakeClock, World, graph, node
from tests.runs import OWNER, Run, Runs
from tests.state_machines import StepFunctions

CALC = node("calc", "transform", label="Adds numbers")
CALC["config"] = {}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


@pytest.fixture
def runs(settings: Settings, clock: FakeClock, step_functions: StepFunctions, world: World) -> Runs:
    """As in a Lambda, with the HTTP client that goes out from there."""
    capabilities = replace(world.capabilities, http=GuardedHttpClient(allow_loopback=True))
    wired = services(settings, clock=clock, ids=CountingIds(), capabilities=capabilities)
    wired.credentials.create(OWNER, "MODEL_KEY", KEY)
    return Runs(wired, step_functions)


@pytest.fixture
def ask(runs: Runs, server: ChatServer) -> Callable[..., Run]:
    """Runs an agent on the server's model, with a tool that evaluates what the model writes."""

    def run(inputs: Json = None, **config: Any) -> Run:
        settings = config.pop("settings", {})
        model = node(
            "m",
            "openai-compatible-model",
            **{"baseUrl": server.base_url, "model": "tiny", "apiKey": "${MODEL_KEY}", **config},
        )
        agent = node("a", "agent", goal="Add {{ data.what }}.", settings=settings)
        nodes = [node("t", "manual-trigger"), agent, model, CALC]
        return runs.run(graph(nodes, "t -> a", "m -> a:ai", "calc -> a:tools"), inputs or {"what": "2 and 3"})

    return run


def test_a_conversation_with_tools(server: ChatServer, ask: Callable[..., Run]) -> None:
    """Messages and tools go out as the API wants them, what the tools give goes back, answer and tokens come out."""

    def answer(request: Any) -> tuple[int, Any]:
        if len(request["messages"]) == 2:
            return 200, completion(None, ("Adds_numbers", {"expression": "2 + 3"}), ("Adds_numbers", "{not json"))
        return 200, completion("It is 5.")

    server.answer = answer
    run = ask(system="Be brief.", temperature=0, maxTokens=100)
    assert run.status == "succeeded", run.execution.error
    assert server.paths == ["/v1/chat/completions"] * 2
    first, second = server.requests
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("tiny", 0, 100)
    opening = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add 2 and 3."}]
    assert first["messages"] == opening
    (tool,) = first["tools"]
    assert tool["type"] == "function"
    assert tool["function"]["name"] == "Adds_numbers"
    assert tool["function"]["parameters"]["required"] == ["expression"]
    assert second["messages"] == [
        *opening,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "Adds_numbers", "arguments": '{"expression":"2 + 3"}'},
                },
                {"id": "call_1", "type": "function", "function": {"name": "Adds_numbers", "arguments": "{not json"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "5"},
        {
            "role": "tool",
            "tool_call_id": "call_1",
            "content": '{"name":"InvalidArguments","message":"The arguments have to be a JSON object."}',
        },
    ]
    output: Any = run.output
    assert output["answer"] == "It is 5."
    assert [turn["stopReason"] for turn in output["turns"]] == ["tool_calls", "stop"]
    assert output["usage"] == {"inputTokens": 14, "outputTokens": 6}


def test_what_is_not_set_is_not_sent(server: ChatServer, ask: Callable[..., Run]) -> None:
    """A slash at the end of the base URL does not matter; servers decide what is left out."""
    ask(baseUrl=f"{server.base_url}/")
    assert server.paths == ["/v1/chat/completions"]
    assert server.requests[0].keys() == {"model", "messages", "tools"}


def test_a_key_that_is_refused(server: ChatServer, ask: Callable[..., Run], dynamodb: Any) -> None:
    """The run fails for good, and the server's message about the key does not show the key."""
    run = ask(apiKey="${MODEL_KEY}x", settings={"retry": {"maxAttempts": 3}})
    assert run.execution.error is not None
    assert run.execution.error["name"] == "ModelAccessDenied"
    assert "Incorrect key: Bearer ***x" in run.execution.error["message"]
    assert len(run.steps["a"].attempts) == 1
    assert KEY not in json.dumps(dynamodb.scan(TableName=TABLE)["Items"], default=repr)


@pytest.mark.parametrize(
    ("status", "body", "name", "attempts"),
    [
        (404, {"error": "no model"}, "ModelNotFound", 1),
        (400, {"error": "no"}, "ModelRequestInvalid", 1),
        (429, {"error": "slow down"}, "ModelUnavailable", 2),
        (503, b"\xff<html>", "ModelUnavailable", 2),
        (200, b"{", "ModelAnswerInvalid", 2),
        (200, {"choices": []}, "ModelAnswerInvalid", 2),
        (200, {"choices": [{"message": {"content": 7}}]}, "ModelAnswerInvalid", 2),
    ],
)
def test_a_server_that_fails(
    server: ChatServer, ask: Callable[..., Run], status: int, body: Any, name: str, attempts: int
) -> None:
    """What would fail again is permanent; what may pass, and an answer that is none, is worth another try."""
    server.answer = lambda request: (status, body)
    run = ask(settings={"retry": {"maxAttempts": 2}})
    assert run.execution.error is not None
    assert run.execution.error["name"] == name
    assert len(server.requests) == attempts


def test_the_least_that_a_server_may_say(server: ChatServer, ask: Callable[..., Run]) -> None:
    """Neither ids nor usage nor a reason to stop, and no arguments for a tool."""

    def answer(request: Any) -> tuple[int, Any]:
        if len(request["messages"]) == 1:
            call = {"function": {"name": "Adds_numbers", "arguments": None}}
            return 200, {"choices": [{"message": {"tool_calls": [call]}}]}
        return 200, {"choices": [{"message": {"content": "done"}}]}

    server.answer = answer
    output: Any = ask().output
    assert output["answer"] == "done"
    assert output["turns"][0]["toolCalls"][0]["error"]["name"] == "InvalidConfig"
    assert output["usage"] == {"inputTokens": 0, "outputTokens": 0}


def test_a_base_url_is_guarded(server: ChatServer, ask: Callable[..., Run]) -> None:
    """It is a user's URL: what only the function can see is refused."""
    run = ask(baseUrl="http://169.254.169.254/v1")
    assert run.execution.error is not None
    assert run.execution.error["name"] == "AddressRefused"
