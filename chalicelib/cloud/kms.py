"""Secrets under the KMS key of the deployment: sealed by the API, opened by the node runner alone.

Each value is encrypted by a data key of its own (AES-256-GCM), and the data key by KMS. So KMS never sees a value, and
the table never holds anything that opens one. Both encryptions are bound to a *context*, the organisation and the name:
ciphertext that somebody moves to another organisation or under another name does not open there.

Which role may do what stands in ``infra/template.yaml``: the API may call ``GenerateDataKey``, the node runner
``Decrypt``, and neither may do both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from chalicelib.foundation.errors import Downstream, DownstreamTimeout, Permanent
from chalicelib.foundation.json_types import canonical
from chalicelib.graph.credentials import Sealed

_NONCE_BYTES = 12  # what GCM is made for; random is safe, because no data key encrypts twice


class Envelope:
    def __init__(self, client: Any, key_id: str) -> None:
        self._client = client
        self._key_id = key_id

    def seal(self, value: str, context: Mapping[str, str]) -> Sealed:
        """Encrypts a value: one call. Raises ``Downstream``."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # native code that few processes need

        key = self._call("generate_data_key", KeyId=self._key_id, KeySpec="AES_256", EncryptionContext=dict(context))
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = AESGCM(key["Plaintext"]).encrypt(nonce, value.encode(), canonical(context))
        return Sealed(data_key=key["CiphertextBlob"], nonce=nonce, ciphertext=ciphertext)

    def open(self, sealed: Sealed, context: Mapping[str, str]) -> str:
        """Decrypts a value: one call.

        Raises ``Permanent`` where it was sealed in another context or is damaged, and ``Downstream``.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            key = self._call(
                "decrypt", CiphertextBlob=sealed.data_key, KeyId=self._key_id, EncryptionContext=dict(context)
            )
            value = AESGCM(key["Plaintext"]).decrypt(sealed.nonce, sealed.ciphertext, canonical(context))
        except (self._client.exceptions.InvalidCiphertextException, InvalidTag):
            raise Permanent("CredentialUnreadable", "The stored value does not open; store it again.") from None
        return value.decode()

    def _call(self, operation: str, **request: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

        try:
            return getattr(self._client, operation)(**request)
        except self._client.exceptions.InvalidCiphertextException:
            raise
        except (ConnectTimeoutError, ReadTimeoutError) as error:
            raise DownstreamTimeout("KMS did not answer in time.") from error
        except (BotoCoreError, ClientError) as error:
            raise Downstream(f"KMS: {error}"[:500]) from error
