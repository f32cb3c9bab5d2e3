"""Mail in and out, and the clock, on a stack: what travels by SMTP, S3, Scheduler and SES as it does in an account."""

from __future__ import annotations

import json
import smtplib
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.fakes import graph, node
from tests.stack.api import Api, Run, eventually
from tests.stack.conftest import LocalStack

TOKYO = ZoneInfo("Asia/Tokyo")
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

Deliver = Callable[..., None]


@pytest.fixture(scope="module")
def api(stack: LocalStack) -> Api:
    return Api(stack)


@pytest.fixture
def deliver(stack: LocalStack) -> Deliver:
    host, _, port = stack.smtp.rpartition(":")

    def send(raw: bytes, *recipients: str) -> None:
        with smtplib.SMTP(host, int(port), timeout=30) as connection:
            connection.sendmail("zoe@example.org", recipients, raw, mail_options=["BODY=8BITMIME"])

    return send


def runs(api: Api, workflow: str) -> list[Run]:
    listed = api.send("GET", f"/api/v1/executions?workflowId={workflow}").body["executions"]
    return [Run(api, found["id"]) for found in listed]


def first_run(api: Api, workflow: str, within: float = 30) -> Run:
    return eventually(lambda: runs(api, workflow), f"a run of {workflow}", within)[-1]


def test_a_mail_with_attachments(api: Api, stack: LocalStack, deliver: Deliver) -> None:
    """By SMTP to an alias: an encoded subject, parts in parts, and an attachment that `s3-read` reads. Delivered twice
    it is one run."""
    address = f"orders@{stack.inbound_domain}"
    reads = node("r", "s3-read", bucket="{{ data.attachments[0].bucket }}", key="{{ data.attachments[0].key }}")
    nodes = [
        node("m", "email-trigger", address=address),
        reads,
        node("a", expression="{'mail': trigger, 'read': data}"),
    ]
    workflow = api.create(graph(nodes, "m -> r -> a"), status="active")
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Zoë <zoe@example.org>", address, "Bestellung für März ✓"
    mail["Message-ID"] = f"<{workflow}@example.org>"
    mail.set_content("zwei Stück\n")
    mail.add_alternative("<p>zwei Stück</p>\n", subtype="html")
    mail.add_attachment(b'{"n": 2}', maintype="application", subtype="json", filename="Bestellung März.json")
    for _ in range(2):
        deliver(mail.as_bytes(), address)
    told = first_run(api, workflow).wait()["execution"]
    assert told["status"] == "SUCCESS", told
    assert told["output"]["read"] == {"n": 2}
    received = told["output"]["mail"]
    assert (received["subject"], received["from"]) == ("Bestellung für März ✓", "Zoë <zoe@example.org>")
    assert (received["body_text"], received["body_html"]) == ("zwei Stück\n", "<p>zwei Stück</p>\n")
    assert (received["attachments"][0]["name"], received["attachments"][0]["size"]) == ("Bestellung März.json", 8)
    deliver(mail.as_bytes(), f"nobody@{stack.inbound_domain}")
    assert len(runs(api, workflow)) == 1


def test_eight_bits_and_an_id_in_capitals(api: Api, stack: LocalStack, deliver: Deliver) -> None:
    """A mail in Latin-2 as old programs send it, to the id of a workflow as careless people write it."""
    workflow = api.create(graph([node("m", "email-trigger")]), status="active")
    raw = b"\r\n".join(
        [b"Subject: =?iso-8859-2?Q?=BElu=BBou=E8k=FD?=", b"Content-Type: text/plain; charset=iso-8859-2",
         b"Content-Transfer-Encoding: 8bit", b"", "žluťoučký kůň".encode("iso-8859-2")]
    )  # fmt: skip
    deliver(raw, f"{workflow}@{stack.inbound_domain}".upper())
    output = first_run(api, workflow).wait()["execution"]["output"]
    assert (output["subject"], output["body_text"].strip()) == ("žluťoučký", "žluťoučký kůň")


def test_what_starts_nothing(api: Api, stack: LocalStack, deliver: Deliver) -> None:
    """Another domain is refused while it is sent; spam is taken, and stands in the audit."""
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        deliver(b"Subject: x\r\n\r\nx", "somebody@example.org")
    workflow = api.create(graph([node("m", "email-trigger")]), status="active")
    deliver(f"Subject: buy\r\n\r\n{GTUBE}".encode(), f"{workflow}@{stack.inbound_domain}")

    def refused() -> list[dict[str, Any]]:
        entries = api.send("GET", f"/api/v1/audit?subject={workflow}").body["entries"]
        return [entry for entry in entries if entry["action"] == "email.refused"]

    [entry] = eventually(refused, "the refusal in the audit")
    assert "spam" in entry["detail"]["reason"]
    assert runs(api, workflow) == []


def test_email_send(api: Api, stack: LocalStack) -> None:
    """What a workflow sends goes to SES."""
    send = node("s", "email-send", to=["ann@example.org"], subject="Hi {{ data.name }}", text="t", html="<p>t</p>")
    run = api.run(graph([node("t", "manual-trigger"), send], "t -> s"), {"name": "Zoë"})
    assert run.status == "SUCCESS", run.execution
    with urllib.request.urlopen(f"{stack.home.endpoint}/_ministack/ses/messages", timeout=30) as response:
        sent = [mail for mails in json.load(response)["messages"].values() for mail in mails]
    [mail] = [mail for mail in sent if mail["MessageId"] == run.output["messageId"]]
    assert (mail["Source"], mail["To"], mail["Subject"]) == ("workflows@millrace.test", ["ann@example.org"], "Hi Zoë")


def test_a_schedule(api: Api, stack: LocalStack) -> None:
    """Every minute, in another zone than the machine's: the run is told for which minute; pausing ends it."""
    hours = {(datetime.now(TOKYO) + timedelta(minutes=minutes)).hour for minutes in (0, 3)}
    cron = f"* {','.join(map(str, sorted(hours)))} * * *"
    trigger = node("s", "schedule-trigger", cron=cron, timezone="Asia/Tokyo")
    created = datetime.now(UTC)
    workflow = api.create(graph([trigger, node("a", expression="trigger")], "s -> a"), status="active")
    output = first_run(api, workflow, within=90).wait()["execution"]["output"]
    due = datetime.fromisoformat(output["scheduled_time"])
    assert due.second == 0
    assert created < due <= datetime.now(UTC)
    assert (output["cron"], output["timezone"]) == (cron, "Asia/Tokyo")
    assert api.send("PUT", f"/api/v1/workflows/{workflow}/status", {"status": "paused"}).status == 200
    listed = stack.client("scheduler").list_schedules(GroupName="millrace-local", NamePrefix=workflow)["Schedules"]
    assert listed == []
