"""Writes of the event loop's own client, to a port behind which moto is, and which fails in any way that ports do."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.cloud.sdk import session
from chalicelib.foundation.errors import Downstream, DownstreamTimeout
from chalicelib.store.table import ABSENT, TRIES, ConditionFailed, Refused, Table, Write, delete, put, update
from chalicelib.store.wire import Credentials, Wire
from tests.conftest import REGION, TABLE
from tests.moto_port import Handler, moto_port

ATTEMPTS = 4
PATIENCE_S = 10.0  # to connect, and to be answered
IMPATIENCE_S = 0.4  # where there will be no answer


def key(name: str) -> Any:
    return {"pk": name, "sk": "x"}


def item(name: str, **fields: Any) -> dict[str, Any]:
    return {**key(name), **fields}


def text(name: str, **fields: str) -> Write:
    """A Put whose item is given as text."""
    encoded = {field: {"S": value} for field, value in item(name, **fields).items()}
    return Write("Put", key(name), text=json.dumps(encoded), condition=ABSENT)


def refusal(code: str, **more: Any) -> bytes:
    return json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no", **more}).encode()


CONFLICT = refusal(
    "TransactionCanceledException", CancellationReasons=[{"Code": "None"}, {"Code": "TransactionConflict"}]
)


class Server:
    """What is done with the next requests, one after the other; what is not said is done as it should be.

    ``lost``: it is done, and the connection ends without an answer. ``dropped``: the same, but it is not done.
    ``silent``: it is done, and never answered. ``slow``: an answer begins and does not end. Else: status and content of
    an answer.
    """

    def __init__(self) -> None:
        self.faults: list[str | tuple[int, bytes]] = []
        self.always: str | tuple[int, bytes] | None = None
        self.requests: list[tuple[str, Any]] = []  #: operations and bodies
        self.connections: set[Any] = set()
        self.ended = threading.Event()
        self._done: set[str] = set()

    def handler(self) -> type[Handler]:
        server = self

        class Faulty(Handler):
            def answer(self) -> None:
                body = self.body()
                check_signature(self, body)
                server.connections.add(self.client_address)
                operation, asked = self.headers["X-Amz-Target"].partition(".")[2], json.loads(body)
                fault = server.faults.pop(0) if server.faults else server.always
                server.requests.append((operation, asked))
                if isinstance(fault, tuple):
                    self.tell(fault[0], {}, fault[1])
                    return
                if fault == "dropped":
                    self.close_connection = True
                    return
                answer = self._done_once(body, asked.get("ClientRequestToken"))
                if fault == "lost":
                    self.close_connection = True
                elif fault == "silent":
                    server.ended.wait(30)
                    self.close_connection = True
                elif fault == "slow":
                    self.send_response(200)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{")
                    server.ended.wait(30)
                    self.close_connection = True
                else:
                    self.tell(*answer)

            def _done_once(self, body: bytes, token: str | None) -> Any:
                """moto forgets the tokens of transactions; DynamoDB remembers those that were done."""
                if token is not None and token in server._done:
                    return 200, {}, b"{}"
                answer = self.done(body)
                if token is not None and answer[0] == 200:
                    server._done.add(token)
                return answer

        return Faulty

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.requests]

    @property
    def tokens(self) -> list[str]:
        return [asked["ClientRequestToken"] for _, asked in self.requests]


def check_signature(request: Handler, body: bytes) -> None:
    """What came is what was signed."""
    told = request.headers["Authorization"]
    names = told.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "x-amz-date", "x-amz-target"} <= {*names}
    auth = SigV4Auth(session().get_credentials(), "dynamodb", REGION)
    url = f"http://{request.headers['Host']}{request.path}"
    signed = AWSRequest(request.command, url, {name: request.headers[name] for name in names}, body)
    signed.context["timestamp"] = request.headers["X-Amz-Date"]
    expected = auth.signature(auth.string_to_sign(signed, auth.canonical_request(signed)), signed)
    assert told.endswith(f"Signature={expected}")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def url(dynamodb: Any, server: Server) -> Iterator[str]:
    with moto_port(server.handler()) as found:
        yield found
        server.ended.set()


@pytest.fixture
def table(dynamodb: Any) -> Table:
    return Table(dynamodb, TABLE)


@pytest.fixture
def naps() -> list[float]:
    """How long was backed off, in seconds."""
    return []


Send = Callable[..., None]


def client_of(url: str, patience_s: float) -> Any:
    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    config = Config(connect_timeout=patience_s, read_timeout=patience_s, retries=retries)
    return boto3.client("dynamodb", region_name=REGION, endpoint_url=url, config=config)


def wired(
    url: str, play: Callable[[Wire], Awaitable[Any]], naps: list[float] | None = None, patience_s: float = PATIENCE_S
) -> Any:
    """What ``play`` returns, given a client of a port."""

    async def nap(seconds: float) -> None:
        if naps is not None:
            naps.append(seconds)

    async def run() -> Any:
        wire = Wire(client_of(url, patience_s), TABLE, session(), nap)
        try:
            async with asyncio.timeout(60):
                return await play(wire)
        finally:
            await wire.close()

    return asyncio.run(run())


@pytest.fixture
def send(url: str, naps: list[float], server: Server) -> Send:
    """Sends writes, as one commit."""

    def send(*writes: Write) -> None:
        is_slow = {"silent", "slow"} & {*server.faults, server.always}
        wired(url, lambda wire: wire.send(writes), naps, IMPATIENCE_S if is_slow else PATIENCE_S)

    return send


# ------------------------------------------------------------------------------------------------------ what is written


def test_what_is_written_is_what_the_sdk_writes(send: Send, server: Server, table: Table) -> None:
    """Every kind of write and value, in one transaction; of a Put alone, without one."""
    fields = {"s": 'ä\n"\u2028', "n": -3, "yes": True, "none": [None], "map": {"a": [1, "b", {}]}, "number": 10**20}
    table.write(put(item("old", n=1)))
    table.write(put(item("gone")))
    send(
        put(item("a", **fields), ABSENT),
        text("b", s='"ü"'),
        update(key("old"), "SET n = n + :by, #status = :s", "n = :n", by=2, s="s", n=1),
        delete(key("gone"), "attribute_exists(pk)"),
        Write("ConditionCheck", key("absent"), condition=ABSENT),
    )
    send(put(item("c", **fields)))
    send(text("d", s='"ü"'))
    assert server.operations == ["TransactWriteItems", "PutItem", "PutItem"]
    assert table.get(key("a")) == item("a", **fields)
    assert table.get(key("b")) == item("b", s='"ü"')
    assert table.get(key("old")) == item("old", n=3, status="s")
    assert table.get(key("gone")) is None
    assert table.get(key("c")) == item("c", **fields)
    assert table.get(key("d")) == item("d", s='"ü"')


@pytest.mark.parametrize("write", [text("a", by="me"), put(item("a", by="me"), ABSENT), put(item("a"), "n = :n", n=2)])
def test_a_condition_that_does_not_hold(send: Send, table: Table, write: Write) -> None:
    """It is told with the item that stood in the way, and by the index of the write; alone or among others."""
    table.write(put(item("a", by="them", n=1)))
    for writes in ([write], [text("b"), write]):
        with pytest.raises(ConditionFailed) as refused:
            send(*writes)
        assert (refused.value.index, refused.value.old) == (len(writes) - 1, item("a", by="them", n=1))
    assert table.get(key("b")) is None


def test_a_lone_change(send: Send, server: Server, table: Table) -> None:
    """What is no Put goes as a transaction: it has a token, and may be repeated."""
    table.write(put(item("a", n=1)))
    server.faults = ["lost"]
    send(update(key("a"), "ADD n :one", one=1))
    assert (table.get(key("a")) or {})["n"] == 2
    assert server.operations == ["TransactWriteItems"] * 2
    with pytest.raises(ConditionFailed) as refused:
        send(delete(key("a"), "n = :n", n=1))
    assert (refused.value.old or {})["n"] == 2


def test_what_dynamodb_does_not_take(send: Send, server: Server, naps: list[float]) -> None:
    """It is refused at once, and not tried again."""
    large = text("a", large="x" * 450_000)
    for writes in ([large], [large, text("b")]):
        with pytest.raises(Refused):
            send(*writes)
    server.faults = [(400, refusal("AccessDeniedException"))]
    with pytest.raises(Downstream, match="AccessDenied") as denied:
        send(text("a"))
    assert not isinstance(denied.value, Refused)
    assert (len(server.requests), naps) == (3, [])


def test_a_large_request(send: Send, table: Table) -> None:
    """Megabytes go in one request."""
    send(*(text(f"{n}", large=f"ä{'x' * 300_000}") for n in range(8)))
    assert len((table.get(key("7")) or {})["large"]) == 300_001


def test_one_connection_serves_many(url: str, server: Server, table: Table) -> None:
    """It is kept open between requests, and others are opened for what goes at once."""

    async def play(wire: Wire) -> None:
        for n in range(5):
            await wire.send([text(f"{n}")])
        assert len(server.connections) == 1
        await asyncio.gather(*(wire.send([text(f"at once {n}")]) for n in range(20)))

    wired(url, play)
    assert len(server.connections) <= 8
    assert table.get(key("at once 19"))


# -------------------------------------------------------------------------------------------------- what is tried again

NOT_DONE = {
    "no connection": "dropped",
    "error": (500, refusal("InternalServerError")),
    "error of somebody in between": (502, b"<html>bad gateway</html>"),
    "throttled": (400, refusal("ProvisionedThroughputExceededException")),
    "too many": (400, refusal("ThrottlingException")),
}


@pytest.mark.parametrize(
    "fault", [*NOT_DONE.values(), "silent", "slow", "lost"], ids=[*NOT_DONE, "silent", "slow", "lost"]
)
@pytest.mark.parametrize("number", [1, 2])
def test_it_is_tried_again(
    send: Send, server: Server, table: Table, naps: list[float], fault: Any, number: int
) -> None:
    """Until it is done, once, whatever became of the tries before; one of which nobody knows keeps its token."""
    server.faults = [fault] * 2
    send(*(text(f"{n}", by="me") for n in range(number)))
    assert [table.get(key(f"{n}")) for n in range(number)] == [item(f"{n}", by="me") for n in range(number)]
    assert len(naps) >= 2  # a busy machine may have let one more go by
    if number > 1:
        is_known = isinstance(fault, tuple) and fault[0] == 400
        assert len({*server.tokens}) == (3 if is_known else 1)


@pytest.mark.parametrize("fault", ["silent", "lost", "dropped"])
def test_what_another_has_written_meanwhile(send: Send, server: Server, table: Table, fault: str) -> None:
    """A Put whose outcome nobody knows meets another's item: that is no success of its own."""
    table.write(put(item("a", by="them")))
    server.faults = [fault]
    with pytest.raises(ConditionFailed) as refused:
        send(text("a", by="me"))
    assert (refused.value.old or {})["by"] == "them"


