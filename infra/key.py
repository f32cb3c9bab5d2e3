"""Create an API key: ``make key ORG=acme USER=ann SCOPES="workflows:read workflows:execute"``.

Works on any deployment, as the first key has to come from somebody who may write to its table. The key stands alone
on the last line of the output and is kept nowhere: only its hash is stored.
"""

from __future__ import annotations

import argparse
import os
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.bootstrap import services
from chalicelib.foundation.errors import MillraceError
from chalicelib.foundation.settings import Settings
from infra.environment import LOCAL_STAGE, base_stack, function_environment
from infra.local.home import Home
from infra.stacks import Stacks


def create(stage: str, organization_id: str, user_id: str, scopes: list[str]) -> str:
    """The new key. Raises ``KeyError`` where the stage is not deployed, or what the services and the SDK raise."""
    if stage == LOCAL_STAGE:
        os.environ |= Home.from_environment().environment()
    session = boto3.Session()
    outputs = Stacks(session.client("cloudformation")).outputs(base_stack(stage))
    environment = function_environment(stage, outputs) | {"AWS_REGION": session.region_name}
    created = services(Settings.from_environment(environment)).keys.create(
        organization_id=organization_id, user_id=user_id, scopes=scopes
    )
    return created.secret


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.key", description="Create an API key.")
    parser.add_argument("--stage", default=LOCAL_STAGE)
    parser.add_argument("--org", required=True, help="the organisation that the key belongs to")
    parser.add_argument("--user", required=True, help="its user")
    parser.add_argument("--scopes", required=True, help='separated by spaces; "*" is every scope')
    given = parser.parse_args(arguments)
    try:
        secret = create(given.stage, given.org, given.user, given.scopes.split())
    except KeyError as error:
        print(f"key: stage {given.stage!r} is not deployed (no {error})", file=sys.stderr)
    except (MillraceError, BotoCoreError, ClientError) as error:
        print(f"key: {error}", file=sys.stderr)
    else:
        print(secret)
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
