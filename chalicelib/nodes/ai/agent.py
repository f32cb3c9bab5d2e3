"""``agent``: a model that works towards a goal with the tools that are attached to it.

Turn by turn: the model replies; each tool that it asks for is used, one after the other; the results go into the next
turn. A reply that asks for none is the answer. What is bounded: turns, tool calls in a turn, the text of a result, and
time, which has to stay below that of a Lambda.

What if the process is killed? Each reply and each result is recorded as it comes (``Session.once``). The next attempt
walks the same way over what is recorded and goes on where there is nothing: no reply is paid for twice, and no tool is
used twice, except one that was at work at that very moment. That one gets the same idempotency key again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from pydantic import Field

from chalicelib.foundation.errors import Downstream, NodeError, Permanent, Retryable
from chalicelib.foundation.json_types import Json, dumps
from chalicelib.graph.attachments import AI, TOOLS
from chalicelib.nodes.agents import Reply, Session, ToolCall, ToolResult, Turn
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome

MAX_TURNS = 50
MAX_CALLS = 16  # tools that one reply may use
MAX_RESULT_CHARS = 50_000  # of a tool's output, as JSON text: what a model is told and a record keeps
MODEL_CALL_S = 180  # the longest that one reply may take


class Config(NodeConfig):
    goal: Annotated[str, Field(min_length=1)]
    max_turns: Annotated[int, Field(ge=1, le=MAX_TURNS)] = 10


def run(context: NodeContext[Config]) -> Outcome:
    session, config = context.agent, context.config
    assert session is not None, "the runner gives every agent a session"
    turns: list[Turn] = []
    told: list[Json] = []
    for number in range(config.max_turns):
        said = _asked(session, config.goal, turns, number)
        reply = _reply(said)
        results = [_used(session, call, number, index) for index, call in enumerate(reply.calls)]
        told.append(_turn_json(said, reply, results))
        if not reply.calls:
            return Outcome({"answer": reply.text, "turns": told, "usage": _usage(told)})
        turns.append(Turn(reply, tuple(map(_tool_result, reply.calls, results))))
    raise Permanent("TurnLimit", f"The agent has no answer after {config.max_turns} turns.")


def _asked(session: Session, goal: str, turns: Sequence[Turn], number: int) -> Mapping[str, Any]:
    def ask() -> Json:
        model = session.model
        reply = model.reply(goal, turns, session.tools, min(MODEL_CALL_S, _time_left(session)))
        return {
            "model": model.name,
            "text": reply.text,
            "calls": [{"id": call.id, "name": call.name, "input": call.input} for call in reply.calls],
            "stopReason": reply.stop_reason,
            "inputTokens": reply.input_tokens,
            "outputTokens": reply.output_tokens,
        }

    return cast("Mapping[str, Any]", session.once(f"{number:04}", ask))


def _used(session: Session, call: ToolCall, number: int, index: int) -> Mapping[str, Json]:
    """``{"output", "truncated"?}`` or ``{"error": {"name", "message"}}``: a model can learn from an error."""
    key = f"{number:04}.{index:04}"

    def use() -> Json:
        try:
            if index >= MAX_CALLS:
                raise Permanent("TooManyCalls", f"At most {MAX_CALLS} tools can be used at a time; ask again.")
            if not isinstance(call.input, Mapping):
                raise Permanent("InvalidArguments", "The arguments have to be a JSON object.")
            _time_left(session)
            return _bounded(session.use(call.name, call.input, key))
        except (Downstream, OutOfTime):
            raise
        except NodeError as error:
            return {"error": {"name": error.name, "message": error.message}}
        except Exception as error:
            return {"error": {"name": type(error).__name__, "message": str(error)}}

    return cast("Mapping[str, Json]", session.once(key, use))


class OutOfTime(Retryable):
    """An attempt has taken as long as it may; the next one goes on where it was."""


def _time_left(session: Session) -> float:
    left = session.remaining_s()
    if left <= 0:
        raise OutOfTime("AgentTimeout", "The agent has worked as long as one attempt may take.")
    return left


def _bounded(output: Json) -> Json:
    text = dumps(output)
    if len(text) <= MAX_RESULT_CHARS:
        return {"output": output}
    return {"output": text[:MAX_RESULT_CHARS], "truncated": True}


def _reply(said: Mapping[str, Any]) -> Reply:
    calls = tuple(ToolCall(call["id"], call["name"], call["input"]) for call in said["calls"])
    return Reply(said["text"], calls, said["stopReason"], said["inputTokens"], said["outputTokens"])


def _tool_result(call: ToolCall, result: Mapping[str, Json]) -> ToolResult:
    failed = "error" in result
    text = dumps(result["error"] if failed else result["output"])
    if result.get("truncated"):
        text = f"{result['output']} [cut off here: the output is longer than {MAX_RESULT_CHARS} characters]"
    return ToolResult(call.id, text, failed)


def _turn_json(said: Mapping[str, Any], reply: Reply, results: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    return {
        "model": said["model"],
        "text": reply.text,
        "stopReason": reply.stop_reason,
        "toolCalls": [
            {"name": call.name, "input": call.input, **result}
            for call, result in zip(reply.calls, results, strict=True)
        ],
        "usage": {"inputTokens": reply.input_tokens, "outputTokens": reply.output_tokens},
    }


def _usage(told: Sequence[Any]) -> dict[str, Json]:
    return {name: sum(turn["usage"][name] for turn in told) for name in ("inputTokens", "outputTokens")}


TYPE = NodeType(
    name="agent",
    title="Agent",
    category="ai",
    description="Works towards a goal with the model attached to `ai` and the tools attached to `tools`.",
    handler=run,
    duration=50,
    config_model=Config,
    ports_in=None,
    attachment_ports=(AI, TOOLS),
)
