"""``queue-trigger``: a run that a message starts, put on the queue through the API or by another program."""

from __future__ import annotations

from chalicelib.nodes.spec import NoConfig, NodeContext, NodeType, Outcome


def run(context: NodeContext[NoConfig]) -> Outcome:
    return Outcome(context.trigger)


TYPE = NodeType(
    name="queue-trigger",
    title="Queue trigger",
    category="triggers",
    description="Starts the workflow when a message comes; its output is the message.",
    handler=run,
    fusible=True,
    is_trigger=True,
    ports_in=(),
)
