"""The mail port of the local stack as a program: ``python -m infra.local.smtp``, started by ``infra.local.mail_port``.

It stands where SES stands in an account, and does what our receipt rule has SES do: takes mails to the inbound domain,
puts each into the data bucket as it came, and calls the function with the event that SES would send, without waiting
for it. Who sends to another domain is refused, as SES refuses it.

SES looks for spam and viruses. Here the two texts do that the world has agreed on for tests of such things: GTUBE is
spam, EICAR a virus.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from datetime import UTC, datetime
from email import policy
from email.parser import BytesHeaderParser
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from infra.environment import LOCAL_STAGE, function_name
from infra.local import ports, process
from infra.local.home import Home
from infra.mail import PREFIX

MAX_MAIL_BYTES = 40 * 1024 * 1024  # of SES
_GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
_EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class Receiver:
    """What aiosmtpd asks; it knows these methods by their names."""

    def __init__(self, home: Home, bucket: str, domain: str) -> None:
        self._s3, self._lambda = home.client("s3"), home.client("lambda")
        self._bucket = bucket
        self._domain = domain

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address.rpartition("@")[2].lower() != self._domain:
            return "550 5.1.1 Mailbox does not exist"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        mail_id = uuid.uuid4().hex
        await server.loop.run_in_executor(
            None, self._hand_on, mail_id, content, envelope.mail_from or "", envelope.rcpt_tos
        )
        return f"250 OK {mail_id}"

    def _hand_on(self, mail_id: str, content: bytes, sender: str, recipients: list[str]) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=f"{PREFIX}{mail_id}", Body=content)
        function = function_name(LOCAL_STAGE, "inbound_email")
        event = receipt(mail_id, content, sender, recipients)
        self._lambda.invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event).encode())


def receipt(mail_id: str, content: bytes, sender: str, recipients: list[str]) -> dict[str, Any]:
    """The event with which SES calls a function: "Lambda action" in the guide to receiving mail."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    verdicts = {"spam": _GTUBE in content, "virus": _EICAR in content, "spf": False, "dkim": False, "dmarc": False}
    mail = {
        "timestamp": now,
        "source": sender,
        "messageId": mail_id,
        "destination": recipients,
        "headersTruncated": True,
        "headers": [],
        "commonHeaders": _common_headers(content),
    }
    action = {"type": "Lambda", "functionArn": "inbound_email", "invocationType": "Event"}
    told = {
        "timestamp": now,
        "processingTimeMillis": 1,
        "recipients": recipients,
        **{f"{name}Verdict": {"status": "FAIL" if failed else "PASS"} for name, failed in verdicts.items()},
        "action": action,
    }
    ses = {"mail": mail, "receipt": told}
    return {"Records": [{"eventSource": "aws:ses", "eventVersion": "1.0", "ses": ses}]}


def _common_headers(content: bytes) -> dict[str, Any]:
    head = content.partition(b"\r\n\r\n")[0][:100_000]
    raw = BytesHeaderParser(policy=policy.compat32).parsebytes(head)
    found = {
        name: str(raw[header]) for name, header in (("messageId", "Message-ID"), ("subject", "Subject")) if raw[header]
    }
    listed = {name: [str(raw[header])] for name, header in (("from", "From"), ("to", "To")) if raw[header]}
    return {**found, **listed}


async def serve(home: Home, receiver: Receiver) -> None:
    """Until SIGTERM or SIGINT. Raises ``OSError`` at once where the port cannot be had."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)

    def connected() -> SMTP:
        return SMTP(
            receiver,
            data_size_limit=MAX_MAIL_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",  # else each connection waits for a resolver to say what this machine is called
            loop=loop,
        )

    server = await loop.create_server(connected, sock=ports.listen(home.smtp_port))
    await over.wait()
    server.close()  # a mail that has been taken is handed on still: ``asyncio.run`` waits for threads


def main(fingerprint: str) -> None:
    home = Home.from_environment()
    process.introduce(home.mail_process_file, fingerprint)
    receiver = Receiver(home, os.environ["MILLRACE_BUCKET"], os.environ["MILLRACE_INBOUND_DOMAIN"])
    asyncio.run(serve(home, receiver))


if __name__ == "__main__":
    main(sys.argv[1])
