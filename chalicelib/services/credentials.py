"""Credentials: values that workflows name as ``${NAME}`` and nobody reads back.

What this service can do is to seal a value and to say which names there are. To open one takes the role of the node
runner; see ``cloud.kms`` and ``engines.secrets``.
"""

from __future__ import annotations

from chalicelib.cloud.kms import Envelope
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Conflict, InvalidInput, NotFound
from chalicelib.graph.credentials import NAME, Credential, context_of
from chalicelib.services.access import Principal
from chalicelib.services.audit import AuditService
from chalicelib.store.credentials import CredentialRepository

NOUN = "credential"


class CredentialService:
    def __init__(self, repository: CredentialRepository, envelope: Envelope, audit: AuditService, clock: Clock) -> None:
        self._repository = repository
        self._envelope = envelope
        self._audit = audit
        self._clock = clock

    def list(self, principal: Principal) -> list[Credential]:
        """The credentials of the caller's organisation, by name."""
        return self._repository.list(principal.organization_id)

    def get(self, principal: Principal, name: str) -> Credential:
        """Raises ``NotFound``."""
        found = self._repository.get(principal.organization_id, name) if NAME.fullmatch(name) else None
        if found is None:
            raise NotFound(NOUN, name)
        return found

    def create(self, principal: Principal, name: str, value: str, description: str = "") -> Credential:
        """Stores a value under a new name.

        Raises ``InvalidInput`` for a name that a config could not say, and ``Conflict`` for one that is taken.
        """
        if not NAME.fullmatch(name):
            raise InvalidInput.at("name", "1 to 64 letters, digits and _, the first no digit")
        now = timestamp(self._clock.now())
        credential = Credential(principal.organization_id, name, now, now, principal.user_id, description)
        sealed = self._envelope.seal(value, context_of(principal.organization_id, name))
        entry = self._audit.entry(principal, "credential.created", name)
        if not self._repository.create(credential, sealed, [entry]):
            raise Conflict(f"There is a credential {name} already.")
        return credential

    def change(
        self, principal: Principal, name: str, value: str | None = None, description: str | None = None
    ) -> Credential:
        """Replaces the value, the description or both; None leaves one as it is. Raises ``NotFound``.

        Steps that begin from now on have the new value.
        """
        self.get(principal, name)
        sealed = None if value is None else self._envelope.seal(value, context_of(principal.organization_id, name))
        changed = self._repository.change(
            principal.organization_id,
            name,
            updated_at=timestamp(self._clock.now()),
            updated_by=principal.user_id,
            description=description,
            sealed=sealed,
            also=[self._audit.entry(principal, "credential.updated", name, value=value is not None)],
        )
        if not changed:
            raise NotFound(NOUN, name)
        return self.get(principal, name)

    def delete(self, principal: Principal, name: str) -> None:
        """Raises ``NotFound``. What names it afterwards fails with ``CredentialMissing``."""
        self.get(principal, name)
        entry = self._audit.entry(principal, "credential.deleted", name)
        if not self._repository.delete(principal.organization_id, name, [entry]):
            raise NotFound(NOUN, name)
