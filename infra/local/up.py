"""``make up``: the local stack, from whatever state it is in to one that answers.

Start the emulator and the cluster unless ours run, deploy into the emulator as into an account (``infra.deploy``), wait
for the API, see that there is a key, and tell other programs in ``stack.json``. Called again it looks at each step and
does only what is missing, in any state that an earlier call, a crash or a ``kill -9`` left behind:

- the cluster died: its objects are on disk, and pods that run still are taken on;
- the emulator died: what it did not save is gone, stacks and tables alike; they are made anew;
- a stack failed or was cut off while it was created: CloudFormation removes it, and it is made anew;
- a stack says that it is complete but something in it is gone, or its update is stuck: locally nothing is worth a
  repair by hand, so the emulator starts from an empty state, and ``up`` says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from infra.deploy import Deployment, deploy
from infra.environment import LOCAL_STAGE, app_stack, base_stack
from infra.local import cluster_process, mail_port, manifests, process
from infra.local.cluster.environment import IMAGE
from infra.local.home import NAMESPACE, REGION, Home
from infra.local.process import LocalError
from infra.packaging import PROJECT, PackagingError
from infra.stacks import FAILED_AT_BIRTH, WEDGED, StackError, Stacks

INBOUND_DOMAIN = "inbound.millrace.test"
MAIL_SENDER = "workflows@millrace.test"
ORGANIZATION, USER = "org_demo", "user_demo"
_ANSWER_TIMEOUT = 60.0  # seconds until the API answers for the first time
_KEY_TIMEOUT = 60.0  # seconds
_POLL = 0.1  # seconds between two looks at CloudFormation or the API
_OPERATION_TIMEOUT = 120.0  # seconds for one stack; what takes longer here hangs

#: Where to ask whether a resource of a stack is really there: service, call, parameter that takes the physical id.
_LOOKS = {
    "AWS::DynamoDB::Table": ("dynamodb", "describe_table", "TableName"),
    "AWS::S3::Bucket": ("s3", "head_bucket", "Bucket"),
    "AWS::SQS::Queue": ("sqs", "get_queue_attributes", "QueueUrl"),
    "AWS::Events::EventBus": ("events", "describe_event_bus", "Name"),
    "AWS::KMS::Key": ("kms", "describe_key", "KeyId"),
    "AWS::Lambda::Function": ("lambda", "get_function", "FunctionName"),
    "AWS::ApiGateway::RestApi": ("apigateway", "get_rest_api", "restApiId"),
}


class Progress:
    """Tells what goes on, with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._started:5.1f} s[/dim]  {text}", highlight=False)


def up(home: Home, progress: Progress, project: Path = PROJECT) -> dict[str, str]:
    """Bring the stack up and return what ``stack.json`` says. Raises ``LocalError`` and what ``deploy`` raises."""
    _emulator(home, progress)
    _cluster(home, progress, project)
    deployed = _deployed(home, progress, project)
    api_url = f"{home.endpoint}/_aws/execute-api/{deployed.app['RestAPIId']}/{deployed.stage}"
    _wait_for_api(home, api_url)
    _mail(home, deployed.base, progress)
    told = {
        "api_url": api_url,
        "api_key": _key(home, api_url, progress),
        "org_id": ORGANIZATION,
        "user_id": USER,
        "aws_endpoint_url": home.endpoint,
        "region": REGION,
        "table_name": deployed.base["TableName"],
        "bucket": deployed.base["DataBucketName"],
        "queue_url": deployed.base["QueueUrl"],
        "event_bus": deployed.base["EventBusName"],
        "smtp": f"127.0.0.1:{home.smtp_port}",
        "inbound_domain": deployed.base["InboundDomain"],
        "kubeconfig": _from_checkout(home.kubeconfig, project),
        "namespace": NAMESPACE,
    }
    _write_private(home.stack_file, json.dumps(told, indent=2) + "\n")
    return told


def _emulator(home: Home, progress: Progress) -> None:
    running = process.find(home)
    if running and (running.port, running.fingerprint) == (home.port, process.fingerprint()):
        return
    if running:
        progress("restarting the emulator: its port or its code has changed")
        process.stop(home)
    progress(f"starting the emulator on 127.0.0.1:{home.port}")
    process.start(home)


def _deployed(home: Home, progress: Progress, project: Path) -> Deployment:
    for attempt in (1, 2):
        try:
            _check_stacks(home, progress)
            return deploy(
                LOCAL_STAGE,
                home.client,
                build=home.build,
                project=project,
                parameters={"InboundDomain": INBOUND_DOMAIN, "MailSender": MAIL_SENDER} | _cluster_parameters(home),
                poll_s=_POLL,
                longest_s=_OPERATION_TIMEOUT,
                report=progress,
            )
        except StackError as error:
            if attempt == 2:
                raise
            progress(f"[yellow]{error}[/yellow]")
            progress("[yellow]starting again from an empty state; what the stack held is lost[/yellow]")
            _start_anew(home)
            _cluster(home, progress, project)
    raise AssertionError("unreachable")


def _cluster(home: Home, progress: Progress, project: Path) -> None:
    """Where deployed workflows run, with what a cluster of an account would be prepared with."""
    if cluster_process.ensure(home):
        progress(f"the local cluster is at {home.cluster_address}")
    manifests.apply_all(home, project)


