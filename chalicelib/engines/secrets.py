"""Credentials while a node runs: ``${NAME}`` in its config becomes the stored value, and the value stays in here.

**In.** A config is written by the author of a workflow, the values that its templates bring are written by anybody: the
sender of a mail, a server that was called, a model. Only the author may name a credential. So ``resolve`` is handed to
the renderer of templates, which calls it with the text *between* expressions and never with what an expression gave;
a value ``${NAME}`` that arrives as data stays those seven letters, also where it meets a ``${`` of the author's. Bare
expressions and program text are not rendered and so name nothing. Nor do control nodes and triggers: what their configs
say goes into records and into other runs.

**Out.** What a node has read it must not write down. ``redacted`` puts ``***`` in the place of each value in whatever
the node puts out, says in an error, or logs; also of a value as JSON, a URL or a quoted text would spell it. That is a
net for the echo of a server and the helpful message of a library; a workflow that sets out to encode a secret and hand
it on is written by somebody who may use the secret anyway.

Values are read when a node runs and forgotten with it: a new value holds for the next step. There is no state to lose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import quote, quote_plus

from chalicelib.cloud.kms import Envelope
from chalicelib.foundation.errors import Downstream, NodeError, Permanent, Retryable
from chalicelib.foundation.json_types import Value
from chalicelib.graph.credentials import REFERENCE, context_of
from chalicelib.nodes.capabilities import Capabilities, MessageLog
from chalicelib.store.credentials import CredentialRepository

MASK = "***"


class CredentialValues(Protocol):
    def read(self, organization_id: str, name: str) -> str:
        """Raises ``Permanent`` where there is none."""


class StoredCredentials:
    """The values, each read and decrypted anew. ``envelope`` is asked for when the first is."""

    def __init__(self, repository: CredentialRepository, envelope: Callable[[], Envelope]) -> None:
        self._repository = repository
        self._envelope = envelope

    def read(self, organization_id: str, name: str) -> str:
        sealed = self._repository.sealed(organization_id, name)
        if sealed is None:
            raise Permanent("CredentialMissing", f"There is no credential {name}.")
        return self._envelope().open(sealed, context_of(organization_id, name))


class Secrets:
    """The credentials that one node reads in one attempt."""

    def __init__(self, values: CredentialValues, organization_id: str) -> None:
        self._values = values
        self._organization_id = organization_id
        self._read: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None  # of every value read, in every spelling

    def resolve(self, text: str) -> str:
        """``text``, which the author of the workflow wrote, with every ``${NAME}`` replaced. Raises ``Permanent``."""
        return REFERENCE.sub(lambda found: self._value(found[1]), text)

    def redact(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    @property
    def any_read(self) -> bool:
        return bool(self._read)

    def redact_value(self, value: Value) -> Value:
        """The same of every text within a value, keys included; not of what was stored before, by others."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self.redact(key): self.redact_value(item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self.redact_value(item) for item in value]
        return value

    def guard(self, capabilities: Capabilities) -> Capabilities:
        """The same capabilities, with a log that never shows a value."""
        return replace(capabilities, log=_RedactedLog(capabilities.log, self))

    @contextmanager
    def kept_out_of_errors(self) -> Iterator[None]:
        """Whatever is raised within leaves without a value in its name or message, and without its cause."""
        try:
            yield
        except Downstream:
            raise  # our own machinery, which is given no value
        except Exception as error:
            if self._pattern is None:
                raise
            name, message = (
                (error.name, error.message) if isinstance(error, NodeError) else (type(error).__name__, str(error))
            )
            kind = Permanent if isinstance(error, Permanent) else Retryable
            raise kind(self.redact(name), self.redact(message)) from None

    def _value(self, name: str) -> str:
        if name not in self._read:
            self._read[name] = self._values.read(self._organization_id, name)
            spellings = {text for value in self._read.values() for text in _spellings(value)}
            self._pattern = re.compile("|".join(map(re.escape, sorted(spellings, key=len, reverse=True))))
        return self._read[name]


@dataclass(frozen=True)
class _RedactedLog:
    log: MessageLog
    secrets: Secrets

    def write(self, level: str, message: str) -> None:
        self.log.write(level, self.secrets.redact(message))


def _spellings(value: str) -> Iterator[str]:
    """A value as it is, and as it stands in JSON, in a URL, and in a text of Python's."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
