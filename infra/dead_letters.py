"""The dead-letter queue, for operators: ``make dlq`` lists what lies there and why, ``make redrive`` sends it again.

There lie messages that start no run, and events of the bus that its Lambda could not take, in the envelope that Lambda
makes for them. The former go to the queue again, the latter to their Lambda.

A message is sent again under the id that it had at first, and deleted afterwards. Should this program die in between,
it is sent once more, and still starts one run. What starts nothing even now comes back with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.services.queue import MESSAGE_ID, REASON
from infra.environment import LOCAL_STAGE, base_stack
from infra.local.home import Home
from infra.stacks import Stacks

HIDDEN_S = 60  # from others while they are listed or sent again
_NO_REASON = "no reason: whoever took it died each time, or took too long"
_SHOWN_CHARS = 300


@dataclass(frozen=True)
class DeadLetter:
    message_id: str  #: the one that it had at first
    body: str
    reason: str
    receipt: str
    failed: Mapping[str, Any] | None = None  #: of an event: Lambda's envelope


def dead_letters(sqs: Any, url: str) -> Iterator[DeadLetter]:
    """Each message of the queue once. They are hidden from others for ``HIDDEN_S``."""
    seen: set[str] = set()
    while True:
        answer = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=HIDDEN_S,
            WaitTimeSeconds=1,  # asks all of SQS's servers, not some
            MessageAttributeNames=["All"],
        )
        found = [message for message in answer.get("Messages", ()) if message["MessageId"] not in seen]
        if not found:
            return
        seen |= {message["MessageId"] for message in found}
        yield from map(_dead_letter, found)


def show(sqs: Any, url: str) -> list[DeadLetter]:
    """What lies there; it stays."""
    found = list(dead_letters(sqs, url))
    for letter in found:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=letter.receipt, VisibilityTimeout=0)
    return found


def redrive(sqs: Any, functions: Any, url: str, queue_url: str) -> int:
    """Sends again what lies there, and returns how much that was. ``functions`` is a client of Lambda."""
    number = 0
    for letter in dead_letters(sqs, url):
        if letter.failed is not None:
            payload = json.dumps(letter.failed["requestPayload"])
            arn = letter.failed["requestContext"]["functionArn"]
            functions.invoke(FunctionName=arn, InvocationType="Event", Payload=payload)
        else:
            first = {MESSAGE_ID: {"DataType": "String", "StringValue": letter.message_id}}
            sqs.send_message(QueueUrl=queue_url, MessageBody=letter.body, MessageAttributes=first)
        sqs.delete_message(QueueUrl=url, ReceiptHandle=letter.receipt)
        number += 1
    return number


def _dead_letter(message: Mapping[str, Any]) -> DeadLetter:
    attributes = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
    failed = _envelope(message["Body"])
    if failed is not None:
        context = failed["requestContext"]
        told = (failed.get("responsePayload") or {}).get("errorMessage", "")
        reason = f"{context['condition']} of {context['functionArn']}: {told}"
        return DeadLetter(context["requestId"], message["Body"], reason, message["ReceiptHandle"], failed)
    return DeadLetter(
        message_id=attributes.get(MESSAGE_ID, message["MessageId"]),
        body=message["Body"],
        reason=attributes.get(REASON, _NO_REASON),
        receipt=message["ReceiptHandle"],
    )


def _envelope(body: str) -> Mapping[str, Any] | None:
    """What Lambda says of an event that it gave up, if that is what ``body`` is."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    is_envelope = isinstance(found, dict) and {"requestContext", "requestPayload"} <= found.keys()
    return found if is_envelope else None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.dead_letters", description="Messages that start no run.")
    parser.add_argument("what", choices=("list", "redrive"))
    parser.add_argument("--stage", default=LOCAL_STAGE)
    given = parser.parse_args(arguments)
    if given.stage == LOCAL_STAGE:
        os.environ |= Home.from_environment().environment()
    try:
        outputs = Stacks(boto3.client("cloudformation")).outputs(base_stack(given.stage))
        sqs, url = boto3.client("sqs"), outputs["DeadLetterQueueUrl"]
        if given.what == "redrive":
            print(f"sent again: {redrive(sqs, boto3.client('lambda'), url, outputs['QueueUrl'])}")
        else:
            found = show(sqs, url)
            for letter in found:
                print(f"{letter.message_id}  {letter.reason}\n    {letter.body[:_SHOWN_CHARS]}")
            print(f"messages: {len(found)}")
    except KeyError as error:
        print(f"dlq: stage {given.stage!r} is not deployed (no {error})", file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        print(f"dlq: {error}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
