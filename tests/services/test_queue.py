"""Messages that start runs: each starts one, however often it comes, or lies where an operator sees it, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from chalice.test import Client

from app import app
from chalicelib.bootstrap import lambda_services
from chalicelib.cloud.sdk import client
from chalicelib.foundation.errors import Conflict, Downstream, IdempotencyMismatch
from chalicelib.foundation.settings import Settings
from chalicelib.graph.changes import WorkflowChange
from chalicelib.graph.executions import Execution, ExecutionStatus
from chalicelib.graph.model import Workflow, WorkflowStatus
from chalicelib.services.access import Principal
from chalicelib.services.lifecycle import FIRST_LOOK
from chalicelib.services.queue import MAX_TRIES, Delivery
from infra import dead_letters
from infra.deploy import base_template
from tests.fakes import FakeClock, Killed, graph, node, watched
from tests.runs import OWNER, Runs, parsed

GRAPH = graph([node("m", "manual-trigger"), node("q", "queue-trigger"), node("a", expression="data")], "q -> a")


@pytest.fixture
def sqs(settings: Settings) -> Any:
    return client("sqs", settings.region)


@pytest.fixture
def workflow(runs: Runs) -> Workflow:
    return active(runs)


def active(runs: Runs, principal: Principal = OWNER, **settings: Any) -> Workflow:
    found = parsed(GRAPH)
    change = WorkflowChange(name="w", nodes=found.nodes, connections=found.connections, settings=settings)
    made = runs.services.workflows.create(principal, change)
    return runs.services.workflows.set_status(principal, made, WorkflowStatus.ACTIVE)


def bodies(sqs: Any, url: str) -> list[Any]:
    """What lies on a queue, taken from there."""
    found = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def reasons(sqs: Any, settings: Settings) -> list[str]:
    return [letter.reason for letter in dead_letters.show(sqs, settings.dead_letter_url)]


def listed(runs: Runs, workflow: Workflow) -> list[Execution]:
    return list(runs.services.executions.list(OWNER, workflow.id, None, 100, 0).executions)


# --------------------------------------------------------------------------------------------- what our own API takes


def test_what_is_enqueued_exists_and_is_begun_by_its_message(
    runs: Runs, workflow: Workflow, sqs: Any, settings: Settings
) -> None:
    """The id that enqueue answers is that of a queued run; its message carries ids alone, and begins it, once."""
    execution_id = runs.services.queue.enqueue(OWNER, workflow, {"n": 7}, source="shop")
    found = runs.detail(execution_id).execution
    assert (found.status, found.trigger.type, found.trigger.source, found.trigger.node_id) == (
        ExecutionStatus.QUEUED, "queue", "shop", "q",
    )  # fmt: skip
    (body,) = bodies(sqs, settings.queue_url)
    assert body == {"workflowId": workflow.id, "executionId": execution_id, "organizationId": "acme"}
    for _ in range(3):
        assert runs.services.queue.receive(Delivery("m1", json.dumps(body))) == execution_id
    run = runs.end(execution_id)
    assert (run.status, run.output, run.statuses()["m"]) == ("succeeded", {"n": 7}, "skipped")
    assert runs.services.queue.receive(Delivery("m1", json.dumps(body))) == execution_id
    assert runs.detail(execution_id).execution.round == 1
    assert [each.id for each in listed(runs, workflow)] == [execution_id]


def test_five_megabytes(runs: Runs, workflow: Workflow, sqs: Any, settings: Settings) -> None:
    """A message of the size of a request goes by reference: on the queue are some ids."""
    text = "x" * 5_000_000
    execution_id = runs.services.queue.enqueue(OWNER, workflow, {"text": text})
    (body,) = bodies(sqs, settings.queue_url)
    assert len(json.dumps(body)) < 300
    runs.services.queue.receive(Delivery("m1", json.dumps(body)))
    assert runs.end(execution_id).output == {"text": text}


@pytest.mark.parametrize("operation", ["PutItem", "SendMessage"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_whoever_dies_while_they_enqueue(
    runs: Runs, workflow: Workflow, sqs: Any, dynamodb: Any, clock: FakeClock, operation: str, moment: str
) -> None:
    """Either nothing was recorded, or there is a run that upkeep begins, with its message or without it."""
    with watched(sqs if operation == "SendMessage" else dynamodb) as calls:

        def die(_: int) -> None:
            if calls.operations[-1] == operation:
                raise Killed

        setattr(calls, moment, die)
        with pytest.raises(Killed):
            runs.services.queue.enqueue(OWNER, workflow, {"n": 1})
    found = listed(runs, workflow)
    assert len(found) == ((operation, moment) != ("PutItem", "before"))
    clock.advance(FIRST_LOOK.total_seconds())
    runs.services.upkeep.run()
    for each in found:
        assert runs.end(each.id).output == {"n": 1}


def test_a_queue_that_is_out_of_order(
    runs: Runs, workflow: Workflow, sqs: Any, settings: Settings, clock: FakeClock
) -> None:
    """What is recorded will run, so enqueue answers its id; upkeep begins it."""
    sqs.delete_queue(QueueUrl=settings.queue_url)
    execution_id = runs.services.queue.enqueue(OWNER, workflow, {"n": 1})
    clock.advance(FIRST_LOOK.total_seconds())
    runs.services.upkeep.run()
    assert runs.end(execution_id).status == "succeeded"


def test_an_idempotency_key(runs: Runs, workflow: Workflow) -> None:
    """The same request with the same key is one run, also where the workflow takes no new ones by now; with another
    message it is refused.
    """
    enqueue = runs.services.queue.enqueue
    first = enqueue(OWNER, workflow, {"n": 1}, idempotency_key="k")
    assert enqueue(OWNER, workflow, {"n": 1}, idempotency_key="k") == first
    paused = replace(workflow, status=WorkflowStatus.PAUSED)
    assert enqueue(OWNER, paused, {"n": 1}, idempotency_key="k") == first
    with pytest.raises(IdempotencyMismatch):
        enqueue(OWNER, workflow, {"n": 2}, idempotency_key="k")
    assert len(listed(runs, workflow)) == 1


@pytest.mark.parametrize("status", ["draft", "paused", "archived"])
def test_a_workflow_that_is_not_active(
    runs: Runs, workflow: Workflow, sqs: Any, settings: Settings, status: str
) -> None:
    """Nothing is enqueued, and the refusal says which status it is."""
    changed = runs.services.workflows.set_status(OWNER, workflow, WorkflowStatus(status))
    with pytest.raises(Conflict, match=f"The workflow is {status}"):
        runs.services.queue.enqueue(OWNER, changed, {})
    assert listed(runs, workflow) == bodies(sqs, settings.queue_url) == []


def test_a_workflow_without_the_trigger(runs: Runs) -> None:
    """Nothing is enqueued for a workflow that has no queue-trigger."""
    other = runs.workflow(graph([node("m", "manual-trigger")]))
    other = runs.services.workflows.set_status(OWNER, other, WorkflowStatus.ACTIVE)
    with pytest.raises(Conflict, match="no queue-trigger"):
        runs.services.queue.enqueue(OWNER, other, {})
    assert listed(runs, other) == []


def test_priority_where_there_is_a_line(runs: Runs, sqs: Any, settings: Settings, clock: FakeClock) -> None:
    """At its limit a workflow starts what was enqueued with a higher priority first, whenever its message came."""
    workflow = active(runs, maxConcurrentRuns=1)
    ids = []
    for priority in (0, 0, 9):
        clock.advance(0.001)
        ids.append(runs.services.queue.enqueue(OWNER, workflow, {}, priority=priority))
    for body in bodies(sqs, settings.queue_url):
        runs.services.queue.receive(Delivery("m", json.dumps(body)))
    assert runs.end(ids[2]).status == "succeeded"
    assert [str(runs.detail(each).execution.status) for each in ids] == ["running", "queued", "succeeded"]


# ---------------------------------------------------------------------------------------------- what others put there


@pytest.mark.parametrize("organization", [{}, {"organizationId": "acme"}])
def test_a_message_of_another_program(runs: Runs, workflow: Workflow, organization: Mapping[str, str]) -> None:
    """It starts a run of the owner, found by the workflow's id alone; the same message again starts nothing."""
    body = json.dumps({"workflowId": workflow.id, "message": [1, 2], "source": "erp", **organization})
    first = runs.services.queue.receive(Delivery("m1", body))
    assert first == runs.services.queue.receive(Delivery("m1", body, tries=2))
    assert first != runs.services.queue.receive(Delivery("m2", body))
    assert first is not None
    run = runs.end(first)
    assert (run.output, run.execution.started_by, run.execution.trigger.source) == ([1, 2], "ann", "erp")
    assert len(listed(runs, workflow)) == 2


