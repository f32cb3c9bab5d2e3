"""Mails that come in: which workflow each starts, once, and what becomes of those that start none."""

from __future__ import annotations

import copy
import json
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from chalice.test import Client

from app import app
from chalicelib.bootstrap import lambda_services
from chalicelib.foundation.errors import Conflict, Downstream, Permanent
from chalicelib.graph.audit import AuditEntry
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.services.access import EVERYTHING, Principal
from chalicelib.services.inbound_email import OPERATORS, ReceivedMail
from tests.conftest import BUCKET
from tests.fakes import graph, node
from tests.runs import OWNER, Runs

EVENT = json.loads((Path(__file__).parent.parent / "events" / "ses_receipt.json").read_text())
MAIL_ID = EVENT["Records"][0]["ses"]["mail"]["messageId"]
ALIAS = "orders@in.example.org"
LISTENS = graph([node("m", "email-trigger", address=ALIAS), node("a")], "m -> a")


@pytest.fixture
def workflow(runs: Runs) -> Workflow:
    return activated(runs, runs.workflow(LISTENS))


def activated(runs: Runs, workflow: Workflow, status: WorkflowStatus = WorkflowStatus.ACTIVE) -> Workflow:
    return runs.services.workflows.set_status(OWNER, workflow, status)


def event(*recipients: str, mail_id: str = MAIL_ID, **verdicts: str) -> Any:
    """What SES calls the function with."""
    found = copy.deepcopy(EVENT)
    ses = found["Records"][0]["ses"]
    ses["mail"]["messageId"] = mail_id
    ses["receipt"]["recipients"] = list(recipients)
    for name, status in verdicts.items():
        ses["receipt"][f"{name}Verdict"] = {"status": status}
    return found


def message(message_id: str | None = "<1@example.org>", text: str = "two of them\n") -> EmailMessage:
    found = EmailMessage()
    found["From"], found["To"], found["Subject"] = "Zoë <zoe@example.org>", ALIAS, "Bestellung für März"
    if message_id:
        found["Message-ID"] = message_id
    found.set_content(text)
    return found


def receive(runs: Runs, s3: Any, *recipients: str, mail: bytes | None = None, **options: str) -> list[str]:
    """A mail is put into the bucket by SES, and then told of."""
    raw = event(*recipients, **options)["Records"][0]["ses"]
    body = message().as_bytes() if mail is None else mail
    s3.put_object(Bucket=BUCKET, Key=f"inbound/{raw['mail']['messageId']}", Body=body)
    return runs.services.inbound_email.receive(ReceivedMail.from_event(raw))


def audited(runs: Runs, organization: str = "acme") -> list[AuditEntry]:
    reader = Principal(organization, "op", frozenset({EVERYTHING}))
    found = runs.services.audit.recent(reader, None, 100, 0)
    return [entry for entry in found if entry.action.startswith("email.")]


def test_a_mail_to_an_alias(runs: Runs, s3: Any, workflow: Workflow) -> None:
    """What the trigger sees of a mail; attachments are there for `s3-read`, with their types."""
    mail = message()
    mail.add_alternative("<p>two</p>\n", subtype="html")
    mail.add_attachment(b'{"n": 2}', maintype="application", subtype="json", filename="größe order.json")
    [started] = receive(runs, s3, ALIAS, mail=mail.as_bytes())
    run = runs.end(started)
    assert (run.execution.trigger.type, run.execution.trigger.source) == ("email", "Zoë <zoe@example.org>")
    output: Any = run.output
    [attachment] = output.pop("attachments")
    assert output.pop("headers")["subject"] == "Bestellung für März"
    assert output == {
        "from": "Zoë <zoe@example.org>",
        "to": ALIAS,
        "cc": "",
        "subject": "Bestellung für März",
        "body_text": "two of them\n",
        "body_html": "<p>two</p>\n",
        "message_id": "<1@example.org>",
    }
    assert (attachment["name"], attachment["type"], attachment["size"]) == ("größe order.json", "application/json", 8)
    from chalicelib.cloud.objects import S3Objects

    stored = S3Objects(s3, BUCKET).read(attachment["bucket"], attachment["key"])
    assert (b"".join(stored.body), stored.content_type) == (b'{"n": 2}', "application/json")