def test_its_own_item_is_no_success_of_a_first_try(send: Send, server: Server, table: Table) -> None:
    """Where nothing got lost, an item that is there was written by somebody else, though it is the same."""
    table.write(put(item("a", by="me")))
    server.faults = [NOT_DONE["throttled"]]  # type: ignore[list-item]
    with pytest.raises(ConditionFailed):
        send(text("a", by="me"))


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("dropped", Downstream, "ServerDisconnected"),
        ("silent", DownstreamTimeout, "in time"),
        ("slow", DownstreamTimeout, "in time"),
        ((503, b""), Downstream, "503"),
        (NOT_DONE["throttled"], Downstream, "ProvisionedThroughputExceeded"),
    ],
)
def test_its_patience_ends(
    send: Send, server: Server, naps: list[float], fault: Any, error: type[Downstream], words: str
) -> None:
    """After as many tries as the SDK would make."""
    server.always = fault
    with pytest.raises(error, match=words) as found:
        send(text("a"))
    assert type(found.value) is error
    assert len(naps) == ATTEMPTS - 1


def test_nobody_listens(naps: list[float], dynamodb: Any) -> None:
    """The port is closed."""
    with moto_port() as url:
        pass
    with pytest.raises(Downstream, match="Cannot connect"):
        wired(url, lambda wire: wire.send([text("a")]), naps)
    assert len(naps) == ATTEMPTS - 1


