"""From the Chalice app to a code archive and a template that CloudFormation takes.

``chalice package`` does the most: it reads the app, builds the archive (on request with the wheels that Lambda needs)
and writes a SAM template. It runs in a copy of the project in a build folder, and in a process of its own: a
deployment must see the code as it is on disk now, and its settings must not depend on what the checkout's own
``.chalice`` holds from earlier runs.

``complete`` then fills in what is known only here: names, roles, environment, log groups, where the code lies, and
what the gateway says. It looks at whatever functions the template has: a new function of the app needs a role in
``template.yaml``, whose ARN is the output ``<logical id>RoleArn``, and nothing here.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.environment import LOCAL_STAGE, function_environment, function_name
from infra.gateway import gateway_responses
from infra.mail import mail_rule

PROJECT = Path(__file__).resolve().parent.parent
_SOURCES = ("app.py", "chalicelib", "vendor", "requirements.txt")
_PACKAGING_TIMEOUT = 600  # seconds; downloading wheels takes the most of it

API = "api_handler"
GATEWAY_LIMIT_S = 29  # that API Gateway waits for an integration, unless the quota of the account was raised

#: Runs what users wrote: no settings, no tracing, and no network where there is a VPC.
UNTRUSTED = "script"

#: The logical id of what listens on the bus of the stage, and not on the default one.
ON_THE_BUS = "Bus"


#: By the bus, schedules and mails: what fails there, nobody would hear of.
CALLED_WITHOUT_WAITING = ("bus", "schedules", "inbound_email")


#: Of what the requirements bring, what no function imports: 83 MB of the 250 that Lambda takes, all of it by the
#: Kubernetes client. We speak JSON with the API server, so its models are of no use, nor is its asynchronous twin with
#: what that stands on.
LEFT_OUT = (
    "kubernetes/aio/",
    "kubernetes/client/api/",
    "kubernetes/client/models/",
    *(f"{name}/" for name in ("aiohttp", "aiohttp_retry", "aiosignal", "frozenlist", "multidict", "propcache", "yarl")),
)
#: ... but for what the rest of the client imports of it by name.
KEPT = ("kubernetes/client/api/__init__.py", "kubernetes/client/models/__init__.py")


class PackagingError(Exception):
    """The app could not be packaged; the message holds Chalice's words."""


@dataclass(frozen=True)
class Package:
    archive: Path  #: the zip of code
    template: dict[str, Any]  #: SAM, as Chalice wrote it

    @property
    def code_key(self) -> str:
        """Where the archive goes in the bucket of artifacts: equal content, equal key."""
        return f"code/{hashlib.sha256(self.archive.read_bytes()).hexdigest()}.zip"


def package(build: Path, stage: str, *, region: str, project: Path = PROJECT) -> Package:
    """Package the app of ``project``, in the folder ``build``. Raises ``PackagingError``.

    For the local stage the archive holds the code alone: the emulator's functions run in this very virtual environment.
    """
    source, out = build / "source", build / "out"
    for folder in (source, out):
        shutil.rmtree(folder, ignore_errors=True)
    _copy_sources(project, source)
    if stage == LOCAL_STAGE:
        (source / "requirements.txt").write_text("")
    config = json.loads((project / ".chalice" / "config.json").read_text())
    config["stages"] = {stage: {"api_gateway_stage": stage}}
    (source / ".chalice").mkdir()
    (source / ".chalice" / "config.json").write_text(json.dumps(config))
    _run_chalice(source, out, stage, region)
    leave_out(out / "deployment.zip")
    return Package(out / "deployment.zip", json.loads((out / "sam.json").read_text()))


def complete(template: Mapping[str, Any], *, stage: str, code_key: str, outputs: Mapping[str, str]) -> dict[str, Any]:
    """The template with everything that this deployment decides. ``outputs`` are the base stack's.

    Raises ``PackagingError`` for a function without a role.
    """
    filled = copy.deepcopy(dict(template))
    code = {"Bucket": outputs["ArtifactBucketName"], "Key": code_key}
    logs: dict[str, Any] = {}
    for logical_id, resource in filled["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            _complete_function(logical_id, resource, stage=stage, code=code, outputs=outputs)
            _narrow_run_events(resource, outputs["StateMachineArnPrefix"])
            if logical_id == ON_THE_BUS:
                _listen_on_the_bus(resource["Properties"], outputs)
            _connect_queue(resource, outputs["QueueArn"])
            _keep_failed_calls(resource, stage, outputs)
            logs[f"{logical_id}Logs"] = _log_group(resource["Properties"]["FunctionName"], outputs)
            resource["DependsOn"] = f"{logical_id}Logs"  # else Lambda makes the group, and it is kept for ever
        elif resource["Type"] == "AWS::Serverless::Api":
            _complete_api(resource["Properties"], stage, int(outputs["AnswerLimitSeconds"]))
    filled["Resources"] |= logs
    if "InboundRuleSetName" in outputs:
        filled["Resources"] |= mail_rule(stage, outputs)
    return filled


def leave_out(archive: Path) -> None:
    """Takes out of an archive what is in it for nothing (``LEFT_OUT``); the rest stays as it is, byte for byte."""
    with zipfile.ZipFile(archive) as source:
        kept = [info for info in source.infolist() if info.filename in KEPT or not info.filename.startswith(LEFT_OUT)]
        if len(kept) == len(source.infolist()):
            return
        slim = archive.with_suffix(".slim")
        with zipfile.ZipFile(slim, "w") as target:
            for info in kept:
                target.writestr(info, source.read(info))
    slim.replace(archive)


def _copy_sources(project: Path, source: Path) -> None:
    source.mkdir(parents=True)
    for name in _SOURCES:
        path = project / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        elif path.exists():
            shutil.copy(path, source / name)


def _run_chalice(source: Path, out: Path, stage: str, region: str) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from chalice.cli import main; sys.exit(main())",
        "package",
        "--stage",
        stage,
        str(out.resolve()),
    ]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    environ["AWS_DEFAULT_REGION"] = region
    done = subprocess.run(
        command, cwd=source, env=environ, capture_output=True, text=True, timeout=_PACKAGING_TIMEOUT, check=False
    )
    if done.returncode:
        raise PackagingError(f"chalice package failed:\n{(done.stderr or done.stdout).strip()[-4000:]}")


