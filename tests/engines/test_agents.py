"""Agents in whole runs: turns and tools, what is recorded of them, and what a model may not do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.foundation.errors import Permanent, Retryable
from tests.conftest import BUCKET, TABLE
from tests.engines.test_step import die_at
from tests.fakes import FakeClock, Killed, World, graph, json_response, node, said, watched
from tests.runs import OWNER, Runs

MODEL = node("m", "bedrock-model", modelId="amazon.nova-lite-v1:0")
FETCH = node("fetch", "http-request", method="GET", url="http://x/{{ data.shop }}")


def agent(*tools: dict[str, Any], model: dict[str, Any] = MODEL, **more: Any) -> dict[str, Any]:
    """An agent with a model and tools, after a trigger."""
    config = {"goal": "Find out about {{ data.topic }}.", **more}
    nodes = [node("t", "manual-trigger"), node("a", "agent", **config), model, *tools]
    return graph(nodes, "t -> a", f"{model['id']} -> a:ai", *(f"{tool['id']} -> a:tools" for tool in tools))


def script(world: World, *replies: Any) -> None:
    """What the model says, reply by reply; an exception is raised."""
    waiting = list(replies)

    def reply(request: Mapping[str, Any]) -> Mapping[str, Any]:
        found = waiting.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found  # type: ignore[no-any-return]

    world.bedrock.reply = reply


class Said:
    """The output of an agent."""

    def __init__(self, output: Any) -> None:
        assert output.keys() == {"answer", "turns", "usage"}
        self.answer: str = output["answer"]
        self.turns: list[Any] = output["turns"]
        self.usage: dict[str, int] = output["usage"]


def results(request: Mapping[str, Any]) -> list[Any]:
    """Results of tools, as the model was last told them."""
    return [block["toolResult"] for block in request["messages"][-1]["content"]]


def texts(world: World) -> list[Any]:
    return [json.loads(result["content"][0]["text"]) for result in results(world.bedrock.requests[-1])]


def schema(world: World, name: str) -> dict[str, Any]:
    """The parameters of a tool, as the model is told them."""
    specs = {tool["toolSpec"]["name"]: tool["toolSpec"] for tool in world.bedrock.requests[0]["toolConfig"]["tools"]}
    found: dict[str, Any] = specs[name]["inputSchema"]["json"]
    return found


def test_an_answer_without_tools(runs: Runs, world: World) -> None:
    """The goal goes out with its templates rendered; the reply is the answer; attached nodes are no tasks."""
    script(world, said("It is blue."))
    run = runs.run(agent(), {"topic": "the sky"})
    (request,) = world.bedrock.requests
    assert request == {
        "modelId": "amazon.nova-lite-v1:0",
        "messages": [{"role": "user", "content": [{"text": "Find out about the sky."}]}],
    }
    assert run.output == {
        "answer": "It is blue.",
        "turns": [
            {
                "model": "amazon.nova-lite-v1:0",
                "text": "It is blue.",
                "stopReason": "end_turn",
                "toolCalls": [],
                "usage": {"inputTokens": 10, "outputTokens": 2},
            }
        ],
        "usage": {"inputTokens": 10, "outputTokens": 2},
    }
    assert run.statuses() == {"t": "succeeded", "a": "succeeded"}
    assert run.execution.tasks_total == 2


def test_tools_are_nodes(runs: Runs, world: World) -> None:
    """A tool runs as the node would, with the agent's input; its output goes to the model and into the turns."""
    script(world, said("Let me see.", ("fetch", {"query": {"q": "tea"}})), said("There is tea."))
    world.http.reply = lambda request: json_response({"found": "tea"})
    run = runs.run(agent(FETCH), {"topic": "tea", "shop": "corner"})
    (sent,) = world.http.requests
    assert (sent.method, sent.url) == ("GET", "http://x/corner?q=tea")
    output = {"status": 200, "headers": {"content-type": "application/json"}, "body": {"found": "tea"}}
    assert world.bedrock.requests[1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"text": "Let me see."},
                {"toolUse": {"toolUseId": "use0", "name": "fetch", "input": {"query": {"q": "tea"}}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "toolResult": {
                        "toolUseId": "use0",
                        "content": [{"text": json.dumps(output, separators=(",", ":"))}],
                        "status": "success",
                    }
                }
            ],
        },
    ]
    first, second = Said(run.output).turns
    assert first["toolCalls"] == [{"name": "fetch", "input": {"query": {"q": "tea"}}, "output": output}]
    assert second["toolCalls"] == []
    assert Said(run.output).answer == "There is tea."
    assert Said(run.output).usage == {"inputTokens": 20, "outputTokens": 4}
    assert run.statuses() == {"t": "succeeded", "a": "succeeded"}


