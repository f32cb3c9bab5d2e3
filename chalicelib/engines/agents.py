"""An agent at work: what is attached to its node, made usable, and what was said and done so far, kept.

A **tool** is a node of the catalog. Its JSON schema is that of its config, less the keys that the author has set: those
are fixed, and the model neither sees nor changes them. It runs as it would as a step, by the same handler with the same
capabilities, and with the agent's input as its own.

A model reads whatever its tools bring, so what it writes is data of a stranger's. Therefore its parameters are put into
the config as they are, *after* templates and credentials of the author's part were resolved: a ``{{ }}`` or a
``${NAME}`` of the model's is text. A key that the author has set, or that the type does not have, is refused. One thing
may be evaluated: a bare expression, where the author has left it to the model, and it sees what the agent sees.

What is recorded never holds a credential: it is masked first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from chalicelib.compiler.plan import Attachment
from chalicelib.engines.inputs import Inputs
from chalicelib.engines.payloads import Payloads
from chalicelib.engines.prepared import PreparedConfig
from chalicelib.engines.secrets import Secrets
from chalicelib.foundation.clock import Clock
from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.json_types import Json, Value
from chalicelib.graph.attachments import AI, TOOLS
from chalicelib.graph.executions import Execution, Payload, StepRecord
from chalicelib.nodes.agents import ChatModel, ToolSpec
from chalicelib.nodes.registry import Registry
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome
from chalicelib.store.turns import TurnRepository

#: In which the last reply or tool of an attempt may begin, and what that one may take: together less than a Lambda's 15
#: minutes.
ATTEMPT = timedelta(minutes=11)
LAST_CALL_S = 180


class Journal:
    """What one step has recorded of its turns."""

    def __init__(self, turns: TurnRepository, payloads: Payloads, execution: Execution, step: StepRecord) -> None:
        self._turns = turns
        self._payloads = payloads
        self._execution = execution
        self._step = step

    @cached_property
    def _known(self) -> dict[str, Payload]:
        # The first attempt has nothing to go on with.
        return self._turns.load(self._execution, self._step) if len(self._step.attempts) > 1 else {}

    def once(self, key: str, do: Callable[[], Value]) -> Json:
        if key not in self._known:
            made = self._payloads.put(self._execution.shelf, do())
            self._known[key] = recorded = self._turns.record(self._execution, self._step, key, made)
            if recorded is not made:  # another delivery is at work, and ahead
                self._known.update(self._turns.load(self._execution, self._step))
        return self._payloads.get(self._known[key])


@dataclass(frozen=True)
class AgentSession:
    """See ``nodes.agents.Session``."""

    context: NodeContext[Any]  # of the agent itself, whose input and names its tools share
    attachments: Sequence[Attachment]
    inputs: Inputs
    secrets: Secrets
    catalog: Registry
    journal: Journal
    clock: Clock

    @cached_property
    def model(self) -> ChatModel:
        found = [item for item in self.attachments if item.port == AI]
        if len(found) != 1:
            raise Permanent("ModelMissing", f"The agent needs one model on its port 'ai'; it has {len(found)}.")
        kind = self._kind(found[0])
        if kind.chat is None:
            raise Permanent("ModelMissing", f"{kind.name} is no model.")
        return kind.chat(self._config(kind, found[0], {}), self.context.capabilities)

    @cached_property
    def tools(self) -> Sequence[ToolSpec]:
        return [_spec(self._kind(item), item) for item in self._tools.values()]

    def use(self, tool: str, given: Mapping[str, Json], key: str) -> Json:
        item = self._tools.get(tool)
        if item is None:
            raise Permanent("UnknownTool", f"There is no tool {tool!r}; there are: {', '.join(self._tools)}.")
        kind = self._kind(item)
        if refused := sorted(given.keys() - _open_keys(kind, item)):
            raise Permanent("InvalidArguments", f"The tool does not take {', '.join(refused)}.")
        config = self._within_time(self._config(kind, item, given))
        repeatable = f"{key}/{self.context.idempotency_key}"
        result = kind.handler(replace(self.context, config=config, idempotency_key=repeatable, agent=None))
        if not isinstance(result, Outcome):
            raise Permanent("NotATool", f"{kind.name} does not end at once.")
        return self.context.values.load(result.output)

    def once(self, key: str, do: Callable[[], Json]) -> Json:
        return self.journal.once(key, lambda: self.secrets.redact_value(do()))

    def remaining_s(self) -> float:
        return (self.context.now + ATTEMPT - self.clock.now()).total_seconds()

    @cached_property
    def _tools(self) -> dict[str, Attachment]:
        return {item.name: item for item in self.attachments if item.port == TOOLS}

    def _kind(self, item: Attachment) -> NodeType:
        kind = self.catalog.find(item.type)
        if kind is None:
            raise Permanent("UnknownNodeType", f"there is no node type {item.type!r} any more")
        return kind

    def _config(self, kind: NodeType, item: Attachment, given: Mapping[str, Json]) -> NodeConfig:
        own = PreparedConfig(kind, item.config).rendered(self.inputs, self.secrets.resolve)
        return kind.parse({**given, **own})

    def _within_time(self, config: NodeConfig) -> NodeConfig:
        """A tool that has a time limit of its own gets none that is longer than what is left."""
        own = getattr(config, "timeout_seconds", None)
        if own is None:
            return config
        return config.model_copy(update={"timeout_seconds": min(own, self.remaining_s() + LAST_CALL_S)})


def _open_keys(kind: NodeType, item: Attachment) -> frozenset[str]:
    return kind.config_keys - item.config.keys()


def _spec(kind: NodeType, item: Attachment) -> ToolSpec:
    """A tool as a model is told of it: of the config only what the author has left open."""
    schema = kind.config_model.model_json_schema()
    left_open = _open_keys(kind, item)
    properties = {key: value for key, value in schema.get("properties", {}).items() if key in left_open}
    for key in left_open & kind.expression_fields:
        properties[key] = {**properties[key], "description": "An expression in JSONata; `data` is its input."}
    parameters: dict[str, Json] = {
        "type": "object",
        "properties": properties,
        "required": [key for key in schema.get("required", ()) if key in left_open],
        "additionalProperties": False,
    }
    if "$defs" in schema:
        parameters["$defs"] = schema["$defs"]
    return ToolSpec(item.name, f"{item.label}. {kind.description}", parameters)
