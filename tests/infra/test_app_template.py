"""The app stack: what `chalice package` writes, completed."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from chalicelib.compiler.asl.quotas import NODE_FUNCTION_LIMIT_S
from chalicelib.foundation.settings import Settings
from infra.deploy import base_template
from infra.environment import function_environment
from infra.gateway import gateway_responses
from infra.packaging import KEPT, LEFT_OUT, PROJECT, Package, PackagingError, complete, leave_out, package

ACCOUNT, REGION, STAGE = "123456789012", "eu-central-1", "check"


@pytest.fixture(scope="module")
def local_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """This checkout's app, as `make up` packages it."""
    return package(tmp_path_factory.mktemp("build"), "local", region=REGION)


@pytest.fixture(scope="module")
def outputs() -> dict[str, str]:
    """What the base stack of a real account would put out."""
    lambdas = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:millrace-{STAGE}"
    made_up = {
        "ArtifactBucketName": f"millrace-{STAGE}-artifacts-{ACCOUNT}-{REGION}",
        "KeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000",
        "NodeFunctionArn": f"{lambdas}-node",
        "QueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:millrace-{STAGE}-triggers",
        "LogRetentionDays": "30",
        "AnswerLimitSeconds": "29",
        "MaxConcurrentRuns": "0",
        "StateMachineDays": "7",
        "WebhookRequestsPerMinute": "600",
        "ScriptSubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
        "ScriptSecurityGroupId": "sg-0123456789abcdef0",
        "StateMachineArnPrefix": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:millrace-{STAGE}-",
    }
    roles = {
        name: f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in base_template()["Outputs"] if name.endswith("RoleArn")
    }
    others = {name: f"some-{name.lower()}" for name in base_template()["Outputs"]}
    return others | roles | made_up


@pytest.fixture(scope="module")
def template(local_package: Package, outputs: dict[str, str]) -> dict[str, Any]:
    return complete(local_package.template, stage=STAGE, code_key=local_package.code_key, outputs=outputs)


