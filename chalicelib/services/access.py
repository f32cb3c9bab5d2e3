"""Who may do what. The one place where it is decided, for every API."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.foundation.errors import Forbidden
from chalicelib.graph.model import Workflow

READ = "workflows:read"
WRITE = "workflows:write"
EXECUTE = "workflows:execute"
ADMIN = "workflows:admin"  # acts as an owner of every workflow of the organisation
KEYS_ADMIN = "keys:admin"
CREDENTIALS_READ = "credentials:read"  # which there are; values are shown to nobody
CREDENTIALS_WRITE = "credentials:write"
AUDIT_READ = "audit:read"
EVERYTHING = "*"

SCOPES = (
    READ,
    WRITE,
    EXECUTE,
    ADMIN,
    KEYS_ADMIN,
    CREDENTIALS_READ,
    CREDENTIALS_WRITE,
    "kv:read",
    "kv:write",
    AUDIT_READ,
    EVERYTHING,
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the user of one organisation to whom an API key belongs."""

    organization_id: str
    user_id: str
    scopes: frozenset[str]

    def has(self, scope: str) -> bool:
        return scope in self.scopes or EVERYTHING in self.scopes

    def require(self, scope: str) -> None:
        """Raises ``Forbidden`` that names the scope."""
        if not self.has(scope):
            raise Forbidden(scope)

    def owns(self, workflow: Workflow) -> bool:
        return workflow.owner_id == self.user_id or self.has(ADMIN)

    def may_edit(self, workflow: Workflow) -> bool:
        return self.owns(workflow) or self.user_id in workflow.shared_with

    def may_see(self, workflow: Workflow) -> bool:
        return workflow.organization_id == self.organization_id and (workflow.is_public or self.may_edit(workflow))
