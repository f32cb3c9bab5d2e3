"""One CloudFormation stack, brought to a template by a change set.

``deploy`` may be called at any time and as often as one likes: a stack that is busy is waited for, one whose creation
failed is removed and made anew, and a template that changes nothing does nothing. Whoever is killed in between leaves
CloudFormation at work; the next call picks up from the state that it finds. Change sets carry a name made from the
template and its parameters, so that they are easy to tell apart in the console.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, WaiterError

#: Creation failed: nothing in it is worth keeping, and CloudFormation allows nothing but its removal.
FAILED_AT_BIRTH = frozenset({"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"})
#: An update failed and so did its undoing; only a person (or, locally, a fresh start) can decide what now.
WEDGED = frozenset({"UPDATE_FAILED", "UPDATE_ROLLBACK_FAILED"})

_LONGEST = 1800.0  #: seconds to wait for one operation of CloudFormation
_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]


class StackError(Exception):
    """CloudFormation could not do it; the message holds its reasons."""


@dataclass(frozen=True)
class Stack:
    name: str
    changed: bool  #: False: the template changed nothing
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stacks:
    """The calls to CloudFormation that a deployment needs.

    ``poll_s`` is the time between two looks at an operation under way; ``longest_s`` is how long it may take in all.
    """

    client: Any  #: boto3's client of CloudFormation
    poll_s: float = 3.0
    longest_s: float = _LONGEST
    report: Callable[[str], None] = lambda _: None

    def deploy(
        self, name: str, template: Mapping[str, Any] | str, parameters: Mapping[str, str] | None = None
    ) -> Stack:
        """Make the stack be as the template says. ``template`` is the template itself, or the URL of one in S3.

        Parameters that are not named keep the value of the last deployment. Raises ``StackError``.
        """
        status = self._settle(name)
        if status in FAILED_AT_BIRTH:
            self.report(f"{name}: removing what a failed creation left ({status})")
            self.delete(name)
            status = None
        if status in WEDGED:
            raise StackError(
                f"{name} is in {status}: see its events; `aws cloudformation continue-update-rollback` frees it"
            )
        creating = status in (None, "REVIEW_IN_PROGRESS")
        change_set = self._propose(name, template, parameters or {}, creating=creating)
        if change_set is None:
            return Stack(name, changed=False, outputs=self.outputs(name))
        self.report(f"{name}: {'creating' if creating else 'updating'}")
        self.client.execute_change_set(ChangeSetName=change_set)
        self._settle(name)
        status = self.status(name)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise StackError(f"{name} is {status}: {self._reasons(name)}")
        return Stack(name, changed=True, outputs=self.outputs(name))

    def status(self, name: str) -> str | None:
        """CloudFormation's word for the state of the stack; ``None`` where there is none."""
        stack = self._describe(name)
        return None if stack is None else str(stack["StackStatus"])

    def outputs(self, name: str) -> dict[str, str]:
        """Empty where there is no such stack."""
        stack = self._describe(name) or {}
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def resources(self, name: str) -> dict[str, tuple[str, str]]:
        """Logical id -> (type, physical id)."""
        pages = self.client.get_paginator("list_stack_resources").paginate(StackName=name)
        return {
            found["LogicalResourceId"]: (found["ResourceType"], found.get("PhysicalResourceId", ""))
            for page in pages
            for found in page["StackResourceSummaries"]
        }

    def delete(self, name: str) -> None:
        """Nothing happens where there is no such stack."""
        self.client.delete_stack(StackName=name)
        status = self._settle(name)
        if status not in (None, "DELETE_COMPLETE"):
            raise StackError(f"{name} could not be removed: it is {status}: {self._reasons(name)}")

    def _describe(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.client.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return None if found["StackStatus"] == "DELETE_COMPLETE" else found

    def _settle(self, name: str) -> str | None:
        """Wait until nothing is under way, and tell the state then."""
        deadline = time.monotonic() + self.longest_s
        while True:
            status = self.status(name)
            if status is None or status == "REVIEW_IN_PROGRESS" or not status.endswith("_IN_PROGRESS"):
                return status
            if time.monotonic() > deadline:
                raise StackError(f"{name} is still {status} after {self.longest_s:.0f} s")
            time.sleep(self.poll_s)

    def _propose(
        self, name: str, template: Mapping[str, Any] | str, parameters: Mapping[str, str], *, creating: bool
    ) -> str | None:
        """The ARN of a change set that is ready to be executed; ``None`` where there is nothing to change."""
        text = template if isinstance(template, str) else json.dumps(template)
        source = {"TemplateURL": text} if isinstance(template, str) else {"TemplateBody": text}
        digest = hashlib.sha256(json.dumps([text, sorted(parameters.items())]).encode()).hexdigest()[:16]
        created = self.client.create_change_set(
            StackName=name,
            ChangeSetName=f"deploy-{digest}-{time.time_ns()}",
            ChangeSetType="CREATE" if creating else "UPDATE",
            Capabilities=_CAPABILITIES,
            Parameters=self._parameters(name, template, parameters, creating=creating),
            **source,
        )
        change_set = str(created["Id"])
        waiter = self.client.get_waiter("change_set_create_complete")
        try:
            waiter.wait(
                ChangeSetName=change_set,
                WaiterConfig={"Delay": self.poll_s, "MaxAttempts": max(1, int(self.longest_s / self.poll_s))},
            )
        except WaiterError as error:
            reason = str(error.last_response.get("StatusReason", error))
            self.client.delete_change_set(ChangeSetName=change_set)
            if "didn't contain changes" in reason or "No updates are to be performed" in reason:
                return None
            raise StackError(f"{name}: {reason}") from error
        return change_set

    def _parameters(
        self, name: str, template: Mapping[str, Any] | str, parameters: Mapping[str, str], *, creating: bool
    ) -> list[dict[str, Any]]:
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        if creating or isinstance(template, str):
            return given
        before = {found["ParameterKey"] for found in (self._describe(name) or {}).get("Parameters", [])}
        kept = before & set(template.get("Parameters", {})) - set(parameters)
        return given + [{"ParameterKey": key, "UsePreviousValue": True} for key in sorted(kept)]

    def _reasons(self, name: str) -> str:
        events = self.client.describe_stack_events(StackName=name)["StackEvents"]
        failed = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', event['ResourceStatus'])}"
            for event in events
            if event["ResourceStatus"].endswith("_FAILED")
        ]
        return "; ".join(failed[:5]) or "no reason given"
