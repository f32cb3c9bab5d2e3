"""Mails in the data bucket: as they came, where nodes do not see them, and their attachments, where they do.

SES puts a mail under ``inbound/`` before it calls anybody. The key of an attachment is as hard to guess as SES's name
of the mail, which stands in it; it follows from the mail, so that what is stored twice is there once. Both go by
themselves after some time (rules of the bucket).
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

from chalicelib.foundation.errors import Downstream, DownstreamTimeout
from chalicelib.foundation.mail import Attachment

INBOUND = "inbound"
ATTACHMENTS = "attachments"
MAX_MAIL_BYTES = 50 * 1024 * 1024  # SES takes 40 MB


class Mailbox:
    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def read(self, mail_id: str) -> bytes:
        """A mail as it came; of one that is larger than any may be, the beginning. Raises ``Downstream``."""
        key = f"{INBOUND}/{mail_id}"
        try:
            with closing(self._client.get_object(Bucket=self.bucket, Key=key)["Body"]) as stream:
                body: bytes = stream.read(MAX_MAIL_BYTES)
        except Exception as error:
            raise _translated(error) from error
        return body

    def keep(self, organization_id: str, mail_id: str, number: int, attachment: Attachment) -> str:
        """Stores an attachment of a mail and returns its key. Raises ``Downstream``."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", attachment.name)[-100:] or "unnamed"
        key = f"{ATTACHMENTS}/{organization_id}/{mail_id}/{number}/{name}"
        try:
            self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=attachment.content,
                ContentType=attachment.type,
                ChecksumAlgorithm="SHA256",
            )
        except Exception as error:
            raise _translated(error) from error
        return key


def _translated(error: Exception) -> Exception:
    from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)):
        return DownstreamTimeout("S3 did not answer in time.")
    if isinstance(error, (BotoCoreError, ClientError)):
        return Downstream(f"S3: {error}"[:500])
    return error
