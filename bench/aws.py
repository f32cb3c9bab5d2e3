"""AWS in this process, for counting calls: moto, our table and bucket, and the environment of a deployed function."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto import mock_aws

from chalicelib.bootstrap import lambda_services
from chalicelib.cloud.sdk import client
from infra.deploy import base_template
from infra.environment import function_environment

REGION = "us-east-1"
ACCOUNT = "123456789012"  # moto's own
BUCKET = "millrace-bench-data"
QUEUE = "millrace-bench"
TABLE = "millrace-bench"
_OF_TABLE = ("AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes", "GlobalSecondaryIndexes", "BillingMode")


@contextmanager
def aws_in_process() -> Iterator[None]:
    """Within, ``lambda_services()`` and every client of ours work on moto; afterwards nothing of it is left."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= _environment()
    _forget()
    try:
        with mock_aws():
            table = base_template()["Resources"]["Table"]["Properties"]
            client("dynamodb", REGION).create_table(TableName=TABLE, **{name: table[name] for name in _OF_TABLE})
            client("s3", REGION).create_bucket(Bucket=BUCKET)
            client("sqs", REGION).create_queue(QueueName=QUEUE)
            os.environ["MILLRACE_KEY_ID"] = client("kms", REGION).create_key()["KeyMetadata"]["Arn"]
            yield
    finally:
        _forget()
        os.environ.clear()
        os.environ |= before


def sdk(service: str) -> Any:
    """The very client that the services use."""
    return client(service, REGION)


def _forget() -> None:
    client.cache_clear()
    lambda_services.cache_clear()


def _environment() -> dict[str, str]:
    outputs = {
        "TableName": TABLE,
        "DataBucketName": BUCKET,
        "QueueUrl": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{QUEUE}",
        "DeadLetterQueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{QUEUE}-dead",
        "DeadLetterQueueUrl": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{QUEUE}-dead",
        "EventBusName": "millrace-bench",
        "KeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/none",
        "StateMachineRoleArn": f"arn:aws:iam::{ACCOUNT}:role/state-machine",
        "NodeFunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:millrace-bench-node",
        "ScriptFunctionName": "millrace-bench-script",
        "MaxConcurrentRuns": "0",
        "ScheduleGroupName": "millrace-bench",
        "SchedulesFunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:millrace-bench-schedules",
        "SchedulerRoleArn": f"arn:aws:iam::{ACCOUNT}:role/scheduler",
        "StateMachineDays": "7",
        "WebhookRequestsPerMinute": "600",
    }
    ours = function_environment("bench", outputs)
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    return {**keys, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, **ours, "LOG_LEVEL": "WARNING"}
