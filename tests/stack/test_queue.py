"""The queue with real traffic: through the API, by ``send_message``, over the dead-letter queue, and with consumers
that are killed while they work.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

from infra import dead_letters
from infra.stacks import Stacks
from tests.fakes import graph, node
from tests.stack.api import Api, Run, eventually
from tests.stack.conftest import LocalStack
from tests.stack.workers import kill, workers

ECHO = graph([node("q", "queue-trigger"), node("a", "set-fields", fields={"n": "{{ data.n }}"})], "q -> a")
#: One run waits, and so all others stay in line: what is counted here is who was started, not how they fare.
HELD = graph([node("q", "queue-trigger"), node("w", "wait", seconds=86_400)], "q -> w")

MESSAGES = 1000
KILLS = 3
HIDDEN_S = 30  # in the place of six minutes: so long a message stays with a consumer that has died


@pytest.fixture
def api(stack: LocalStack) -> Api:
    return Api(stack)


@pytest.fixture
def sqs(stack: LocalStack) -> Any:
    return stack.client("sqs")


@pytest.fixture
def dead_letter_url(stack: LocalStack) -> str:
    return Stacks(stack.client("cloudformation")).outputs("millrace-local")["DeadLetterQueueUrl"]


@pytest.fixture
def impatient(stack: LocalStack, sqs: Any) -> Iterator[None]:
    """A queue that gives a message to another consumer soon."""
    found = sqs.get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=["VisibilityTimeout"])
    sqs.set_queue_attributes(QueueUrl=stack.queue_url, Attributes={"VisibilityTimeout": str(HIDDEN_S)})
    yield
    sqs.set_queue_attributes(QueueUrl=stack.queue_url, Attributes=found["Attributes"])


def send(stack: LocalStack, sqs: Any, *messages: dict[str, Any]) -> None:
    """Puts messages on the queue as another program does."""
    for start in range(0, len(messages), 10):
        entries = [
            {"Id": str(index), "MessageBody": json.dumps(message)}
            for index, message in enumerate(messages[start : start + 10])
        ]
        assert not sqs.send_message_batch(QueueUrl=stack.queue_url, Entries=entries).get("Failed")


def runs_of(api: Api, workflow: str, limit: int = 100) -> list[dict[str, Any]]:
    answer = api.send("GET", f"/api/v1/executions?workflowId={workflow}&limit={limit}")
    found: list[dict[str, Any]] = answer.body["executions"]
    return found


def test_enqueue(api: Api) -> None:
    """The id is there at once, and its run comes to its end with the message."""
    workflow = api.create(ECHO, status="active")
    answer = api.send("POST", f"/api/v1/workflows/{workflow}/enqueue", {"data": {"n": 4}, "priority": 3})
    assert (answer.status, answer.body["trigger_type"]) == (201, "queue")
    run = Run(api, answer.body["executionId"])
    assert run.execution["trigger"] == {"type": "queue", "source": "rest_api", "payload": {"n": 4}}
    assert run.wait()["execution"]["output"] == {"n": 4}


def test_a_message_of_another_program(api: Api, stack: LocalStack, sqs: Any) -> None:
    """``send_message`` with no more than a workflow's id and a message starts a run."""
    workflow = api.create(ECHO, status="active")
    send(stack, sqs, {"workflowId": workflow, "message": {"n": 5}, "source": "erp"})
    (found,) = eventually(lambda: runs_of(api, workflow), "a run of the message")
    told = Run(api, found["id"]).wait()["execution"]
    assert (told["status"], told["output"], told["trigger"]["source"]) == ("SUCCESS", {"n": 5}, "erp")


def test_a_message_that_starts_nothing(api: Api, stack: LocalStack, sqs: Any, dead_letter_url: str) -> None:
    """It lies on the dead-letter queue with the reason; sent again once that is gone, it starts its run."""
    workflow = api.create(ECHO)
    send(stack, sqs, {"workflowId": workflow, "message": {"n": 6}})

    def refused() -> list[str]:
        letters = dead_letters.show(sqs, dead_letter_url)
        return [letter.reason for letter in letters if workflow in letter.body]

    assert eventually(refused, "the message among dead letters") == [
        "conflict: The workflow is draft: a message starts an active one only."
    ]
    assert api.send("PUT", f"/api/v1/workflows/{workflow}/status", {"status": "active"}).status == 200
    dead_letters.redrive(sqs, stack.client("lambda"), dead_letter_url, stack.queue_url)
    (found,) = eventually(lambda: runs_of(api, workflow), "a run of the message")
    assert Run(api, found["id"]).wait()["execution"]["output"] == {"n": 6}


def test_a_thousand_messages(api: Api, stack: LocalStack, sqs: Any, dead_letter_url: str, impatient: None) -> None:
    """Half of them through the API, half put on the queue, while consumers are killed three times: as many runs as
    messages, each with its own, and each id that enqueue has answered.
    """
    workflow = api.create(HELD, status="active", settings={"maxConcurrentRuns": 1})
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=_kill_some, args=(stack, killed, over))
    killer.start()
    try:
        straight = [{"workflowId": workflow, "message": {"n": n}} for n in range(1, MESSAGES, 2)]
        send(stack, sqs, *straight[: len(straight) // 2])
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda n: _enqueue(api, workflow, n), range(0, MESSAGES, 2)))
        send(stack, sqs, *straight[len(straight) // 2 :])
        eventually(lambda: _is_empty(sqs, stack.queue_url), "an empty queue", within=240)
    finally:
        over.set()
        killer.join()
    assert len(killed) == KILLS
    assert not [each for each in dead_letters.show(sqs, dead_letter_url) if workflow in each.body]
    recorded = _recorded(stack, workflow)
    assert sorted(recorded.values()) == list(range(MESSAGES))
    assert {execution: recorded[execution] for execution, _ in answers} == dict(answers)


def _enqueue(api: Api, workflow: str, number: int) -> tuple[str, int]:
    """As a client does that wants to be sure: with a key, and again where no answer comes."""
    path = f"/api/v1/workflows/{workflow}/enqueue"
    for _ in range(5):
        with suppress(HTTPError):
            answer = api.send("POST", path, {"message": {"n": number}}, **{"Idempotency-Key": f"{workflow}-{number}"})
            if answer.status < 500:
                assert answer.status == 201, answer
                return answer.body["executionId"], number
    raise AssertionError(f"no answer to message {number}")


def _kill_some(stack: LocalStack, killed: list[int], over: threading.Event) -> None:
    """Kills consumers, each a moment after it was seen."""
    random = Random(1)
    while len(killed) < KILLS and not over.wait(random.uniform(0.5, 3)):
        alive = [each for each in workers(stack.home, "queue_consumer") if each.pid not in killed]
        if alive:
            victim = random.choice(alive)
            kill(victim)
            killed.append(victim.pid)


def _is_empty(sqs: Any, url: str) -> bool:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return not any(int(found[name]) for name in names)


def _recorded(stack: LocalStack, workflow: str) -> dict[str, int]:
    """What each run of the workflow was started with, by its id."""
    pages = (
        stack.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=stack.table_name,
            FilterExpression="sk = :execution AND workflowId = :workflow",
            ExpressionAttributeValues={":execution": {"S": "EXECUTION"}, ":workflow": {"S": workflow}},
        )
    )
    return {
        item["executionId"]["S"]: json.loads(item["triggerPayload"]["M"]["text"]["S"])["n"]
        for page in pages
        for item in page["Items"]
    }
