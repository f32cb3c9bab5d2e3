"""``manual-trigger``: a run that a person or a program starts through the API."""

from __future__ import annotations

from chalicelib.nodes.spec import NoConfig, NodeContext, NodeType, Outcome


def run(context: NodeContext[NoConfig]) -> Outcome:
    return Outcome(context.trigger)


TYPE = NodeType(
    name="manual-trigger",
    title="Manual trigger",
    category="triggers",
    description="Starts the workflow when it is executed; its output is the payload of the request.",
    handler=run,
    fusible=True,
    is_trigger=True,
    ports_in=(),
)
