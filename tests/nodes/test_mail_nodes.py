"""``email-send``, and the triggers of mails and schedules."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.foundation.errors import Permanent
from chalicelib.nodes.capabilities import OutgoingMail
from tests.fakes import World
from tests.nodes.handlers import output


def test_email_send() -> None:
    """One recipient or several; the key is that of the node in its run, whichever attempt it is."""
    world = World()
    config: dict[str, Any] = {"to": "Ann <ann@example.org>", "subject": "Hi", "text": "t", "html": "<p>t</p>"}
    assert output("email-send", config, capabilities=world.capabilities) == {"messageId": "mail-1"}
    output("email-send", {**config, "to": ["a@b.c", "d@e.f"], "html": None}, capabilities=world.capabilities)
    assert world.mailer.sent == [
        OutgoingMail(["Ann <ann@example.org>"], "Hi", "t", "<p>t</p>", "exec_1/node"),
        OutgoingMail(["a@b.c", "d@e.f"], "Hi", "t", None, "exec_1/node"),
    ]


@pytest.mark.parametrize(
    "config",
    [
        {"to": "a@b.c", "subject": "s"},  # no body
        {"to": "ann", "subject": "s", "text": "t"},
        {"to": [], "subject": "s", "text": "t"},
        {"to": ["a@b.c"] * 51, "subject": "s", "text": "t"},
        {"to": "a@b.c\r\nBcc: x@y.z", "subject": "s", "text": "t"},
        {"to": "a@b.c", "subject": "s\r\nBcc: x@y.z", "text": "t"},
        {"subject": "s", "text": "t"},
    ],
)
def test_what_is_no_mail(config: dict[str, Any]) -> None:
    """A body has to be there, addresses have to be some, and no header can be smuggled in; nothing is sent."""
    world = World()
    with pytest.raises(Permanent, match="InvalidConfig"):
        output("email-send", config, capabilities=world.capabilities)
    assert world.mailer.sent == []


@pytest.mark.parametrize(
    ("kind", "config"), [("email-trigger", {}), ("schedule-trigger", {"cron": "* * * * *", "timezone": "UTC"})]
)
def test_triggers_put_out_the_payload(kind: str, config: dict[str, Any]) -> None:
    """As all triggers do."""
    assert output(kind, config, trigger={"a": 1}) == {"a": 1}
