"""``make demo``: one real workflow, from a CSV file to a report, through the public API, shown live.

It stands outside, as any program of a customer would: it reads where the stack is (``.millrace/stack.json``), puts the
data into S3 and from then on speaks HTTP with an API key. Nothing is reused from an earlier call: every demo creates
its own workflow, so that one which was broken off half-way is never in the way of the next.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markdown import Markdown

from examples.api_client import ApiClient, ApiError
from examples.live_view import LiveView
from examples.picture import draw
from examples.runs import TERMINAL, describe_error, duration, node_runs, words

CHECKOUT = Path(__file__).resolve().parent.parent
WEATHER = CHECKOUT / "examples" / "weather"
DATA_KEY = "examples/seattle-weather.csv"
REPORT_KEY = "examples/seattle-report.md"
ANY = "test"  # the local stack takes any credentials
OWN_BUCKET = "millrace-demo"  # where the stack offers no bucket for data

POLL_INTERVAL = 0.2  # seconds


class DemoFailed(Exception):
    """The demo did not reach its end. The message is for people, and says what to do where that is known."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threshold", type=float, default=35, help="report if a day was hotter, in °C (default: 35)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds to wait for the run (default: 300)")
    options = parser.parse_args(arguments)
    console = Console()
    home = Path(os.environ.get("MILLRACE_HOME") or CHECKOUT / ".millrace")
    try:
        run_demo(home, console, threshold=options.threshold, timeout=options.timeout)
    except DemoFailed as failure:
        console.print(f"The demo failed: {failure}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Broken off. A run that was started goes on without the demo.", style="red")
        return 130  # what a shell expects of a program that was interrupted
    return 0


def run_demo(home: Path, console: Console, *, threshold: float, timeout: float) -> None:
    """The whole story. ``timeout`` is in seconds. Raises ``DemoFailed``."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    stack = read_stack(home)
    workflow = json.loads((WEATHER / "workflow.json").read_text(encoding="utf-8"))
    api = ApiClient(stack["api_url"], stack["api_key"])
    s3 = s3_client(stack)
    try:
        bucket = stack.get("bucket") or create_bucket(s3)
        s3.put_object(Bucket=bucket, Key=DATA_KEY, Body=(WEATHER / "seattle-weather.csv").read_bytes())
        say(f"Data      s3://{bucket}/{DATA_KEY}")

        workflow_id = api.create_workflow(workflow)
        say(f"Workflow  {workflow_id}: {workflow['name']}")
        check(api.validate(workflow_id))
        inputs = {"bucket": bucket, "key": DATA_KEY, "reportKey": REPORT_KEY, "threshold": threshold}
        execution_id = api.execute(workflow_id, inputs)
        say(f"Run       {execution_id}\n")

        with LiveView(workflow, console, clock=lambda: datetime.now(UTC)) as view:
            document = watch(lambda: api.execution(execution_id), view.update, timeout)
        record, picture = keep(home / "demo", workflow, document)
        say(f"\nRecord    {shown(record)}\nPicture   {shown(picture)}\n")
        check_success(workflow, document)
        show_result(console, s3, document["execution"]["output"])
    except ApiError as error:
        raise DemoFailed(f"{error}. If the stack is down, `make up` starts it.") from error
    except (BotoCoreError, ClientError) as error:
        raise DemoFailed(f"S3 at {stack['aws_endpoint_url']}: {error}. `make up` starts the stack.") from error
    say(f"Done in {duration(document['execution']['durationMs'] / 1000)}.")


def read_stack(home: Path) -> dict[str, Any]:
    """What ``make up`` wrote."""
    path = home / "stack.json"
    try:
        stack: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DemoFailed(f"{path} cannot be read ({error}). `make up` writes it.") from error
    return stack


def s3_client(stack: Mapping[str, Any]) -> Any:
    """S3 of the local stack."""
    return boto3.client(
        "s3",
        endpoint_url=stack["aws_endpoint_url"],
        region_name=stack["region"],
        aws_access_key_id=ANY,
        aws_secret_access_key=ANY,
        config=Config(
            connect_timeout=3, read_timeout=30, retries={"total_max_attempts": 3}, s3={"addressing_style": "path"}
        ),
    )


def create_bucket(s3: Any) -> str:
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):  # by an earlier demo
        s3.create_bucket(Bucket=OWN_BUCKET)
    return OWN_BUCKET


def check(validation: Mapping[str, Any]) -> None:
    if not validation["valid"]:
        faults = "; ".join(f"{error.get('nodeId', 'workflow')}: {error['message']}" for error in validation["errors"])
        raise DemoFailed(f"the workflow is not valid: {faults}")


def watch(
    read: Callable[[], dict[str, Any]],
    show: Callable[[Mapping[str, Any]], None],
    timeout: float,
    interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """Reads and shows the execution until it has ended; returns it. Raises ``DemoFailed`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        document = read()
        show(document)
        if document["execution"]["status"] in TERMINAL:
            return document
        if time.monotonic() >= deadline:
            state = words(document["execution"]["status"])
            raise DemoFailed(
                f"{document['execution']['id']} is still {state} after {timeout:g} s; it goes on without the demo"
            )
        time.sleep(interval)


def keep(folder: Path, workflow: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[Path, Path]:
    """Writes the execution as the API gave it, and the picture. Their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    record, picture = folder / "execution.json", folder / "run.svg"
    record.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    picture.write_text(draw(workflow, document), encoding="utf-8")
    return record, picture


def shown(path: Path) -> Path:
    """As short as it can be said from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def check_success(workflow: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    execution = document["execution"]
    if execution["status"] == "SUCCESS":
        return
    causes = [
        f"node {run.id!r} ({run.label}) {words(run.status)}: {run.error or 'no reason was given'}"
        for run in node_runs(workflow, document)
        if run.status in ("FAILED", "TIMED_OUT")
    ]
    if not causes and execution.get("error"):
        causes = [describe_error(execution["error"])]
    raise DemoFailed("; ".join([f"the run {words(execution['status'])}", *causes]))


def show_result(console: Console, s3: Any, output: Mapping[str, Any]) -> None:
    """The report where the run saved one, else what the run found instead."""
    if "key" not in output:
        hottest = max(output["years"], key=lambda year: year["hottest"]["celsius"])["hottest"]
        console.print(f"No report: the hottest day, {hottest['date']}, had {hottest['celsius']} °C.\n", soft_wrap=True)
        return
    report = s3.get_object(Bucket=output["bucket"], Key=output["key"])["Body"].read().decode()
    console.print(Markdown(report) if console.is_terminal else report, markup=False, soft_wrap=not console.is_terminal)
    console.print(f"\nReport    s3://{output['bucket']}/{output['key']}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