def test_what_a_model_is_told_of_a_tool(runs: Runs, world: World) -> None:
    """The schema of its config less what the author has set, under a name that the APIs of models take."""
    tools = [
        node("r", "s3-read", bucket="reports", label="Read a report!"),
        node("r2", "s3-read", label="Read a report?"),
        node("e", "transform", expression="data", label="日本"),
        {"id": "open", "nodeId": "transform", "config": {}},
    ]
    script(world, said("Done."))
    runs.run(agent(*tools))
    told = [tool["toolSpec"] for tool in world.bedrock.requests[0]["toolConfig"]["tools"]]
    assert [tool["name"] for tool in told] == ["Read_a_report", "Read_a_report_2", "tool", "open"]
    assert told[0]["description"] == "Read a report!. Puts out the text of an object, parsed where its type is JSON."
    assert schema(world, "Read_a_report") == {
        "type": "object",
        "properties": {"key": {"maxLength": 1024, "minLength": 1, "title": "Key", "type": "string"}},
        "required": ["key"],
        "additionalProperties": False,
    }
    assert schema(world, "Read_a_report_2")["required"] == ["bucket", "key"]
    assert schema(world, "tool")["properties"] == {}
    assert "JSONata" in schema(world, "open")["properties"]["expression"]["description"]


def test_errors_of_tools_go_to_the_model(runs: Runs, world: World) -> None:
    """Whatever goes wrong with a call is its result, and the agent goes on."""
    calls = [
        ("fetch", {}),
        ("fetch", {"method": "DELETE"}),
        ("fetch", {"timeoutSeconds": "soon"}),
        ("nothing", {}),
        ("read", {"key": "absent"}),
    ]
    script(world, said("", *calls), said("So be it."))
    world.http.fail_with(Retryable("HttpTimeout", "No answer."))
    run = runs.run(agent(FETCH, node("read", "s3-read", bucket="b-1")), {"topic": "x", "shop": "y"})
    assert run.status == "succeeded"
    assert [result["status"] for result in results(world.bedrock.requests[1])] == ["error"] * 5
    told = texts(world)
    assert told[0] == {"name": "HttpTimeout", "message": "No answer."}
    assert told[1] == {"name": "InvalidArguments", "message": "The tool does not take method."}
    assert told[2]["name"] == "InvalidConfig"
    assert told[3] == {"name": "UnknownTool", "message": "There is no tool 'nothing'; there are: fetch, read."}
    assert told[4]["name"] == "KeyError"
    recorded = Said(run.output).turns[0]["toolCalls"]
    assert [call["error"] for call in recorded] == told


def test_turns_are_bounded(runs: Runs, world: World) -> None:
    """A model that never comes to an end fails the node for good; it is asked no more than so often."""
    world.bedrock.reply = lambda request: said("", ("fetch", {}))
    run = runs.run(agent(FETCH, maxTurns=3, settings={"retry": {"maxAttempts": 2}}), {"topic": "x", "shop": "y"})
    assert run.execution.error == {
        "name": "TurnLimit",
        "message": "The agent has no answer after 3 turns.",
        "nodeId": "a",
    }
    assert len(world.bedrock.requests) == len(world.http.requests) == 3