def _cluster_parameters(home: Home) -> dict[str, str]:
    return {
        "Cluster": "kubeconfig",
        "Kubeconfig": str(home.kubeconfig),
        "PodNamespace": NAMESPACE,
        "PodImage": IMAGE,
    }


def _from_checkout(path: Path, project: Path) -> str:
    return str(path.relative_to(project)) if path.is_relative_to(project) else str(path)


def _mail(home: Home, outputs: Mapping[str, str], progress: Progress) -> None:
    """Mails come in by a port of their own, and go out from an address that SES knows."""
    settings = {"MILLRACE_BUCKET": outputs["DataBucketName"], "MILLRACE_INBOUND_DOMAIN": outputs["InboundDomain"]}
    if mail_port.ensure(home, settings):
        progress(f"mails to {outputs['InboundDomain']} are taken on 127.0.0.1:{home.smtp_port}")
    ses = home.client("sesv2")
    with suppress(ses.exceptions.AlreadyExistsException):
        ses.create_email_identity(EmailIdentity=MAIL_SENDER)


def _check_stacks(home: Home, progress: Progress) -> None:
    """Make sure that what the stacks claim to hold is there. Raises ``StackError`` where only an empty state helps."""
    stacks = Stacks(home.client("cloudformation"), poll_s=_POLL, longest_s=_OPERATION_TIMEOUT)
    status = stacks.status(base_stack(LOCAL_STAGE))
    if status in WEDGED or (
        status and status not in FAILED_AT_BIRTH and _missing(home, stacks, base_stack(LOCAL_STAGE))
    ):
        lost = ", ".join(_missing(home, stacks, base_stack(LOCAL_STAGE)))
        raise StackError(f"{base_stack(LOCAL_STAGE)} is {status}" + (f", but these are gone: {lost}" if lost else ""))
    status = stacks.status(app_stack(LOCAL_STAGE))
    if status in WEDGED or (
        status and status not in FAILED_AT_BIRTH and _missing(home, stacks, app_stack(LOCAL_STAGE))
    ):
        progress("removing the app stack: it is not whole")  # it holds no data
        stacks.delete(app_stack(LOCAL_STAGE))


def _missing(home: Home, stacks: Stacks, name: str) -> list[str]:
    return [
        logical_id
        for logical_id, (kind, physical_id) in stacks.resources(name).items()
        if kind in _LOOKS and not _is_there(home, kind, physical_id)
    ]


def _is_there(home: Home, kind: str, physical_id: str) -> bool:
    service, call, parameter = _LOOKS[kind]
    try:
        getattr(home.client(service), call)(**{parameter: physical_id})
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404):
            return False
        raise
    return True


def _start_anew(home: Home) -> None:
    cluster_process.empty(home)  # nobody would know any more what runs there
    process.stop(home)
    for folder in (home.state, home.objects):
        shutil.rmtree(folder, ignore_errors=True)
    process.start(home)


def _wait_for_api(home: Home, api_url: str) -> None:
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    while not process.answers(f"{api_url}/api/v1/health", timeout=30):
        if time.monotonic() > deadline:
            raise LocalError(f"{api_url}/api/v1/health does not answer with 200; see {home.log}")
        time.sleep(_POLL)


def _key(home: Home, api_url: str, progress: Progress) -> str:
    """The key of ``stack.json`` if it is still good, else a new one."""
    try:
        known = str(json.loads(home.stack_file.read_text())["api_key"])
    except (FileNotFoundError, ValueError, KeyError):
        known = ""
    if known and _accepted(api_url, known):
        return known
    progress(f"creating the first key, of {USER} in {ORGANIZATION}")
    done = subprocess.run(
        [sys.executable, "-m", "infra.key", "--org", ORGANIZATION, "--user", USER, "--scopes", "*"],
        cwd=PROJECT,
        env=os.environ | {"MILLRACE_HOME": str(home.root), "MILLRACE_PORT_BASE": str(home.port)},
        capture_output=True,
        text=True,
        timeout=_KEY_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise LocalError(f"no key could be created: {done.stderr.strip()[-2000:]}")
    return done.stdout.splitlines()[-1]


def _accepted(api_url: str, key: str) -> bool:
    request = urllib.request.Request(f"{api_url}/api/v1/workflows?limit=1", headers={"X-API-Key": key})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 (our own http URL)
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return False
        raise LocalError(
            f"the API answers {error.code} to GET /api/v1/workflows; see the logs of its function"
        ) from error


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def main() -> int:
    console = Console(stderr=True)
    try:
        home = Home.from_environment()
        with console.status("the local stack"), home.locked():
            told = up(home, Progress(console))
    except (LocalError, PackagingError, StackError, BotoCoreError, ClientError, ValueError, OSError) as error:
        console.print(f"up: {error}", style="red", markup=False, highlight=False)
        return 1
    _summary(console, home, told)
    return 0


def _summary(console: Console, home: Home, told: dict[str, Any]) -> None:
    console.print(f"[green]the local stack is up[/green]  {told['api_url']}", highlight=False)
    console.print(f"[dim]details and a key: {home.stack_file}[/dim]", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
