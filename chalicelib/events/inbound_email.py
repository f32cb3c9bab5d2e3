"""Called by SES for each mail that came in, when it lies in the data bucket.

What fails is called again by Lambda, twice, and then goes to the dead-letter queue.
"""

from __future__ import annotations

from typing import Any

from chalice import Blueprint

from chalicelib.bootstrap import lambda_services
from chalicelib.foundation.logs import logger

blueprint = Blueprint(__name__)


@blueprint.lambda_function(name="inbound_email")
def receive_email(event: dict[str, Any], _context: Any) -> None:
    from chalicelib.services.inbound_email import ReceivedMail  # the API imports this module, and receives no mail

    log = logger()
    for record in event["Records"]:
        mail = ReceivedMail.from_event(record["ses"])
        log.set_correlation_id(mail.id)
        started = lambda_services().inbound_email.receive(mail)
        log.info("mail received", extra={"executions": started})