def test_calls_of_a_turn_are_bounded(runs: Runs, world: World) -> None:
    """What is asked for beyond sixteen tools at a time is refused, and the model is told so."""
    script(world, said("", *[("fetch", {})] * 18), said("Done."))
    assert runs.run(agent(FETCH), {"topic": "x", "shop": "y"}).status == "succeeded"
    assert len(world.http.requests) == 16
    assert [text.get("name") for text in texts(world)[16:]] == ["TooManyCalls"] * 2


def test_a_long_result_is_cut(runs: Runs, world: World) -> None:
    """A model is told the first 50,000 characters, and that there is more; the record holds no more either."""
    script(world, said("", ("fetch", {})), said("Long."))
    world.http.reply = lambda request: json_response("x" * 200_000)
    run = runs.run(agent(FETCH), {"topic": "x", "shop": "y"})
    (result,) = results(world.bedrock.requests[1])
    assert 50_000 < len(result["content"][0]["text"]) < 50_200
    assert result["content"][0]["text"].endswith("is longer than 50000 characters]")
    (call,) = Said(run.output).turns[0]["toolCalls"]
    assert (call["truncated"], len(call["output"])) == (True, 50_000)


def test_time_is_bounded(runs: Runs, world: World, clock: FakeClock) -> None:
    """After eleven minutes nothing new is begun; another attempt goes on where this one was."""
    replies = [said("", ("fetch", {})), said("", ("fetch", {})), said("Done.")]
    script(world, *replies)

    def slow(request: Any) -> Any:
        clock.advance(400)
        return json_response({})

    world.http.reply = slow
    shape = agent(FETCH, settings={"retry": {"maxAttempts": 2}})
    run = runs.run(shape, {"topic": "x", "shop": "y"})
    assert run.status == "succeeded"
    assert [attempt.error and attempt.error.name for attempt in run.steps["a"].attempts] == ["AgentTimeout", None]
    assert (len(world.bedrock.requests), len(world.http.requests)) == (3, 2)


def test_a_tool_gets_no_more_time_than_is_left(runs: Runs, world: World, clock: FakeClock) -> None:
    """A limit of its own that goes beyond the agent's is shortened."""
    script(world, said("", ("fetch", {}), ("fetch", {})), said("Done."))

    def slow(request: Any) -> Any:
        clock.advance(300)
        return json_response({})

    world.http.reply = slow
    tool = node("fetch", "http-request", method="GET", url="http://x", timeoutSeconds=600)
    assert runs.run(agent(tool)).status == "succeeded"
    assert [request.timeout_s for request in world.http.requests] == [600, 660 - 300 + 180]


# ---------------------------------------------------------------------------------------------- what a model may not do


@pytest.fixture
def token(app_services: Services) -> None:
    app_services.credentials.create(OWNER, "TOKEN", "s3cr3t")


@pytest.mark.usefixtures("token")
def test_a_model_names_no_credential_and_writes_no_template(runs: Runs, world: World) -> None:
    """What it writes is text, whole or together with the author's; only the author's own words are resolved."""
    tool = node("fetch", "http-request", method="POST", url="http://x", headers={"A": "${TOKEN}"})
    body = {"a": "${TOKEN}", "b": "{{ trigger.private }}", "c": "{{ data }}"}
    script(world, said("", ("fetch", {"body": body})), said("Done."))
    runs.run(agent(tool), {"private": "p"})
    (sent,) = world.http.requests
    assert json.loads(sent.body or b"") == body
    assert sent.headers["A"] == "s3cr3t"


