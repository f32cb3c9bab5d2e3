"""Deploy Millrace: ``python -m infra.deploy --stage prod``. ``make up`` takes the same way to the emulator.

The order::

    runtime    is the interpreter's one that Lambda takes?
    base       the stack of infra/template.yaml: table, buckets, queue, bus, key, roles
    package    the Chalice app, in a build folder (infra/packaging.py)
    upload     code and template, each under the hash of its content
    app        the stack of functions and API

Each step looks before it acts, so that a second run changes nothing and one that was cut off is finished by the next.
Which account and region: as with any tool of AWS, from the environment (profile, variables, ``AWS_ENDPOINT_URL``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from samtranslator.yaml_helper import yaml_parse

from infra import runtimes
from infra.environment import LOCAL_STAGE, app_stack, base_stack
from infra.packaging import PROJECT, Package, PackagingError, complete, package
from infra.runtimes import RetiredRuntime
from infra.stacks import StackError, Stacks

_STAGE = re.compile(r"[a-z][a-z0-9]{0,15}")
_PATIENT = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})

ClientFactory = Callable[[str], Any]  #: name of a service -> boto3 client
Report = Callable[[str], None]  #: takes a line of progress


@dataclass(frozen=True)
class Deployment:
    stage: str
    region: str
    base: Mapping[str, str]  #: outputs of the base stack
    app: Mapping[str, str]  #: outputs of the app stack
    changed: bool  #: whether anything had to be done


def base_template(project: Path = PROJECT) -> dict[str, Any]:
    """infra/template.yaml in CloudFormation's long form, aliases resolved."""
    template: dict[str, Any] = yaml_parse((project / "infra" / "template.yaml").read_text())
    return template


def deploy(
    stage: str,
    client: ClientFactory,
    *,
    build: Path,
    project: Path = PROJECT,
    parameters: Mapping[str, str] | None = None,
    poll_s: float = 3.0,
    longest_s: float = 1800.0,
    report: Report = lambda _: None,
) -> Deployment:
    """Bring the stage to what the checkout says.

    Raises ``RetiredRuntime``, ``PackagingError``, ``StackError``, or what boto3 raises where AWS is out of reach.
    """
    if not _STAGE.fullmatch(stage):
        raise StackError(f"{stage!r} is no name of a stage: a lower-case letter, then at most 15 letters and digits")
    if stage != LOCAL_STAGE and (warning := runtimes.check(runtimes.interpreter_runtime(), datetime.now(UTC).date())):
        report(f"warning: {warning}")
    cloudformation, s3 = client("cloudformation"), client("s3")
    stacks = Stacks(cloudformation, poll_s=poll_s, longest_s=longest_s, report=report)

    isolate = {"IsolateScripts": "false" if stage == LOCAL_STAGE else "true"}
    report("applying the base stack: table, buckets, queue, bus, key, roles")
    base = stacks.deploy(base_stack(stage), base_template(project), {"Stage": stage} | isolate | dict(parameters or {}))

    report("packaging the app")
    region = str(cloudformation.meta.region_name)
    packaged = package(build, stage, region=region, project=project)
    template_url = _upload(s3, packaged, stage, base.outputs, report)

    report("applying the app stack: functions and API")
    app = stacks.deploy(app_stack(stage), template_url)
    return Deployment(stage, region, base.outputs, app.outputs, changed=base.changed or app.changed)


def _upload(s3: Any, packaged: Package, stage: str, outputs: Mapping[str, str], report: Report) -> str:
    """Send code and template where they are not there yet. Returns the URL of the template."""
    bucket = outputs["ArtifactBucketName"]
    template = complete(packaged.template, stage=stage, code_key=packaged.code_key, outputs=outputs)
    text = json.dumps(template, sort_keys=True).encode()
    template_key = f"templates/{hashlib.sha256(text).hexdigest()}.json"
    for what, key, body in (
        ("code", packaged.code_key, packaged.archive.read_bytes()),
        ("template", template_key, text),
    ):
        if not _exists(s3, bucket, key):
            report(f"uploading the {what}, {len(body) / 1024:.0f} KB")
            s3.put_object(Bucket=bucket, Key=key, Body=body)
    return f"{s3.meta.endpoint_url}/{bucket}/{template_key}"


def _exists(s3: Any, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return False
        raise
    return True


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.deploy", description="Deploy Millrace to an AWS account.")
    parser.add_argument("--stage", required=True, help="name of the deployment, prod for instance")
    parser.add_argument("--region", help="else the environment's or the profile's")
    parser.add_argument(
        "--parameter", type=_parameter, action="append", default=[], metavar="NAME=VALUE",
        help="a parameter of infra/template.yaml; one that is not named keeps its last value",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    session = boto3.Session(region_name=given.region)
    try:
        done = deploy(
            given.stage,
            lambda service: session.client(service, config=_PATIENT),
            build=PROJECT / ".millrace" / "build" / given.stage,
            parameters=dict(given.parameter),
            report=print,
        )
    except (RetiredRuntime, PackagingError, StackError, BotoCoreError, ClientError) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    print("deployed" if done.changed else "nothing to change")
    for name, value in sorted({**done.base, **done.app}.items()):
        print(f"  {name} = {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
