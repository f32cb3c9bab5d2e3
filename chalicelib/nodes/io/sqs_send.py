"""``sqs-send``: a message to a queue of SQS."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any

from pydantic import Field

from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.json_types import Value, loads
from chalicelib.nodes.capabilities import Message, Values
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome, PassedMarker

MAX_MESSAGE_BYTES = 1024 * 1024  # that SQS takes
_LONGEST_ESCAPE = 6  # bytes of JSON for one of text


class Config(NodeConfig):
    queue_url: Annotated[str, Field(pattern=r"^https?://\S+/\d{12}/[A-Za-z0-9_-]{1,80}(\.fifo)?$", max_length=512)]
    message: Annotated[Any, PassedMarker()]
    group_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None


def run(context: NodeContext[Config]) -> Outcome:
    config = context.config
    is_fifo = config.queue_url.endswith(".fifo")
    message = Message(
        body=_text(config.message, context.values),
        # All of a workflow's messages in one order, where nothing else is said.
        group_id=(config.group_id or "millrace") if is_fifo else None,
        # A second attempt sends no second message to a queue that can tell.
        deduplication_id=sha256(context.idempotency_key.encode()).hexdigest() if is_fifo else None,
    )
    return Outcome({"messageId": context.capabilities.queues.send(config.queue_url, message)})


def _text(value: Value, values: Values) -> str:
    """Text as it is, and any other value as JSON."""
    raw = bytearray()
    for chunk in values.text(value):
        raw += chunk
        if len(raw) > _LONGEST_ESCAPE * MAX_MESSAGE_BYTES + len('""'):
            raise _too_large()
    text = str(loads(bytes(raw))) if raw.startswith(b'"') else raw.decode()
    if len(text.encode()) > MAX_MESSAGE_BYTES:
        raise _too_large()
    return text


def _too_large() -> Permanent:
    return Permanent("MessageTooLarge", f"SQS takes messages of up to {MAX_MESSAGE_BYTES} bytes")


TYPE = NodeType(
    name="sqs-send",
    title="Send to SQS",
    category="io",
    description="Sends text as it is, and any other value as JSON, to a queue.",
    handler=run,
    duration=2,
    config_model=Config,
    scopes=("sqs:send:{queueUrl}",),
)
