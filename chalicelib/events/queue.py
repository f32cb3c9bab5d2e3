"""The consumer of the queue: its messages start runs.

A batch is some messages that have nothing to do with each other. What cannot be decided now is reported by its id, and
SQS delivers it once more; all others are done. A consumer that dies has reported nothing, and all of its batch comes
again: that starts nothing twice.
"""

from __future__ import annotations

from typing import Any

from chalice import Blueprint
from chalice.app import SQSEvent

from chalicelib.bootstrap import lambda_services
from chalicelib.foundation.logs import logger

blueprint = Blueprint(__name__)

# The deployment puts the stage's own queue in the place of this name.
QUEUE = "millrace-triggers"


@blueprint.on_sqs_message(QUEUE, batch_size=10, maximum_concurrency=10, name="queue_consumer")
def consume(event: SQSEvent) -> dict[str, Any]:
    from aws_lambda_powertools.utilities.batch import (  # the API imports this module, and consumes nothing
        BatchProcessor,
        EventType,
        process_partial_response,
    )

    # A batch that failed as a whole is told like any other: to raise would say no more, and cost the process.
    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    return dict(process_partial_response(event.to_dict(), _receive, processor))


def _receive(record: Any) -> None:
    from chalicelib.services.queue import MESSAGE_ID, Delivery

    log = logger()
    attributes = record.message_attributes
    delivery = Delivery(
        message_id=str(attributes[MESSAGE_ID].string_value if MESSAGE_ID in attributes else record.message_id),
        body=record.body,
        tries=int(record.attributes.approximate_receive_count),
    )
    log.set_correlation_id(delivery.message_id)
    try:
        execution_id = lambda_services().queue.receive(delivery)
    except Exception:
        log.exception("message comes again", extra={"tries": delivery.tries})
        raise
    if execution_id is not None:
        log.info("run begun", extra={"execution": execution_id})
