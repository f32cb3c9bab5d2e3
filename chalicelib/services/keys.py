"""API keys: made once, shown once, known afterwards by their hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.errors import Fault, InvalidInput, NotFound, Unauthenticated
from chalicelib.foundation.ids import Ids, is_id, is_name
from chalicelib.graph.api_keys import ApiKey
from chalicelib.services.access import SCOPES, Principal
from chalicelib.services.audit import AuditService
from chalicelib.store.api_keys import ApiKeyRepository

OPERATOR = "operator"  # stands in the audit for who runs the deployment

_PREFIX = "mr_"
_SHOWN_LETTERS = 10  # of a key, in lists: enough to know it by, too few to guess the rest
_CACHE_FOR = timedelta(seconds=30)  # a revoked key is refused everywhere after this long
_CACHE_SIZE = 1000


@dataclass(frozen=True)
class NewKey:
    key: ApiKey
    secret: str  # to be shown once, and kept nowhere


class KeyService:
    def __init__(self, repository: ApiKeyRepository, audit: AuditService, ids: Ids, clock: Clock) -> None:
        self._repository = repository
        self._audit = audit
        self._ids = ids
        self._clock = clock
        self._seen: dict[str, tuple[datetime, Principal]] = {}

    def create(
        self, *, organization_id: str, user_id: str, scopes: Sequence[str], name: str = "", by: Principal | None = None
    ) -> NewKey:
        """A new key of 256 random bits; ``by`` is who asks for it, None the operator of the deployment.

        Raises ``InvalidInput`` for malformed names and unknown scopes, all of them, and ``Forbidden`` for a scope that
        who asks does not have.
        """
        faults = [
            Fault(field, "1 to 64 letters, digits and _ . @ -, the first a letter or digit")
            for field, value in (("organizationId", organization_id), ("userId", user_id))
            if not is_name(value)
        ]
        faults += [
            Fault(f"scopes[{index}]", f"There is no scope {scope!r}.")
            for index, scope in enumerate(scopes)
            if scope not in SCOPES
        ]
        if not scopes:
            faults.append(Fault("scopes", "A key needs a scope at least."))
        if faults:
            raise InvalidInput(faults)
        for scope in scopes if by else ():
            assert by is not None
            by.require(scope)
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(
            id=self._ids.new("key"),
            digest=_digest(secret),
            prefix=secret[:_SHOWN_LETTERS],
            organization_id=organization_id,
            user_id=user_id,
            scopes=tuple(sorted(set(scopes))),
            created_at=timestamp(self._clock.now()),
            name=name,
        )
        who = by or Principal(organization_id, OPERATOR, frozenset())
        self._repository.create(key, [self._audit.entry(who, "key.created", key.id, user=user_id, prefix=key.prefix)])
        return NewKey(key, secret)

    def list(self, principal: Principal) -> list[ApiKey]:
        """The keys of the caller's organisation, oldest first."""
        return self._repository.list(principal.organization_id)

    def revoke(self, principal: Principal, key_id: str) -> None:
        """Ends a key: here at once, in other warm Lambdas within half a minute. Raises ``NotFound``."""
        entry = self._audit.entry(principal, "key.revoked", key_id)
        if not is_id(key_id) or not self._repository.delete(principal.organization_id, key_id, [entry]):
            raise NotFound("key", key_id)
        self._seen.clear()

    def authenticate(self, secret: str | None) -> Principal:
        """Whose key this is: one call at most, none for a key seen within half a minute. Raises ``Unauthenticated``."""
        if not secret:
            raise Unauthenticated
        digest = _digest(secret)
        now = self._clock.now()
        if (seen := self._seen.get(digest)) and now - seen[0] < _CACHE_FOR:
            return seen[1]
        key = self._repository.use(digest, timestamp(now))
        if key is None:
            raise Unauthenticated("There is no such API key.")
        principal = Principal(key.organization_id, key.user_id, frozenset(key.scopes))
        if len(self._seen) >= _CACHE_SIZE:
            self._seen.clear()
        self._seen[digest] = (now, principal)
        return principal


def _digest(secret: str) -> str:
    # A plain hash is enough: what is hashed is random and long, there is nothing to guess.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
