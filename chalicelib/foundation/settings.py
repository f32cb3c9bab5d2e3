"""Settings, read once from the environment that the deployment writes (``infra/deploy.py`` sets every one of them)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    stage: str  #: name of this deployment, ``local`` or ``prod`` for instance
    region: str
    table: str  #: name of the one DynamoDB table
    bucket: str  #: name of the S3 bucket that holds plans and large payloads
    queue_url: str  #: of the queue whose messages start runs
    dead_letter_url: str  #: of the queue for messages that start none
    event_bus: str
    key_id: str  #: KMS key
    state_machine_role: str  #: ARN; its account is ours
    node_function: str  #: ARN of the node runner
    script_function: str  #: name or ARN of the Lambda that runs user code
    max_concurrent_runs: int | None  #: of a workflow that says nothing of its own; None for any number
    schedule_group: str  #: name of the group in which EventBridge Scheduler keeps this stage's schedules
    schedules_function: str  #: ARN of the Lambda that they call
    scheduler_role: str  #: ARN of the role with which they do
    dead_letters_arn: str  #: of the dead-letter queue, for calls of schedules that never got through
    inbound_domain: str  #: mails to it start workflows; empty where none do
    mail_sender: str  #: address from which ``email-send`` sends; empty where it may not
    machine_days: int  #: how long a state machine is kept that nobody uses
    webhook_rate: int  #: requests that one webhook takes in a minute
    cluster: str = ""  #: where deployed workflows run: ``eks:<name>``, ``kubeconfig``, or empty where nowhere
    kubeconfig: str = ""  #: path of the file that says where the cluster is, and who we are there
    namespace: str = "user-workflows"  #: of the cluster, for pods of workflows
    pod_image: str = ""  #: that pods run
    trigger_route: str = "proxy"  #: how a pod is reached: by the API server's ``proxy``, or by ``dns`` in the cluster
    trigger_from: str = ""  #: CIDRs, with commas, from which the API server's proxy calls pods
    closed_to_pods: str = ""  #: CIDRs, with commas, that pods may not call: the inside of the cluster
    answer_limit_s: int = 29  #: seconds after which API Gateway gives up waiting for us (its integration time-out)
    allow_loopback: bool = False  #: whether ``http-request`` may call loopback addresses; on in the local stack only

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Raises ``KeyError`` with the name of the first variable that is missing."""
        env = os.environ if environ is None else environ
        return cls(
            stage=env["MILLRACE_STAGE"],
            region=env["AWS_REGION"],
            table=env["MILLRACE_TABLE"],
            bucket=env["MILLRACE_BUCKET"],
            queue_url=env["MILLRACE_QUEUE_URL"],
            dead_letter_url=env["MILLRACE_DEAD_LETTER_URL"],
            event_bus=env["MILLRACE_EVENT_BUS"],
            key_id=env["MILLRACE_KEY_ID"],
            state_machine_role=env["MILLRACE_STATE_MACHINE_ROLE"],
            node_function=env["MILLRACE_NODE_FUNCTION"],
            script_function=env["MILLRACE_SCRIPT_FUNCTION"],
            max_concurrent_runs=int(env["MILLRACE_MAX_CONCURRENT_RUNS"]) or None,
            schedule_group=env["MILLRACE_SCHEDULE_GROUP"],
            schedules_function=env["MILLRACE_SCHEDULES_FUNCTION"],
            scheduler_role=env["MILLRACE_SCHEDULER_ROLE"],
            dead_letters_arn=env["MILLRACE_DEAD_LETTERS_ARN"],
            inbound_domain=env["MILLRACE_INBOUND_DOMAIN"],
            mail_sender=env["MILLRACE_MAIL_SENDER"],
            machine_days=int(env["MILLRACE_MACHINE_DAYS"]),
            webhook_rate=int(env["MILLRACE_WEBHOOK_RATE"]),
            cluster=env.get("MILLRACE_CLUSTER", ""),
            kubeconfig=env.get("MILLRACE_KUBECONFIG", ""),
            namespace=env.get("MILLRACE_NAMESPACE", "") or cls.namespace,
            pod_image=env.get("MILLRACE_POD_IMAGE", ""),
            trigger_route=env.get("MILLRACE_TRIGGER_ROUTE", "") or cls.trigger_route,
            trigger_from=env.get("MILLRACE_TRIGGER_FROM", ""),
            closed_to_pods=env.get("MILLRACE_CLOSED_TO_PODS", ""),
            answer_limit_s=int(env.get("MILLRACE_ANSWER_LIMIT_S", "") or cls.answer_limit_s),
            allow_loopback=env.get("MILLRACE_ALLOW_LOOPBACK", "") == "true",
        )

    def to_environment(self) -> dict[str, str]:
        """The variables that ``from_environment`` makes the same settings of."""
        return {
            "MILLRACE_STAGE": self.stage,
            "AWS_REGION": self.region,
            "MILLRACE_TABLE": self.table,
            "MILLRACE_BUCKET": self.bucket,
            "MILLRACE_QUEUE_URL": self.queue_url,
            "MILLRACE_DEAD_LETTER_URL": self.dead_letter_url,
            "MILLRACE_EVENT_BUS": self.event_bus,
            "MILLRACE_KEY_ID": self.key_id,
            "MILLRACE_STATE_MACHINE_ROLE": self.state_machine_role,
            "MILLRACE_NODE_FUNCTION": self.node_function,
            "MILLRACE_SCRIPT_FUNCTION": self.script_function,
            "MILLRACE_MAX_CONCURRENT_RUNS": str(self.max_concurrent_runs or 0),
            "MILLRACE_SCHEDULE_GROUP": self.schedule_group,
            "MILLRACE_SCHEDULES_FUNCTION": self.schedules_function,
            "MILLRACE_SCHEDULER_ROLE": self.scheduler_role,
            "MILLRACE_DEAD_LETTERS_ARN": self.dead_letters_arn,
            "MILLRACE_INBOUND_DOMAIN": self.inbound_domain,
            "MILLRACE_MAIL_SENDER": self.mail_sender,
            "MILLRACE_MACHINE_DAYS": str(self.machine_days),
            "MILLRACE_WEBHOOK_RATE": str(self.webhook_rate),
            "MILLRACE_CLUSTER": self.cluster,
            "MILLRACE_KUBECONFIG": self.kubeconfig,
            "MILLRACE_NAMESPACE": self.namespace,
            "MILLRACE_POD_IMAGE": self.pod_image,
            "MILLRACE_TRIGGER_ROUTE": self.trigger_route,
            "MILLRACE_TRIGGER_FROM": self.trigger_from,
            "MILLRACE_CLOSED_TO_PODS": self.closed_to_pods,
            "MILLRACE_ANSWER_LIMIT_S": str(self.answer_limit_s),
            "MILLRACE_ALLOW_LOOPBACK": "true" if self.allow_loopback else "false",
        }

    @property
    def account(self) -> str:
        return self.state_machine_role.split(":")[4]
