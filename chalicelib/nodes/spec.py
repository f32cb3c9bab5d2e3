"""What a node type is: a name, a config model, ports, and a handler.

A type is one module in a family folder; ``registry`` collects them. Configs and ports are pure, so that the compiler
and the validation of graphs can ask; a handler reaches the world only through ``NodeContext.capabilities``.

A handler returns what happened (``Outcome``, or ``Wait``, ``Iterate`` or ``Await`` for the types that run in two
phases) or raises: ``Permanent`` is never tried again, ``Retryable`` and any other exception are, as often as the node's
settings allow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from chalicelib.foundation.errors import Fault, Permanent
from chalicelib.foundation.expressions import ExpressionError, compile_expression, template_faults
from chalicelib.foundation.json_types import Json, Value
from chalicelib.graph.attachments import AI, TOOLS
from chalicelib.graph.catalog import ConfigReport
from chalicelib.graph.model import DEFAULT_SOURCE_PORT, DEFAULT_TARGET_PORT
from chalicelib.nodes.agents import ChatModel, Session
from chalicelib.nodes.capabilities import Caller, Capabilities, Values


class ExpressionMarker:
    """Marks a field of a config as a bare JSONata expression: ``Annotated[str, ExpressionMarker()]``."""


class VerbatimMarker:
    """Marks a field of a config in which ``{{`` means nothing: program text for instance."""


class PassedMarker:
    """Marks a field of a config that its handler passes on or reads in chunks: a large value in it stays stored."""


class NodeConfig(BaseModel):
    """Base of all config models.

    Keys are camelCase on the wire; unknown ones are told by validation and then ignored.
    """

    # `defer_build` halves the time that the import of the catalog takes: most processes use few of its types.
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, defer_build=True
    )


class NoConfig(NodeConfig):
    """For types that have nothing to set."""


C = TypeVar("C", bound=NodeConfig)


@dataclass(frozen=True)
class NodeContext(Generic[C]):
    """All that a handler is given."""

    config: C  # templates rendered
    # What is large is `Stored`: passed on as it is, or given to `values` by who looks into it.
    data: Value  # the node's input
    trigger: Value  # the payload of the trigger that started the run
    inputs: Sequence[Value]  # outputs of the live inbound connections, in the order of the connections
    values: Values
    #: Evaluates an expression with the names of this node, and others besides. Raises ``ExpressionError``.
    evaluate: Callable[[str, Mapping[str, Json]], Json]
    #: The same, with no other names; a large value that the expression does no more than name stays stored.
    resolve: Callable[[str], Value]
    capabilities: Capabilities
    now: datetime
    idempotency_key: str  # the same for every attempt at this node in this run
    caller: Caller
    agent: Session | None = None  # for types with attachment ports: what is attached


@dataclass(frozen=True)
class Outcome:
    """A node has ended."""

    output: Value
    port: str = DEFAULT_SOURCE_PORT


@dataclass(frozen=True)
class Wait:
    """Nothing is to happen before ``until``; then the node ends with ``output``."""

    until: datetime
    output: Value


@dataclass(frozen=True)
class Iterate:
    """The body is to run once for each item; then the node ends with the list of results, by the port ``done``."""

    items: Sequence[Json]


@dataclass(frozen=True, slots=True)
class Decision:
    """Of a person, who is told ``message``; the reply is ``{decision, by, comment}``."""

    message: str


@dataclass(frozen=True, slots=True)
class Event:
    """Of a type that ``pattern`` means; the reply is its payload."""

    pattern: str


@dataclass(frozen=True, slots=True)
class ChildRun:
    """The end of another run, which is under way; the reply is its output. Where it fails, so does the node."""

    execution_id: str


@dataclass(frozen=True)
class Await:
    """The node ends when it is told something from outside, or after ``limit_s``: then by ``resume`` of its type."""

    what: Decision | Event | ChildRun
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a node was told that waited for it."""

    value: Value


Result = Outcome | Wait | Iterate | Await
Handler = Callable[[NodeContext[Any]], Result]
Resume = Callable[[Value, Reply | None, Values], Outcome]


def not_a_step(_: NodeContext[Any]) -> NoReturn:
    """The handler of types that only serve an agent."""
    raise Permanent("NotAttached", "This node does nothing by itself: attach it to an agent.")


@dataclass(frozen=True)
class NodeType:
    """One entry of the catalog; satisfies ``graph.catalog.NodeType``."""

    name: str
    title: str
    category: str
    description: str
    handler: Handler
    config_model: type[NodeConfig] = NoConfig
    is_trigger: bool = False
    ports_in: tuple[str, ...] | None = (DEFAULT_TARGET_PORT,)
    ports: tuple[str, ...] | Callable[[Mapping[str, Json]], tuple[str, ...]] = (DEFAULT_SOURCE_PORT,)
    body_port: str | None = None
    continue_port: str = DEFAULT_SOURCE_PORT  # by which a run goes on after an error that its settings let pass
    two_phase: bool = False  # whether the handler returns Wait, Iterate or Await
    resume: Resume | None = None  # after an Await: makes the end of the input and the reply, None for none in time
    attachment_ports: tuple[str, ...] = ()  # of an agent: where others are attached instead of leading in
    chat: Callable[[Any, Capabilities], ChatModel] | None = None  # of a model: made of its config
    fusible: bool = False  # whether it is over so soon that it may share the time of a function with others
    duration: float = 1  # expected, as a multiple of what the quickest take; a guess is enough
    version: str = "1.0.0"
    scopes: tuple[str, ...] = ()  # what a node needs: `s3:read:{bucket}`, filled from its config

    @property
    def attaches_to(self) -> str | None:
        """The port of an agent on which a node of this type may be attached.

        A tool does something with data and ends at once; it neither starts a run nor steers one.
        """
        if self.chat is not None:
            return AI
        return TOOLS if self.category in ("data", "io") and not self.two_phase else None

    @property
    def names_credentials(self) -> bool:
        """Whether ``${NAME}`` in a config is a credential: configs of triggers and control nodes go into records."""
        return not self.is_trigger and self.category != "control"

    def ports_out(self, config: Mapping[str, Json]) -> tuple[str, ...]:
        return self.ports(config) if callable(self.ports) else self.ports

    def scopes_of(self, config: Mapping[str, Json]) -> tuple[str, ...]:
        """The scopes of a node; what its config leaves open, or will know only when it runs, is ``*``."""
        return tuple(_PLACEHOLDER.sub(lambda match: _literal(config.get(match[1])), scope) for scope in self.scopes)

    @cached_property
    def expression_fields(self) -> frozenset[str]:
        """Keys of the config, as on the wire, that hold bare expressions."""
        return self._marked(ExpressionMarker)

    @cached_property
    def passed_fields(self) -> frozenset[str]:
        """Keys of the config whose values may be stored."""
        return self._marked(PassedMarker)

    @cached_property
    def _not_rendered(self) -> frozenset[str]:
        return self.expression_fields | self._marked(VerbatimMarker)

    def _marked(self, marker: type) -> frozenset[str]:
        return frozenset(
            info.alias or name
            for name, info in self.config_model.model_fields.items()
            if any(isinstance(mark, marker) for mark in info.metadata)
        )

    @cached_property
    def config_keys(self) -> frozenset[str]:
        return frozenset(info.alias or name for name, info in self.config_model.model_fields.items())

    def expressions(self, config: Mapping[str, Json]) -> list[str]:
        """The bare expressions that ``config`` holds."""
        return [value for key in self.expression_fields if isinstance(value := config.get(key), str)]

    def templates(self, config: Mapping[str, Json]) -> dict[str, Json]:
        """The part of ``config`` in which templates are rendered."""
        return {key: value for key, value in config.items() if key not in self._not_rendered}

    def parse(self, config: Mapping[str, Value]) -> NodeConfig:
        """The config as its model. Raises ``Permanent`` that lists every fault: templates are rendered by now."""
        try:
            return self.config_model.model_validate(config)
        except ValidationError as error:
            text = "; ".join(f"{_path(item['loc'])}: {item['msg']}" for item in error.errors(include_url=False))
            raise Permanent("InvalidConfig", text) from None

    def _may_be_template(self, config: Mapping[str, Json], location: Sequence[str | int]) -> bool:
        return not self._not_rendered.intersection(location[:1]) and _is_template(config, location)

    def check(self, config: Mapping[str, Json]) -> ConfigReport:
        """What is wrong with a config whose templates are not rendered yet.

        Where one stands, any value may come of it.
        """
        malformed = list(template_faults(self.templates(config), ""))
        for key in sorted(self.expression_fields & config.keys()):
            value = config[key]
            if isinstance(value, str):
                try:
                    compile_expression(value)
                except ExpressionError as error:
                    malformed.append(Fault(key, error.message))
        invalid, missing = [], []
        try:
            self.config_model.model_validate(config)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_context=False):
                if item["type"] == "missing" and len(item["loc"]) == 1:
                    missing.append(str(item["loc"][0]))
                elif not self._may_be_template(config, item["loc"]):
                    invalid.append(Fault(_path(item["loc"]), item["msg"]))
        return ConfigReport(
            tuple(invalid), tuple(malformed), tuple(missing), tuple(sorted(config.keys() - self.config_keys))
        )


_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _literal(value: Json) -> str:
    return value if isinstance(value, str) and value and "{{" not in value else "*"


def _path(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _is_template(config: Json, location: Sequence[str | int]) -> bool:
    """Whether the value at ``location``, or one on the way to it, is a template."""
    value: Any = config
    for part in location:
        if isinstance(value, str):
            break
        if (isinstance(value, Mapping) and part in value) or (
            isinstance(value, Sequence) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]  # type: ignore[index]
    return isinstance(value, str) and "{{" in value