def test_the_mail_itself_is_closed_to_nodes(runs: Runs, s3: Any, workflow: Workflow) -> None:
    """It may be anybody's."""
    from chalicelib.cloud.objects import S3Objects

    receive(runs, s3, ALIAS)
    with pytest.raises(Permanent, match="AccessDenied"):
        S3Objects(s3, BUCKET).read(BUCKET, f"inbound/{MAIL_ID}")


def test_a_mail_to_the_id_of_a_workflow(runs: Runs, s3: Any) -> None:
    """Whoever has sent it has perhaps written the address in another case."""
    own = activated(runs, runs.workflow(graph([node("m", "email-trigger")])))
    assert len(receive(runs, s3, f"{own.id}@in.example.org".upper())) == 1
    assert audited(runs) == []


def test_the_same_mail_runs_once(runs: Runs, s3: Any, workflow: Workflow) -> None:
    """By its Message-ID, also under another name of SES's, and to two addresses of the workflow."""
    first = receive(runs, s3, ALIAS)
    assert receive(runs, s3, ALIAS) == first
    assert receive(runs, s3, f"{workflow.id}@in.example.org", ALIAS, mail_id="another") == first
    other = receive(runs, s3, ALIAS, mail=message("<2@example.org>").as_bytes(), mail_id="third")
    assert other != first
    assert runs.services.executions.list(OWNER, workflow.id, None, 10, 0).total == 2


def test_without_a_message_id_it_is_the_same_by_its_name(runs: Runs, s3: Any, workflow: Workflow) -> None:
    """SES tells of one mail under one name."""
    mail = message(None).as_bytes()
    assert receive(runs, s3, ALIAS, mail=mail) == receive(runs, s3, ALIAS, mail=mail)
    assert receive(runs, s3, ALIAS, mail=mail, mail_id="m2") != receive(runs, s3, ALIAS, mail=mail)


def test_several_workflows_have_a_run_each(runs: Runs, s3: Any, workflow: Workflow) -> None:
    """One mail to two addresses, and to one that nobody has: that is dropped, and the operators can see it."""
    own = activated(runs, runs.workflow(graph([node("m", "email-trigger")])))
    assert len(receive(runs, s3, ALIAS, f"{own.id}@in.example.org", "nobody@in.example.org")) == 2
    [entry] = audited(runs, OPERATORS)
    assert (entry.action, entry.subject, entry.detail["recipient"]) == (
        "email.dropped",
        MAIL_ID,
        "nobody@in.example.org",
    )
    assert entry.detail["sender"] == "zoe@example.org"
    assert audited(runs) == []


@pytest.mark.parametrize("kind", ["spam", "virus"])
def test_a_verdict_refuses(runs: Runs, s3: Any, workflow: Workflow, kind: str) -> None:
    """What SES takes for spam or a virus starts nothing, is not even read, and stands in the audit."""
    assert receive(runs, s3, ALIAS, mail=b"", **{kind: "FAIL"}) == []
    [entry] = audited(runs)
    assert (entry.action, entry.subject, entry.user_id) == ("email.refused", workflow.id, "email")
    assert kind in str(entry.detail["reason"])


@pytest.mark.parametrize("status", ["GRAY", "PROCESSING_FAILED", "DISABLED"])
def test_other_verdicts_pass(runs: Runs, s3: Any, workflow: Workflow, status: str) -> None:
    """SES does not know, and nor do we."""
    assert len(receive(runs, s3, ALIAS, spam=status, virus=status)) == 1


