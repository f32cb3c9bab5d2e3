"""infra/template.yaml: what a deployment has, and how little each role may do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.deploy import base_template
from infra.packaging import PROJECT


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    found: dict[str, Any] = base_template()["Resources"]
    return found


def statements(role: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those of every inline policy; of a conditional one, what it says where the condition holds."""
    for policy in role["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def actions(statement: dict[str, Any]) -> set[str]:
    named = statement["Action"]
    return {named} if isinstance(named, str) else set(named)


def test_cfn_lint_is_clean() -> None:
    """cfn-lint finds nothing in the base template."""
    lint = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([lint, PROJECT / "infra" / "template.yaml"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_roles_are_allowed_everything_only_where_iam_knows_no_resource(resources: dict[str, Any]) -> None:
    """Traces, network interfaces, and lists of state machines and of schedules have no ARN; all else names it."""
    for name, role in resources.items():
        if role["Type"] == "AWS::IAM::Role":
            for statement in statements(role):
                if statement["Effect"] == "Allow" and statement["Resource"] == "*":
                    known = ("xray:Put", "ec2:", "states:ListStateMachines", "scheduler:ListSchedules")
                    assert all(action.startswith(known) for action in actions(statement)), name


def test_no_action_is_a_wildcard(resources: dict[str, Any]) -> None:
    """Each role names its calls one by one."""
    for role in resources.values():
        if role["Type"] == "AWS::IAM::Role":
            for statement in statements(role):
                assert not any("*" in action for action in actions(statement))


def test_credentials_are_opened_by_the_node_runner_alone(resources: dict[str, Any]) -> None:
    """One role may decrypt; the one that may seal is another, so that the API cannot read what it stores."""
    may: dict[str, set[str]] = {"kms:Decrypt": set(), "kms:GenerateDataKey": set()}
    for name, role in resources.items():
        if role["Type"] == "AWS::IAM::Role":
            for statement in statements(role):
                for action in actions(statement):
                    if action.startswith("kms:"):
                        may[action].add(name)
                        assert statement["Resource"] == {"Fn::GetAtt": ["Key", "Arn"]}
    assert may == {"kms:Decrypt": {"NodeRole"}, "kms:GenerateDataKey": {"APIHandlerRole"}}


def test_whoever_ends_runs_may_store_their_output(resources: dict[str, Any]) -> None:
    """The outputs of several sinks are one value, which lies in S3 where it is large."""
    for name in ("NodeRole", "RunStatusRole", "UpkeepRole", "APIHandlerRole"):
        allowed = [found for found in statements(resources[name]) if found["Effect"] == "Allow"]
        where = json.dumps([found["Resource"] for found in allowed if "s3:PutObject" in actions(found)])
        assert "${DataBucket.Arn}/*" in where or "${DataBucket.Arn}/payloads/*" in where, name


def test_scripts_may_do_nothing(resources: dict[str, Any]) -> None:
    """Their role allows a log, and what Lambda needs to attach them to subnets; the latter is denied to the code."""
    allowed, denied = set[str](), set[str]()
    for statement in statements(resources["ScriptRole"]):
        (allowed if statement["Effect"] == "Allow" else denied).update(actions(statement))
    assert (allowed - denied) == {"logs:CreateLogStream", "logs:PutLogEvents"}
    (deny,) = (found for found in statements(resources["ScriptRole"]) if found["Effect"] == "Deny")
    assert list(deny["Condition"]["ArnEquals"]) == ["lambda:SourceFunctionArn"]


def test_scripts_have_no_way_out(resources: dict[str, Any]) -> None:
    """Their network has no gateway, route, endpoint or resolver, and their security group lets nothing out."""
    kinds = {resource["Type"] for resource in resources.values()}
    ways_out = ("Gateway", "Route", "Endpoint", "Peering")
    assert not [kind for kind in kinds if kind.startswith("AWS::EC2::") and any(way in kind for way in ways_out)]
    assert resources["ScriptVpc"]["Properties"]["EnableDnsSupport"] is False
    (rule,) = resources["ScriptSecurityGroup"]["Properties"]["SecurityGroupEgress"]
    assert rule["CidrIp"] == "127.0.0.1/32"


def test_what_state_machines_may(resources: dict[str, Any]) -> None:
    """A workflow's state machine calls the node function, updates items of runs, has executions of its parts, which it
    waits for by the one rule that Step Functions keeps for that, and does nothing else.
    """
    run, wait, start, follow, rule = statements(resources["StateMachineRole"])
    assert actions(start) == {"states:StartExecution"}
    assert start["Resource"]["Fn::Sub"].endswith(":stateMachine:millrace-${Stage}-*")
    assert actions(follow) == {"states:DescribeExecution", "states:StopExecution"}
    assert follow["Resource"]["Fn::Sub"].endswith(":execution:millrace-${Stage}-*:*")
    assert rule["Resource"]["Fn::Sub"].endswith(":rule/StepFunctionsGetEventsForStepFunctionsExecutionRule")
    assert actions(run) == {"lambda:InvokeFunction"}
    assert run["Resource"]["Fn::Sub"].endswith(":function:millrace-${Stage}-node")
    assert actions(wait) == {"dynamodb:UpdateItem"}
    assert wait["Resource"] == {"Fn::GetAtt": ["Table", "Arn"]}
    assert wait["Condition"]["ForAllValues:StringLike"] == {"dynamodb:LeadingKeys": ["ORG#*#EXEC#*"]}


def test_what_holds_data_is_kept(resources: dict[str, Any]) -> None:
    """Table, buckets and key outlive their stack and any replacement."""
    for name in ("Table", "DataBucket", "ArtifactBucket", "Key"):
        assert resources[name]["DeletionPolicy"] == "RetainExceptOnCreate", name
        assert resources[name]["UpdateReplacePolicy"] == "Retain", name
