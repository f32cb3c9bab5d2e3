"""SES, which sends mails (the API of version 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NoReturn

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.nodes.capabilities import OutgoingMail

#: Of these SES says that the same would fail again.
_FINAL_CODES = frozenset(
    {
        "MessageRejected",
        "MailFromDomainNotVerifiedException",
        "AccountSuspendedException",
        "SendingPausedException",
        "BadRequestException",
        "NotFoundException",
        "AccessDeniedException",
    }
)


class SesMailer:
    def __init__(self, client: Callable[[], Any], sender: str) -> None:
        """``sender``: the address from which mails go; empty where none may."""
        self._client = client
        self._sender = sender

    def send(self, mail: OutgoingMail) -> str:
        if not self._sender:
            raise Permanent(
                "MailNotSetUp", "This stage has no address to send from: its parameter MailSender is empty."
            )
        bodies = {"Text": mail.text, "Html": mail.html}
        content = {
            "Subject": {"Data": mail.subject, "Charset": "UTF-8"},
            "Body": {kind: {"Data": text, "Charset": "UTF-8"} for kind, text in bodies.items() if text is not None},
            "Headers": [
                {"Name": "X-Millrace-Key", "Value": hashlib.sha256(mail.key.encode()).hexdigest()},
                {"Name": "Auto-Submitted", "Value": "auto-generated"},  # so that no answering machine replies
            ],
        }
        try:
            answer = self._client().send_email(
                FromEmailAddress=self._sender,
                Destination={"ToAddresses": list(mail.to)},
                Content={"Simple": content},
            )
        except Exception as error:
            _translate(error)
        return str(answer["MessageId"])


def _translate(error: Exception) -> NoReturn:
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    if isinstance(error, ParamValidationError) or (
        isinstance(error, ClientError) and error.response["Error"]["Code"] in _FINAL_CODES
    ):
        raise Permanent("MailRefused", f"SES: {error}"[:500]) from error
    if isinstance(error, (ClientError, BotoCoreError)):
        raise Retryable("MailServiceError", f"SES: {error}"[:500]) from error
    raise error
