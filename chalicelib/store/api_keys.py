"""API keys, found by the hash of the secret: the secret itself is nowhere."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.store import keys
from chalicelib.store.table import ABSENT, Table, put


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    digest: str  # SHA-256 of the secret, as hex
    prefix: str  # the first letters of the secret, by which people know it
    organization_id: str
    user_id: str
    scopes: tuple[str, ...]
    created_at: str


class ApiKeyRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def create(self, key: ApiKey) -> None:
        item = {
            **keys.api_key(key.digest),
            "keyId": key.id,
            "prefix": key.prefix,
            "organizationId": key.organization_id,
            "userId": key.user_id,
            "scopes": list(key.scopes),
            "createdAt": key.created_at,
        }
        self._table.write(put(item, ABSENT))

    def get(self, digest: str) -> ApiKey | None:
        item = self._table.get(keys.api_key(digest))
        if item is None:
            return None
        return ApiKey(
            id=item["keyId"],
            digest=digest,
            prefix=item["prefix"],
            organization_id=item["organizationId"],
            user_id=item["userId"],
            scopes=tuple(item["scopes"]),
            created_at=item["createdAt"],
        )
