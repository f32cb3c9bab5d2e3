"""SQS: what nodes may send to, and what is said where they may not."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.cloud.queues import Queue, SqsQueues
from chalicelib.cloud.sdk import client
from chalicelib.foundation.errors import Downstream, Permanent
from chalicelib.foundation.settings import Settings
from chalicelib.nodes.capabilities import Message
from tests.conftest import REGION


@pytest.fixture
def sqs(settings: Settings) -> Any:
    return client("sqs", REGION)


@pytest.fixture
def queues(sqs: Any, settings: Settings) -> SqsQueues:
    return SqsQueues(sqs, (settings.queue_url, settings.dead_letter_url))


def test_what_is_sent_arrives(sqs: Any, queues: SqsQueues) -> None:
    """The text, under the id that the node puts out."""
    url = sqs.create_queue(QueueName="orders")["QueueUrl"]
    sent = queues.send(url, Message("ü"))
    (found,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert (found["MessageId"], found["Body"]) == (sent, "ü")


def test_a_fifo_queue_takes_a_message_once(sqs: Any, queues: SqsQueues) -> None:
    """Two attempts with the same id are one message."""
    url = sqs.create_queue(QueueName="orders.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    for _ in range(2):
        queues.send(url, Message("m", group_id="g", deduplication_id="d"))
    assert len(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]) == 1


def test_our_own_queues_are_closed(sqs: Any, queues: SqsQueues, settings: Settings) -> None:
    """By whatever host they are named: a message there would start runs of anybody."""
    for own in (settings.queue_url, settings.dead_letter_url):
        path = own.partition("://")[2].partition("/")[2]
        for url in (own, f"http://127.0.0.1:4566/{path}", f"https://other.test/{path}/"):
            with pytest.raises(Permanent) as raised:
                queues.send(url, Message("{}"))
            assert raised.value.name == "AccessDenied"
        assert "Messages" not in sqs.receive_message(QueueUrl=own)


def test_errors_are_ours(sqs: Any, queues: SqsQueues) -> None:
    """No such queue, and what SQS does not take, are for good, in words of the catalog."""
    with pytest.raises(Permanent) as raised:
        queues.send(f"https://sqs.{REGION}.amazonaws.com/123456789012/none", Message("m"))
    assert raised.value.name == "QueueNotFound"
    url = sqs.create_queue(QueueName="orders")["QueueUrl"]
    with pytest.raises(Permanent) as raised:
        queues.send(url, Message("x" * (1024 * 1024 + 1)))
    assert raised.value.name == "MessageRefused"


def test_a_queue_of_ours_that_is_gone(sqs: Any) -> None:
    """It is a service that is out of order."""
    with pytest.raises(Downstream):
        Queue(sqs, f"https://sqs.{REGION}.amazonaws.com/123456789012/none").send("m")