@pytest.mark.usefixtures("token")
def test_a_model_never_sees_a_credential(runs: Runs, world: World, dynamodb: Any, s3: Any) -> None:
    """A tool that echoes one tells it to nobody: not to the model, not to the record, not in an error."""
    tool = node("fetch", "http-request", method="POST", url="http://x", headers={"A": "${TOKEN}"})
    script(world, said("", ("fetch", {}), ("fetch", {})), said("It is s3cr3t, I guess."))
    replies: Iterator[Any] = iter([json_response({"echo": "s3cr3t"}), Permanent("Refused", "no: s3cr3t")])

    def reply(request: Any) -> Any:
        found = next(replies)
        if isinstance(found, Exception):
            raise found
        return found

    world.http.reply = reply
    run = runs.run(agent(tool))
    assert Said(run.output).answer == "It is ***, I guess."
    assert "s3cr3t" not in json.dumps(world.bedrock.requests)
    kept = json.dumps(dynamodb.scan(TableName=TABLE)["Items"], default=repr)
    for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix="payloads/").get("Contents", ()):
        kept += s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read().decode()
    assert "s3cr3t" not in kept


def test_an_expression_of_a_models_is_bounded_and_sees_the_agents_input(runs: Runs, world: World) -> None:
    """Left open by the author, it may be chosen by the model."""
    tool = {"id": "calc", "nodeId": "transform", "config": {}}
    calls = [("calc", {"expression": "$sum(data.n)"}), ("calc", {"expression": "$eval('1')"})]
    script(world, said("", *calls), said("6"))
    runs.run(agent(tool), {"n": [1, 2, 3]})
    assert texts(world)[0] == 6
    assert texts(world)[1]["name"] == "ExpressionError"


# ------------------------------------------------------------------------------------------------- what if it is killed


SHOP = {"topic": "tea", "shop": "corner"}


def conversation(world: World) -> None:
    """Two turns with tools and an answer, decided by what the model was told alone: as a model would."""

    def reply(request: Mapping[str, Any]) -> Mapping[str, Any]:
        match len(request["messages"]):
            case 1:
                return said("First.", ("fetch", {"query": {"n": 1}}), ("fetch", {"query": {"n": 2}}))
            case 3:
                return said("Then.", ("fetch", {"query": {"n": 3}}))
        return said("Done.")

    world.bedrock.reply = reply
    world.http.reply = lambda request: json_response({"url": request.url})


