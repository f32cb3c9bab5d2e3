"""What each repair of the emulator is good for: with it the emulator does as AWS does, without it it does not.

Every probe looks at one behaviour and returns what it saw. It runs on both emulators, so a probe that saw nothing
would fail on one of them, and a release of MiniStack that has learnt the behaviour fails on the other: then the
repair can go.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from infra.local.home import Home
from infra.packaging import PROJECT

ROLE = "arn:aws:iam::000000000000:role/anybody"
HANDLER = """
import os, time

class OrderRejected(Exception):
    pass

def main(event, context):
    time.sleep(event.get("sleep", 0))
    if event.get("reject"):
        raise OrderRejected("no stock")
    if event.get("die"):
        os._exit(3)
    return {"pid": os.getpid()}
"""


def poll(look: Callable[[], Any], deadline_s: float = 30.0) -> Any:
    """What ``look`` returns as soon as that is not ``None``."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if (seen := look()) is not None:
            return seen
        time.sleep(0.02)
    raise AssertionError("the deadline has passed")


class Machine:
    """A state machine of one emulator, and what became of its runs."""

    def __init__(self, home: Home, definition: dict[str, Any]) -> None:
        self.client = home.client("stepfunctions")
        text = json.dumps({"QueryLanguage": "JSONata"} | definition)
        self.arn = self.client.create_state_machine(name=f"m-{uuid.uuid4().hex}", definition=text, roleArn=ROLE)[
            "stateMachineArn"
        ]

    def start(self) -> str:
        arn: str = self.client.start_execution(stateMachineArn=self.arn, input="{}")["executionArn"]
        return arn

    def end(self, execution: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.client.describe_execution(executionArn=execution)
            return None if found["status"] == "RUNNING" else found

        end: dict[str, Any] = poll(ended)
        return end

    def run(self) -> dict[str, Any]:
        return self.end(self.start())

    def output(self) -> Any:
        end = self.run()
        return json.loads(end["output"]) if end["status"] == "SUCCEEDED" else end.get("error")


def states(*named: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A chain of states in this order."""
    linked = {}
    for index, (name, state) in enumerate(named):
        ends = state["Type"] in ("Succeed", "Fail", "Choice")
        following = {"Next": named[index + 1][0]} if index + 1 < len(named) else {"End": True}
        linked[name] = state if ends else state | following
    return {"StartAt": named[0][0], "States": linked}


def function(home: Home) -> str:
    """A function of our own, by the name of this call; its concurrency is its own too."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("code.py", HANDLER)
    name = f"f-{uuid.uuid4().hex}"
    home.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role=ROLE,
        Handler="code.main",
        Code={"ZipFile": archive.getvalue()},
        Timeout=30,
    )
    return name


def invoke(home: Home, name: str, **event: Any) -> dict[str, Any]:
    answer = home.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    body: dict[str, Any] = json.loads(answer["Payload"].read())
    return body


def task(name: str, **event: Any) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": name, "Payload": event},
    }


def queue(home: Home) -> str:
    url: str = home.client("sqs").create_queue(QueueName=f"q-{uuid.uuid4().hex}")["QueueUrl"]
    return url


def mark(url: str) -> dict[str, Any]:
    """A state that leaves a message, to see whether it was entered."""
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage",
        "Arguments": {"QueueUrl": url, "MessageBody": "{% $states.context.Execution.Id %}"},
    }


def marks(home: Home, url: str) -> list[str]:
    found = home.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
    return [message["Body"] for message in found.get("Messages", [])]


# --- Data -------------------------------------------------------------------------------------------------------------


def parallel_data(home: Home) -> Any:
    branch = states(("B", {"Type": "Pass", "Output": "{% $states.input.n + 1 %}"}))
    return Machine(
        home,
        states(
            (
                "P",
                {
                    "Type": "Parallel",
                    "Arguments": {"n": 1},
                    "Branches": [branch, branch],
                    "Output": {"sum": "{% $sum($states.result) %}"},
                    "Assign": {"first": "{% $states.result[0] %}"},
                },
            ),
            ("Q", {"Type": "Pass", "Output": {"sum": "{% $states.input.sum %}", "first": "{% $first %}"}}),
        ),
    ).output()


