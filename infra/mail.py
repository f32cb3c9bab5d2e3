"""How mail comes in, in an account: SES receives it, puts it into the data bucket, and calls the function.

An account has one active set of receipt rules. Where ``InboundRuleSet`` names it, our rule goes in there; else into a
set of our own, which somebody has to make the active one (docs/deploy.md): that decides about all mail of the account.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FUNCTION = "InboundEmail"  # logical id
PREFIX = "inbound/"  # of the keys under which mails lie


def mail_rule(stage: str, outputs: Mapping[str, str]) -> dict[str, Any]:
    """The rule for mails to the inbound domain, and that SES may call the function, as resources of the app stack."""
    function = {"Fn::GetAtt": [FUNCTION, "Arn"]}
    permission = {
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "Action": "lambda:InvokeFunction",
            "FunctionName": function,
            "Principal": "ses.amazonaws.com",
            "SourceAccount": {"Ref": "AWS::AccountId"},
        },
    }
    actions = [
        {"S3Action": {"BucketName": outputs["DataBucketName"], "ObjectKeyPrefix": PREFIX}},
        {"LambdaAction": {"FunctionArn": function, "InvocationType": "Event"}},
    ]
    rule = {
        "Name": f"millrace-{stage}",
        "Enabled": True,
        "ScanEnabled": True,
        "TlsPolicy": "Optional",
        "Recipients": [outputs["InboundDomain"]],
        "Actions": actions,
    }
    return {
        "MailMayCall": permission,
        "MailRule": {
            "Type": "AWS::SES::ReceiptRule",
            "DependsOn": "MailMayCall",
            "Properties": {"RuleSetName": outputs["InboundRuleSetName"], "Rule": rule},
        },
    }