@pytest.mark.parametrize("moment", ["before", "after"])
def test_any_call_may_be_the_last(runs: Runs, world: World, dynamodb: Any, moment: str) -> None:
    """Whichever call to DynamoDB the runner dies at, the record is the same; at most what was at work is done again."""
    conversation(world)
    whole = runs.start(agent(FETCH), SHOP)
    with watched(dynamodb) as calls:
        runs.walk(whole)
        number_of_calls = len(calls.made)
    runs.tell_end(whole)
    expected = runs.output(runs.detail(whole).execution)
    assert (len(world.bedrock.requests), len(world.http.requests)) == (3, 3)
    for fatal in range(1, number_of_calls + 1):
        execution_id = runs.start(agent(FETCH), SHOP)
        world.bedrock.requests.clear()
        world.http.requests.clear()
        with watched(dynamodb) as calls:
            setattr(calls, moment, die_at(fatal))
            runs.walk(execution_id)
        runs.tell_end(execution_id)
        assert runs.output(runs.detail(execution_id).execution) == expected, (
            f"{moment} call {fatal} of {number_of_calls}"
        )
        repeated = len(world.bedrock.requests) + len(world.http.requests) - 6
        assert repeated <= (moment == "before")


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_kill_while_the_model_thinks(runs: Runs, world: World, turn: int) -> None:
    """The next attempt asks again for that reply and for no other, and uses no tool again."""
    conversation(world)
    think, asked = world.bedrock.reply, 0

    def reply(request: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal asked
        asked += 1
        if asked == turn:
            raise Killed
        return think(request)

    world.bedrock.reply = reply
    execution_id = runs.start(agent(FETCH), SHOP)
    runs.walk(execution_id)
    assert runs.steps(execution_id)["a"].status == "succeeded"
    assert (asked, len(world.http.requests)) == (4, 3)


def test_a_retry_goes_on_with_the_turns(runs: Runs, world: World) -> None:
    """A model that is overloaded in the middle fails the attempt; the next one repeats nothing that was done."""
    conversation(world)
    think, waiting = world.bedrock.reply, [Retryable("ModelUnavailable", "busy")] * 2

    def reply(request: Mapping[str, Any]) -> Mapping[str, Any]:
        if len(request["messages"]) == 3 and waiting:
            raise waiting.pop()
        return think(request)

    world.bedrock.reply = reply
    run = runs.run(agent(FETCH, settings={"retry": {"maxAttempts": 3}}), SHOP)
    assert run.status == "succeeded"
    assert len(run.steps["a"].attempts) == 3
    assert (len(world.bedrock.requests), len(world.http.requests)) == (5, 3)


def test_two_deliveries_at_one_time_agree(runs: Runs, world: World) -> None:
    """Where another delivery was first with a reply or a result, its word counts for both."""
    conversation(world)
    execution_id = runs.start(agent(FETCH), SHOP)
    runs.visit(execution_id, "t")
    think, inner = world.bedrock.reply, list[bool]()

    def reply(request: Mapping[str, Any]) -> Mapping[str, Any]:
        if not inner:
            inner.append(True)
            runs.visit(execution_id, "a")
            return said("Something else altogether.")
        return think(request)

    world.bedrock.reply = reply
    runs.visit(execution_id, "a")
    step = runs.steps(execution_id)["a"]
    assert Said(runs.output(step)).answer == "Done."
    assert len(world.http.requests) == 3


def test_agents_in_a_loop_keep_apart(runs: Runs, world: World) -> None:
    """Each item has turns of its own, and tools that see the item."""
    conversation(world)
    nodes = [
        node("l", "loop", items="data.shops"),
        node("a", "agent", goal="Look at {{ loop.index }}.", settings={"retry": {"maxAttempts": 2}}),
        MODEL,
        node("fetch", "http-request", method="GET", url="http://x/{{ data }}/{{ loop.index }}"),
    ]
    run = runs.run(graph(nodes, "l:item -> a", "m -> a:ai", "fetch -> a:tools"), {"shops": ["p", "q"]})
    assert run.status == "succeeded"
    assert len({request.url for request in world.http.requests}) == 6
    assert {url.rpartition("?")[0] for url in (request.url for request in world.http.requests)} == {
        "http://x/p/0",
        "http://x/q/1",
    }


def test_tools_read_other_nodes(runs: Runs, world: World) -> None:
    """Templates of what is attached know the outputs of the nodes before the agent."""
    script(world, said("", ("fetch", {})), said("Done."))
    nodes = [
        node("t", "manual-trigger"),
        node("shop", expression="'corner'"),
        node("a", "agent", goal="go"),
        MODEL,
        node("fetch", "http-request", method="GET", url="http://x/{{ nodes.shop }}"),
    ]
    runs.run(graph(nodes, "t -> shop -> a", "m -> a:ai", "fetch -> a:tools"))
    assert [request.url for request in world.http.requests] == ["http://x/corner"]


def test_an_agent_without_a_model(runs: Runs) -> None:
    """It can be saved and fails when it runs, as a node without its config does."""
    run = runs.run(graph([node("t", "manual-trigger"), node("a", "agent", goal="go")], "t -> a"))
    assert run.execution.error == {
        "name": "ModelMissing",
        "message": "The agent needs one model on its port 'ai'; it has 0.",
        "nodeId": "a",
    }


def test_a_model_by_itself(runs: Runs) -> None:
    """It does nothing."""
    run = runs.run(graph([MODEL]))
    assert run.execution.error is not None
    assert run.execution.error["name"] == "NotAttached"
