"""What is known of an API key: everything but the key."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    digest: str  # SHA-256 of the secret, as hex
    prefix: str  # the first letters of the secret, by which people know it
    organization_id: str
    user_id: str
    scopes: tuple[str, ...]
    created_at: str
    name: str = ""
    last_used_at: str | None = None
