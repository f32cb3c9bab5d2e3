"""The node runner, called as a state of a state machine calls it: what brings a run on where none is at work."""

from __future__ import annotations

from chalicelib.bootstrap import lambda_services
from chalicelib.engines.visit import StepAnswer, StepRequest
from chalicelib.services.access import EVERYTHING, Principal


def run_node(execution_id: str, node: str, organization: str = "acme", phase: str = "enter") -> StepAnswer:
    """One delivery of one node."""
    services = lambda_services()
    everybody = Principal(organization, "root", frozenset({EVERYTHING}))
    execution = services.executions.find(everybody, execution_id).execution
    return services.steps.run(StepRequest(organization, execution_id, execution.plan, node, "", phase))
