"""API keys, found by the hash of the secret: the secret itself is nowhere.

A key is two items, written and deleted together: one under the hash, by which it is found when somebody uses it, and
one in its organisation, by which it is listed and revoked.
"""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.graph.api_keys import ApiKey
from chalicelib.store import keys
from chalicelib.store.table import ABSENT, PRESENT, ConditionFailed, Item, Table, Write, delete, put, update


class ApiKeyRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def create(self, key: ApiKey, also: Sequence[Write] = ()) -> None:
        """Records a key, with ``also`` in the same transaction."""
        item = {
            **keys.api_key(key.digest),
            "keyId": key.id,
            "prefix": key.prefix,
            "organizationId": key.organization_id,
            "userId": key.user_id,
            "scopes": list(key.scopes),
            "createdAt": key.created_at,
            "name": key.name,
        }
        listed = {**keys.api_key_of_organization(key.organization_id, key.id), "digest": key.digest}
        self._table.transact([put(item, ABSENT), put(listed, ABSENT), *also])

    def use(self, digest: str, now: str) -> ApiKey | None:
        """The key with this hash, and a note that it was used: one call."""
        try:
            return _key(self._table.write(update(keys.api_key(digest), "SET lastUsedAt = :now", PRESENT, now=now)))
        except ConditionFailed:
            return None

    def list(self, organization_id: str) -> list[ApiKey]:
        """The keys of an organisation, oldest first."""
        pk = keys.api_key_of_organization(organization_id, "")["pk"]
        digests = [item["digest"] for item in self._table.query(pk)]
        found = self._table.get_many([keys.api_key(digest) for digest in digests])
        return sorted(map(_key, found), key=lambda key: (key.created_at, key.id))

    def delete(self, organization_id: str, key_id: str, also: Sequence[Write] = ()) -> bool:
        """Deletes a key of an organisation, with ``also`` in the same transaction. False where there is none."""
        listed = keys.api_key_of_organization(organization_id, key_id)
        item = self._table.get(listed)
        if item is None:
            return False
        try:
            self._table.transact([delete(listed, PRESENT), delete(keys.api_key(item["digest"])), *also])
        except ConditionFailed:
            return False
        return True


def _key(item: Item) -> ApiKey:
    return ApiKey(
        id=item["keyId"],
        digest=item["pk"].removeprefix(keys.api_key("")["pk"]),
        prefix=item["prefix"],
        organization_id=item["organizationId"],
        user_id=item["userId"],
        scopes=tuple(item["scopes"]),
        created_at=item["createdAt"],
        name=item.get("name", ""),
        last_used_at=item.get("lastUsedAt"),
    )