def test_an_id_of_their_own(runs: Runs, workflow: Workflow, sqs: Any, settings: Settings) -> None:
    """A message may bring the id of its run; one that is another workflow's is refused."""
    body = {"workflowId": workflow.id, "executionId": "exec_order-17", "message": {"n": 1}}
    for message in ("m1", "m2"):
        assert runs.services.queue.receive(Delivery(message, json.dumps(body))) == "exec_order-17"
    assert len(listed(runs, workflow)) == 1
    other = active(runs)
    assert runs.services.queue.receive(Delivery("m3", json.dumps(body | {"workflowId": other.id}))) is None
    assert "of another workflow" in reasons(sqs, settings)[0]
    assert listed(runs, other) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ({"message": 1}, "workflowId"),
        ({"workflowId": "{workflow}", "priority": "high", "source": 1}, "priority: a whole number"),
        ({"workflowId": "{workflow}", "executionId": "part-1"}, "executionId: 1 to 48 letters"),
        ({"workflowId": "wf_none"}, "no workflow 'wf_none'"),
        ({"workflowId": "{workflow}", "organizationId": "other"}, "no workflow"),
        ({"workflowId": "{draft}"}, "The workflow is draft"),
        ({"workflowId": "{without}"}, "no queue-trigger"),
    ],
)  # fmt: skip
def test_what_starts_nothing_is_kept_with_the_reason(
    runs: Runs, workflow: Workflow, sqs: Any, settings: Settings, body: Any, reason: str
) -> None:
    """Refused at once and not tried again: on the dead-letter queue as it was, with the reason; nothing is started."""
    draft = runs.workflow(GRAPH)
    without = runs.workflow(graph([node("m", "manual-trigger")]))
    without = runs.services.workflows.set_status(OWNER, without, WorkflowStatus.ACTIVE)
    text = body if isinstance(body, str) else json.dumps(body)
    for name, one in (("workflow", workflow), ("draft", draft), ("without", without)):
        text = text.replace(f"{{{name}}}", one.id)
    assert runs.services.queue.receive(Delivery("m1", text)) is None
    (letter,) = dead_letters.show(sqs, settings.dead_letter_url)
    assert (letter.message_id, letter.body) == ("m1", text)
    assert reason in letter.reason
    assert not any(listed(runs, each) for each in (workflow, draft, without))


