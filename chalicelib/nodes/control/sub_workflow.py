"""``sub-workflow``: runs another workflow, and goes on with its output."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.json_types import Value
from chalicelib.nodes.capabilities import Values
from chalicelib.nodes.spec import Await, ChildRun, NodeConfig, NodeContext, NodeType, Outcome, PassedMarker, Reply


class Config(NodeConfig):
    workflow_id: Annotated[str, Field(min_length=1, max_length=64)]
    input: Annotated[Any, PassedMarker()] = None  # of the other run; the input of this node where it is absent
    wait: bool = True


def run(context: NodeContext[Config]) -> Await | Outcome:
    config = context.config
    inputs = context.data if config.input is None else config.input
    child = context.capabilities.workflows.start(context.caller, config.workflow_id, inputs, waits=config.wait)
    return Await(ChildRun(child)) if config.wait else Outcome({"executionId": child})


def resume(_data: Value, reply: Reply | None, _values: Values) -> Outcome:
    if reply is None:
        raise Permanent("SubWorkflowFailed", "The run did not end in time.")
    return Outcome(reply.value)


TYPE = NodeType(
    name="sub-workflow",
    title="Sub-workflow",
    category="control",
    description="Runs another workflow, and goes on with its output, or at once.",
    handler=run,
    resume=resume,
    config_model=Config,
    duration=100,
    two_phase=True,
)