@pytest.fixture(scope="module")
def functions(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        resource["Properties"]["FunctionName"]: resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def test_the_node_runner_lasts_as_long_as_the_engine_believes(functions: dict[str, dict[str, Any]]) -> None:
    """Who died without a word counts as alive for that long, and for no longer."""
    assert functions[f"millrace-{STAGE}-node"]["Timeout"] == NODE_FUNCTION_LIMIT_S


def test_cfn_lint_is_clean(template: dict[str, Any], tmp_path: Path) -> None:
    """cfn-lint, which applies the SAM transform first, finds nothing in the completed template."""
    file = tmp_path / "app.json"
    file.write_text(json.dumps(template))
    lint = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([lint, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_bus_function_listens_on_the_bus_of_the_stage(functions: dict[str, Any], outputs: dict[str, str]) -> None:
    """Not on the default one, and what it could not take is kept."""
    bus = functions["millrace-check-bus"]
    (event,) = bus["Events"].values()
    assert event["Type"] == "EventBridgeRule"
    assert event["Properties"]["EventBusName"] == outputs["EventBusName"]
    on_failure = bus["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
    assert on_failure == {"Type": "SQS", "Destination": outputs["DeadLetterQueueArn"]}


def test_functions_have_fixed_names(functions: dict[str, Any]) -> None:
    """Policies and settings name functions before they exist."""
    assert {
        "millrace-check-api_handler",
        "millrace-check-node",
        "millrace-check-inbound_email",
        "millrace-check-queue_consumer",
        "millrace-check-run_status",
        "millrace-check-schedules",
        "millrace-check-script",
        "millrace-check-upkeep",
        "millrace-check-bus",
    } <= set(functions)


def test_what_nobody_waits_for_keeps_its_failures(functions: dict[str, Any], outputs: dict[str, str]) -> None:
    """Calls by the bus, schedules and mails that fail at every try wait in a queue; other callers are told."""
    kept = {
        name: config["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]["Destination"]
        for name, config in functions.items()
        if "EventInvokeConfig" in config
    }
    queue = outputs["DeadLetterQueueArn"]
    assert kept == {f"millrace-check-{name}": queue for name in ("bus", "schedules", "inbound_email")}


def test_mail_comes_in_where_there_is_a_domain(
    local_package: Package, template: dict[str, Any], outputs: dict[str, str]
) -> None:
    """SES stores a mail before it calls the function; where no domain is named there is no rule."""
    resources = template["Resources"]
    rule = resources["MailRule"]["Properties"]
    assert rule["RuleSetName"] == outputs["InboundRuleSetName"]
    assert rule["Rule"]["Recipients"] == [outputs["InboundDomain"]]
    assert rule["Rule"]["ScanEnabled"] is True
    store, call = rule["Rule"]["Actions"]
    assert store["S3Action"] == {"BucketName": outputs["DataBucketName"], "ObjectKeyPrefix": "inbound/"}
    assert call["LambdaAction"]["InvocationType"] == "Event"
    assert call["LambdaAction"]["FunctionArn"] == {"Fn::GetAtt": ["InboundEmail", "Arn"]}
    assert resources["InboundEmail"]["Type"] == "AWS::Serverless::Function"
    without = {name: value for name, value in outputs.items() if name != "InboundRuleSetName"}
    bare = complete(local_package.template, stage=STAGE, code_key=local_package.code_key, outputs=without)
    assert not {"MailRule", "MailMayCall"} & set(bare["Resources"])


def test_every_function_has_a_role_of_its_own(functions: dict[str, Any]) -> None:
    """No two functions share what they may do."""
    roles = [properties["Role"] for properties in functions.values()]
    assert len(set(roles)) == len(roles)


class Asked(dict[str, str]):
    """An environment that remembers which variables somebody asked it for."""

    def __init__(self, variables: dict[str, str]) -> None:
        super().__init__(variables)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def test_functions_get_the_settings_and_no_more(functions: dict[str, Any]) -> None:
    """The environment of a function is what Settings reads, beside what the runtime and the logger read."""
    variables = functions["millrace-check-node"]["Environment"]["Variables"]
    asked = Asked(variables | {"AWS_REGION": REGION})
    assert Settings.from_environment(asked).allow_loopback is False
    assert asked.names - {"AWS_REGION"} == set(variables) - {"POWERTOOLS_SERVICE_NAME", "LOG_LEVEL"}


def test_only_the_local_stage_allows_loopback(outputs: dict[str, str]) -> None:
    """A workflow may call this machine where this machine is a laptop."""
    assert function_environment("local", outputs)["MILLRACE_ALLOW_LOOPBACK"] == "true"
    assert function_environment("prod", outputs)["MILLRACE_ALLOW_LOOPBACK"] == "false"


def test_scripts_get_nothing(functions: dict[str, Any]) -> None:
    """The function that runs users' code has no settings, no tracing, and lies in the isolated subnets."""
    script = functions["millrace-check-script"]
    assert "Environment" not in script
    assert script["Tracing"] == "PassThrough"
    assert len(script["VpcConfig"]["SubnetIds"]) == 2


def test_logs_do_not_grow_for_ever(template: dict[str, Any], functions: dict[str, Any]) -> None:
    """Each function has its log group, with a retention."""
    groups = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::Logs::LogGroup"]
    assert {group["LogGroupName"] for group in groups} == {f"/aws/lambda/{name}" for name in functions}
    assert all(group["RetentionInDays"] == 30 for group in groups)


def test_the_consumer_reads_our_queue(template: dict[str, Any], outputs: dict[str, str]) -> None:
    """The queue of the base stack, message by message; one that it has is no other's before six time-outs are over."""
    consumer = template["Resources"]["QueueConsumer"]["Properties"]
    (event,) = consumer["Events"].values()
    assert event["Properties"]["Queue"] == outputs["QueueArn"]
    assert event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    queue = base_template()["Resources"]["Queue"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * consumer["Timeout"]


def integrations(template: dict[str, Any]) -> list[dict[str, Any]]:
    (api,) = (found for found in template["Resources"].values() if found["Type"] == "AWS::Serverless::Api")
    paths = api["Properties"]["DefinitionBody"]["paths"].values()
    return [operation["x-amazon-apigateway-integration"] for methods in paths for operation in methods.values()]


def test_the_gateway_waits_as_long_as_it_is_told(
    local_package: Package, template: dict[str, Any], outputs: dict[str, str]
) -> None:
    """Its own 29 s say nothing; where the account has more, gateway and function wait alike."""
    assert not any("timeoutInMillis" in found for found in integrations(template))
    assert template["Resources"]["APIHandler"]["Properties"]["Timeout"] == 29
    patient = complete(
        local_package.template, stage=STAGE, code_key="code/x.zip", outputs=outputs | {"AnswerLimitSeconds": "120"}
    )
    assert {found["timeoutInMillis"] for found in integrations(patient)} == {120_000}
    assert patient["Resources"]["APIHandler"]["Properties"]["Timeout"] == 120


def test_only_our_own_runs_are_heard(template: dict[str, Any]) -> None:
    """The rule for status changes does not match state machines of others in the account."""
    (event,) = template["Resources"]["RunStatus"]["Properties"]["Events"].values()
    (machines,) = event["Properties"]["Pattern"]["detail"]["stateMachineArn"]
    assert machines["prefix"].endswith(":stateMachine:millrace-check-")


def test_a_function_without_a_role_is_refused(local_package: Package, outputs: dict[str, str]) -> None:
    """A new function of the app is not deployed with somebody else's rights; the message says what is missing."""
    lacking = {name: value for name, value in outputs.items() if name != "NodeRoleArn"}
    with pytest.raises(PackagingError, match=r"'node' has no role.*NodeRole"):
        complete(local_package.template, stage=STAGE, code_key="code/x.zip", outputs=lacking)


def test_local_archive_holds_our_code_alone(local_package: Package) -> None:
    """The emulator's functions have their dependencies from the virtual environment; vendor/ brings the templates."""
    with zipfile.ZipFile(local_package.archive) as archive:
        roots = {Path(name).parts[0] for name in archive.namelist()}
    assert roots == {"app.py", "chalice", "chalicelib", "stepfn_templates", "examples"}


def test_equal_code_has_an_equal_key(local_package: Package, tmp_path: Path) -> None:
    """Packaging twice gives the same archive, so that a second deployment sends nothing."""
    assert package(tmp_path, "local", region=REGION).code_key == local_package.code_key


def test_the_archive_carries_nothing_for_nothing(tmp_path: Path) -> None:
    """What no function imports is taken out, and the rest is as it was: contents, times, rights."""
    archive = tmp_path / "deployment.zip"
    stays = ["app.py", "kubernetes/__init__.py", "kubernetes/config/kube_config.py", "yaml/__init__.py", *KEPT]
    goes = ["kubernetes/aio/client/__init__.py", "kubernetes/client/models/v1_pod.py", "aiohttp/web.py"]
    with zipfile.ZipFile(archive, "w") as target:
        for name in [*stays, *goes]:
            info = zipfile.ZipInfo(name, (2026, 1, 5, 9, 0, 0))
            info.external_attr = 0o100644 << 16
            target.writestr(info, name)
    leave_out(archive)
    with zipfile.ZipFile(archive) as left:
        assert left.namelist() == stays
        assert left.read("app.py") == b"app.py"
        assert {(info.date_time, info.external_attr) for info in left.infolist()} == {
            ((2026, 1, 5, 9, 0, 0), 0o100644 << 16)
        }
    before = archive.read_bytes()
    leave_out(archive)
    assert archive.read_bytes() == before


_WITHOUT = """
import importlib.abc, pathlib, sys, tempfile
left_out, kept, kubeconfig = {left_out!r}, {kept!r}, {kubeconfig!r}

class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        file = name.replace(".", "/")
        if (file + "/").startswith(left_out) and file + "/__init__.py" not in kept:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Without())
from chalicelib.cloud.api_server import ApiServer, by_kubeconfig
from chalicelib.cloud.eks import EksToken, by_cluster_name
from chalicelib.foundation.errors import Unavailable

class Eks:
    def describe_cluster(self, name):
        return {{"cluster": {{"endpoint": "https://127.0.0.1:1", "certificateAuthority": {{"data": ""}}}}}}

class Token:
    def text(self):
        return "t"

for connect in (lambda: by_kubeconfig(kubeconfig), lambda: by_cluster_name("c", Eks(), Token())):
    try:
        ApiServer(connect, sleep=lambda _: None).ask("PATCH", "/x", body={{"a": 1}})
    except Unavailable as error:
        print(error)
"""


def test_the_client_of_kubernetes_works_without_what_is_left_out(tmp_path: Path) -> None:
    """Read a kubeconfig, hold a token, send a request, tell what went wrong: with none of those modules."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [{"name": "it", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "me", "user": {"token": "t"}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
                "current-context": "it",
            }
        )
    )
    code = _WITHOUT.format(left_out=LEFT_OUT, kept=KEPT, kubeconfig=str(kubeconfig))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout.splitlines(), done.stderr) == (["The cluster cannot be reached."] * 2, "")


def test_chalice_is_quoted_where_it_fails(tmp_path: Path) -> None:
    """An app that cannot be imported is a PackagingError that shows why."""
    project = tmp_path / "project"
    (project / ".chalice").mkdir(parents=True)
    (project / ".chalice" / "config.json").write_text((PROJECT / ".chalice" / "config.json").read_text())
    (project / "app.py").write_text("raise RuntimeError('no such thing')")
    with pytest.raises(PackagingError, match="no such thing"):
        package(tmp_path / "build", "local", region=REGION, project=project)


@pytest.mark.parametrize("response", gateway_responses().values(), ids=gateway_responses())
def test_gateway_answers_are_problems(response: dict[str, Any]) -> None:
    """What the gateway refuses, it refuses as RFC 9457 says, with the status that it sends and the request's id."""
    body = json.loads(response["ResponseTemplates"]["application/json"])
    assert sorted(body) == ["detail", "status", "title", "type"]
    assert str(body["status"]) == response["StatusCode"]
    assert response["ResponseParameters"]["Headers"]["X-Request-Id"] == "context.requestId"
    assert body["status"] != 500
