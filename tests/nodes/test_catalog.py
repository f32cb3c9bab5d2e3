"""The catalog: which node types there are, and their ports."""

from __future__ import annotations

import pytest

from chalicelib.nodes.registry import CATALOG, Registry
from chalicelib.nodes.spec import NodeType, Outcome
from tests.nodes.handlers import kind_of

#: Types, required config, ports out. What a workflow may rely on.
EXPECTED = {
    "manual-trigger": ([], ["output"]),
    "event-trigger": (["eventType"], ["output"]),
    "webhook-trigger": ([], ["output"]),
    "queue-trigger": ([], ["output"]),
    "set-fields": (["fields"], ["output"]),
    "transform": (["expression"], ["output"]),
    "filter": (["condition"], ["output"]),
    "condition": (["expression"], ["true", "false"]),
    "switch": (["expression", "cases"], ["default"]),
    "merge": (["mode"], ["output"]),
    "loop": (["items"], ["item", "done"]),
    "wait": ([], ["output"]),
    "http-request": (["method", "url"], ["output"]),
    "log": (["message"], ["output"]),
    "fail": (["error", "message"], []),
    "csv-parse": (["text"], ["output"]),
    "json-parse": (["text"], ["output"]),
    "s3-read": (["bucket", "key"], ["output"]),
    "s3-write": (["bucket", "key", "body"], ["output"]),
    "script": (["code"], ["output"]),
    "sqs-send": (["queueUrl", "message"], ["output"]),
    "event-emit": (["eventType"], ["output"]),
    "agent": (["goal"], ["output"]),
    "bedrock-model": (["modelId"], []),
    "openai-compatible-model": (["baseUrl", "model"], []),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_type_is_there(name: str) -> None:
    """Each has the config that it needs, told as missing, and the ports that connections may leave by."""
    kind = kind_of(name)
    required, ports = EXPECTED[name]
    assert list(kind.check({}).missing) == required
    assert list(kind.ports_out({})) == ports
    assert kind.title
    assert kind.description.endswith(".")


@pytest.mark.parametrize("kind", list(CATALOG), ids=lambda kind: kind.name)
def test_a_run_that_continues_after_an_error_has_a_way(kind: NodeType) -> None:
    """Where the settings let an error pass, it goes on by a port of the type, never by that of a loop's body."""
    ports = kind.ports_out({})
    assert kind.continue_port in ports or not ports
    assert kind.continue_port != kind.body_port


@pytest.mark.parametrize("kind", list(CATALOG), ids=lambda kind: kind.name)
def test_ports_in(kind: NodeType) -> None:
    """Triggers and models take no connection, merge and agent take any port, all others have the port `input`."""
    alone, any_name = kind.is_trigger or kind.chat, kind.name in ("merge", "agent")
    assert kind.ports_in == (() if alone else None if any_name else ("input",))


def test_what_may_be_attached_to_an_agent() -> None:
    """Models on one port; on the other what works on data or calls something: no trigger, and nothing that steers."""
    assert {kind.name for kind in CATALOG if kind.attaches_to == "ai"} == {"bedrock-model", "openai-compatible-model"}
    tools = {kind.name for kind in CATALOG if kind.attaches_to == "tools"}
    assert tools >= {"http-request", "s3-read", "script", "transform", "log"}
    assert not [name for name in tools if kind_of(name).category not in ("data", "io")]
    assert [kind.name for kind in CATALOG if kind.attachment_ports] == ["agent"]


def test_ports_of_a_switch() -> None:
    """One for each case, called like its text, then default; anything but a list gives default alone."""
    ports = kind_of("switch").ports_out
    assert ports({"cases": ["red", 2, 2.5, 3.0, True]}) == ("red", "2", "2.5", "3", "true", "default")
    assert ports({"cases": "red"}) == ports({"cases": None}) == ports({}) == ("default",)


def test_loop_is_the_one_with_a_body() -> None:
    """Its body hangs from the port `item`; the types with two phases are those that wait for something."""
    assert [kind.name for kind in CATALOG if kind.body_port] == ["loop"]
    assert sorted(kind.name for kind in CATALOG if kind.two_phase) == [
        "approval", "loop", "sub-workflow", "wait", "wait-for-event",
    ]  # fmt: skip


def test_two_types_of_one_name_are_refused() -> None:
    """A clash is found when the catalog is put together."""
    one, other = (NodeType("twin", "Twin", "data", "One.", lambda context: Outcome(None)) for _ in range(2))
    with pytest.raises(ValueError, match="twin"):
        Registry([one, other])
