"""What an agent works with: a model to talk to, tools to use, and a journal that remembers both.

A conversation is a goal and the turns since. A turn is one reply of the model, and the result of each tool that the
reply asks for. Every model is told the whole conversation each time, in the words of its own API; here it is in ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.foundation.json_types import Json


@dataclass(frozen=True)
class ToolSpec:
    """A tool, as a model is told of it."""

    name: str  #: 1 to 64 letters, digits, ``_`` and ``-``
    description: str
    parameters: Mapping[str, Json]  #: JSON schema of an object


@dataclass(frozen=True)
class ToolCall:
    """What a model wants to have done."""

    id: str  #: by which the result is told
    name: str
    input: Json  #: an object, or what the model gave in the place of one


@dataclass(frozen=True)
class Reply:
    """What a model said in one turn. Without tool calls it is the answer."""

    text: str
    calls: tuple[ToolCall, ...]
    stop_reason: str  #: in the word of the model's API
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class ToolResult:
    call_id: str
    text: str
    failed: bool


@dataclass(frozen=True)
class Turn:
    reply: Reply
    results: tuple[ToolResult, ...]


class ChatModel(Protocol):
    @property
    def name(self) -> str: ...

    def reply(self, goal: str, turns: Sequence[Turn], tools: Sequence[ToolSpec], timeout_s: float) -> Reply:
        """The next reply. Raises ``Retryable`` and ``Permanent``."""


class Session(Protocol):
    """An agent at work in one attempt at its step."""

    @property
    def model(self) -> ChatModel:
        """Raises ``Permanent`` where none is attached or its config is not valid."""

    @property
    def tools(self) -> Sequence[ToolSpec]: ...

    def use(self, tool: str, given: Mapping[str, Json], key: str) -> Json:
        """What a tool puts out for the parameters that the model gives; ``key`` is the same for every attempt.

        Raises what a node raises.
        """

    def once(self, key: str, do: Callable[[], Json]) -> Json:
        """What ``do`` gave when it was done under this key: now, or in an earlier attempt, which is not repeated."""

    def remaining_s(self) -> float:
        """Seconds left to this attempt."""
