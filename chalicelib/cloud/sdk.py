"""Clients of the AWS SDK, made one way: lazily, once, with time-outs and bounded retries."""

from __future__ import annotations

from functools import cache
from typing import Any

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 20
MAX_ATTEMPTS = 5  # the first one included


@cache
def client(service: str, region: str, *, read_timeout_s: int = READ_TIMEOUT_S, attempts: int = MAX_ATTEMPTS) -> Any:
    """The client of a service. Its endpoint is the SDK's own business (``AWS_ENDPOINT_URL``)."""
    import boto3  # a tenth of a second, which what needs no AWS should not pay
    from botocore.config import Config

    config = Config(
        region_name=region,
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        # An emulator or a proxy on one host name cannot answer to names made from it.
        inject_host_prefix=False,
        # Two thirds of what the SDK does for a write of a hundred items is to hold them against their types, which
        # DynamoDB does again.
        parameter_validation=service != "dynamodb",
    )
    return boto3.client(service, config=config)


def session() -> Any:
    """botocore's: it knows where credentials and certificates come from, and looks nothing up before it is asked."""
    from botocore.session import get_session

    return get_session()
