"""``approval``: asks a person, and goes on as they decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.json_types import Value
from chalicelib.nodes.capabilities import Values
from chalicelib.nodes.fields import WaitSeconds
from chalicelib.nodes.spec import Await, Decision, NodeConfig, NodeContext, NodeType, Outcome, Reply

APPROVED = "approved"
REJECTED = "rejected"


class Config(NodeConfig):
    message: Annotated[str, Field(max_length=4000)] = ""
    timeout_seconds: WaitSeconds | None = None


def run(context: NodeContext[Config]) -> Await:
    context.values.load(context.data)  # as its end will: what is too large is told before a person is asked
    return Await(Decision(context.config.message), limit_s=context.config.timeout_seconds)


def resume(data: Value, reply: Reply | None, values: Values) -> Outcome:
    """Goes on by the decision, ``{decision, by, comment}``, with it beside the input."""
    if reply is None:
        raise Permanent("ApprovalTimeout", "Nobody decided in time.")
    assert isinstance(reply.value, Mapping)
    entered = values.load(data)
    kept = entered if isinstance(entered, Mapping) else {"input": entered}
    return Outcome({**kept, "approval": reply.value}, port=str(reply.value["decision"]))


TYPE = NodeType(
    name="approval",
    title="Approval",
    category="control",
    description="Waits until a person approves or rejects, and goes on by the port of that name.",
    handler=run,
    resume=resume,
    config_model=Config,
    ports=(APPROVED, REJECTED),
    continue_port=REJECTED,
    duration=1000,
    two_phase=True,
)
