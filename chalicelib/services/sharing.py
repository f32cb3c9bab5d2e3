"""Sharing: a workflow handed to other users of its organisation."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Conflict, InvalidInput
from chalicelib.graph.model import Workflow
from chalicelib.services.access import Principal
from chalicelib.services.workflows import WorkflowService, require_owner

MAX_SHARES = 200  # users of one workflow


class SharingService:
    def __init__(self, workflows: WorkflowService, clock: Clock) -> None:
        self._workflows = workflows
        self._clock = clock

    def share(self, principal: Principal, workflow: Workflow, user_id: str, if_match: str | None) -> None:
        """Hands a workflow to a user; who has it already, keeps it.

        Raises ``Forbidden`` for who does not own it, ``InvalidInput`` for its owner and for the caller themselves,
        ``Conflict`` where too many have it.
        """
        require_owner(principal, workflow)
        if user_id in (principal.user_id, workflow.owner_id):
            raise InvalidInput.at("userId", "A workflow cannot be shared with oneself, nor with its owner.")

        def shared(present: Workflow) -> Workflow:
            if user_id in present.shared_with:
                return present
            if len(present.shared_with) >= MAX_SHARES:
                raise Conflict(f"The workflow is shared with {MAX_SHARES} users already, as many as there may be.")
            at = timestamp(self._clock.now())
            users = (*present.shared_with, user_id)
            return replace(present, shared_with=users, shared_at={**present.shared_at, user_id: at})

        self._workflows.edit(principal, workflow, shared, "workflow.shared", if_match, detail={"user": user_id})

    def unshare(self, principal: Principal, workflow: Workflow, user_id: str, if_match: str | None) -> None:
        """Takes a workflow from a user; who does not have it, loses nothing. Raises ``Forbidden`` as ``share`` does."""
        require_owner(principal, workflow)

        def withdrawn(present: Workflow) -> Workflow:
            if user_id not in present.shared_with:
                return present
            users = tuple(user for user in present.shared_with if user != user_id)
            return replace(present, shared_with=users, shared_at={user: present.shared_at[user] for user in users})

        self._workflows.edit(principal, workflow, withdrawn, "workflow.unshared", if_match, detail={"user": user_id})