def branch_variables(home: Home) -> Any:
    def branch(value: str, wait: int) -> dict[str, Any]:
        return states(
            ("Before", {"Type": "Wait", "Seconds": wait}),
            ("Set", {"Type": "Pass", "Assign": {"v": value}}),
            ("Wait", {"Type": "Wait", "Seconds": 2}),
            ("Get", {"Type": "Pass", "Output": "{% $v %}"}),
        )

    parallel = {"Type": "Parallel", "Branches": [branch("A", 0), branch("B", 1)]}
    return Machine(home, states(("P", parallel))).output()


def choice_default(home: Home) -> Any:
    choice = {
        "Type": "Choice",
        "Choices": [{"Condition": "{% false %}", "Next": "End"}],
        "Default": "End",
        "Output": {"by": "default"},
    }
    return Machine(home, states(("C", choice), ("End", {"Type": "Pass"}))).output()


def succeed_output(home: Home) -> Any:
    return Machine(home, states(("S", {"Type": "Succeed", "Output": {"by": "succeed"}}))).output()


def retry_gaps(home: Home) -> Any:
    """Whether the second wait is about as long as the first, as MaxDelaySeconds demands, or eight times as long."""
    delays = {"IntervalSeconds": 2, "BackoffRate": 8, "MaxDelaySeconds": 2}
    retry = {"ErrorEquals": ["States.ALL"], "MaxAttempts": 2} | delays
    name = function(home)
    invoke(home, name)  # warm, so that a gap is the wait alone
    machine = Machine(home, states(("T", task(name, reject=True) | {"Retry": [retry]})))
    execution = machine.start()
    machine.end(execution)
    events = machine.client.get_execution_history(executionArn=execution)["events"]
    first, second, third = (event["timestamp"] for event in events if event["type"] == "TaskScheduled")
    return (third - second) < 3 * (second - first)


# --- Ends -------------------------------------------------------------------------------------------------------------

FAILING = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Broken"}}}


def parallel_fails_fast(home: Home) -> Any:
    """The error, and whether the other branch got on after it."""
    url = queue(home)
    slow = states(("W", {"Type": "Wait", "Seconds": 5}), ("M", mark(url)))
    end = Machine(home, states(("P", {"Type": "Parallel", "Branches": [slow, FAILING]}))).run()
    return end["error"], marks(home, url) != []


def map_fails_fast(home: Home) -> Any:
    url = queue(home)
    body = {
        "StartAt": "C",
        "States": {
            "C": {
                "Type": "Choice",
                "Choices": [{"Condition": "{% $states.input = 1 %}", "Next": "F"}],
                "Default": "W",
            },
            "F": {"Type": "Fail", "Error": "Broken"},
            "W": {"Type": "Wait", "Seconds": 5, "Next": "M"},
            "M": mark(url) | {"End": True},
        },
    }
    end = Machine(home, states(("L", {"Type": "Map", "Items": [0, 1], "ItemProcessor": body}))).run()
    return end["error"], marks(home, url) != []


def stop_ends_branches(home: Home) -> Any:
    """Whether a branch gets on after StopExecution. A later run of the same machine tells when it would have."""
    url = queue(home)
    slow = states(("W", {"Type": "Wait", "Seconds": 3}), ("M", mark(url)))
    machine = Machine(home, states(("P", {"Type": "Parallel", "Branches": [slow, slow]})))
    stopped = machine.start()
    poll(lambda: entered(machine, stopped, "ParallelStateEntered"))
    machine.client.stop_execution(executionArn=stopped)
    machine.run()
    return machine.end(stopped)["status"], stopped in marks(home, url)


def stop_is_final(home: Home) -> Any:
    """The status of a stopped run whose task fails afterwards."""
    machine = Machine(home, states(("T", task(function(home), sleep=0.5, reject=True))))
    stopped = machine.start()
    poll(lambda: entered(machine, stopped, "TaskScheduled"))
    machine.client.stop_execution(executionArn=stopped)
    machine.run()
    return machine.end(stopped)["status"]


