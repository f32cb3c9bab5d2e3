"""Credentials in configs: who can name one, and where its value ends up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.engines.payloads import LOADED_BYTES
from chalicelib.foundation.errors import Downstream, Permanent, Retryable
from chalicelib.foundation.json_types import Json
from chalicelib.nodes.capabilities import StoredObject
from tests.conftest import BUCKET, TABLE
from tests.fakes import World, graph, json_response, node
from tests.runs import OWNER, Runs

VALUE = 'pa"ss wörd/1'


@pytest.fixture(autouse=True)
def token(app_services: Services) -> None:
    app_services.credentials.create(OWNER, "TOKEN", VALUE)


def call(**config: Any) -> dict[str, Any]:
    return node("h", "http-request", **{"method": "GET", "url": "http://x", **config})


def sent(world: World) -> dict[str, str]:
    (request,) = world.http.requests
    return dict(request.headers)


def test_a_config_names_a_credential(runs: Runs, world: World) -> None:
    """``${NAME}`` becomes the value, alone or within a text, as often as it stands there."""
    run = runs.run(graph([call(headers={"A": "Bearer ${TOKEN}", "B": "${TOKEN}:${TOKEN}"})]))
    assert run.status == "succeeded"
    assert sent(world) == {"A": f"Bearer {VALUE}", "B": f"{VALUE}:{VALUE}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ data.x }}", "${TOKEN}"),
        ("say {{ data.x }}", "say ${TOKEN}"),
        ("${TO{{ data.tail }}}", "${TOKEN}"),  # the author's braces, the sender's letters
        ("{{ data.dollar }}{TOKEN}", "${TOKEN}"),
        ("{{ data.open }}TOKEN}", "${TOKEN}"),
        ("{{ '${TOKEN}' }}", "${TOKEN}"),  # how an author writes the letters themselves
        ("${TOKEN", "${TOKEN"),
        ("$TOKEN {TOKEN} ${} ${1} ${a-b}", "$TOKEN {TOKEN} ${} ${1} ${a-b}"),
    ],
)
def test_data_cannot_name_a_credential(runs: Runs, world: World, text: str, expected: str) -> None:
    """Whatever an expression gives, alone or together with what stands around it, is not looked at again."""
    inputs = {"x": "${TOKEN}", "tail": "KEN", "dollar": "$", "open": "${"}
    assert runs.run(graph([call(headers={"A": text})]), inputs).status == "succeeded"
    assert sent(world) == {"A": expected}


def test_a_value_is_not_looked_at_again(runs: Runs, world: World, app_services: Services) -> None:
    """A credential whose value looks like a reference or a template is that text."""
    app_services.credentials.create(OWNER, "ODD", "${TOKEN} {{ data }}")
    runs.run(graph([call(headers={"A": "${ODD}"})]))
    assert sent(world) == {"A": "${TOKEN} {{ data }}"}


def test_expressions_name_nothing(runs: Runs) -> None:
    """A bare expression and program text are no templates: there the letters are letters."""
    run = runs.run(graph([node("t", expression="'${TOKEN}'")]))
    assert run.output == "${TOKEN}"


def test_control_nodes_name_nothing(runs: Runs) -> None:
    """What they are told goes into records and other runs."""
    run = runs.run(graph([node("f", "fail", error="E", message="${TOKEN}")]))
    assert run.execution.error == {"name": "E", "message": "${TOKEN}", "nodeId": "f"}


def test_a_credential_that_is_missing(runs: Runs, world: World) -> None:
    """The node fails for good and says which; nothing is sent."""
    run = runs.run(graph([call(headers={"A": "${NOPE}"}, settings={"retry": {"maxAttempts": 3}})]))
    assert run.execution.error == {
        "name": "CredentialMissing",
        "message": "There is no credential NOPE.",
        "nodeId": "h",
    }
    assert len(run.steps["h"].attempts) == 1
    assert not world.http.requests


def test_another_organisation_has_none_of_ours(runs: Runs, app_services: Services) -> None:
    """Names are looked up in the organisation of the run."""
    with pytest.raises(Permanent, match="There is no credential TOKEN"):
        app_services.steps._credentials.read("other", "TOKEN")


ECHOES: list[Json] = [
    VALUE,
    {"headers": {"authorization": f"Bearer {VALUE}"}, VALUE: [1, None, True, [VALUE]]},
    json.dumps({"sent": VALUE}),
    json.dumps({"sent": VALUE}, ensure_ascii=False),
    "q=pa%22ss+w%C3%B6rd%2F1",
    "/pa%22ss%20w%C3%B6rd/1",
    "pa%22ss%20w%C3%B6rd%2F1",
]


@pytest.mark.parametrize("echo", ECHOES, ids=range(len(ECHOES)))
def test_an_echo_is_masked(runs: Runs, world: World, dynamodb: Any, s3: Any, echo: Json) -> None:
    """A server that sends the value back, in whatever spelling, puts it into no record, no payload and no answer."""
    world.http.reply = lambda request: json_response(echo)
    run = runs.run(graph([call(headers={"A": "${TOKEN}"}), node("after")], "h -> after"))
    assert run.status == "succeeded"
    assert "***" in json.dumps(run.output)
    assert_nowhere(dynamodb, s3)


READING = graph([node("r", "s3-read", bucket="theirs", key="${TOKEN}")])


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_what_is_read_in_chunks_is_masked_too(runs: Runs, world: World, dynamodb: Any, s3: Any, size: int) -> None:
    """Where a node names a credential, the text that it reads is looked through like any other, however large."""
    chunks = [b"x" * size, *(letter.encode() for letter in VALUE)]
    world.objects.stored["theirs", VALUE] = StoredObject(chunks, "text/plain")
    run = runs.run(READING)
    assert run.output == "x" * size + "***"
    assert_nowhere(dynamodb, s3)


def test_what_is_too_large_to_be_looked_through(runs: Runs, world: World, dynamodb: Any, s3: Any) -> None:
    """Is refused."""
    world.objects.stored["theirs", VALUE] = StoredObject([b"x" * LOADED_BYTES, VALUE.encode()], "text/plain")
    error = runs.run(READING).steps["r"].error
    assert error is not None
    assert error.name == "PayloadTooLarge"
    assert_nowhere(dynamodb, s3)


def test_a_node_that_puts_it_out(runs: Runs, dynamodb: Any, s3: Any) -> None:
    """Also where the author writes it into an output, large or small."""
    run = runs.run(graph([node("f", "set-fields", fields={"a": "${TOKEN}", "b": "${TOKEN}" * 9000, "c": 1})]))
    assert run.output == {"a": "***", "b": "***" * 9000, "c": 1}
    assert_nowhere(dynamodb, s3)


@pytest.mark.parametrize(
    "error", [Permanent("Refused", f"no: {VALUE}"), Retryable("Later", f"no: {VALUE}"), ValueError(f"no: {VALUE}")]
)
def test_an_error_does_not_say_it(runs: Runs, world: World, dynamodb: Any, s3: Any, error: Exception) -> None:
    """Neither the record nor what is raised to Step Functions; the error is else what it was."""
    world.http.fail_with(error)
    run = runs.run(graph([call(headers={"A": "${TOKEN}"})]))
    assert run.execution.error is not None
    assert run.execution.error["message"] == "no: ***"
    assert run.execution.error["name"] == getattr(error, "name", type(error).__name__)
    assert_nowhere(dynamodb, s3)


def test_the_cause_of_an_error_is_not_shown_either(runs: Runs, world: World) -> None:
    """Lambda logs the trace of what a function raises, causes included."""
    import traceback

    world.http.fail_with(*[ValueError(VALUE)] * 2)
    execution_id = runs.start(graph([call(headers={"A": "${TOKEN}"}, settings={"retry": {"maxAttempts": 2}})]))
    for _ in range(2):
        with pytest.raises((Retryable, Permanent)) as caught:
            runs.visit(execution_id, "h")
        assert VALUE not in "".join(traceback.format_exception(caught.value))


def test_the_log_does_not_say_it(runs: Runs, world: World) -> None:
    """A message that names a credential is written with a mask."""
    runs.run(graph([node("l", "log", message="the token is ${TOKEN}")]))
    assert world.log.messages == ["the token is ***"]


def test_a_new_value_holds_for_the_next_step(runs: Runs, world: World, app_services: Services) -> None:
    """Nothing of the old one is kept anywhere."""
    shape = graph([call(headers={"A": "${TOKEN}"})])
    runs.run(shape)
    app_services.credentials.change(OWNER, "TOKEN", "new")
    runs.run(shape)
    assert [request.headers["A"] for request in world.http.requests] == [VALUE, "new"]


def test_a_kms_that_fails_is_not_the_nodes_fault(runs: Runs, app_services: Services, monkeypatch: Any) -> None:
    """It is told as our machinery's, which the engine tries again whatever the node's settings say."""

    class Broken:
        def read(self, organization_id: str, name: str) -> str:
            raise Downstream("KMS: no")

    monkeypatch.setattr(app_services.steps, "_credentials", Broken())
    execution_id = runs.start(graph([call(headers={"A": "${TOKEN}"})]))
    with pytest.raises(Downstream):
        runs.visit(execution_id, "h")
    assert runs.steps(execution_id)["h"].status == "running"


def assert_nowhere(dynamodb: Any, s3: Any) -> None:
    """The value stands in no item and no object, in no spelling that JSON or a URL has."""
    kept = json.dumps(dynamodb.scan(TableName=TABLE)["Items"], default=repr, ensure_ascii=False)
    for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix="payloads/").get("Contents", ()):
        kept += s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read().decode()
    for word in ("wörd", "w\\u00f6rd", "w%C3%B6rd"):
        assert word not in kept