@pytest.mark.parametrize(
    ("content", "number"),
    [(CONFLICT, 2), (refusal("TransactionConflictException"), 1)],
    ids=["transaction", "lone put"],
)
def test_two_that_meet(
    send: Send, server: Server, table: Table, naps: list[float], content: bytes, number: int
) -> None:
    """Either order is right: it is tried again, with a token of its own, and not for ever."""
    writes = [text(f"{n}") for n in range(number)]
    server.faults = [(400, content)] * (ATTEMPTS + 1)
    send(*writes)
    assert table.get(key("0"))
    if number > 1:
        assert len({*server.tokens}) == ATTEMPTS + 2
    server.requests.clear()
    naps.clear()
    server.always = (400, content)
    with pytest.raises(Downstream, match="too many writes"):
        send(*writes)
    assert (len(server.requests), len(naps)) == (TRIES, TRIES - 1)


def test_a_transaction_that_is_still_under_way(send: Send, server: Server, table: Table) -> None:
    """A first try got lost and is being done: the second asks what becomes of it, by its token."""
    server.faults = ["lost", (400, refusal("TransactionInProgressException")), (400, CONFLICT)]
    send(text("a"), text("b"))
    assert len(server.requests) == 4
    assert len({*server.tokens}) == 1


# -------------------------------------------------------------------------------------------- credentials, certificates


