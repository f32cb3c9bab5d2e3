"""What a handler may ask of the world, as small protocols.

``cloud`` implements them; the pod and tests may bring their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chalicelib.foundation.json_types import Json, Value


@dataclass(frozen=True)
class HttpRequest:
    method: str  #: any case; ``GET``, ``POST``, ...
    url: str  #: absolute, ``http`` or ``https``
    headers: Mapping[str, str]
    body: bytes | None
    timeout_s: float  #: for the whole of it: name, connection, redirects and body


@dataclass(frozen=True)
class HttpResponse:
    status: int
    headers: Mapping[str, str]  #: names in lower case; values of a repeated header are joined with ``", "``
    body: bytes  #: decoded, where the server compressed it


class HttpClient(Protocol):
    def send(self, request: HttpRequest) -> HttpResponse:
        """The answer after redirects, whatever its status.

        Raises ``Permanent`` for what may not or cannot be called (``AddressRefused``, ``InvalidUrl``,
        ``InvalidHeader``, ``InvalidMethod``, ``TooManyRedirects``, ``ResponseTooLarge``, ``TlsCertificateInvalid``) and
        ``Retryable`` for what may pass (``HttpTimeout``, ``HttpConnectionError``, ``TlsError``).
        """


@dataclass(frozen=True)
class StoredObject:
    body: Iterable[bytes]  #: in chunks, to be read once; raises ``Retryable`` where the connection breaks
    content_type: str


@dataclass(frozen=True)
class WrittenObject:
    size: int  #: in bytes
    etag: str


class ObjectStore(Protocol):
    def read(self, bucket: str, key: str) -> StoredObject:
        """Raises ``Permanent`` where there is no such object or it may not be read."""

    def write(self, bucket: str, key: str, body: Iterable[bytes], content_type: str) -> WrittenObject:
        """Writes the whole object. Raises ``Permanent`` where it may not be written, and what ``body`` raises."""


@dataclass(frozen=True)
class Message:
    body: str
    group_id: str | None = None  #: of a FIFO queue
    deduplication_id: str | None = None  #: the same


class MessageQueues(Protocol):
    def send(self, queue_url: str, message: Message) -> str:
        """Sends a message and returns its id.

        Raises ``Permanent`` where there is no such queue, or it may not be written to, or it does not take the message.
        """


class ScriptRunner(Protocol):
    def run(self, code: str, data: Json, timeout_s: float) -> Json:
        """What ``main(data)`` of ``code`` returns.

        Raises ``Permanent`` with the script's own error, ``Retryable`` where the sandbox failed.
        """


class Converse(Protocol):
    def converse(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Asks a model of Bedrock, in the words of its API ``Converse``. Returns or raises within three minutes.

        Raises ``Permanent`` (``ModelAccessDenied``, ``ModelNotFound``, ``ModelRequestInvalid``) and ``Retryable``
        (``ModelUnavailable``).
        """


class Values(Protocol):
    """The large values of a step: those that are ``Stored``."""

    def load(self, value: Value) -> Json:
        """A value with nothing stored in it. Raises ``Permanent`` for more than a step may load."""

    def text(self, value: Value) -> Iterator[bytes]:
        """The JSON text of a value of any size, in chunks."""

    def keep(self, text: Iterable[bytes]) -> Value:
        """The value of a JSON text of up to 400 MB: stored if it is large. Raises what ``text`` raises."""


class MessageLog(Protocol):
    def write(self, level: str, message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Which node of which run asks."""

    organization_id: str
    execution_id: str
    node_id: str
    path: str  # of the loop iteration
    gate: str  # where it will wait, if it waits


class Workflows(Protocol):
    def start(self, caller: Caller, workflow_id: str, inputs: Value, *, waits: bool) -> str:
        """Starts a run of another workflow, once for each caller, and returns its id.

        ``waits``: whether the caller is told at its gate when the run has ended. Raises ``Permanent`` where there is
        no such workflow, where it cannot run, or where it may not be called from here.
        """


class Events(Protocol):
    def put(self, event_type: str, detail: Mapping[str, Json]) -> str:
        """Puts an event on the bus and returns its id. To put it again makes another one.

        Raises ``Permanent`` (``EventTooLarge``, ``EventRefused``) and ``Retryable`` (``EventBusUnavailable``).
        """


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    to: Sequence[str]
    subject: str
    text: str | None
    html: str | None
    key: str  #: the same for every attempt at sending it


class Mailer(Protocol):
    def send(self, mail: OutgoingMail) -> str:
        """Sends a mail, once more with each call, and returns the id that the service gave it.

        Raises ``Permanent`` (``MailRefused``, ``MailNotSetUp``) and ``Retryable`` (``MailServiceError``).
        """


@dataclass(frozen=True)
class Capabilities:
    http: HttpClient
    objects: ObjectStore
    queues: MessageQueues
    scripts: ScriptRunner
    bedrock: Converse
    log: MessageLog
    mailer: Mailer
    workflows: Workflows
    events: Events