def test_what_no_mail_starts(runs: Runs, s3: Any, workflow: Workflow) -> None:
    """A paused workflow, and one without the trigger, start nothing, and say so in their audit."""
    other = activated(runs, runs.workflow(graph([node("t", "manual-trigger")])))
    activated(runs, workflow, WorkflowStatus.PAUSED)
    assert receive(runs, s3, ALIAS, f"{other.id}@in.example.org") == []
    reasons = {entry.subject: str(entry.detail["reason"]) for entry in audited(runs)}
    assert reasons.keys() == {workflow.id, other.id}
    assert "paused" in reasons[workflow.id]
    assert "no email-trigger node" in reasons[other.id]


def test_an_alias_that_is_somebody_elses_id(runs: Runs, s3: Any, workflow: Workflow) -> None:
    """Who claims the address of another workflow's id does not get its mail."""
    own = activated(runs, runs.workflow(graph([node("m", "email-trigger")])))
    address = f"{own.id}@in.example.org"
    thief = Principal("evil", "eve", frozenset({EVERYTHING}))
    taken = runs.workflow(graph([node("m", "email-trigger", address=address)]), thief)
    runs.services.workflows.set_status(thief, taken, WorkflowStatus.ACTIVE)
    [started] = receive(runs, s3, address)
    assert runs.services.executions.list(OWNER, own.id, None, 10, 0).executions[0].id == started
    assert runs.services.executions.list(thief, taken.id, None, 10, 0).total == 0


def test_an_alias_is_one_workflows(runs: Runs, workflow: Workflow) -> None:
    """Another workflow that wants the same address is refused when it is saved, in any spelling."""
    with pytest.raises(Conflict):
        runs.workflow(graph([node("m", "email-trigger", address=ALIAS.upper())]))


@pytest.mark.parametrize("address", ["orders", "a b@example.org", "a@", "@b", "a@b, c@d", "x" * 260 + "@a.b"])
def test_addresses_are_judged(runs: Runs, address: str) -> None:
    """What is no address is an error of validation."""
    found = runs.services.workflows.judge(runs.workflow(graph([node("m", "email-trigger", address=address)])))
    assert [problem.path for problem in found.errors] == ["nodes[0].config.address"]


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\x00\n\n", b"Subject: =?x?x?x?=\n" * 3000], ids=["empty", "bytes", "headers"]
)
def test_an_odd_mail_starts_a_run_all_the_same(runs: Runs, s3: Any, workflow: Workflow, raw: bytes) -> None:
    """Whatever it is, somebody has sent it to this address."""
    [started] = receive(runs, s3, ALIAS, mail=raw)
    assert runs.end(started).execution.status == "succeeded"


def test_a_large_mail(runs: Runs, s3: Any, workflow: Workflow) -> None:
    """A text of five million characters goes with the payload, as large values do."""
    [started] = receive(runs, s3, ALIAS, mail=message(text="long " * 1_000_000).as_bytes())
    output: Any = runs.end(started).output
    assert len(output["body_text"]) > 4_900_000


def test_a_mail_that_is_not_there_yet_comes_again(runs: Runs, workflow: Workflow) -> None:
    """What cannot be read is an error of the function: Lambda calls it again."""
    with pytest.raises(Downstream):
        runs.services.inbound_email.receive(ReceivedMail.from_event(event(ALIAS)["Records"][0]["ses"]))


def test_names_of_mails_are_checked() -> None:
    """They become keys in S3."""
    with pytest.raises(ValueError, match="no id of a mail"):
        ReceivedMail.from_event(event(ALIAS, mail_id="../plans/x")["Records"][0]["ses"])


def test_the_lambda(runs: Runs, s3: Any, workflow: Workflow) -> None:
    """The function takes the very event of SES."""
    s3.put_object(Bucket=BUCKET, Key=f"inbound/{MAIL_ID}", Body=message().as_bytes())
    lambda_services.cache_clear()
    try:
        Client(app).lambda_.invoke("inbound_email", EVENT)
    finally:
        lambda_services.cache_clear()
    [run] = runs.services.executions.list(OWNER, workflow.id, None, 10, 0).executions
    assert run.trigger.type == "email"
