"""``wait-for-event``: goes on when an event of a type comes, or when none came in time."""

from __future__ import annotations

from chalicelib.foundation.json_types import Value
from chalicelib.nodes.capabilities import Values
from chalicelib.nodes.fields import EventPattern, WaitSeconds
from chalicelib.nodes.spec import Await, Event, NodeConfig, NodeContext, NodeType, Outcome, Reply

TIMEOUT_PORT = "timeout"


class Config(NodeConfig):
    event_type: EventPattern
    timeout_seconds: WaitSeconds | None = None


def run(context: NodeContext[Config]) -> Await:
    return Await(Event(context.config.event_type), limit_s=context.config.timeout_seconds)


def resume(data: Value, reply: Reply | None, _values: Values) -> Outcome:
    return Outcome(data, port=TIMEOUT_PORT) if reply is None else Outcome(reply.value)


TYPE = NodeType(
    name="wait-for-event",
    title="Wait for event",
    category="control",
    description="Waits for an event of a type, and goes on with its payload.",
    handler=run,
    resume=resume,
    config_model=Config,
    ports=("output", TIMEOUT_PORT),
    duration=1000,
    two_phase=True,
)