class Vault:
    """A session of botocore whose credentials are good for an hour, and are given while ``hold`` is set."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0
        self.hold = threading.Event()
        self.hold.set()
        self._found: Any = None

    def get_credentials(self) -> Any:
        if self._found is None:
            self._found = RefreshableCredentials.create_from_metadata(self._new(), self._new, "test")
        return self._found

    def age(self, credentials: Credentials, left: timedelta) -> None:
        """Some time later: they are good for so long, and were not looked after for a while."""
        self._found._expiry_time = datetime.now(UTC) + left
        credentials._look_at = 0.0

    def _new(self) -> dict[str, str]:
        assert threading.current_thread() is not threading.main_thread(), "that would hold up the event loop"
        assert self.hold.wait(20)
        self.asked += 1
        if self.error is not None:
            raise self.error
        end = datetime.now(UTC) + timedelta(hours=1)
        return {"access_key": f"key{self.asked}", "secret_key": "s", "token": "t", "expiry_time": end.isoformat()}


def test_credentials_are_found_once() -> None:
    """All who ask at the beginning wait for the same ones, and nobody looks again while they are good."""

    async def run() -> None:
        vault = Vault()
        vault.hold.clear()
        credentials = Credentials(vault)
        asking = [asyncio.create_task(credentials.current()) for _ in range(5)]
        await asyncio.sleep(0)
        vault.hold.set()
        assert {found.access_key for found in await asyncio.gather(*asking)} == {"key1"}
        assert (await credentials.current()).token == "t"
        assert vault.asked == 1

    asyncio.run(run())


def test_credentials_that_end_soon() -> None:
    """They are of use while new ones are asked for, but for the last minute; then the new ones are."""

    async def run() -> None:
        vault = Vault()
        credentials = Credentials(vault)
        await credentials.current()
        vault.hold.clear()
        vault.age(credentials, timedelta(minutes=5))
        assert [(await credentials.current()).access_key for _ in range(3)] == ["key1"] * 3
        looking = credentials._looking
        assert looking is not None
        vault.hold.set()
        await looking
        assert (await credentials.current()).access_key == "key2"
        vault.age(credentials, timedelta(seconds=30))
        assert (await credentials.current()).access_key == "key3"

    asyncio.run(run())


def test_credentials_that_cannot_be_had() -> None:
    """Old ones are used as long as they are good, though nobody gives new ones; then it fails, and recovers."""

    async def run() -> None:
        vault = Vault()
        credentials = Credentials(vault)
        await credentials.current()
        vault.error = CredentialRetrievalError(provider="test", error_msg="down")
        for left in (timedelta(minutes=5), timedelta(seconds=30)):
            vault.age(credentials, left)
            await credentials.current()
            if (looking := credentials._looking) is not None:
                await looking
            assert (await credentials.current()).access_key == "key1"
        vault.age(credentials, timedelta(0))
        with pytest.raises(Downstream, match="down"):
            await credentials.current()
        vault.error = None
        vault.age(credentials, timedelta(0))
        assert (await credentials.current()).access_key == f"key{vault.asked}"

    asyncio.run(run())


def test_no_credentials_at_all() -> None:
    """Nobody gives any: that is told, and not tried again."""

    class Empty:
        def get_credentials(self) -> None:
            return None

    async def run() -> None:
        with pytest.raises(Downstream, match="credentials"):
            await Credentials(Empty()).current()

    asyncio.run(run())


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that nobody has signed but itself, with its key."""
    own = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(own, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM) + private)
    return path


def test_whom_it_trusts(
    certificate: Path, table: Table, server: Server, monkeypatch: pytest.MonkeyPatch, naps: list[float]
) -> None:
    """The authorities that the SDK trusts, or those that AWS_CA_BUNDLE names; nothing is told to anybody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with moto_port(server.handler(), context) as url:
        with pytest.raises(Downstream, match="certificate"):
            wired(url, lambda wire: wire.send([text("a")]), naps)
        assert server.requests == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        wired(url, lambda wire: wire.send([text("a")]))
    assert table.get(key("a"))
