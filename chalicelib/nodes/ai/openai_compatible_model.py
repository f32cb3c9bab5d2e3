"""``openai-compatible-model``: a model behind an API of the shape of OpenAI's chat completions, for an agent.

Many servers speak it, hosted ones and one's own. They differ in what they leave out, so what is read is what all have.
It goes through the same guarded client as ``http-request``: the base URL is a user's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.foundation.json_types import Json, dumps, loads
from chalicelib.nodes.agents import ChatModel, Reply, ToolCall, ToolSpec, Turn
from chalicelib.nodes.capabilities import Capabilities, HttpClient, HttpRequest, HttpResponse
from chalicelib.nodes.io.http_request import WORTH_ANOTHER_TRY
from chalicelib.nodes.spec import NodeConfig, NodeType, not_a_step

_SHOWN_CHARS = 500  # of an error's body


class Config(NodeConfig):
    base_url: Annotated[str, Field(min_length=1, max_length=2048)]
    model: Annotated[str, Field(min_length=1, max_length=256)]
    api_key: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    system: Annotated[str, Field(min_length=1)] | None = None


def chat(config: Config, capabilities: Capabilities) -> ChatModel:
    return _OpenAiCompatible(config, capabilities.http)


@dataclass(frozen=True)
class _OpenAiCompatible:
    config: Config
    http: HttpClient

    @property
    def name(self) -> str:
        return self.config.model

    def reply(self, goal: str, turns: Sequence[Turn], tools: Sequence[ToolSpec], timeout_s: float) -> Reply:
        config = self.config
        headers = {"Content-Type": "application/json"}
        if config.api_key:
            headers["Authorization"] = f"Bearer {config.api_key}"
        url = f"{config.base_url.rstrip('/')}/chat/completions"
        body = dumps(_request(config, goal, turns, tools)).encode()
        response = self.http.send(HttpRequest("POST", url, headers, body, timeout_s))
        if not 200 <= response.status < 300:
            raise _refused(response)
        return _reply(response.body)


def _request(config: Config, goal: str, turns: Sequence[Turn], tools: Sequence[ToolSpec]) -> dict[str, Any]:
    optional = {
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
        "tools": list(map(_tool, tools)) or None,
    }
    head = {"model": config.model, "messages": list(_messages(config, goal, turns))}
    return {**head, **{name: part for name, part in optional.items() if part is not None}}


def _messages(config: Config, goal: str, turns: Sequence[Turn]) -> Iterator[dict[str, Any]]:
    if config.system:
        yield {"role": "system", "content": config.system}
    yield {"role": "user", "content": goal}
    for turn in turns:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in turn.reply.calls
        ]
        yield {"role": "assistant", "content": turn.reply.text or None, "tool_calls": calls}
        for result in turn.results:
            yield {"role": "tool", "tool_call_id": result.call_id, "content": result.text}


def _arguments(call: ToolCall) -> str:
    return call.input if isinstance(call.input, str) else dumps(call.input)


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)


class _Function(_Part):
    name: str
    arguments: str | None = None


class _Call(_Part):
    id: str | None = None
    function: _Function


class _Message(_Part):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(_Part):
    message: _Message
    finish_reason: str | None = None


class _Usage(_Part):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(_Part):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


def _reply(body: bytes) -> Reply:
    try:
        answer = _Answer.model_validate(loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Retryable("ModelAnswerInvalid", f"The answer is no chat completion: {where}: {first['msg']}") from None
    except ValueError as error:
        raise Retryable("ModelAnswerInvalid", f"The answer is not JSON: {error}") from None
    choice, usage = answer.choices[0], answer.usage or _Usage()
    return Reply(
        text=choice.message.content or "",
        calls=tuple(_call(call, index) for index, call in enumerate(choice.message.tool_calls or ())),
        stop_reason=choice.finish_reason or "",
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
    )


def _call(call: _Call, index: int) -> ToolCall:
    given: Json
    try:
        given = loads(call.function.arguments or "{}")
    except ValueError:
        given = call.function.arguments  # no JSON: the agent tells the model
    return ToolCall(call.id or f"call_{index}", call.function.name, given)


def _refused(response: HttpResponse) -> Permanent | Retryable:
    said = f"The model's server answered {response.status}: {response.body[:_SHOWN_CHARS].decode(errors='replace')}"
    if response.status in WORTH_ANOTHER_TRY:
        return Retryable("ModelUnavailable", said)
    if response.status in (401, 403):
        return Permanent("ModelAccessDenied", said)
    if response.status == 404:
        return Permanent("ModelNotFound", said)
    return Permanent("ModelRequestInvalid", said)


TYPE = NodeType(
    name="openai-compatible-model",
    title="OpenAI-compatible model",
    category="ai",
    description="A model behind a chat completions API, for the port `ai` of an agent.",
    handler=not_a_step,
    config_model=Config,
    ports_in=(),
    ports=(),
    scopes=("models:invoke:{model}", "http:request"),
    chat=chat,
)
