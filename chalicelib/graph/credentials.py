"""What is known of a credential: everything but its value, which is only ever kept sealed."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What a credential may be called.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

#: How a config names one: ``${NAME}``.
REFERENCE = re.compile(rf"\$\{{({NAME.pattern})\}}")


@dataclass(frozen=True, slots=True)
class Credential:
    organization_id: str
    name: str
    created_at: str
    updated_at: str
    updated_by: str  # user id
    description: str = ""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value that only who may use the deployment's KMS key can read: encrypted by a data key of its own, which lies
    beside it, itself encrypted by the KMS key.
    """

    data_key: bytes  # encrypted
    nonce: bytes
    ciphertext: bytes  # with its authentication tag


def context_of(organization_id: str, name: str) -> dict[str, str]:
    """What a sealed value is bound to: it opens for this organisation and under this name only."""
    return {"organization": organization_id, "name": name}
