"""``make up`` and ``make down``: whatever state the local stack is in, ``up`` makes it one that answers."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.deploy import deploy
from infra.local import process
from infra.local.home import Home
from infra.packaging import PROJECT
from tests.stack.conftest import LocalStack, bring_up, new_home, run

ITEM = {"pk": {"S": "tests#stack"}, "sk": {"S": "mark"}}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Home]:
    """A home for a stack that the test may break."""
    home = new_home(tmp_path)
    yield home
    assert run(home, "infra.local.down").returncode == 0


def get(url: str, key: str = "") -> tuple[int, dict[str, str], Any]:
    request = urllib.request.Request(url, headers={"X-API-Key": key} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, dict(response.headers), json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


def test_the_key_opens_the_api(stack: LocalStack) -> None:
    """stack.json names an API that answers, and a key that it takes."""
    assert get(f"{stack.api_url}/api/v1/health")[0] == 200
    assert get(f"{stack.api_url}/api/v1/workflows", stack.api_key)[0] == 200
    assert get(f"{stack.api_url}/api/v1/workflows", "mk_wrong")[0] == 401


def test_only_the_owner_reads_the_key(stack: LocalStack) -> None:
    """stack.json holds a key: nobody else on the machine may read it."""
    assert stat.S_IMODE(stack.home.stack_file.stat().st_mode) == 0o600


def test_the_gateway_refuses_in_our_form(stack: LocalStack) -> None:
    """A path that nobody serves is answered by the gateway: 404, a problem, with the id of the request."""
    status, headers, body = get(f"{stack.api_url}/api/v1/nowhere")
    assert (status, body["status"]) == (404, 404)
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["X-Request-Id"]


def test_scripts_run_without_settings(stack: LocalStack) -> None:
    """The deployed functions have the environment of their kind: the node runner the settings, scripts none of them."""
    lambdas = stack.client("lambda")

    def names(function: str) -> set[str]:
        configuration = lambdas.get_function_configuration(FunctionName=f"millrace-local-{function}")
        return set(configuration.get("Environment", {}).get("Variables", {}))

    assert "MILLRACE_TABLE" in names("node")
    assert names("script") == set()


def test_a_second_deployment_changes_nothing(stack: LocalStack, tmp_path: Path) -> None:
    """Neither stack is touched, and nothing is sent."""
    told: list[str] = []
    done = deploy("local", stack.client, build=tmp_path, poll_s=0.1, report=told.append)
    assert done.changed is False
    assert not [line for line in told if "uploading" in line]


def test_the_state_outlives_down_and_up(own: Home) -> None:
    """What was stored is there after down and up; the key still opens the API, at the same URL."""
    before = bring_up(own)
    before.client("dynamodb").put_item(TableName=before.table_name, Item=ITEM)
    before.client("s3").put_object(Bucket=before.bucket, Key="mark", Body=b"here")
    assert run(own, "infra.local.down").returncode == 0
    assert process.find(own) is None
    after = bring_up(own)
    assert after == before
    assert after.client("dynamodb").get_item(TableName=after.table_name, Key=ITEM)["Item"] == ITEM
    assert after.client("s3").get_object(Bucket=after.bucket, Key="mark")["Body"].read() == b"here"


def test_up_after_the_emulator_was_killed(own: Home) -> None:
    """A kill -9 takes what was not saved; the next up makes a stack that answers."""
    bring_up(own)
    emulator = process.find(own)
    assert emulator
    os.kill(emulator.process.pid, signal.SIGKILL)
    emulator.process.wait(10)
    again = bring_up(own)
    assert get(f"{again.api_url}/api/v1/workflows", again.api_key)[0] == 200


@pytest.mark.parametrize("told", ["base stack", "packaging", "app stack", "creating the first key"])
def test_up_after_up_was_killed(own: Home, told: str) -> None:
    """Wherever an up is cut off, the next one finishes the work."""
    environ = os.environ | {"MILLRACE_HOME": str(own.root), "MILLRACE_PORT_BASE": str(own.port)}
    command = [sys.executable, "-m", "infra.local.up"]
    with subprocess.Popen(command, cwd=PROJECT, env=environ, stderr=subprocess.PIPE, text=True) as up:
        assert up.stderr
        assert any(told in line for line in up.stderr), f"up never said {told!r}"
        up.kill()
    again = bring_up(own)
    assert get(f"{again.api_url}/api/v1/health")[0] == 200


def test_a_lost_table_is_made_anew(own: Home) -> None:
    """A stack that says it is complete although its table is gone does not deceive up."""
    before = bring_up(own)
    before.client("dynamodb").delete_table(TableName=before.table_name)
    again = bring_up(own)
    assert get(f"{again.api_url}/api/v1/workflows", again.api_key)[0] == 200
    again.client("dynamodb").describe_table(TableName=again.table_name)


def test_a_taken_port_is_told(stack: LocalStack, tmp_path: Path) -> None:
    """up says which port is taken, ends with an error, and leaves its holder alone."""
    done = run(Home(tmp_path, stack.home.port), "infra.local.up")
    assert done.returncode == 1
    assert f"port {stack.home.port}" in done.stderr
    assert get(f"{stack.api_url}/api/v1/health")[0] == 200


def test_down_without_up(tmp_path: Path) -> None:
    """There is nothing to end, and that is fine."""
    done = run(new_home(tmp_path), "infra.local.down")
    assert (done.returncode, "was not up" in done.stdout) == (0, True)
