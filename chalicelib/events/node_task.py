"""The node runner: the Lambda that every state of every state machine calls, to run one node.

Its event is ``{"run": {"organization", "execution", "plan", "round"}, "node", "path", "phase"?, "error"?, "late"?}``;
its answer is the input of the next state. A failure is raised under the names that the state machines know,
``Retryable`` and ``Permanent``, and so is that a node has to wait at its gate, ``NotReady``: Lambda tells Step
Functions the name of the exception's class.

With the phase ``test`` it is the API that calls, to try a node that is in no run: ``{"phase", "trial"}``. With
``verify`` it asks whether a request to a webhook was signed with a credential (``services.signatures``).
"""

from __future__ import annotations

from typing import Any

from chalice import Blueprint

from chalicelib.bootstrap import lambda_services
from chalicelib.foundation.logs import logger

blueprint = Blueprint(__name__)


@blueprint.lambda_function(name="node")
def run_node(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    from chalicelib.engines.trial import Trial
    from chalicelib.engines.visit import StepRequest  # the API imports this module, and runs no node

    if event.get("phase") == "test":
        trial = Trial.from_json(event["trial"])
        logger().set_correlation_id(trial.id)
        return lambda_services().steps.attempt(trial)
    if event.get("phase") == "verify":
        return lambda_services().signatures.answer(event)
    run = event["run"]
    request = StepRequest(
        organization_id=run["organization"],
        execution_id=run["execution"],
        plan=run["plan"],
        node=event["node"],
        path=event["path"],
        phase=event.get("phase", "enter"),
        error=event.get("error", ""),
        round=run.get("round", 1),
        late=event.get("late", False),
    )
    log = logger()
    log.set_correlation_id(request.execution_id)
    log.append_keys(node=request.node, path=request.path, phase=request.phase)
    answer = lambda_services().chains.run(request)
    log.debug("node visited", extra={"port": answer.port})
    return answer.to_json()
