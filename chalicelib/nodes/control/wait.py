"""``wait``: lets time pass, without anything that runs or costs."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import AwareDatetime, model_validator

from chalicelib.nodes.fields import MAX_WAIT_S, WaitSeconds
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Wait


class Config(NodeConfig):
    seconds: WaitSeconds | None = None
    until: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.seconds is None) == (self.until is None):
            raise ValueError("give either seconds or until")
        return self


def run(context: NodeContext[Config]) -> Wait:
    config = context.config
    until = config.until or context.now + timedelta(seconds=config.seconds or 0)
    return Wait(until=min(until, context.now + timedelta(seconds=MAX_WAIT_S)), output=context.data)


TYPE = NodeType(
    name="wait",
    title="Wait",
    category="control",
    description="Goes on with its input after a number of seconds or at a moment.",
    handler=run,
    duration=100,
    config_model=Config,
    two_phase=True,
)