def test_what_may_pass_comes_again(runs: Runs, workflow: Workflow, sqs: Any, settings: Settings, dynamodb: Any) -> None:
    """While a service is out of order the message stays on the queue; when it comes for the last time it is refused."""
    body = json.dumps({"workflowId": workflow.id, "message": {}})
    with watched(dynamodb) as calls:

        def fail(_: int) -> None:
            raise Downstream("down")

        calls.before = fail
        for tries in range(1, MAX_TRIES):
            with pytest.raises(Downstream):
                runs.services.queue.receive(Delivery("m1", body, tries))
        assert reasons(sqs, settings) == []
        assert runs.services.queue.receive(Delivery("m1", body, MAX_TRIES)) is None
    assert reasons(sqs, settings) == ["Downstream: down"]
    properties = base_template()["Resources"]["Queue"]["Properties"]
    assert properties["RedrivePolicy"]["maxReceiveCount"] == MAX_TRIES


def test_redriven_it_is_the_same_message(runs: Runs, sqs: Any, settings: Settings) -> None:
    """Once what stood in the way is gone, a message that is sent again starts its run; sent twice, it starts one."""
    workflow = runs.workflow(GRAPH)
    body = json.dumps({"workflowId": workflow.id, "message": {"n": 1}})
    runs.services.queue.receive(Delivery("m1", body))
    assert dead_letters.redrive(sqs, None, settings.dead_letter_url, settings.queue_url) == 1
    consume(sqs, settings)  # it is still a draft
    workflow = runs.services.workflows.set_status(OWNER, workflow, WorkflowStatus.ACTIVE)
    (letter,) = dead_letters.show(sqs, settings.dead_letter_url)
    assert letter.message_id == "m1"
    assert dead_letters.redrive(sqs, None, settings.dead_letter_url, settings.queue_url) == 1
    assert reasons(sqs, settings) == []
    consume(sqs, settings)
    runs.services.queue.receive(Delivery("m1", body))
    assert len(listed(runs, workflow)) == 1


