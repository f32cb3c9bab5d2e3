"""What tests put in the place of the world: time, ids, and what node handlers reach out to."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.foundation.ids import Prefix
from chalicelib.foundation.json_types import Json, Value, dumps, loads
from chalicelib.nodes.capabilities import (
    Caller,
    Capabilities,
    HttpRequest,
    HttpResponse,
    Message,
    OutgoingMail,
    StoredObject,
    WrittenObject,
)
from chalicelib.store.table import Table, Write

MONDAY = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Killed(BaseException):
    """The process ends here. No ``except Exception`` of the code under test may see it."""


class Hung(BaseException):
    """A call that never ends: whoever made it waits until it is cut off."""


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, start: datetime = MONDAY) -> None:
        self._now = start
        self.on_sleep: Callable[[], None] = lambda: None  #: called when somebody has slept

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    def sleep(self, seconds: float) -> None:
        """Takes no time but its own."""
        self.advance(seconds)
        self.on_sleep()


class CountingIds:
    """``wf_0001``, ``wf_0002``, ...: as short as readable tests need."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self, prefix: Prefix) -> str:
        return f"{prefix}_{next(self._numbers):04d}"


class FakeHttp:
    """Answers requests by ``reply``, and remembers them."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.reply: Callable[[HttpRequest], HttpResponse] = lambda request: json_response({"n": len(self.requests)})

    def send(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        return self.reply(request)

    def fail_with(self, *errors: BaseException) -> None:
        """Raises these, one for each request; answers afterwards."""
        waiting = list(errors)

        def reply(request: HttpRequest) -> HttpResponse:
            if waiting:
                raise waiting.pop(0)
            return json_response({"n": len(self.requests)})

        self.reply = reply


def json_response(body: Json, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"content-type": "application/json"}, dumps(body).encode())


class FakeObjects:
    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], StoredObject] = {}

    def read(self, bucket: str, key: str) -> StoredObject:
        return self.stored[bucket, key]

    def write(self, bucket: str, key: str, body: Iterable[bytes], content_type: str) -> WrittenObject:
        whole = b"".join(body)
        self.stored[bucket, key] = StoredObject([whole], content_type)
        return WrittenObject(len(whole), "etag")


class FakeValues:
    """Holds every value, and shows its text a few bytes at a time."""

    def load(self, value: Value) -> Json:
        return loads(dumps(value))

    def text(self, value: Value) -> Iterator[bytes]:
        text = dumps(value).encode()
        return (text[at : at + 3] for at in range(0, len(text), 3))

    def keep(self, text: Iterable[bytes]) -> Value:
        return loads(b"".join(text))


class FakeQueues:
    def __init__(self) -> None:
        self.sent: list[tuple[str, Message]] = []

    def send(self, queue_url: str, message: Message) -> str:
        self.sent.append((queue_url, message))
        return f"message-{len(self.sent)}"


class FakeScripts:
    def run(self, code: str, data: Json, timeout_s: float) -> Json:
        raise AssertionError("no test here runs a script")


class FakeBedrock:
    """Answers as ``Converse`` does, by ``reply``, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Mapping[str, Any]] = []
        self.reply: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda request: said("done")

    def converse(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.requests.append(request)
        return self.reply(request)


def said(text: str = "", *uses: tuple[str, Mapping[str, Any]], stop: str | None = None) -> Mapping[str, Any]:
    """What ``Converse`` answers: a text, and tools to be used as ``(name, input)``."""
    blocks: list[Any] = [{"text": text}] if text else []
    blocks += [
        {"toolUse": {"toolUseId": f"use{index}", "name": name, "input": given}}
        for index, (name, given) in enumerate(uses)
    ]
    return {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": stop or ("tool_use" if uses else "end_turn"),
        "usage": {"inputTokens": 10, "outputTokens": 2, "totalTokens": 12},
    }


class FakeWorkflows:
    """Takes note of what is started. Where whole runs are tested, the real one takes its place."""

    def __init__(self) -> None:
        self.started: list[tuple[str, Value, bool]] = []

    def start(self, caller: Caller, workflow_id: str, inputs: Value, *, waits: bool) -> str:
        self.started.append((workflow_id, inputs, waits))
        return "exec_child"


class FakeEvents:
    """Takes note of what is put on the bus."""

    def __init__(self) -> None:
        self.put_there: list[tuple[str, Mapping[str, Json]]] = []

    def put(self, event_type: str, detail: Mapping[str, Json]) -> str:
        self.put_there.append((event_type, detail))
        return f"event-{len(self.put_there)}"


class FakeMailer:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[OutgoingMail] = []

    def send(self, mail: OutgoingMail) -> str:
        self.sent.append(mail)
        return f"mail-{len(self.sent)}"


class FakeLog:
    """Keeps messages, and calls ``on_write`` before each."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.on_write: Callable[[str], None] = lambda message: None

    def write(self, level: str, message: str) -> None:
        self.on_write(message)
        self.messages.append(message)


class World:
    """Everything that handlers can reach, at hand."""

    def __init__(self) -> None:
        self.http = FakeHttp()
        self.objects = FakeObjects()
        self.queues = FakeQueues()
        self.bedrock = FakeBedrock()
        self.log = FakeLog()
        self.mailer = FakeMailer()
        self.workflows = FakeWorkflows()
        self.events = FakeEvents()
        self.capabilities = Capabilities(
            http=self.http,
            objects=self.objects,
            queues=self.queues,
            scripts=FakeScripts(),
            bedrock=self.bedrock,
            log=self.log,
            mailer=self.mailer,
            workflows=self.workflows,
            events=self.events,
        )


class AtOnce:
    """Commits (see ``store.group_commit``) of one after the other, in the event loop, which waits for each."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.calls = 0
        self.commits = 0

    async def commit(self, writes: Sequence[Write]) -> None:
        self.calls += 1
        self.commits += 1
        write(self._table, writes)

    async def close(self) -> None:
        """Nothing is left to be written."""


class TableWire:
    """What groups are sent by (see ``store.group_commit``), over the SDK, in threads: it is in the SDK that moto is."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def send(self, writes: Sequence[Write]) -> None:
        await asyncio.to_thread(write, self._table, writes)

    async def close(self) -> None:
        """There is nothing to close."""


def write(table: Table, writes: Sequence[Write]) -> None:
    """All of them or none, as a commit is to be."""
    if len(writes) > 1:
        table.transact(writes)
    else:
        table.write(writes[0])


class Calls:
    """The calls that a client of the SDK makes, as they are made: counted, and interrupted where a test says so."""

    def __init__(self) -> None:
        self.made: list[tuple[str, dict[str, Any]]] = []  #: operation and parameters
        self.items_read = 0  #: of DynamoDB: what a filter leaves out of an answer is read all the same
        self.before: Callable[[int], None] = lambda number: None  #: given the number of the call, the first is 1
        self.after: Callable[[int], None] = lambda number: None  #: the same, when the call has taken effect

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.made]

    @property
    def reads(self) -> int:
        return sum(operation in ("GetItem", "BatchGetItem", "Query") for operation in self.operations)

    @property
    def writes(self) -> int:
        return len(self.made) - self.reads

    def clear(self) -> None:
        self.made.clear()
        self.items_read = 0

    def _before_call(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.made.append((model.name, params))
        self.before(len(self.made))

    def _after_call(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        match model.name:
            case "Query":
                self.items_read += parsed["ScannedCount"]
            case "GetItem":
                self.items_read += 1
            case "BatchGetItem":
                self.items_read += sum(map(len, parsed["Responses"].values()))
        self.after(len(self.made))


@contextmanager
def watched(client: Any) -> Iterator[Calls]:
    """The calls of ``client`` from here on. A ``Killed`` that ``before`` or ``after`` raises ends the caller there."""
    calls = Calls()
    events = client.meta.events
    events.register("before-parameter-build", calls._before_call)
    events.register("after-call", calls._after_call)
    try:
        yield calls
    finally:
        events.unregister("before-parameter-build", calls._before_call)
        events.unregister("after-call", calls._after_call)


_OWN_FIELDS = ("settings", "inputMappings", "passThroughValues", "label")


def node(identifier: str, kind: str = "transform", /, **config: Any) -> dict[str, Any]:
    """A node as a request spells it; what is no field of its own is its config."""
    if kind == "transform":
        config.setdefault("expression", "data")
    own: dict[str, Any] = {name: config.pop(name) for name in _OWN_FIELDS if name in config}
    return {"id": identifier, "nodeId": kind, "config": config, **own}


def graph(nodes: Sequence[Mapping[str, Any]], *connections: str) -> dict[str, Any]:
    """A graph as a request spells it; connections as ``"a -> b -> c"``, with ports ``"a:true -> b:left"``."""
    found = []
    for line in connections:
        ends = [end.strip() for end in line.split("->")]
        for source, target in itertools.pairwise(ends):
            source_id, _, source_port = source.partition(":")
            target_id, _, target_port = target.partition(":")
            connection = {"sourceNodeId": source_id, "targetNodeId": target_id}
            if source_port:
                connection["sourcePort"] = source_port
            if target_port:
                connection["targetPort"] = target_port
            found.append(connection)
    return {"nodes": list(nodes), "connections": found}
