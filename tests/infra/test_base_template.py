"""infra/template.yaml: what a deployment has, and how little each role may do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib.cloud.manifests import PodOptions
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


def test_credentials_are_opened_by_who_runs_nodes_alone(resources: dict[str, Any]) -> None:
    """Two roles may decrypt; the one that may seal is another, so that the API cannot read what it stores."""
    may: dict[str, set[str]] = {"kms:Decrypt": set(), "kms:GenerateDataKey": set()}
    for name, role in resources.items():
        if role["Type"] == "AWS::IAM::Role":
            for statement in statements(role):
                for action in actions(statement):
                    if action.startswith("kms:"):
                        may[action].add(name)
                        assert statement["Resource"] == {"Fn::GetAtt": ["Key", "Arn"]}
    assert may == {"kms:Decrypt": {"NodeRole", "PodRole"}, "kms:GenerateDataKey": {"APIHandlerRole"}}


def test_whoever_ends_runs_may_store_their_output(resources: dict[str, Any]) -> None:
    """The outputs of several sinks are one value, which lies in S3 where it is large."""
    for name in ("NodeRole", "PodRole", "RunStatusRole", "UpkeepRole", "APIHandlerRole"):
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


def pairs(role: dict[str, Any]) -> set[tuple[str, str]]:
    """What a role allows, action by action, with where."""
    return {
        (action, json.dumps([statement["Resource"], statement.get("Condition")], sort_keys=True))
        for statement in statements(role)
        for action in actions(statement)
    }


def test_a_pod_may_what_the_node_runner_may_and_hand_runs_over(resources: dict[str, Any]) -> None:
    """Lambda's own logs and traces aside; more than that it may look at executions and stop them, and nothing else."""
    pod, node = pairs(resources["PodRole"]), pairs(resources["NodeRole"])
    assert {action for action, _ in pod - node} == {"states:StopExecution", "states:DescribeExecution"}
    assert {action for action, _ in node - pod} == {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    }


def test_the_role_of_pods_is_for_pods_of_workflows(resources: dict[str, Any]) -> None:
    """By Pod Identity, in this cluster, this namespace, under this service account, which is the one of manifests."""
    (trust,) = resources["PodRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert set(trust["Action"]) == {"sts:AssumeRole", "sts:TagSession"}
    tags = trust["Condition"]["StringEquals"]
    account = PodOptions(namespace="n", image="i", stage="s").service_account
    assert tags["aws:RequestTag/kubernetes-service-account"] == account
    association = resources["PodIdentity"]["Properties"]
    assert association["ServiceAccount"] == account
    assert association["ClusterName"] == tags["aws:RequestTag/eks-cluster-name"]
    assert association["Namespace"] == tags["aws:RequestTag/kubernetes-namespace"] == {"Ref": "PodNamespace"}


def test_the_cluster_lets_in_who_deploys_and_who_keeps_up(resources: dict[str, Any]) -> None:
    """Those two functions, as members of the group to which infra/k8s gives its Role; the same may find the cluster."""
    entries = [found for found in resources.values() if found["Type"] == "AWS::EKS::AccessEntry"]
    let_in = {found["Properties"]["PrincipalArn"]["Fn::GetAtt"][0] for found in entries}
    assert let_in == {"APIHandlerRole", "UpkeepRole"}
    (binding,) = (found for found in manifests_of("rbac.yaml") if found["kind"] == "RoleBinding")
    (subject,) = binding["subjects"]
    for entry in entries:
        assert entry["Properties"]["KubernetesGroups"] == [subject["name"]]
        assert entry["Condition"] == "OnEks"
    finds = {
        name
        for name, role in resources.items()
        if role["Type"] == "AWS::IAM::Role" and any("eks:DescribeCluster" in actions(s) for s in statements(role))
    }
    assert finds == let_in


def manifests_of(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((PROJECT / "infra" / "k8s" / file).read_text()))
