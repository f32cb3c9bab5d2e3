"""What the code is told about its deployment: the variables that ``chalicelib.foundation.settings`` reads.

Made from the outputs of the base stack, in one place: the functions get them when they are deployed
(``infra.packaging``), and tools that run beside them (``infra.key``) the very same.
"""

from __future__ import annotations

from collections.abc import Mapping

LOCAL_STAGE = "local"


def base_stack(stage: str) -> str:
    return f"millrace-{stage}"


def app_stack(stage: str) -> str:
    return f"millrace-{stage}-app"


def function_name(stage: str, function: str) -> str:
    """``function`` is Chalice's name of it, ``api_handler`` for instance."""
    return f"millrace-{stage}-{function}"


def function_environment(stage: str, outputs: Mapping[str, str]) -> dict[str, str]:
    """Raises ``KeyError`` where the base stack lacks an output."""
    return {
        "MILLRACE_STAGE": stage,
        "MILLRACE_TABLE": outputs["TableName"],
        "MILLRACE_BUCKET": outputs["DataBucketName"],
        "MILLRACE_QUEUE_URL": outputs["QueueUrl"],
        "MILLRACE_DEAD_LETTER_URL": outputs["DeadLetterQueueUrl"],
        "MILLRACE_EVENT_BUS": outputs["EventBusName"],
        "MILLRACE_KEY_ID": outputs["KeyArn"],
        "MILLRACE_STATE_MACHINE_ROLE": outputs["StateMachineRoleArn"],
        "MILLRACE_NODE_FUNCTION": outputs["NodeFunctionArn"],
        "MILLRACE_SCRIPT_FUNCTION": outputs["ScriptFunctionName"],
        "MILLRACE_MAX_CONCURRENT_RUNS": outputs["MaxConcurrentRuns"],
        "MILLRACE_SCHEDULE_GROUP": outputs["ScheduleGroupName"],
        "MILLRACE_SCHEDULES_FUNCTION": outputs["SchedulesFunctionArn"],
        "MILLRACE_SCHEDULER_ROLE": outputs["SchedulerRoleArn"],
        "MILLRACE_DEAD_LETTERS_ARN": outputs["DeadLetterQueueArn"],
        "MILLRACE_INBOUND_DOMAIN": outputs.get("InboundDomain", ""),
        "MILLRACE_MAIL_SENDER": outputs.get("MailSender", ""),
        "MILLRACE_MACHINE_DAYS": outputs["StateMachineDays"],
        "MILLRACE_WEBHOOK_RATE": outputs["WebhookRequestsPerMinute"],
        "MILLRACE_CLUSTER": outputs.get("Cluster", ""),
        "MILLRACE_KUBECONFIG": outputs.get("Kubeconfig", ""),
        "MILLRACE_NAMESPACE": outputs.get("PodNamespace", ""),
        "MILLRACE_POD_IMAGE": outputs.get("PodImage", ""),
        "MILLRACE_TRIGGER_ROUTE": outputs.get("TriggerRoute", ""),
        "MILLRACE_TRIGGER_FROM": outputs.get("ApiServerCidrs", ""),
        "MILLRACE_CLOSED_TO_PODS": outputs.get("ClosedToPods", ""),
        "MILLRACE_ANSWER_LIMIT_S": outputs.get("AnswerLimitSeconds", ""),
        "MILLRACE_ALLOW_LOOPBACK": "true" if stage == LOCAL_STAGE else "false",
        "POWERTOOLS_SERVICE_NAME": "millrace",
        "LOG_LEVEL": "INFO",
    }
