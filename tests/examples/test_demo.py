"""The demo against a stack that is made up: what it asks, what it shows, what it leaves, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from examples.demo import DATA_KEY, OWN_BUCKET, REPORT_KEY, DemoFailed, main, watch
from tests.examples.fake_stack import KEY, PREFIX, FakeStack, serve
from tests.examples.runs_at_hand import WEATHER, document, task, weather_tasks, weather_workflow

REPORT = "# Seattle weather, 2012 to 2015\n\n| Month | Rain |\n| --- | --- |\n| January | 466.0 |\n"
SAVED = {"bucket": "data", "key": REPORT_KEY, "size": 100, "etag": "x"}


@pytest.fixture
def stack() -> Iterator[FakeStack]:
    """A stack on which a run succeeds, in three looks at it."""
    tasks = weather_tasks()
    looks = [document(status="QUEUED"), document(*tasks[:3], status="RUNNING"), document(*tasks, output=SAVED)]
    with serve(FakeStack(looks, objects={f"/data/{REPORT_KEY}": REPORT.encode()})) as fake:
        yield fake


@pytest.fixture
def home(stack: FakeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ``make up`` would have written, and nothing of the surroundings."""
    (tmp_path / "stack.json").write_text(json.dumps(stack.stack_json()))
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_story(stack: FakeStack, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Upload, create, validate, execute, watch; then the report, the record and the picture; the exit status is 0."""
    assert main([]) == 0

    assert stack.objects[f"/data/{DATA_KEY}"].startswith(b"date,precipitation,temp_max")
    assert stack.calls() == [
        "POST /api/v1/workflows",
        "POST /api/v1/workflows/wf_1/validate",
        "POST /api/v1/workflows/wf_1/execute",
        "GET /api/v1/executions/exec_1",
    ]
    sent = {request.path: request for request in stack.requests}
    assert json.loads(sent[f"{PREFIX}/api/v1/workflows"].body) == weather_workflow()
    assert json.loads(sent[f"{PREFIX}/api/v1/workflows/wf_1/execute"].body) == {
        "triggerInputs": {"bucket": "data", "key": DATA_KEY, "reportKey": REPORT_KEY, "threshold": 35}
    }

    output = capsys.readouterr().out
    lines = output.splitlines()
    assert "✓ Read CSV (s3-read): success in 0.22 s, 2 attempts" in lines
    assert "○ Note mild years (log): skipped" in lines
    assert f"Record    {home / 'demo' / 'execution.json'}" in lines
    assert REPORT in output
    assert json.loads((home / "demo" / "execution.json").read_text())["execution"]["status"] == "SUCCESS"
    assert fromstring((home / "demo" / "run.svg").read_text()).tag.endswith("svg")


def test_the_key_goes_to_the_api_and_nowhere_else(
    stack: FakeStack, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every request to the API carries it; S3, the terminal and the files never see it."""
    assert main([]) == 0
    for request in stack.requests:
        assert (KEY in request.headers.values()) == request.path.startswith(PREFIX)
    shown = capsys.readouterr()
    left = "".join(path.read_text() for path in (home / "demo").iterdir())
    assert KEY not in shown.out + shown.err + left


@pytest.mark.usefixtures("home")
def test_no_day_was_hot_enough(stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that took the other way succeeds as well: no old report is shown, but what was found."""
    mild = {"years": [{"hottest": {"date": f"201{n}/08/01", "celsius": 30 + n}} for n in range(3)], "months": []}
    stack.executions = [document(output=mild)]
    assert main(["--threshold", "40.5"]) == 0

    execute = next(request for request in stack.requests if request.path.endswith("/execute"))
    assert json.loads(execute.body)["triggerInputs"]["threshold"] == 40.5
    output = capsys.readouterr().out
    assert "No report: the hottest day, 2012/08/01, had 32 °C." in output
    assert "January" not in output


def test_a_failed_run_names_the_node_and_the_cause(
    stack: FakeStack, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 1; record and picture are there for who looks into it."""
    error = {"name": "NoSuchKey", "message": "s3://data/x does not exist"}
    stack.executions = [document(task("start", 0, 0.1), task("read", 0.2, 1, "FAILED", error=error), status="FAILED")]
    assert main([]) == 1
    wanted = "The demo failed: the run failed; node 'read' (Read CSV) failed: NoSuchKey: s3://data/x does not exist"
    assert wanted in capsys.readouterr().out
    assert (home / "demo" / "run.svg").exists()


@pytest.mark.usefixtures("home")
def test_a_run_may_fail_without_a_failed_node(stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    """Then the error of the run itself is told."""
    stack.executions = [document(status="TIMED_OUT", error={"name": "Timeout", "message": "after 300 s"})]
    assert main([]) == 1
    assert "the run timed out; Timeout: after 300 s" in capsys.readouterr().out


@pytest.mark.usefixtures("home")
def test_an_invalid_workflow_is_not_executed(stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    """What validate finds is told."""
    fault = {"type": "unknown-node", "message": "There is no csv-parse.", "nodeId": "parse"}
    stack.validation = {"valid": False, "errors": [fault], "warnings": []}
    assert main([]) == 1
    assert "the workflow is not valid: parse: There is no csv-parse." in capsys.readouterr().out
    assert not any(request.path.endswith("/execute") for request in stack.requests)


@pytest.mark.usefixtures("home")
def test_a_refusal_is_told_in_the_words_of_the_api(stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    """The detail and every fault of problem+json; a create that broke is not sent again."""
    problem = {"status": 400, "detail": "Not valid.", "errors": [{"path": "nodes[3].config.url", "message": "missing"}]}
    stack.refusals["/api/v1/workflows"] = [(400, json.dumps(problem).encode()), (502, b"<html>gateway")]
    for told in ("400: Not valid.; nodes[3].config.url: missing", "502: <html>gateway"):
        assert main([]) == 1
        assert f"POST /api/v1/workflows: {told}" in capsys.readouterr().out
    assert len([request for request in stack.requests if request.path.endswith("/workflows")]) == 2


@pytest.mark.usefixtures("home")
def test_what_may_happen_twice_is_sent_again(stack: FakeStack) -> None:
    """A gateway that stumbles does not end the demo; a start that is sent again is the same start."""
    stack.refusals["/api/v1/workflows/wf_1/execute"] = [(502, b"")]
    stack.refusals["/api/v1/executions/exec_1"] = [(503, b""), (429, b"")]
    assert main([]) == 0
    starts = [request for request in stack.requests if request.path.endswith("/execute")]
    assert len(starts) == 2
    assert len({request.headers["Idempotency-Key"] for request in starts}) == 1


def test_a_stack_without_a_bucket_gets_one(stack: FakeStack, home: Path) -> None:
    """And the second demo takes the same one."""
    stack.executions[-1]["execution"]["output"] = SAVED | {"bucket": OWN_BUCKET}
    stack.objects[f"/{OWN_BUCKET}/{REPORT_KEY}"] = REPORT.encode()
    described = stack.stack_json()
    del described["bucket"]
    (home / "stack.json").write_text(json.dumps(described))
    assert main([]) == 0
    assert main([]) == 0
    assert stack.objects[f"/{OWN_BUCKET}/{DATA_KEY}"] == (WEATHER / "seattle-weather.csv").read_bytes()


def test_without_a_stack_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No stack.json: ``make up`` was not called."""
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "absent"))
    assert main([]) == 1
    assert "`make up` writes it" in capsys.readouterr().out


def test_a_stack_that_is_down_is_told(home: Path, stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    """A stale stack.json: nothing listens there."""
    described = stack.stack_json() | {"aws_endpoint_url": "http://127.0.0.1:9"}
    (home / "stack.json").write_text(json.dumps(described))
    assert main([]) == 1
    assert "S3 at http://127.0.0.1:9" in (output := capsys.readouterr().out)
    assert "`make up`" in output


def test_waiting_has_an_end() -> None:
    """A run that never ends is left alone after the deadline, with a word about it."""
    shown: list[Mapping[str, Any]] = []
    with pytest.raises(DemoFailed, match=r"exec_1 is still waiting after 0 s"):
        watch(lambda: document(status="WAITING"), shown.append, timeout=0, interval=0)
    assert len(shown) == 1