def stop_ends_callback(home: Home) -> Any:
    """What SendTaskSuccess says to the token of a run that was stopped."""
    url = queue(home)
    arguments = {"QueueUrl": url, "MessageBody": "{% $states.context.Task.Token %}"}
    resource = "arn:aws:states:::sqs:sendMessage.waitForTaskToken"
    machine = Machine(home, states(("T", {"Type": "Task", "Resource": resource, "Arguments": arguments})))
    stopped = machine.start()
    (token,) = poll(lambda: marks(home, url) or None)
    machine.client.stop_execution(executionArn=stopped)

    def refused() -> bool | None:
        try:
            machine.client.send_task_heartbeat(taskToken=token)
        except machine.client.exceptions.ClientError:
            return True
        return None

    try:
        return poll(refused, deadline_s=3)
    except AssertionError:
        return False


def evaluated_timeout(home: Home) -> Any:
    """The error of a task whose time limit is an expression, and passes."""
    arguments = {"QueueUrl": queue(home), "MessageBody": "{% $states.context.Task.Token %}"}
    resource = "arn:aws:states:::sqs:sendMessage.waitForTaskToken"
    state = {"Type": "Task", "Resource": resource, "Arguments": arguments, "TimeoutSeconds": "{% 2 - 1 %}"}
    return Machine(home, states(("T", state))).run().get("error")


def begins_at_once(home: Home) -> bool:
    """Whether an execution with nothing to do is over in less time than the stock emulator takes to begin it."""
    machine = Machine(home, states(("nothing", {"Type": "Pass"})))

    def took() -> float:
        end = machine.run()
        return float((end["stopDate"] - end["startDate"]).total_seconds())

    return min(took() for _ in range(5)) < 0.15


def machine_timeout(home: Home) -> Any:
    wait = states(("W", {"Type": "Wait", "Seconds": 15}))
    return Machine(home, wait | {"TimeoutSeconds": 1}).run()["status"]


def entered(machine: Machine, execution: str, kind: str) -> bool | None:
    events = machine.client.get_execution_history(executionArn=execution)["events"]
    return True if any(event["type"] == kind for event in events) else None


# --- Functions --------------------------------------------------------------------------------------------------------


def exception_name(home: Home) -> Any:
    return Machine(home, states(("T", task(function(home), reject=True)))).run()["error"]


def exit_name(home: Home) -> Any:
    return Machine(home, states(("T", task(function(home), die=True)))).run()["error"]


def stays_warm(home: Home) -> Any:
    """Whether a function runs in the same process after it has raised."""
    name = function(home)
    before = invoke(home, name)["pid"]
    invoke(home, name, reject=True)
    return invoke(home, name)["pid"] == before


def silent_call_is_quick(home: Home) -> Any:
    """Whether the quickest of many calls of a silent function takes less than what the emulator waits for its log."""
    name = function(home)
    client = home.client("lambda")

    def call() -> float:
        started = time.monotonic()
        client.invoke(FunctionName=name, Payload=b"{}")
        return time.monotonic() - started

    return min(call() for _ in range(20)) < 0.05


# --- API Gateway ------------------------------------------------------------------------------------------------------


def api(*paths: str) -> dict[str, Any]:
    integration = {"x-amazon-apigateway-integration": {"type": "mock"}}
    refusal = {
        "statusCode": "404",
        "responseParameters": {"gatewayresponse.header.X-Request-Id": "context.requestId"},
        "responseTemplates": {"application/json": '{"title": "no such path"}'},
    }
    document = {
        "swagger": "2.0",
        "info": {"title": "probe", "version": "1"},
        "paths": {path: {"get": integration} for path in paths},
        "x-amazon-apigateway-gateway-responses": {"MISSING_AUTHENTICATION_TOKEN": refusal},
    }
    deployment = f"Deployment{len(paths)}"
    return {
        "Resources": {
            "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": document}},
            deployment: {"Type": "AWS::ApiGateway::Deployment", "Properties": {"RestApiId": {"Ref": "Api"}}},
            "Stage": {
                "Type": "AWS::ApiGateway::Stage",
                "Properties": {"RestApiId": {"Ref": "Api"}, "DeploymentId": {"Ref": deployment}, "StageName": "s"},
            },
        },
        "Outputs": {"Id": {"Value": {"Ref": "Api"}}},
    }


