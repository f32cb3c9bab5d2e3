"""Sending mails by SES: what is sent, and which of its answers are worth another try."""

from __future__ import annotations

import hashlib
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import ANY, Stubber

from chalicelib.cloud.mailer import SesMailer
from chalicelib.foundation.errors import NodeError, Permanent, Retryable
from chalicelib.nodes.capabilities import OutgoingMail

SENDER = "workflows@example.org"
MAIL = OutgoingMail(to=["a@example.org"], subject="März", text="Grüße", html=None, key="exec_1/node")


@pytest.fixture
def ses() -> Any:
    return boto3.client("sesv2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def test_what_is_sent(ses: Any) -> None:
    """From the address of the stage, with the key of the attempt, and marked as a machine's mail."""
    expected = {
        "FromEmailAddress": SENDER,
        "Destination": {"ToAddresses": ["a@example.org"]},
        "Content": {
            "Simple": {
                "Subject": {"Data": "März", "Charset": "UTF-8"},
                "Body": {"Text": {"Data": "Grüße", "Charset": "UTF-8"}},
                "Headers": [
                    {"Name": "X-Millrace-Key", "Value": hashlib.sha256(b"exec_1/node").hexdigest()},
                    {"Name": "Auto-Submitted", "Value": "auto-generated"},
                ],
            }
        },
    }
    with Stubber(ses) as stub:
        stub.add_response("send_email", {"MessageId": "m1"}, expected)
        assert SesMailer(lambda: ses, SENDER).send(MAIL) == "m1"


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        ("MessageRejected", Permanent, "MailRefused"),  # an address that is not verified, a virus
        ("BadRequestException", Permanent, "MailRefused"),
        ("AccountSuspendedException", Permanent, "MailRefused"),
        ("TooManyRequestsException", Retryable, "MailServiceError"),
        ("LimitExceededException", Retryable, "MailServiceError"),
        ("InternalFailure", Retryable, "MailServiceError"),
    ],
)
def test_answers(ses: Any, code: str, kind: type[NodeError], name: str) -> None:
    """What SES will refuse again is final."""
    with Stubber(ses) as stub:
        stub.add_client_error("send_email", code, expected_params=ANY_PARAMETERS)
        with pytest.raises(NodeError) as caught:
            SesMailer(lambda: ses, SENDER).send(MAIL)
    assert (type(caught.value), caught.value.name) == (kind, name)


ANY_PARAMETERS = {"FromEmailAddress": ANY, "Destination": ANY, "Content": ANY}


def test_out_of_reach(ses: Any) -> None:
    """A connection that fails may come about later."""

    def fail(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://email")

    ses.meta.events.register("before-call", fail)
    with pytest.raises(Retryable, match="MailServiceError"):
        SesMailer(lambda: ses, SENDER).send(MAIL)


def test_a_stage_without_an_address(ses: Any) -> None:
    """There is nothing to send from, and no client is made."""
    with pytest.raises(Permanent, match="MailNotSetUp"):
        SesMailer(lambda: ses, "").send(MAIL)