def _chalice_name(logical_id: str) -> str:
    """Chalice's name of a function, from the id that it gives it: ``RunStatus`` -> ``run_status``."""
    if logical_id == "APIHandler":
        return API
    return re.sub(r"(?<!^)(?=[A-Z])", "_", logical_id).lower()


def _complete_function(
    logical_id: str, resource: dict[str, Any], *, stage: str, code: Mapping[str, str], outputs: Mapping[str, str]
) -> None:
    name = _chalice_name(logical_id)
    role = outputs.get(f"{logical_id}RoleArn")
    if role is None:
        raise PackagingError(
            f"the function {name!r} has no role: {logical_id}Role and its output are missing in infra/template.yaml"
        )
    properties = resource["Properties"]
    properties |= {"FunctionName": function_name(stage, name), "Role": role, "CodeUri": dict(code)}
    properties.pop("Environment", None)
    if name == API:
        properties["Timeout"] = max(properties["Timeout"], int(outputs["AnswerLimitSeconds"]))
    if name != UNTRUSTED:
        properties["Environment"] = {"Variables": function_environment(stage, outputs)}
        return
    properties["Tracing"] = "PassThrough"
    if "ScriptSubnetIds" in outputs:
        properties["VpcConfig"] = {
            "SubnetIds": outputs["ScriptSubnetIds"].split(","),
            "SecurityGroupIds": [outputs["ScriptSecurityGroupId"]],
        }


def _narrow_run_events(resource: dict[str, Any], state_machines: str) -> None:
    """Step Functions tells of every execution in the account; we listen for those of this stage."""
    for event in resource["Properties"].get("Events", {}).values():
        pattern = event["Properties"].get("Pattern", {})
        if pattern.get("source") == ["aws.states"]:
            pattern.setdefault("detail", {})["stateMachineArn"] = [{"prefix": state_machines}]


def _listen_on_the_bus(properties: dict[str, Any], outputs: Mapping[str, str]) -> None:
    """Chalice knows the default bus only."""
    for event in properties["Events"].values():
        event["Type"] = "EventBridgeRule"
        event["Properties"]["EventBusName"] = outputs["EventBusName"]


def _connect_queue(resource: dict[str, Any], queue: str) -> None:
    """The consumer reads the queue of the base stack, and may say of each message whether it comes again."""
    for event in resource["Properties"].get("Events", {}).values():
        if event["Type"] == "SQS":
            event["Properties"] |= {"Queue": queue, "FunctionResponseTypes": ["ReportBatchItemFailures"]}


def _keep_failed_calls(resource: dict[str, Any], stage: str, outputs: Mapping[str, str]) -> None:
    """What nobody waits for, and fails at every try, waits where an operator can see it."""
    if resource["Properties"]["FunctionName"] in (function_name(stage, name) for name in CALLED_WITHOUT_WAITING):
        destination = {"Type": "SQS", "Destination": outputs["DeadLetterQueueArn"]}
        resource["Properties"]["EventInvokeConfig"] = {
            "MaximumRetryAttempts": 2,
            "DestinationConfig": {"OnFailure": destination},
        }


def _log_group(function: str, outputs: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Type": "AWS::Logs::LogGroup",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        "Properties": {"LogGroupName": f"/aws/lambda/{function}", "RetentionInDays": int(outputs["LogRetentionDays"])},
    }


def _complete_api(properties: dict[str, Any], stage: str, answer_limit_s: int) -> None:
    properties |= {"Name": f"millrace-{stage}", "GatewayResponses": gateway_responses(), "TracingEnabled": True}
    properties["EndpointConfiguration"] = {"Type": properties["EndpointConfiguration"]}  # Chalice writes the bare word
    if answer_limit_s > GATEWAY_LIMIT_S:  # an account whose quota was not raised refuses this
        for methods in properties["DefinitionBody"]["paths"].values():
            for operation in methods.values():
                operation["x-amazon-apigateway-integration"]["timeoutInMillis"] = answer_limit_s * 1000