def deployed(home: Home, stack: str, template: dict[str, Any], call: str) -> str:
    client = home.client("cloudformation")
    getattr(client, f"{call}_stack")(StackName=stack, TemplateBody=json.dumps(template))
    client.get_waiter(f"stack_{call}_complete").wait(StackName=stack, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
    outputs = client.describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
    value: str = outputs[0]["OutputValue"]
    return value


def gateway_refusal(home: Home) -> Any:
    """Status, title and whether there is an id, of the answer to a path that does not exist."""
    api_id = deployed(home, f"s-{uuid.uuid4().hex}", api("/a"), "create")
    try:
        urllib.request.urlopen(f"{home.endpoint}/_aws/execute-api/{api_id}/s/nowhere", timeout=10)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error).get("title"), "X-Request-Id" in error.headers
    raise AssertionError("a path that does not exist was answered")


def api_keeps_its_id(home: Home) -> Any:
    """Whether the API has the same id after an update, and the new path."""
    stack = f"s-{uuid.uuid4().hex}"
    before = deployed(home, stack, api("/a"), "create")
    after = deployed(home, stack, api("/a", "/b"), "update")
    resources = home.client("apigateway").get_resources(restApiId=after)["items"]
    return before == after, sorted(resource["path"] for resource in resources)


# --- EventBridge Scheduler --------------------------------------------------------------------------------------------


def schedule_in_a_zone(home: Home) -> Any:
    """What comes of a schedule for each minute of this hour and the next in Tokyo, by the time that one without a zone
    has called: whether it has called at all, and for a whole minute of now.
    """
    scheduler, sqs = home.client("scheduler"), home.client("sqs")
    urls = {"": queue(home), "Asia/Tokyo": queue(home)}
    now = datetime.now(ZoneInfo("Asia/Tokyo"))
    hours = {"": "*", "Asia/Tokyo": f"{now.hour},{(now.hour + 1) % 24}"}
    for zone, url in urls.items():
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        scheduler.create_schedule(
            Name=f"s-{uuid.uuid4().hex}",
            ScheduleExpression=f"cron(* {hours[zone]} * * ? *)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": arn, "RoleArn": ROLE, "Input": '"<aws.scheduler.scheduled-time>"'},
            **({"ScheduleExpressionTimezone": zone} if zone else {}),
        )
    poll(lambda: marks(home, urls[""]) or None, 100)
    # Both are looked at in one pass, this one second.
    end = time.monotonic() + 5
    while not (told := marks(home, urls["Asia/Tokyo"])) and time.monotonic() < end:
        time.sleep(0.1)
    due = [json.loads(each) for each in told]
    return [datetime.fromisoformat(each).second for each in due if not each.startswith("<")]