def test_an_event_that_its_lambda_gave_up(sqs: Any, settings: Settings) -> None:
    """It lies there in Lambda's envelope, with its reason; sent again it goes to that Lambda, and not to the queue."""
    arn = "arn:aws:lambda:us-east-1:123456789012:function:millrace-test-bus:$LATEST"
    envelope = {
        "version": "1.0",
        "requestContext": {"requestId": "r1", "functionArn": arn, "condition": "RetriesExhausted"},
        "requestPayload": {"detail": {"organizationId": "acme"}},
        "responsePayload": {"errorMessage": "down"},
    }
    sqs.send_message(QueueUrl=settings.dead_letter_url, MessageBody=json.dumps(envelope))
    assert reasons(sqs, settings) == [f"RetriesExhausted of {arn}: down"]
    functions = Functions()
    assert dead_letters.redrive(sqs, functions, settings.dead_letter_url, settings.queue_url) == 1
    assert functions.invoked == [(arn, {"detail": {"organizationId": "acme"}})]
    assert bodies(sqs, settings.queue_url) == bodies(sqs, settings.dead_letter_url) == []


class Functions:
    """Lambda, as far as a client calls functions and goes on."""

    def __init__(self) -> None:
        self.invoked: list[tuple[str, Any]] = []

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: str) -> None:
        assert InvocationType == "Event"
        self.invoked.append((FunctionName, json.loads(Payload)))


# --------------------------------------------------------------------------------------------------------- the Lambda


@pytest.fixture(autouse=True)
def new_lambda(environment: Mapping[str, str]) -> Iterator[None]:
    """The consumer has services of its own, made of this test's environment."""
    lambda_services.cache_clear()
    yield
    lambda_services.cache_clear()


def consume(sqs: Any, settings: Settings) -> list[str]:
    """What Lambda does with a batch: the consumer is called, and what it does not report is deleted. The ids of those
    that come again.
    """
    found = sqs.receive_message(
        QueueUrl=settings.queue_url,
        MaxNumberOfMessages=10,
        VisibilityTimeout=0,
        AttributeNames=["All"],
        MessageAttributeNames=["All"],
    ).get("Messages", [])
    answer = Client(app).lambda_.invoke("queue_consumer", {"Records": [_record(each) for each in found]}).payload
    again = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
    for message in found:
        if message["MessageId"] not in again:
            sqs.delete_message(QueueUrl=settings.queue_url, ReceiptHandle=message["ReceiptHandle"])
    return again


def _record(message: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {
        name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
        for name, value in message.get("MessageAttributes", {}).items()
    }
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": attributes,
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:millrace-test-triggers",
        "awsRegion": "us-east-1",
    }


def test_what_has_started_is_not_refused(runs: Runs, workflow: Workflow, sqs: Any, settings: Settings) -> None:
    """A message that comes again finds its run, though the workflow was paused meanwhile."""
    body = json.dumps({"workflowId": workflow.id, "message": {}})
    first = runs.services.queue.receive(Delivery("m1", body))
    runs.services.workflows.set_status(OWNER, workflow, WorkflowStatus.PAUSED)
    assert runs.services.queue.receive(Delivery("m1", body, tries=2)) == first
    assert reasons(sqs, settings) == []


def test_a_batch_whose_messages_fare_differently(
    runs: Runs, workflow: Workflow, sqs: Any, settings: Settings, dynamodb: Any
) -> None:
    """Of one that starts, one that is refused and one that may pass, the last alone comes again."""
    late = active(runs)
    for body in ({"workflowId": workflow.id}, {"workflowId": "wf_none"}, {"workflowId": late.id}):
        sqs.send_message(QueueUrl=settings.queue_url, MessageBody=json.dumps(body))
    with watched(dynamodb) as calls:

        def fail(_: int) -> None:
            if late.id in repr(calls.made[-1]):
                raise Downstream("down")

        calls.before = fail
        assert len(consume(sqs, settings)) == 1
    assert (len(listed(runs, workflow)), len(listed(runs, late)), len(reasons(sqs, settings))) == (1, 0, 1)
    assert consume(sqs, settings) == []
    assert len(listed(runs, late)) == 1
