"""Credentials: one item each, under its name in its organisation. What an item holds of the value opens nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chalicelib.graph.credentials import Credential, Sealed
from chalicelib.store import keys
from chalicelib.store.table import ABSENT, PRESENT, ConditionFailed, Item, Table, Write, delete, put, update

_SHOWN = ("organizationId", "name", "description", "createdAt", "updatedAt", "updatedBy")


class CredentialRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    def create(self, credential: Credential, sealed: Sealed, also: Sequence[Write] = ()) -> bool:
        """Records a credential, with ``also`` in the same transaction. False where there is one of that name."""
        item = {
            **keys.credential(credential.organization_id, credential.name),
            "organizationId": credential.organization_id,
            "name": credential.name,
            "description": credential.description,
            "createdAt": credential.created_at,
            "updatedAt": credential.updated_at,
            "updatedBy": credential.updated_by,
            **_sealed_item(sealed),
        }
        return self._transact([put(item, ABSENT), *also])

    def get(self, organization_id: str, name: str) -> Credential | None:
        item = self._table.get(keys.credential(organization_id, name))
        return _credential(item) if item else None

    def sealed(self, organization_id: str, name: str) -> Sealed | None:
        """The value of a credential, as it is kept."""
        item = self._table.get(keys.credential(organization_id, name))
        return Sealed(item["dataKey"], item["nonce"], item["ciphertext"]) if item else None

    def list(self, organization_id: str) -> list[Credential]:
        """The credentials of an organisation, by name."""
        pk = keys.credential(organization_id, "")["pk"]
        return [_credential(item) for item in self._table.query(pk, attributes=_SHOWN)]

    def change(
        self,
        organization_id: str,
        name: str,
        *,
        updated_at: str,
        updated_by: str,
        description: str | None,
        sealed: Sealed | None,
        also: Sequence[Write] = (),
    ) -> bool:
        """Writes what is given over what is there. False where there is nothing."""
        values: dict[str, Any] = {"updatedAt": updated_at, "updatedBy": updated_by}
        if description is not None:
            values["description"] = description
        if sealed is not None:
            values |= _sealed_item(sealed)
        expression = "SET " + ", ".join(f"{field} = :{field}" for field in values)
        return self._transact([update(keys.credential(organization_id, name), expression, PRESENT, **values), *also])

    def delete(self, organization_id: str, name: str, also: Sequence[Write] = ()) -> bool:
        """False where there is none."""
        return self._transact([delete(keys.credential(organization_id, name), PRESENT), *also])

    def _transact(self, writes: Sequence[Write]) -> bool:
        try:
            self._table.transact(writes)
        except ConditionFailed:
            return False
        return True


def _sealed_item(sealed: Sealed) -> Item:
    return {"dataKey": sealed.data_key, "nonce": sealed.nonce, "ciphertext": sealed.ciphertext}


def _credential(item: Item) -> Credential:
    return Credential(
        organization_id=item["organizationId"],
        name=item["name"],
        created_at=item["createdAt"],
        updated_at=item["updatedAt"],
        updated_by=item["updatedBy"],
        description=item["description"],
    )
