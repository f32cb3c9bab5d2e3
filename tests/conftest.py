"""AWS in this process: moto, with the table that ``infra/template.yaml`` describes, and the services wired over it.

Not replaced: repositories, the SDK's own serialisation, conditions and transactions, and state machines (moto keeps
them, ``state_machines.py`` runs them). Replaced: time, and what node handlers reach out to.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from moto import mock_aws
from moto.dynamodb.models import DynamoDBBackend

from chalicelib.bootstrap import Services, services
from chalicelib.cloud.sdk import client
from chalicelib.foundation.settings import Settings
from infra.deploy import base_template
from infra.environment import function_environment
from tests import moto_answers
from tests.fakes import Calls, CountingIds, FakeClock, World, watched
from tests.runs import Runs
from tests.state_machines import StepFunctions
from tests.virtual_time import Timeline

moto_answers.use()

REGION = "us-east-1"
ACCOUNT = "123456789012"  # moto's
STAGE = "test"
TABLE = "millrace-test"
BUCKET = "millrace-test-data"
QUEUE, DEAD_LETTERS = "millrace-test-triggers", "millrace-test-triggers-dead"

# Examples differ in length by nature, and this machine may be busy: how long one takes says nothing.
hypothesis_settings.register_profile("millrace", deadline=None, derandomize=True)
hypothesis_settings.load_profile("millrace")


#: For properties over moto, where an example takes a second: few of them, and a failure is shown as it was found.
on_moto = hypothesis_settings(
    max_examples=12,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=(HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large),
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share something that is slow to bring up run in one process, where tests run in several."""
    for item in items:
        if item.get_closest_marker("stack"):
            item.add_marker(pytest.mark.xdist_group(item.path.parent.name))
        elif item.path.parent.name == "infra":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="module")
def _new_clients() -> Iterator[None]:
    """Clients made for moto serve one module, and nothing that comes after it."""
    client.cache_clear()
    yield
    client.cache_clear()


@pytest.fixture
def aws(_new_clients: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS account of this test alone, with our table, bucket and queues."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, REGION)
    monkeypatch.setattr(DynamoDBBackend, "transact_write_items", _transact)
    with mock_aws():
        for service in ("dynamodb", "s3", "stepfunctions", "sqs"):
            _one_call_at_a_time(client(service, REGION))
        _create_table(client("dynamodb", REGION))
        client("s3", REGION).create_bucket(Bucket=BUCKET)
        for queue in (QUEUE, DEAD_LETTERS):
            client("sqs", REGION).create_queue(QueueName=queue)
        yield


_moto_transacts = DynamoDBBackend.transact_write_items


class _BackedUpOnce(list[dict[str, Any]]):
    """The writes of a transaction, of which a first pass sees one.

    In that pass moto copies the whole table, so that it can go back: for every write, where once is enough.
    """

    _passed = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._passed:
            return super().__iter__()
        self._passed = True
        return iter(self[:1])


def _transact(backend: Any, writes: list[dict[str, Any]]) -> None:
    _moto_transacts(backend, _BackedUpOnce(writes))


def _create_table(dynamodb: Any) -> None:
    """The table that the deployment creates, as far as calls to create it find it."""
    names = ("AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes", "GlobalSecondaryIndexes", "BillingMode")
    dynamodb.create_table(TableName=TABLE, **{name: _table_properties()[name] for name in names})


@cache
def _table_properties() -> dict[str, Any]:
    properties: dict[str, Any] = base_template()["Resources"]["Table"]["Properties"]
    return properties


TURN = threading.RLock()


def _one_call_at_a_time(sdk_client: Any) -> None:
    """DynamoDB does each write as a whole; moto does so only while nobody else is at it."""

    def take(context: dict[str, Any], **_: Any) -> None:
        TURN.acquire()
        context["turn"] = True

    def give(context: dict[str, Any], **_: Any) -> None:
        if context.pop("turn", False):
            TURN.release()

    # Last and first: whatever else listens, and may raise, does so while the turn is not taken.
    events = sdk_client.meta.events
    events.register_last("before-call", take, unique_id="turn-taken")
    events.register_first("after-call", give, unique_id="turn-given")
    events.register_first("after-call-error", give, unique_id="turn-given-after-error")


@pytest.fixture
def dynamodb(aws: None) -> Any:
    return client("dynamodb", REGION)


@pytest.fixture
def empty_table(dynamodb: Any) -> Callable[[], None]:
    """Empties the table, for tests that try many examples."""

    def empty() -> None:
        dynamodb.delete_table(TableName=TABLE)
        _create_table(dynamodb)

    return empty


@pytest.fixture
def s3(aws: None) -> Any:
    return client("s3", REGION)


@pytest.fixture
def dynamodb_calls(dynamodb: Any) -> Iterator[Calls]:
    with watched(dynamodb) as calls:
        yield calls


@pytest.fixture
def environment(aws: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a deployed function, as the deployment makes it of the stack's outputs."""
    outputs = {
        "TableName": TABLE,
        "DataBucketName": BUCKET,
        "QueueUrl": client("sqs", REGION).get_queue_url(QueueName=QUEUE)["QueueUrl"],
        "DeadLetterQueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{DEAD_LETTERS}",
        "DeadLetterQueueUrl": client("sqs", REGION).get_queue_url(QueueName=DEAD_LETTERS)["QueueUrl"],
        "EventBusName": "millrace-test",
        "KeyArn": client("kms", REGION).create_key()["KeyMetadata"]["Arn"],
        "StateMachineRoleArn": f"arn:aws:iam::{ACCOUNT}:role/state-machine",
        "NodeFunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:millrace-test-node",
        "ScriptFunctionName": "millrace-test-script",
        "MaxConcurrentRuns": "0",
        "ScheduleGroupName": "millrace-test",
        "SchedulesFunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:millrace-test-schedules",
        "SchedulerRoleArn": f"arn:aws:iam::{ACCOUNT}:role/scheduler",
        "InboundDomain": "in.example.org",
        "MailSender": "workflows@example.org",
        "StateMachineDays": "7",
        "WebhookRequestsPerMinute": "600",
    }
    found = {"AWS_REGION": REGION, **function_environment(STAGE, outputs)}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    return Settings.from_environment(environment)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def timeline(clock: FakeClock) -> Iterator[Timeline]:
    """An event loop in which time jumps."""
    with closing(Timeline(clock)) as found:
        yield found


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def app_services(settings: Settings, clock: FakeClock, world: World) -> Services:
    """Everything, wired as in a Lambda; ids count, so that what comes later sorts later."""
    return services(settings, clock=clock, ids=CountingIds(), capabilities=world.capabilities)


@pytest.fixture
def step_functions(aws: None) -> StepFunctions:
    return StepFunctions(ACCOUNT, REGION)


@pytest.fixture
def runs(app_services: Services, step_functions: StepFunctions) -> Runs:
    return Runs(app_services, step_functions)
