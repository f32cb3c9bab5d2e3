"""``email-send``: a mail, sent by SES from the address of the stage.

SES knows no idempotency: what it has taken it sends. So a mail is sent once where nothing dies, and again where a
process dies between SES's answer and the record of it, or SES's answer is lost. All copies have the header
``X-Millrace-Key`` with the same value.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from chalicelib.nodes.capabilities import OutgoingMail
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome

MAX_RECIPIENTS = 50  # of SES, for one mail
MAX_BODY_CHARS = 5_000_000

#: `ann@example.org`, or with a name: `Ann <ann@example.org>`.
Address = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=320, pattern=r"^[^\r\n\x00]*[^\s@<>,;]+@[^\s@<>,;]+>?$")
]
Body = Annotated[str, Field(max_length=MAX_BODY_CHARS)]


class Config(NodeConfig):
    to: Address | Annotated[list[Address], Field(min_length=1, max_length=MAX_RECIPIENTS)]
    subject: Annotated[str, Field(max_length=998, pattern=r"^[^\r\n\x00]*$")]  # a line of a mail, RFC 5322
    text: Body | None = None
    html: Body | None = None

    @model_validator(mode="after")
    def _has_a_body(self) -> Self:
        if self.text is None and self.html is None:
            raise ValueError("give text, html or both")
        return self


def run(context: NodeContext[Config]) -> Outcome:
    config = context.config
    mail = OutgoingMail(
        to=[config.to] if isinstance(config.to, str) else config.to,
        subject=config.subject,
        text=config.text,
        html=config.html,
        key=context.idempotency_key,
    )
    return Outcome({"messageId": context.capabilities.mailer.send(mail)})


TYPE = NodeType(
    name="email-send",
    title="Send a mail",
    category="io",
    description="Sends a mail, as text, HTML or both, and puts out its id.",
    handler=run,
    config_model=Config,
    duration=2,
    scopes=("email:send",),
)