PROBES: list[tuple[Callable[[Home], Any], Any, set[str]]] = [
    # probe, what AWS does, the repairs that it takes
    (parallel_data, {"sum": 4, "first": 2}, {"parallel_takes_arguments_and_output"}),
    (branch_variables, ["A", "B"], {"branch_has_own_context"}),
    (choice_default, {"by": "default"}, {"choice_default_has_output"}),
    (succeed_output, {"by": "succeed"}, {"succeed_has_output"}),
    (retry_gaps, True, {"retry_delay_is_capped"}),
    (parallel_fails_fast, ("Broken", False), {"_in_scope", "branch_ends_its_siblings", "sleep_can_be_ended"}),
    (map_fails_fast, ("Broken", False), {"_in_scope", "branch_ends_its_siblings", "sleep_can_be_ended"}),
    (stop_ends_branches, ("ABORTED", False), {"stop_reaches_branches", "_enter"}),
    (stop_is_final, "ABORTED", {"end_is_final", "_call_that_can_be_left"}),
    (stop_ends_callback, True, {"callback_can_be_left"}),
    (evaluated_timeout, "States.Timeout", {"timeout_is_evaluated"}),
    (machine_timeout, "TIMED_OUT", {"execution_ends_whole"}),
    (begins_at_once, True, {"begin_at_once"}),
    (exception_name, "OrderRejected", {"worker_tells_the_error", "function_error_has_its_type"}),
    (exit_name, "Runtime.ExitError", {"worker_tells_the_error", "function_error_has_its_type"}),
    (stays_warm, True, {"worker"}),
    (silent_call_is_quick, True, {"log_ends_where_it_ends"}),
    (gateway_refusal, (404, "no such path", True), {"import_brings_gateway_responses"}),
    (schedule_in_a_zone, [0], {"schedules_have_time_zones"}),
    (api_keeps_its_id, (True, ["/", "/a", "/b"]), {"keep_rest_api"}),
]
each_probe = pytest.mark.parametrize(("probe", "on_aws"), [pytest.param(p, a, id=p.__name__) for p, a, _ in PROBES])


@each_probe
def test_mended_emulator_does_as_aws(mended: Home, probe: Callable[[Home], Any], on_aws: Any) -> None:
    """With our repairs the emulator shows what AWS documents."""
    assert probe(mended) == on_aws


@each_probe
def test_stock_emulator_does_otherwise(stock: Home, probe: Callable[[Home], Any], on_aws: Any) -> None:
    """Without them it does not; where this fails, the repair is needed no more."""
    assert probe(stock) != on_aws


@pytest.mark.parametrize(
    ("cron", "zone", "since", "due"),
    [
        ("cron(30 9 * * ? *)", "Asia/Tokyo", "2026-01-05T00:00:00", "2026-01-05T00:30:00"),
        # In spring the clock goes from 2:00 to 3:00: what is due between is not; next day.
        ("cron(30 2 * * ? *)", "Europe/Zurich", "2026-03-28T12:00:00", "2026-03-30T00:30:00"),
        ("cron(0 3 * * ? *)", "Europe/Zurich", "2026-03-28T12:00:00", "2026-03-29T01:00:00"),
        # In autumn it goes from 3:00 back to 2:00: what is due between is due once, the first time.
        ("cron(30 2 * * ? *)", "Europe/Zurich", "2026-10-24T12:00:00", "2026-10-25T00:30:00"),
        ("cron(30 2 * * ? *)", "Europe/Zurich", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
        ("cron(0/20 * * * ? *)", "Europe/Zurich", "2026-10-25T00:40:00", "2026-10-25T02:00:00"),
        ("cron(0 0 29 2 ? *)", "America/New_York", "2026-01-01T00:00:00", "2028-02-29T05:00:00"),
    ],
)
def test_daylight_saving_time(cron: str, zone: str, since: str, due: str, tmp_path: Path) -> None:
    """Scheduler's user guide, "Daylight savings time": times that are left out are skipped, doubled ones run once."""
    program = (
        "import sys; from datetime import datetime, UTC; from zoneinfo import ZoneInfo;"
        "from ministack.services import eventbridge; from infra.local.patches import next_due;"
        "fields = eventbridge._parse_cron_fields(sys.argv[1]);"
        "since = datetime.fromisoformat(sys.argv[3]).replace(tzinfo=UTC);"
        "print(next_due(fields, ZoneInfo(sys.argv[2]), since).replace(tzinfo=None).isoformat())"
    )
    environ = os.environ | {"STATE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", program, cron, zone, since]
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == due


def test_every_repair_is_probed(tmp_path: Path) -> None:
    """No repair is without a probe that names it."""
    listing = "from infra.local import patches; print(*(patch.name for patch in patches.PATCHES))"
    environ = os.environ | {"STATE_DIR": str(tmp_path)}  # MiniStack writes there as soon as it is imported
    done = subprocess.run(
        [sys.executable, "-c", listing], cwd=PROJECT, env=environ, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == set().union(*(names for _, _, names in PROBES))
