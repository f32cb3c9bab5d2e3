"""When a visit of a node that failed is repeated: the same rules for every engine, told apart by the error's name.

The first rule that names an error decides; none, or one that is used up, means no further try. Step Functions is told
them as the ``Retry`` of a Task, and so its words are used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.compiler.asl.quotas import MAX_RETRY_DELAY_S, NODE_FUNCTION_LIMIT_S
from chalicelib.compiler.plan import PlanNode

ANY_ERROR = "States.ALL"

#: The runner, or Lambda itself, was at fault and not the node: tried again whatever the node's settings say.
#: `Runtime.ExitError` is a process that died; a throttled or unreachable function has the other names.
#: https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html
INFRASTRUCTURE_ERRORS = (
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Downstream",
    "DownstreamTimeout",
)


@dataclass(frozen=True)
class RetryRule:
    errors: tuple[str, ...]
    tries: int  # after the first one
    interval_s: float = 1
    backoff_rate: float = 2
    max_delay_s: float = MAX_RETRY_DELAY_S
    jitter: bool = False  # whether a delay is anything between nothing and what it would be

    def matches(self, error: str) -> bool:
        return error in self.errors or ANY_ERROR in self.errors

    def delay_s(self, tried: int) -> float:
        """What passes before the next try, after ``tried`` that followed this rule; the most of it, with jitter."""
        return float(min(self.interval_s * self.backoff_rate**tried, self.max_delay_s))

    def to_asl(self) -> dict[str, Any]:
        if not self.tries:
            return {"ErrorEquals": list(self.errors), "MaxAttempts": 0}
        rule = {
            "ErrorEquals": list(self.errors),
            "IntervalSeconds": self.interval_s,
            "BackoffRate": self.backoff_rate,
            "MaxAttempts": self.tries,
            "MaxDelaySeconds": self.max_delay_s,
        }
        return rule | ({"JitterStrategy": "FULL"} if self.jitter else {})


NEVER = RetryRule(("Permanent",), tries=0)
#: A node that has to wait for others goes to its gate.
NOT_READY = RetryRule(("NotReady",), tries=0)
#: An earlier attempt may be under way: for as long as it can be, with some to spare.
BUSY = RetryRule(("Busy",), tries=NODE_FUNCTION_LIMIT_S // 10 + 10, max_delay_s=10)
INFRASTRUCTURE = RetryRule(INFRASTRUCTURE_ERRORS, tries=6, max_delay_s=30, jitter=True)


def retry_rules(node: PlanNode) -> Sequence[RetryRule]:
    """Never again what is permanent; again what the machinery is to blame for; the rest as often as the node says."""
    retry = node.retry
    if retry.max_attempts <= 1:
        return NEVER, BUSY, INFRASTRUCTURE
    own = RetryRule(
        (ANY_ERROR,),
        tries=retry.max_attempts - 1,
        interval_s=min(retry.interval_s, retry.max_delay_s),
        backoff_rate=retry.backoff_rate,
        max_delay_s=min(retry.max_delay_s, MAX_RETRY_DELAY_S),
    )
    return NEVER, BUSY, INFRASTRUCTURE, own
