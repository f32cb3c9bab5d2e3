"""Runs that other runs start: the node ``sub-workflow``.

The id of a child follows from the node that starts it, so a start that is repeated is the same start. A child carries
the workflows above it: one that comes twice would call itself without end, and is refused, as is a chain that is too
long. It acts for the owner of the workflow that calls it, and reaches what they see.
"""

from __future__ import annotations

from chalicelib.engines.waiting import child_id
from chalicelib.foundation.errors import Conflict, Permanent
from chalicelib.foundation.ids import is_id
from chalicelib.foundation.json_types import Value
from chalicelib.graph.executions import Execution, Parent
from chalicelib.graph.model import Workflow
from chalicelib.nodes.capabilities import Caller
from chalicelib.services.access import Principal
from chalicelib.services.executions import ExecutionService, Origin
from chalicelib.store.executions import ExecutionRepository
from chalicelib.store.workflows import WorkflowRepository

MAX_DEPTH = 10  # runs above a run


class Children:
    """What ``nodes.capabilities.Workflows`` asks for."""

    def __init__(
        self, executions: ExecutionRepository, workflows: WorkflowRepository, service: ExecutionService
    ) -> None:
        self._executions = executions
        self._workflows = workflows
        self._service = service

    def start(self, caller: Caller, workflow_id: str, inputs: Value, *, waits: bool) -> str:
        parent = self._executions.get(caller.organization_id, caller.execution_id)
        assert parent is not None, "its node runs"
        chain = (*parent.ancestors, parent.workflow_id)
        if workflow_id in chain:
            circle = [*chain[chain.index(workflow_id) :], workflow_id]
            raise Permanent("SubWorkflowCycle", f"Workflows call each other: {' -> '.join(circle)}")
        if len(chain) > MAX_DEPTH:
            raise Permanent("SubWorkflowTooDeep", f"Runs start runs {MAX_DEPTH} deep at most.")
        origin = Origin(
            user_id=parent.started_by,
            type="sub-workflow",
            source=parent.id,
            execution_id=child_id(caller.execution_id, caller.gate, caller.path),
            parent=Parent(caller.execution_id, caller.gate, caller.path) if waits else None,
            ancestors=chain,
        )
        try:
            return self._service.start_once(self._called(parent, workflow_id), inputs, origin)
        except Conflict as error:
            raise Permanent("WorkflowNotRunnable", f"Workflow {workflow_id}: {error}") from error

    def _called(self, parent: Execution, workflow_id: str) -> Workflow:
        called = self._workflows.get(parent.organization_id, workflow_id) if is_id(workflow_id) else None
        calling = self._workflows.get(parent.organization_id, parent.workflow_id)
        owner = calling.owner_id if calling else parent.started_by
        if called is None or not Principal(parent.organization_id, owner, frozenset()).may_see(called):
            raise Permanent("UnknownWorkflow", f"There is no workflow {workflow_id!r} that {owner} can see.")
        return called
