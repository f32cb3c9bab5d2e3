"""SQS: the queues of this deployment, and those to which nodes send.

The deployment's own queues are closed to nodes: a message there starts a run of whatever workflow it names, in any
organisation. IAM closes them too, unless a parameter of the deployment is drawn too wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from chalicelib.foundation.errors import Downstream, DownstreamTimeout, Permanent, Retryable
from chalicelib.nodes.capabilities import Message

_FINAL_CODES = {
    "AWS.SimpleQueueService.NonExistentQueue": "QueueNotFound",
    "QueueDoesNotExist": "QueueNotFound",
    "InvalidAddress": "QueueNotFound",
    "AccessDenied": "AccessDenied",
    "AccessDeniedException": "AccessDenied",
    "KMS.AccessDeniedException": "AccessDenied",
    "InvalidMessageContents": "MessageRefused",
    "InvalidParameterValue": "MessageRefused",
    "InvalidParameterValueException": "MessageRefused",
    "MissingParameter": "MessageRefused",
}


class Queue:
    """A queue of ours, to send to."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, body: str, attributes: Mapping[str, str] | None = None) -> None:
        """Raises ``Downstream``."""
        from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

        typed = {name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()}
        try:
            self._client.send_message(QueueUrl=self._url, MessageBody=body, MessageAttributes=typed)
        except ReadTimeoutError as error:
            raise DownstreamTimeout("SQS did not answer in time.") from error
        except (BotoCoreError, ClientError) as error:
            raise Downstream(f"SQS: {error}"[:500]) from error


class SqsQueues:
    """What ``nodes.capabilities.MessageQueues`` asks for."""

    def __init__(self, client: Any, own_urls: Iterable[str]) -> None:
        self._client = client
        self._own = frozenset(map(_account_and_name, own_urls))

    def send(self, queue_url: str, message: Message) -> str:
        if _account_and_name(queue_url) in self._own:
            raise Permanent("AccessDenied", f"{queue_url}: Millrace's own queues are closed to nodes")
        fifo = {"MessageGroupId": message.group_id, "MessageDeduplicationId": message.deduplication_id}
        given = {name: value for name, value in fifo.items() if value is not None}
        try:
            sent = self._client.send_message(QueueUrl=queue_url, MessageBody=message.body, **given)
        except Exception as error:
            _translate(error, queue_url)
        return str(sent["MessageId"])


def _account_and_name(url: str) -> tuple[str, ...]:
    """By which SQS knows a queue: whatever host stands before them."""
    return tuple(urlsplit(url).path.strip("/").split("/")[-2:])


def _translate(error: Exception, url: str) -> NoReturn:
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        code = error.response["Error"]["Code"]
        if code in _FINAL_CODES:
            raise Permanent(_FINAL_CODES[code], f"{url}: {error}"[:500]) from error
        raise Retryable("SqsError", f"{url}: {error}"[:500]) from error
    if isinstance(error, BotoCoreError):
        raise Retryable("SqsError", f"{url}: {error}"[:500]) from error
    raise error
