"""``bedrock-model``: a model of Amazon Bedrock, for an agent to talk to.

Converse takes turns by role: a ``user`` message holds the goal, or the results of all tools that the ``assistant``
message before it has asked for. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from chalicelib.foundation.errors import Retryable
from chalicelib.nodes.agents import ChatModel, Reply, ToolCall, ToolResult, ToolSpec, Turn
from chalicelib.nodes.capabilities import Capabilities, Converse
from chalicelib.nodes.spec import NodeConfig, NodeType, not_a_step

#: The model meant to use a tool and did not manage to say so. Asked again it may.
_MALFORMED = frozenset({"malformed_tool_use", "malformed_model_output"})


class Config(NodeConfig):
    model_id: Annotated[str, Field(min_length=1, max_length=2048)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    system: Annotated[str, Field(min_length=1)] | None = None


def chat(config: Config, capabilities: Capabilities) -> ChatModel:
    return _Bedrock(config, capabilities.bedrock)


@dataclass(frozen=True)
class _Bedrock:
    config: Config
    bedrock: Converse

    @property
    def name(self) -> str:
        return self.config.model_id

    def reply(self, goal: str, turns: Sequence[Turn], tools: Sequence[ToolSpec], timeout_s: float) -> Reply:  # noqa: ARG002
        # How long a call may take is a setting of the SDK's client.
        return _reply(self.bedrock.converse(_request(self.config, goal, turns, tools)))


def _request(config: Config, goal: str, turns: Sequence[Turn], tools: Sequence[ToolSpec]) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": [{"text": goal}]}]
    for turn in turns:
        messages.append({"role": "assistant", "content": _said(turn.reply)})
        messages.append({"role": "user", "content": [_result(result) for result in turn.results]})
    limits = {"maxTokens": config.max_tokens, "temperature": config.temperature}
    optional = {
        "inferenceConfig": {name: value for name, value in limits.items() if value is not None},
        "system": [{"text": config.system}] if config.system else [],
        "toolConfig": {"tools": list(map(_tool, tools))} if tools else {},
    }
    return {"modelId": config.model_id, "messages": messages, **{name: part for name, part in optional.items() if part}}


def _said(reply: Reply) -> list[dict[str, Any]]:
    text = [{"text": reply.text}] if reply.text.strip() else []  # Bedrock refuses a blank one
    return [*text, *({"toolUse": {"toolUseId": c.id, "name": c.name, "input": c.input}} for c in reply.calls)]


def _result(result: ToolResult) -> dict[str, Any]:
    status = "error" if result.failed else "success"
    return {"toolResult": {"toolUseId": result.call_id, "content": [{"text": result.text}], "status": status}}


def _tool(tool: ToolSpec) -> dict[str, Any]:
    schema = {"json": dict(tool.parameters)}
    return {"toolSpec": {"name": tool.name, "description": tool.description, "inputSchema": schema}}


def _reply(answer: Mapping[str, Any]) -> Reply:
    stop = answer["stopReason"]
    if stop in _MALFORMED:
        raise Retryable("ModelAnswerInvalid", f"The model stopped with {stop}.")
    blocks = answer["output"]["message"]["content"]
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    return Reply(
        text="".join(block["text"] for block in blocks if "text" in block),
        calls=tuple(ToolCall(use["toolUseId"], use["name"], use["input"]) for use in uses),
        stop_reason=stop,
        input_tokens=answer["usage"]["inputTokens"],
        output_tokens=answer["usage"]["outputTokens"],
    )


TYPE = NodeType(
    name="bedrock-model",
    title="Bedrock model",
    category="ai",
    description="A model of Amazon Bedrock, for the port `ai` of an agent.",
    handler=not_a_step,
    config_model=Config,
    ports_in=(),
    ports=(),
    scopes=("models:invoke:{modelId}",),
    chat=chat,
)
